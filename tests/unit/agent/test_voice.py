"""What the agent says of itself: in order, waiting where it must, and not for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.heart.effects import Publish
from agent.metrics import AgentMetrics
from agent.voice import SAID_AT_ONCE, Voice
from schemas import topics
from schemas.published import Alert
from tests.support.venues import until

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUEUED = 4


def alerts(*numbers: int) -> list[Publish]:
    return [Publish("cause", Alert(kind="drift", message=str(one))) for one in numbers]


class Rig:
    """A voice with a short queue, on a broker that may go away."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.bus, self._listener = MemoryBus(self.broker), MemoryBus(self.broker)
        self._inbox = self._listener.inbox([topics.agent("agent", "alerts")], capacity=100)
        self.voice = Voice(self.bus, "agent", AgentMetrics(), lambda: NOW)
        self.speaking: asyncio.Task[None] | None = None

    async def heard(self, count: int) -> list[int]:
        found: list[Any] = []
        while len(found) < count:
            found += [json.loads(one.payload) for one in await self._inbox.receive(count)]
        return [int(one["data"]["message"]) for one in found]

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            tasks = [asyncio.create_task(one.run()) for one in (self.bus, self._listener)]
            self.speaking = asyncio.create_task(self.voice.speak())
            async with asyncio.timeout(20):
                await until(lambda: self.bus.state == self._listener.state == "connected")
                await work()
            for one in (*tasks, self.speaking):
                one.cancel()
            await asyncio.gather(*tasks, self.speaking, return_exceptions=True)

        asyncio.run(main())


@pytest.fixture(autouse=True)
def _short_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.voice.QUEUED_MESSAGES", QUEUED)


def test_what_is_said_is_heard_in_order_and_counted() -> None:
    rig = Rig()

    async def work() -> None:
        await rig.voice.say(alerts(*range(40)))
        await rig.voice.drain()
        assert (rig.voice.said, rig.voice.depth()) == (40, 0)
        assert await rig.heard(40) == list(range(40))

    rig.run(work)


def test_a_full_queue_is_waited_for_until_the_broker_is_back() -> None:
    rig = Rig()

    async def work() -> None:
        rig.broker.stop()
        saying = asyncio.create_task(rig.voice.say(alerts(*range(SAID_AT_ONCE + QUEUED + 1))))
        await until(lambda: rig.voice.depth() == QUEUED)
        assert not saying.done()
        assert rig.voice.said == 0
        rig.broker.start()
        await saying
        await rig.voice.drain()
        assert sorted(await rig.heard(SAID_AT_ONCE + QUEUED + 1)) == list(
            range(SAID_AT_ONCE + QUEUED + 1)
        )

    rig.run(work)


def test_who_gives_up_frees_whoever_waits_to_say_something() -> None:
    """The end without a broker: the feed is still told, the broker is not, and nobody waits."""
    rig = Rig()

    async def work() -> None:
        count = SAID_AT_ONCE + QUEUED + 30
        rig.broker.stop()
        saying = asyncio.create_task(rig.voice.say(alerts(*range(count))))
        await until(lambda: rig.voice.depth() == QUEUED)
        rig.voice.give_up()
        await saying
        assert rig.voice.depth() <= 1  # whoever waited for room had its place in the queue
        await rig.voice.say(alerts(count))
        assert rig.voice.depth() <= 1
        assert rig.voice.said == 0
        with rig.voice.feed.watch() as watching:
            assert watching.qsize() == count + 1

    rig.run(work)
