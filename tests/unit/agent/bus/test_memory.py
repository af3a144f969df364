"""What the double does beyond the contract that tests/integration/bus holds it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Bus, Outgoing
from tests.support.venues import numbered, numbers, running, take


def go(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(limited())


def test_it_is_a_bus() -> None:
    bus: Bus = MemoryBus(MemoryBroker())  # mypy compares it with the port
    assert bus.state == "disconnected"


def test_unacknowledged_messages_fill_the_inbox() -> None:
    async def work() -> None:
        bus = MemoryBus(MemoryBroker())
        inbox = bus.inbox(["a"], capacity=2)
        async with running(bus):
            for number in range(3):
                await bus.publish(numbered("a", number))
            held = await inbox.receive(10)
            assert numbers(held) == [0, 1]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await inbox.receive(1)
            await inbox.acknowledge(held[:1])
            assert numbers(await inbox.receive(10)) == [2]

    go(work)


def test_qos_0_does_not_wait_for_who_is_away() -> None:
    async def work() -> None:
        broker = MemoryBroker()
        reader, writer = MemoryBus(broker, "reader"), MemoryBus(broker)
        reader.inbox(["a"], capacity=2)
        async with running(reader):
            pass
        again = MemoryBus(broker, "reader")
        inbox = again.inbox(["a"], capacity=2)
        async with running(writer):
            await writer.publish(numbered("a", 0, qos=0))
            await writer.publish(numbered("a", 1))
            async with running(again):
                assert numbers(await take(inbox, 1)) == [1]

    go(work)


def test_a_wrong_filter_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        MemoryBus(MemoryBroker()).inbox(["a/#/b"], capacity=1)


def test_cancelled_it_is_closed_and_its_session_stays() -> None:
    async def work() -> None:
        broker = MemoryBroker()
        bus = MemoryBus(broker, "one")
        bus.inbox(["a"], capacity=1)
        task = asyncio.create_task(bus.run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bus.state == "closed"
        next_one = MemoryBus(broker, "one")
        inbox = next_one.inbox(["a"], capacity=1)
        broker.route(Outgoing("a", b"00000001"))
        async with running(next_one):
            assert numbers(await take(inbox, 1)) == [1]

    go(work)


def test_cutting_what_is_not_connected_tells_no_will() -> None:
    async def work() -> None:
        broker = MemoryBroker()
        watcher = MemoryBus(broker)
        inbox = watcher.inbox(["state"], capacity=1)
        dead = MemoryBus(broker, will=Outgoing("state", b"offline"))
        async with running(watcher):
            broker.cut(dead)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await inbox.receive(1)

    go(work)
