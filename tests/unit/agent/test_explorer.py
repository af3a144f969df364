"""The explorer's accounts, over a bus in memory and a worker that answers as it is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest

from agent.budget import parse_budget
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Delivery, Outgoing
from agent.dispatch import Dispatcher
from agent.explorer import Explorer, Ranked
from agent.heart.cells import words_of
from agent.learning.cell import Cell
from agent.metrics import AgentMetrics
from schemas import topics
from schemas.exploration import WantedBenchmark
from schemas.explore import Wanted
from schemas.jobs import (
    CancelJob,
    Gauges,
    HeldModel,
    JobOutcome,
    JobResult,
    ModelMeasured,
    RunJob,
    Spread,
    WorkerState,
    decode_job,
)
from schemas.measurement import HardwareSpec
from tests.unit.agent.test_executing import spread

STATE = WorkerState(
    worker_id="w",
    kind="native",
    status="online",
    since=datetime(2026, 11, 2, tzinfo=UTC),
    runtime="r",
    models=[HeldModel(model=name, sha256="a" * 64, family="vision") for name in ("m", "n")],
    gauges=Gauges(tells_energy=True),
)
SPENT = re.compile("the budget is spent: a benchmark took up to")
OTHER = STATE.model_copy(update={"worker_id": "other"})


class Clock:
    """Seconds that go on only when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An explorer with one worker, or several. Each ranking halves what is uncertain, squared."""

    def __init__(
        self,
        budget: str,
        answer: Callable[[RunJob], JobOutcome | None],
        workers: Sequence[WorkerState] = (STATE,),
    ) -> None:
        self.clock = Clock()
        self.answer = answer
        self.workers = workers
        self.power_w: float | None = None
        broker = MemoryBroker()
        self.agent_bus, self.worker_bus = MemoryBus(broker), MemoryBus(broker)
        self.dispatcher = Dispatcher(self.agent_bus, "agent", self.clock)
        self.jobs = self.worker_bus.inbox(
            [topics.worker(one.worker_id, "jobs") for one in workers], capacity=10
        )
        self.rankings = 0
        self.cancelled: list[str] = []
        self.held: dict[str, tuple[Delivery, RunJob]] = {}
        self.elsewhere: list[WantedBenchmark] = []
        self.published: list[Wanted] = []
        self.explorer = Explorer(
            budget=parse_budget(budget),
            dispatcher=self.dispatcher,
            rank=self.rank,
            rank_all=self.rank_all,
            publish=self.publish,
            learnt=self.learnt,
            metrics=AgentMetrics(),
            clock=self.clock,
        )

    async def rank(self, cells: Sequence[Cell]) -> Ranked:
        self.rankings += 1
        wanted = []
        for number, cell in enumerate(cells):
            model, hardware, setup = words_of(cell)
            wanted.append(
                WantedBenchmark(
                    id=f"{number}",
                    model=model,
                    hardware=hardware,
                    setup=setup,
                    priority=number + 1,
                    expected_gain=0.25,
                    cost_s=1.0,
                )
            )
        return Ranked(wanted, 2.0 ** (-self.rankings / 2))

    async def rank_all(self, count: int) -> list[WantedBenchmark]:
        return self.elsewhere[:count]

    async def publish(self, wanted: Wanted) -> None:
        self.published.append(wanted)

    async def learnt(self) -> None:
        pass

    async def tell(self, state: WorkerState) -> None:
        payload = state.model_dump_json().encode()
        await self.worker_bus.publish(
            Outgoing(topics.worker(state.worker_id, "state"), payload, retain=True)
        )

    async def work(self) -> None:
        """Be the worker."""
        while True:
            (delivery,) = await self.jobs.receive(1)
            job = decode_job(delivery.payload)
            await self.jobs.acknowledge([delivery])
            if isinstance(job, CancelJob):
                self.cancelled.append(job.job_id)
                await self.reply(*self.held.pop(job.job_id), "refused")
                continue
            self.clock.now += 7.0
            outcome = self.answer(job)
            if outcome is None:
                await self.tell(STATE.model_copy(update={"status": "offline"}))
                continue
            if outcome == "too_late":  # stands here for one that is still at work
                self.held[job.job_id] = delivery, job
                continue
            await self.reply(delivery, job, outcome)

    async def reply(self, delivery: Delivery, job: RunJob, outcome: JobOutcome) -> None:
        self.explorer.submitted([job.job_id])
        assert delivery.response_topic is not None
        await self.worker_bus.publish(
            Outgoing(
                delivery.response_topic,
                result(job, outcome, self.power_w).model_dump_json().encode(),
                correlation_data=delivery.correlation_data,
            )
        )

    def run(
        self, until: Callable[[], bool], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Let it explore until something is so; then do more."""

        async def all_of_it() -> None:
            tasks = [
                asyncio.ensure_future(one)
                for one in (
                    self.agent_bus.run(),
                    self.worker_bus.run(),
                    self.dispatcher.listen(),
                    self.work(),
                    self.explorer.work(),
                )
            ]
            for state in self.workers:
                await self.tell(state)
            async with asyncio.timeout(20):
                while not until():
                    await asyncio.sleep(0.01)
                    for one in tasks:
                        if one.done():
                            one.result()
                if then is not None:
                    await then()
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(all_of_it())


