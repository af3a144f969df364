"""The inbox of an MQTT connection, with a connection that only writes down what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage

from agent.bus import inbox as module
from agent.bus.inbox import MqttInbox


class Source:
    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.paused = False
        self.turns = 0

    def acknowledge(self, mid: int) -> None:
        self.acknowledged.append(mid)

    def pause(self) -> None:
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False
        self.turns += 1


def message(mid: int, qos: int = 1, size: int = 1) -> MQTTMessage:
    made = MQTTMessage(mid, b"a/b")
    made.qos = qos
    made.payload = b"." * size
    return made


def opened(capacity: int = 10) -> tuple[MqttInbox, Source]:
    inbox, source = MqttInbox(["a/#"], capacity), Source()
    inbox.connect(source)
    inbox.allow_pause()
    return inbox, source


def go(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(limited())


@given(st.permutations(range(1, 8)), st.integers(1, 7))
def test_acknowledgements_go_out_in_order_of_arrival(order: list[int], at_once: int) -> None:
    async def work() -> None:
        inbox, source = opened()
        for mid in range(1, 8):
            inbox.put(message(mid))
        deliveries = await inbox.receive(7)
        done: set[int] = set()
        for start in range(0, 7, at_once):
            chosen = order[start : start + at_once]
            done |= set(chosen)
            await inbox.acknowledge([deliveries[mid - 1] for mid in chosen])
            ready = next((mid for mid in range(1, 9) if mid not in done), 8)
            assert source.acknowledged == list(range(1, ready))

    go(work)


def test_acknowledging_twice_tells_once() -> None:
    async def work() -> None:
        inbox, source = opened()
        inbox.put(message(1))
        deliveries = await inbox.receive(1)
        await inbox.acknowledge(deliveries)
        await inbox.acknowledge(deliveries)
        assert source.acknowledged == [1]

    go(work)


def test_qos_0_needs_no_acknowledgement_and_holds_none_back() -> None:
    async def work() -> None:
        inbox, source = opened()
        inbox.put(message(0, qos=0))
        inbox.put(message(1))
        first, second = await inbox.receive(2)
        await inbox.acknowledge([second])
        await inbox.acknowledge([first])
        assert source.acknowledged == [1]

    go(work)


def test_what_a_lost_connection_delivered_is_not_acknowledged_on_the_next() -> None:
    async def work() -> None:
        inbox, _ = opened()
        inbox.put(message(1))
        old = await inbox.receive(1)
        inbox.disconnect()
        await inbox.acknowledge(old)
        source = Source()
        inbox.connect(source)
        inbox.put(message(1))
        await inbox.acknowledge(old)
        assert source.acknowledged == []
        await inbox.acknowledge(await inbox.receive(1))
        assert source.acknowledged == [1]

    go(work)


def test_forgets_what_comes_again_but_not_qos_0() -> None:
    async def work() -> None:
        inbox, _ = opened()
        inbox.put(message(1))
        inbox.put(message(0, qos=0, size=7))
        inbox.disconnect()
        inbox.forget()
        (kept,) = await inbox.receive(10)
        assert len(kept.payload) == 7

    go(work)


def test_pauses_when_full_and_resumes_when_half_empty() -> None:
    async def work() -> None:
        inbox, source = opened(capacity=4)
        for _ in range(3):
            inbox.put(message(0, qos=0))
        assert not source.paused
        inbox.put(message(0, qos=0))
        assert source.paused
        inbox.put(message(0, qos=0))  # the trickle that keeps the connection alive
        await inbox.receive(2)
        assert source.paused
        await inbox.receive(1)
        assert not source.paused

    go(work)


def test_pauses_over_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1_000)

    async def work() -> None:
        inbox, source = opened(capacity=100)
        inbox.put(message(0, qos=0, size=600))
        assert not source.paused
        inbox.put(message(0, qos=0, size=600))
        assert source.paused
        await inbox.receive(1)
        assert source.paused
        await inbox.receive(1)
        assert not source.paused

    go(work)


def test_does_not_pause_before_it_may() -> None:
    async def work() -> None:
        inbox, source = MqttInbox(["a"], 2), Source()
        inbox.connect(source)
        for _ in range(5):
            inbox.put(message(0, qos=0))
        assert not source.paused  # the answer to the subscription may still be on its way
        inbox.allow_pause()
        assert source.paused

    go(work)


def test_a_new_connection_starts_unpaused() -> None:
    async def work() -> None:
        inbox, _ = opened(capacity=1)
        inbox.put(message(0, qos=0))
        inbox.disconnect()
        source = Source()
        inbox.connect(source)
        await inbox.receive(1)
        assert source.turns == 0

    go(work)


def test_receive_waits_and_takes_at_most_what_was_asked() -> None:
    async def work() -> None:
        inbox, _ = opened()
        waiting = [asyncio.create_task(inbox.receive(2)) for _ in range(2)]
        await asyncio.sleep(0)
        for mid in (1, 2, 3):
            inbox.put(message(mid))
        assert sorted([len(await one) for one in waiting]) == [1, 2]

    go(work)
