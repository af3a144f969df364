"""Learned state is a fold over the log: the same log gives the same state and the same answers."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.heart.effects import Answer
from agent.heart.heart import Heart, HeartConfig
from agent.heart.stimuli import RequestReceived
from agent.journal import record_of_answer, record_of_event, record_of_refinement, stimulus_of
from agent.restore import restore, snapshot_of, stamp
from agent.store.duck import DuckStore
from agent.store.memory import MemoryStore
from agent.store.port import LogRecord, Snapshot, Store
from agent.verify import verify
from schemas.events import BenchmarkEvent
from schemas.refinement import Refinement, Version
from schemas.requests import REQUESTS
from schemas.topics import RequestKind
from tests.support.agent import benchmark_event

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

QUESTIONS: dict[RequestKind, dict[str, Any]] = {
    "predict": {"candidates": [{"model": "m1", "hardware": "gpu-0", "setup": {"batch_size": 3}}]},
    "compare": {"model": "m2"},
    "recommend": {"model": "m0", "limits": {"latency_ms": 1e4}},
    "place": {
        "models": [{"model": "m0"}, {"model": "m1"}, {"model": "m2"}],
        "devices": [{"name": "a", "hardware": "gpu-0"}, {"name": "b", "hardware": "gpu-1"}],
    },
    "strategy": {"models": [{"model": "m0"}, {"model": "m3"}], "hardware": "gpu-1"},
}


async def live(store: Store, events: int) -> Heart:
    """Live through some events and questions; return the heart that did."""
    chance = random.Random(1)
    heart = Heart()
    for index in range(events):
        size = chance.randrange(4)
        throughput = 1_000.0 / (1 + size) * chance.lognormvariate(0, 0.1)
        event = BenchmarkEvent.model_validate(
            benchmark_event(
                f"e{index}",
                model={"name": f"m{size}", "gmacs": 1.0 + size},
                hardware={"name": f"gpu-{chance.randrange(2)}", "class": "gpu"},
                setup={"batch_size": chance.choice((1, 8, 32))},
                metrics={"throughput_per_s": throughput, "latency_ms": 1e3 / throughput},
            )
        )
        (record,) = await store.append([record_of_event(event, NOW)])
        assert record is not None
        heart.handle(stimulus_of(record))
        if index % 37 == 36:
            await ask(store, heart, chance.choice(list(QUESTIONS)), f"q{index}")
    for kind in QUESTIONS:
        await ask(store, heart, kind, f"last-{kind}")
    return heart


async def ask(store: Store, heart: Heart, kind: RequestKind, request_id: str) -> None:
    request = REQUESTS[kind].model_validate(QUESTIONS[kind])
    for effect in heart.handle(RequestReceived(request_id, kind, request)):
        if isinstance(effect, Answer):
            (record,) = await store.append([record_of_answer(effect, request, "agent", NOW)])
            assert record is not None
            heart.handle(stimulus_of(record))


def replies(heart: Heart) -> list[Any]:
    found = []
    for kind, body in QUESTIONS.items():
        request = REQUESTS[kind].model_validate(body)
        for effect in heart.handle(RequestReceived("same", kind, request)):
            if isinstance(effect, Answer):
                found.append(json.loads(effect.reply.model_dump_json()))
    return found


@pytest.mark.parametrize("kind", ["memory", "duckdb"])
def test_a_replay_gives_the_same_state_and_the_same_answers(kind: str, tmp_path: Path) -> None:
    async def check() -> None:
        store: Store = (
            MemoryStore() if kind == "memory" else await DuckStore.open(tmp_path / "log.duckdb")
        )
        lived = await live(store, 200)
        replayed = await restore(store, HeartConfig())
        assert replayed.replayed == lived.applied_seq
        assert replayed.heart.digest() == lived.digest()
        assert replies(replayed.heart) == replies(lived)
        verified = await verify(store, HeartConfig())
        assert verified.answers > 5
        assert verified.differing == []
        assert verified.digest == lived.digest()
        await store.close()

    asyncio.run(check())


def test_a_snapshot_and_the_rest_of_the_log_give_the_same_state() -> None:
    async def check() -> None:
        store = MemoryStore()
        early = await live(store, 60)
        await store.save_snapshot(await snapshot_of(early))
        later = await live_on(store, early)
        restored = await restore(store, HeartConfig())
        assert 0 < restored.replayed < later.applied_seq
        assert restored.heart.digest() == later.digest()
        assert replies(restored.heart) == replies(later)

    asyncio.run(check())


async def live_on(store: Store, heart: Heart) -> Heart:
    for index in range(40):
        event = BenchmarkEvent.model_validate(benchmark_event(f"later{index}"))
        (record,) = await store.append([record_of_event(event, NOW)])
        assert record is not None
        heart.handle(stimulus_of(record))
    return heart


@pytest.mark.parametrize("foreign", ["river-0.1", ""])
def test_a_snapshot_of_other_versions_is_set_aside_and_rebuilt(foreign: str) -> None:
    async def check() -> None:
        store = MemoryStore()
        lived = await live(store, 50)
        await store.save_snapshot(Snapshot(lived.applied_seq, foreign, (b"not a pickle",)))
        progress: list[tuple[int, int]] = []
        restored = await restore(store, HeartConfig(), lambda *at: progress.append(at))
        assert restored.set_aside == foreign
        assert restored.heart.digest() == lived.digest()
        assert progress[-1] == (lived.applied_seq, lived.applied_seq)

    asyncio.run(check())


class InSmallBatches(MemoryStore):
    """Gives its log in batches of ten, so that a short one has many."""

    async def replay(self, after_seq: int = 0, batch: int = 10) -> AsyncIterator[list[LogRecord]]:
        async for records in super().replay(after_seq, batch):
            yield records


@pytest.mark.parametrize("kept", [True, False])
def test_a_replay_that_makes_a_version_anew_says_that_it_goes_on(kept: bool) -> None:
    """That takes as long as all of the log before it, within one record."""

    async def check() -> None:
        store = InSmallBatches()
        heart = await live(store, 60)
        before = heart.applied_seq
        refinement = Refinement(
            version=Version(number=1), method="rollback", reason="asked for", rows=0, kept=kept
        )
        await store.append([record_of_refinement(refinement, "r", "agent", NOW)])
        last = before + 1
        progress: list[tuple[int, int]] = []
        restored = await restore(store, HeartConfig(), lambda *at: progress.append(at))
        assert restored.heart.versions.current.number == (1 if kept else 0)
        batches = [*range(10, last, 10), last]
        # Learning the log up to there once more is a batch for each that was learnt before.
        made_anew = len([*range(0, last, 10)]) if kept else 0
        assert progress == [
            *((at, last) for at in batches[:-1]),
            *[(before, last)] * made_anew,
            (last, last),
        ]

    asyncio.run(check())


def test_a_log_that_no_longer_gives_its_answers_is_noticed() -> None:
    async def check() -> None:
        store = MemoryStore()
        await live(store, 80)
        other = MemoryStore()
        async for records in store.replay():
            for record in records:
                if record.id != "e5":  # one event is missing from what the answers rested on
                    await other.append([record])
        assert (await verify(other, HeartConfig())).differing

    asyncio.run(check())


def test_the_stamp_names_what_a_pickle_depends_on() -> None:
    names = ("python-", "placewise-", "river-", "numpy-", "knowledge-none")
    assert all(name in stamp(HeartConfig()) for name in names)
