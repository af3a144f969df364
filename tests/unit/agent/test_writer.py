from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from agent.heart.effects import Effect
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RefinementLogged
from agent.journal import record_of_event
from agent.metrics import AgentMetrics
from agent.store.memory import MemoryStore
from agent.writer import Draft, Writer
from schemas.events import BenchmarkEvent
from tests.support.agent import benchmark_event

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def draft(event_id: str) -> Draft:
    event = BenchmarkEvent.model_validate(benchmark_event(event_id))
    record = record_of_event(event, NOW)
    return Draft(record, MeasurementLogged(0, record.source, record.id, NOW, event.data))


class Rig:
    """A writer on in-memory parts, which notes the order of what happens."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.heart = Heart()
        self.happened: list[str] = []
        self.writer = Writer(
            self.store, self.heart, asyncio.Lock(), self._effects, self._complete, AgentMetrics()
        )

    async def _complete(self, stimulus: RefinementLogged) -> RefinementLogged:
        raise AssertionError("nothing is refined here")

    async def _effects(self, effects: list[Effect]) -> None:
        self.happened += [f"effect of {effect.cause}" for effect in effects]

    def then(self, name: str) -> Callable[[], Awaitable[None]]:
        async def note() -> None:
            count = await self.store.last_seq()
            self.happened.append(f"{name} acknowledged with {count} in the log")

        return note

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        tasks = [asyncio.create_task(self.writer.write()), asyncio.create_task(self.writer.learn())]
        try:
            await work()
            await self.writer.drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_acknowledged_only_after_the_commit_and_learnt_in_order() -> None:
    rig = Rig()

    async def work() -> None:
        await rig.writer.submit([draft("a"), draft("b")], rig.then("first"))
        await rig.writer.submit([draft("c")], rig.then("second"))

    asyncio.run(rig.run(work))
    assert [line.split(" with")[0] for line in rig.happened] == [
        "first acknowledged",
        "second acknowledged",
    ]
    assert all(int(line.split()[3]) >= 2 for line in rig.happened)
    assert rig.heart.applied_seq == 3
    assert rig.heart.events == 3


def test_a_duplicate_is_acknowledged_and_not_learnt() -> None:
    rig = Rig()

    async def work() -> None:
        await rig.writer.submit([draft("a")], rig.then("first"))
        await rig.writer.submit([draft("a"), draft("a")], rig.then("again"))

    asyncio.run(rig.run(work))
    assert len(rig.happened) == 2
    assert rig.heart.events == 1


def test_a_batch_of_nothing_but_refused_messages_is_acknowledged() -> None:
    rig = Rig()

    async def work() -> None:
        await rig.writer.submit([], rig.then("empty"))

    asyncio.run(rig.run(work))
    assert rig.happened == ["empty acknowledged with 0 in the log"]


def test_what_nobody_waits_for_is_committed_all_the_same() -> None:
    rig = Rig()

    async def work() -> None:
        await rig.writer.submit([draft("a")])
        async with asyncio.timeout(30):
            while await rig.store.last_seq() == 0:
                await asyncio.sleep(0.001)

    asyncio.run(rig.run(work))
    assert rig.heart.events == 1
