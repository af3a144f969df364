"""What every bus keeps: the double in memory, and MQTT over both brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.bus.port import Delivery, Outgoing
from schemas.errors import BusUnavailable
from tests.support.venues import (
    VENUES,
    Venue,
    VenueKind,
    hold,
    numbered,
    numbers,
    running,
    take,
    until,
    until_connected,
)

pytestmark = pytest.mark.integration

FLUSH_SECONDS = 0.1
"""Long enough for what was sent to reach the broker before a connection is cut."""

Work = Callable[[Venue], Awaitable[None]]
At = Callable[[Work], None]


@pytest.fixture(params=VENUES)
def at(request: pytest.FixtureRequest, tmp_path: Path) -> At:
    kind: VenueKind = request.param
    return lambda work: hold(kind, tmp_path, work)


async def nothing_more(inbox_deliveries: Awaitable[list[Delivery]], seconds: float = 0.3) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await inbox_deliveries


def test_order(at: At) -> None:
    async def work(venue: Venue) -> None:
        reader, writer = await venue.bus("reader"), await venue.bus("writer")
        inbox = reader.inbox(["events/#"], capacity=50)
        async with running(reader, writer), asyncio.TaskGroup() as sending:
            for number in range(500):
                sending.create_task(writer.publish(numbered("events/a", number)))
            taken = await take(inbox, 500)
        assert numbers(taken) == list(range(500))
        assert {one.topic for one in taken} == {"events/a"}

    at(work)


def test_only_what_was_subscribed(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("both")
        first = bus.inbox(["a/+/x", "b/#"], capacity=10)
        second = bus.inbox(["c"], capacity=10)
        async with running(bus):
            for number, topic in enumerate(["a/1/y", "a/1/x", "c", "c/d", "b", "b/1/2"]):
                await bus.publish(numbered(topic, number))
            assert numbers(await take(first, 3)) == [1, 4, 5]
            assert numbers(await take(second, 1)) == [2]

    at(work)


def test_what_was_not_acknowledged_comes_again(at: At) -> None:
    async def work(venue: Venue) -> None:
        reader, writer = await venue.bus("reader"), await venue.bus("writer")
        inbox = reader.inbox(["events"], capacity=10)
        async with running(reader, writer):
            for number in range(5):
                await writer.publish(numbered("events", number))
            taken = await take(inbox, 5, acknowledge=False)
            await inbox.acknowledge(taken[:2])
            await asyncio.sleep(FLUSH_SECONDS)
            await venue.cut(reader)
            again = await take(inbox, 3, acknowledge=False)
            assert numbers(again) == [2, 3, 4]
            await inbox.acknowledge(taken)  # of a connection that is gone: without effect
            await inbox.acknowledge(again)
            await writer.publish(numbered("events", 5))
            assert numbers(await take(inbox, 1)) == [5]
            await asyncio.sleep(FLUSH_SECONDS)
            await venue.cut(reader)
            await until_connected(reader)
            await nothing_more(take(inbox, 1))

    at(work)


def test_what_was_not_received_comes_once(at: At) -> None:
    async def work(venue: Venue) -> None:
        reader, writer = await venue.bus("reader"), await venue.bus("writer")
        inbox = reader.inbox(["events"], capacity=100)
        async with running(reader, writer):
            for number in range(50):
                await writer.publish(numbered("events", number))
            await asyncio.sleep(FLUSH_SECONDS)
            await venue.cut(reader)
            await until_connected(reader)
            assert numbers(await take(inbox, 50)) == list(range(50))
            await nothing_more(take(inbox, 1))

    at(work)


def test_an_early_acknowledgement_waits_for_those_before_it(at: At) -> None:
    async def work(venue: Venue) -> None:
        reader, writer = await venue.bus("reader"), await venue.bus("writer")
        inbox = reader.inbox(["events"], capacity=10)
        async with running(reader, writer):
            for number in range(3):
                await writer.publish(numbered("events", number))
            taken = await take(inbox, 3, acknowledge=False)
            await inbox.acknowledge([taken[1], taken[2]])
            await asyncio.sleep(FLUSH_SECONDS)
            await venue.cut(reader)
            assert numbers(await take(inbox, 3)) == [0, 1, 2]

    at(work)


@pytest.mark.parametrize("qos", [1, 0])
def test_a_slow_reader_holds_the_rest_back_and_loses_nothing(at: At, qos: int) -> None:
    count, capacity = 3_000, 20

    async def work(venue: Venue) -> None:
        reader, writer = await venue.bus("reader"), await venue.bus("writer")
        inbox = reader.inbox(["events"], capacity=capacity)
        async with running(reader, writer):

            async def flood() -> None:
                for number in range(count):
                    await writer.publish(numbered("events", number, 1_000, qos=qos))

            flooding = asyncio.create_task(flood())
            await asyncio.sleep(1.0)
            taken: list[Delivery] = []
            most = 0
            while len(taken) < count:
                most = max(most, len(inbox._waiting))  # type: ignore[attr-defined]
                some = await inbox.receive(7)
                taken += some
                await asyncio.sleep(0.001)
                await inbox.acknowledge(some)
            await flooding
        assert numbers(taken) == list(range(count))
        assert most <= capacity

    at(work)


def test_request_and_reply(at: At) -> None:
    async def work(venue: Venue) -> None:
        asker, answerer = await venue.bus("asker"), await venue.bus("answerer")
        replies = asker.inbox(["replies/me"], capacity=10)
        requests = answerer.inbox(["requests/#"], capacity=10)
        async with running(asker, answerer):
            await asker.publish(
                Outgoing("requests/a", b"?", response_topic="replies/me", correlation_data=b"\x007")
            )
            (request,) = await take(requests, 1)
            assert (request.response_topic, request.correlation_data) == ("replies/me", b"\x007")
            await answerer.publish(
                Outgoing("replies/me", b"!", correlation_data=request.correlation_data)
            )
            (reply,) = await take(replies, 1)
            assert (reply.payload, reply.correlation_data) == (b"!", b"\x007")
            assert reply.response_topic is None

    at(work)


def test_retained(at: At) -> None:
    async def work(venue: Venue) -> None:
        writer = await venue.bus("writer")
        async with running(writer):
            await writer.publish(Outgoing("state", b"old", retain=True))
            await writer.publish(Outgoing("state", b"new", retain=True))
            await writer.publish(Outgoing("gone", b"x", retain=True))
            await writer.publish(Outgoing("gone", b"", retain=True))
            late = await venue.bus("late", lasting=False)
            inbox = late.inbox(["state", "gone"], capacity=10)
            async with running(late):
                (found,) = await take(inbox, 1)
                assert (found.payload, found.retained) == (b"new", True)
                await writer.publish(Outgoing("state", b"live", retain=True))
                (live,) = await take(inbox, 1)
                assert (live.payload, live.retained) == (b"live", False)
                await nothing_more(take(inbox, 1))

    at(work)


def test_will_then_birth_again(at: At) -> None:
    async def work(venue: Venue) -> None:
        watcher = await venue.bus("watcher", lasting=False)
        inbox = watcher.inbox(["state"], capacity=10)
        dying = await venue.bus(
            "dying",
            will=Outgoing("state", b"offline", retain=True),
            birth=Outgoing("state", b"born", retain=True),
        )
        async with running(watcher):
            async with running(dying):
                assert (await take(inbox, 1))[0].payload == b"born"
                await dying.publish(Outgoing("state", b"at work", retain=True))
                assert (await take(inbox, 1))[0].payload == b"at work"
                await venue.cut(dying)
                told = [one.payload for one in await take(inbox, 2)]
                assert told == [b"offline", b"at work"]
                await until_connected(dying)
            await nothing_more(take(inbox, 1))  # a clean goodbye is no death

    at(work)


def test_large_payloads(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("both")
        inbox = bus.inbox(["large"], capacity=10)
        async with running(bus):
            for size in (0, 1, 127, 128, 16_384, 1 << 20, 10_000_000):
                await bus.publish(Outgoing("large", b"z" * size))
                (found,) = await take(inbox, 1)
                assert len(found.payload) == size

    at(work)


def test_publishing_waits_for_the_broker(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("both")
        inbox = bus.inbox(["a"], capacity=10)
        async with running(bus):
            await venue.stop()
            await until(lambda: bus.state != "connected")
            publishing = asyncio.create_task(bus.publish(numbered("a", 7)))
            await asyncio.sleep(FLUSH_SECONDS)
            assert not publishing.done()
            await venue.start()
            await publishing
            # The subscription may be renewed later than this was published: say it again.
            await until_connected(bus)
            await bus.publish(numbered("a", 8))
            seen = numbers(await take(inbox, 1))
            assert seen in ([7], [8])

    at(work)


def test_a_lasting_session_keeps_what_arrives_meanwhile(at: At) -> None:
    async def work(venue: Venue) -> None:
        writer = await venue.bus("writer")
        async with running(writer):
            for round_ in range(2):
                reader = await venue.bus("reader")
                inbox = reader.inbox(["events"], capacity=10)
                async with running(reader):
                    if round_:
                        assert numbers(await take(inbox, 3)) == [0, 1, 2]
                    else:
                        await writer.publish(numbered("events", 0))
                        await take(inbox, 1, acknowledge=False)
                assert reader.state == "closed"
                await writer.publish(numbered("events", 1 + 2 * round_))
                await writer.publish(numbered("events", 2 + 2 * round_))

    at(work)


def test_a_passing_client_leaves_nothing_behind(at: At) -> None:
    async def work(venue: Venue) -> None:
        writer = await venue.bus("writer")
        async with running(writer):
            for _ in range(2):
                reader = await venue.bus("reader", lasting=False)
                inbox = reader.inbox(["events"], capacity=10)
                async with running(reader):
                    await nothing_more(take(inbox, 1), 0.1)
                await writer.publish(numbered("events", 0))

    at(work)


def test_states(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("one")
        bus.inbox(["a"], capacity=1)
        assert bus.state == "disconnected"
        task = asyncio.create_task(bus.run())
        await until_connected(bus)
        await venue.stop()
        await until(lambda: bus.state == "connecting")
        await venue.start()
        await until_connected(bus)
        await bus.close()
        await task
        assert bus.state == "closed"
        with pytest.raises(BusUnavailable):
            await bus.publish(numbered("a", 1))

    at(work)


def test_closing_tells_who_waits_to_publish(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("one")
        async with running(bus):
            await venue.stop()
            await until(lambda: bus.state != "connected")
            publishing = asyncio.create_task(bus.publish(numbered("a", 1)))
            await asyncio.sleep(FLUSH_SECONDS)
        with pytest.raises(BusUnavailable):
            await publishing

    at(work)


def test_a_topic_that_is_none_is_given_up(at: At) -> None:
    async def work(venue: Venue) -> None:
        bus = await venue.bus("one")
        inbox = bus.inbox(["ok"], capacity=1)
        async with running(bus):
            for topic in ("a/#", "a/+/b", "", "t" * 70_000, "\ud800", "a\x01", "\uffff"):
                await bus.publish(numbered(topic, 1))
            await bus.publish(numbered("ok", 2))
            assert numbers(await take(inbox, 1)) == [2]

    at(work)