def result(job: RunJob, outcome: JobOutcome, power_w: float | None = None) -> JobResult:
    if outcome != "ok":
        return JobResult(job_id=job.job_id, worker_id="w", outcome=outcome, message="no")
    (model,) = job.models
    measured = ModelMeasured(
        model=model.model,
        batch_size=model.batch_size,
        runs=1,
        requested_backend="cpu",
        actual_backend="cpu",
        load_ms=0.0,
        start_ms=0.0,
        latency_ms=spread(5.0),
    )
    return JobResult(
        job_id=job.job_id,
        worker_id="w",
        outcome="ok",
        models=[measured],
        wall_time_ms=Spread(median=5.0, low=5.0, high=5.0, count=1),
        power_w=power_w,
    )


def all_gained(bench: Bench, count: int) -> bool:
    """Return whether so many jobs are done, and what each gained is known."""
    done = [one for one in bench.explorer.status().recent if one.state == "done"]
    return len(done) == count and all(one.gain is not None for one in done)


def test_every_job_is_accounted_for_and_the_budget_is_kept() -> None:
    bench = Bench("4", lambda _: "ok")
    bench.run(lambda: all_gained(bench, 4))
    told = bench.explorer.status()
    assert told.budget is not None
    assert (told.budget.spent, told.budget.left, told.sent) == (4, 0, 4)
    assert told.sent == sum(told.jobs.values())
    # Four jobs, five rankings: the last one for what the last job gained.
    assert bench.rankings == 5
    assert [one.gain for one in told.recent] == pytest.approx([0.5] * 4)
    # Each took its share of what those before it had left.
    assert (told.gain, told.expected_gain) == pytest.approx((1 - 0.5**4, 1 - 0.75**4))
    assert len({(one.model, one.batch_size) for one in told.recent}) == 4
    assert told.waiting == {"w": "the budget is spent"}


def test_time_is_spent_by_a_clock_that_never_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: -1e9)
    bench = Bench("20s", lambda _: "ok")
    bench.run(lambda: bench.explorer.status().jobs["done"] == 3)
    told = bench.explorer.status()
    assert told.budget is not None
    assert (told.budget.spent, told.budget.left) == (21, 0)
    assert {one.seconds for one in told.recent} == {7.0}


def test_a_benchmark_that_vanishes_with_its_worker_is_lost_and_wanted_again() -> None:
    bench = Bench("5", lambda _: None)
    bench.run(lambda: bench.explorer.status().jobs["lost"] == 1)
    told = bench.explorer.status()
    (lost,) = told.recent
    assert (lost.state, lost.message, lost.gain) == ("lost", "w has vanished", None)
    assert (lost.model, lost.batch_size) in {
        (one.model.name, one.setup.batch_size) for one in told.wanted
    }
    assert told.budget is not None
    assert told.budget.spent == 1


def test_what_fails_again_and_again_is_given_up() -> None:
    bench = Bench("25", lambda job: "failed" if job.models[0].model == "m" else "ok")
    bench.run(lambda: bench.explorer.status().budget.left == 0)  # type: ignore[union-attr]
    told = bench.explorer.status()
    assert told.jobs["failed"] == 10, "five batch sizes, twice each"
    assert {one.model.name for one in told.wanted} == {"n"}


def test_what_gave_way_costs_no_run() -> None:
    answers: list[JobOutcome] = ["gave_way", "ok", "ok"]
    bench = Bench("2", lambda _: answers.pop(0))
    bench.run(lambda: bench.explorer.status().jobs["done"] == 2)
    told = bench.explorer.status()
    assert (told.sent, told.jobs["gave_way"], told.jobs["done"]) == (3, 1, 2)


def test_a_job_that_somebody_waits_for_ends_exploration_on_its_machine() -> None:
    bench = Bench("5", lambda job: "too_late" if job.gives_way else "ok")

    async def pay() -> None:
        (under_way,) = bench.explorer.status().running
        job = RunJob.model_validate(
            {
                "job_id": "paying",
                "models": [{"model": "m"}],
                "strategy": "sequential",
                "waves": [["m"]],
            }
        )
        assert (await bench.dispatcher.run(STATE, job)).outcome == "ok"
        assert bench.cancelled == [under_way.job_id]
        assert not bench.dispatcher.is_quiet(STATE), "jobs come in rows"

    bench.run(lambda: bool(bench.held), pay)
    told = bench.explorer.status()
    assert (told.jobs["gave_way"], told.sent) == (1, 1)
    assert told.waiting == {"w": "its host is at work"}
    assert told.budget is not None
    assert told.budget.spent == 0


