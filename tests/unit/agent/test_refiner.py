"""Updates one after another: each is planned from what the one before it left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from agent.heart.effects import Effect, Refine
from agent.heart.heart import Heart
from agent.heart.standing import Proposal
from agent.heart.stimuli import MeasurementLogged, RefinementLogged
from agent.heart.versions import Rebuilding
from agent.journal import record_of_event
from agent.metrics import AgentMetrics
from agent.rebuild import rebuild
from agent.refiner import Refiner
from agent.store.memory import MemoryStore
from agent.writer import Draft, Writer
from schemas.errors import BadInput
from schemas.events import BenchmarkEvent
from schemas.refinement import Refinement, Scope, UpdateMethod, Version
from schemas.requests import ModelsRequest, UpdateRequest
from tests.support.agent import benchmark_event

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HARDWARE = ("gpu-0", "gpu-1")


class RefinerHere(Refiner):
    """Makes versions on this thread, in place of a process of its own."""

    async def _make(self, version: Version) -> tuple[Rebuilding, int]:
        seq = self._heart.applied_seq
        made = await rebuild(self._store, self._heart.config, version, seq + 1)
        return made, seq


class Rig:
    """A refiner on in-memory parts, wired as the daemon wires it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.heart = Heart()
        self.writer = Writer(
            self.store,
            self.heart,
            asyncio.Lock(),
            self._learned,
            self._completed,
            AgentMetrics(),
        )
        self.refiner: Refiner = RefinerHere(
            self.store, self.heart, self.writer, "agent", lambda: NOW
        )

    async def _completed(self, stimulus: RefinementLogged) -> RefinementLogged:
        return await self.refiner.complete(stimulus)

    async def _learned(self, effects: list[Effect]) -> None:
        await asyncio.sleep(0)  # here the daemon says them
        self.refiner.take(effects)

    async def teach(self, count: int) -> None:
        for index in range(count):
            event = BenchmarkEvent.model_validate(
                benchmark_event(
                    f"e{index}",
                    hardware={"name": HARDWARE[index % len(HARDWARE)], "class": "gpu"},
                    metrics={"latency_ms": 30.0 + index % 7},
                )
            )
            record = record_of_event(event, NOW)
            stimulus = MeasurementLogged(0, record.source, record.id, NOW, event.data)
            await self.writer.submit([Draft(record, stimulus)])
        await self.writer.drain()

    async def until_tried(self, count: int) -> list[Refinement]:
        while len(self.heart.versions.refinements) < count:
            await asyncio.sleep(0.001)
        return self.heart.versions.refinements

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            tasks = [
                asyncio.create_task(one)
                for one in (self.writer.write(), self.writer.learn(), self.refiner.work())
            ]
            working = asyncio.ensure_future(work())
            async with asyncio.timeout(30):
                await asyncio.wait([working, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for one in tasks:
                if one.done():
                    one.result()  # what ended it
                one.cancel()
            await working
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())


def numbers_in(store: MemoryStore) -> list[int]:
    return [
        json.loads(one.body)["version"]["number"] for one in store._log if one.kind == "refinement"
    ]


@pytest.mark.parametrize("helps", [True, False], ids=["kept", "not kept"])
def test_the_second_of_two_is_planned_from_what_the_first_left(
    monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    monkeypatch.setattr("agent.refiner._is_better", lambda _: helps)
    rig = Rig()

    async def work() -> None:
        await rig.teach(40)
        proposals = [
            Proposal("window", Scope(metric="latency_ms", hardware=one), "trouble", 20)
            for one in HARDWARE
        ]
        rig.refiner.take([Refine("cause", one) for one in proposals])
        first, second = await rig.until_tried(2)
        assert [first.version.number, second.version.number] == [1, 2]
        assert [one.scope.hardware for one in first.version.rules] == ["gpu-0"]
        left = ["gpu-0", "gpu-1"] if helps else ["gpu-1"]
        assert [one.scope.hardware for one in second.version.rules] == left
        assert rig.heart.versions.current.number == (2 if helps else 0)
        assert rig.heart.versions.known() == ([0, 1, 2] if helps else [0])
        assert numbers_in(rig.store) == [1, 2]

    rig.run(work)


@pytest.mark.parametrize("method", ["rollback", "rebuild"])
def test_updates_that_are_asked_for_at_once_are_versions_of_their_own(
    monkeypatch: pytest.MonkeyPatch, method: UpdateMethod
) -> None:
    monkeypatch.setattr("agent.refiner._is_better", lambda _: True)
    rig = Rig()
    request = UpdateRequest(method=method, version=0 if method == "rollback" else None)

    async def work() -> None:
        await rig.teach(40)
        for _ in range(3):
            assert rig.refiner.update(request).accepted == method
        tried = await rig.until_tried(3)
        assert [one.version.number for one in tried] == [1, 2, 3]
        assert numbers_in(rig.store) == [1, 2, 3]
        assert rig.heart.versions.current.number == 3
        assert rig.refiner.models(ModelsRequest()).version == 3

    rig.run(work)


def test_more_updates_than_may_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.refiner.QUEUED", 2)
    rig = Rig()
    request = UpdateRequest(method="rollback", version=0)

    async def work() -> None:
        for _ in range(2):
            rig.refiner.update(request)
        with pytest.raises(BadInput, match="2 updates wait already"):
            rig.refiner.update(request)
        await rig.until_tried(2)
        assert rig.refiner.update(request).accepted == "rollback"

    rig.run(work)