def test_what_nobody_here_can_run_is_published_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.explorer.TELL_SECONDS", 0.01)
    bench = Bench("1", lambda _: "ok")
    here = WantedBenchmark.model_validate(
        {
            "id": "1",
            "model": {"name": "m", "family": "vision"},
            "hardware": {"name": "w"},
            "setup": {"task": "inference", "batch_size": 4, "precision": "fp32", "runtime": "r"},
            "priority": 1,
            "expected_gain": 0.1,
            "cost_s": 1.0,
        }
    )
    there = here.model_copy(update={"hardware": HardwareSpec(name="far-away")})
    bench.elsewhere = [here, there]

    async def wait() -> None:
        await asyncio.sleep(0.2)

    bench.run(lambda: bool(bench.published) and bench.explorer.status().jobs["done"] == 1, wait)
    assert [one.hardware.name for one in bench.published[-1].benchmarks] == ["far-away"]
    # At first the worker was perhaps not known yet, so that nobody could run either.
    assert len(bench.published) <= 2
    assert bench.explorer.status().elsewhere == [there]


def test_a_job_is_charged_before_what_it_measured_is_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench("1", lambda _: "ok")
    learnt = asyncio.Event()
    monkeypatch.setattr(bench.explorer, "_learnt", learnt.wait)

    async def look() -> None:
        await asyncio.sleep(0.3)
        told = bench.explorer.status()
        assert (told.jobs["done"], told.jobs["running"], told.sent) == (1, 0, 1)
        assert told.budget is not None
        assert (told.budget.spent, told.budget.left) == (1, 0)
        assert bench.rankings == 1
        learnt.set()
        while not all_gained(bench, 1):
            await asyncio.sleep(0.01)

    bench.run(lambda: bench.explorer.status().jobs["done"] == 1, look)
    assert bench.rankings == 2


def test_gains_are_told_though_other_cells_can_be_measured_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench("2", lambda _: "ok")

    async def learnt() -> None:
        await bench.tell(STATE.model_copy(update={"models": STATE.models[:1]}))
        await asyncio.sleep(0.1)

    monkeypatch.setattr(bench.explorer, "_learnt", learnt)
    bench.run(lambda: all_gained(bench, 2))
    told = bench.explorer.status()
    assert {one.model.name for one in told.wanted} == {"m"}
    # The first is ranked for over the cells of before, and then these are ranked.
    assert bench.rankings == 4
    assert [one.gain for one in told.recent] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("workers", [[STATE], [STATE, OTHER]])
def test_an_energy_budget_is_not_exceeded(workers: list[WorkerState]) -> None:
    bench = Bench("200J", lambda _: "ok", workers)
    bench.power_w = 5.0

    def nothing_begins() -> bool:
        told = bench.explorer.status()
        why = [told.waiting.get(one.worker_id, "") for one in workers]
        return not told.running and all(map(SPENT.match, why))

    bench.run(nothing_begins)
    told = bench.explorer.status()
    assert told.budget is not None
    assert told.budget.spent == sum(one.energy_j or 0.0 for one in told.recent)
    # As much is left as is less than what a job took.
    assert 100.0 < told.budget.spent <= 200.0
    assert told.sent == told.jobs["done"] >= 3


def test_while_no_energy_is_known_one_job_runs_at_a_time() -> None:
    bench = Bench("200J", lambda _: "too_late", [STATE, OTHER])

    async def look() -> None:
        await asyncio.sleep(0.5)
        told = bench.explorer.status()
        assert (told.sent, told.jobs["running"]) == (1, 1)
        assert told.budget is not None
        assert told.budget.left == 0
        other = next(name for name in ("w", "other") if name != told.running[0].worker)
        assert told.waiting[other] == (
            "what a benchmark takes is not known until the first has ended"
        )

    bench.run(lambda: bool(bench.held), look)


def test_what_fails_is_charged_by_the_power_that_its_worker_told() -> None:
    answers: list[JobOutcome] = ["failed", "ok", "failed", "failed"]
    bench = Bench("106J", lambda _: answers.pop(0))
    bench.power_w = 5.0
    bench.run(lambda: bench.explorer.status().sent == 4 and not bench.explorer.status().running)
    told = bench.explorer.status()
    assert [one.state for one in told.recent] == ["failed", "failed", "done", "failed"]
    assert [one.energy_j for one in told.recent] == [35.0, 35.0, 35.0, None]
    assert told.budget is not None
    assert (told.budget.spent, told.budget.left) == (105.0, 1.0)
