"""The explorer: gives idle workers the benchmarks that are most worth knowing, within a budget.

It owns its jobs and what they cost. What they measured comes back as events, like anybody's.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from agent.budget import Budget
from agent.dispatch import Dispatcher, Vanished, host_of
from agent.heart.cells import cell_of
from agent.learning.cell import Cell
from agent.metrics import AgentMetrics
from agent.runnable import Runnable, runnable, unsaid, why_not
from schemas.errors import BadInput, PlacewiseError, Unavailable
from schemas.exploration import WantedBenchmark
from schemas.explore import ExplorationBudget, ExplorationJob, ExploreReply, JobState, Wanted
from schemas.jobs import JobModel, JobResult, RunJob, WorkerState

REPEATS = 5
LONGEST_SECONDS = 20.0
"""What one benchmark may take: paying work that comes never waits long."""

PAUSE_SECONDS = 0.2
LEARNT_SECONDS = 5.0
"""How long to wait for what was measured to be learnt, before gains are told without it."""

TRIES = 2
"""How often a benchmark that fails, or vanishes with its worker, is given to workers."""

SHOWN = 10
CONSIDERED = 40
TELL_SECONDS = 30.0
"""Ranking all that is known takes seconds, and who is told of it may take hours."""

RECENT = 50
ID_PREFIX = "explore-"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Benchmarks, the most wanted first, and how uncertain what can be run is (see `Order`)."""

    wanted: list[WantedBenchmark]
    uncertainty: float | None


Rank = Callable[[Sequence[Cell]], Awaitable[Ranked]]


@dataclass(slots=True)
class _Job:
    """A benchmark under way, or what became of it; `told` is what others are shown of it.

    Attributes:
        arrived: set once what it measured was handed over to be logged.
    """

    told: ExplorationJob
    cell: Cell
    sent_at: float
    arrived: asyncio.Event


class Explorer:
    """Decides which worker measures what, and accounts for it.

    Args:
        budget: None to explore nothing.
        dispatcher: knows the workers, and which of them have work.
        rank: orders the cells that workers can measure.
        rank_all: returns so many of the most wanted benchmarks of all that is known.
        publish: tells others what no worker can measure.
        learnt: returns once all that was logged so far is learnt.
        metrics: counts jobs and gains.
        clock: seconds that never jump; given by tests.
    """

    def __init__(
        self,
        *,
        budget: Budget | None,
        dispatcher: Dispatcher,
        rank: Rank,
        rank_all: Callable[[int], Awaitable[list[WantedBenchmark]]],
        publish: Callable[[Wanted], Awaitable[None]],
        learnt: Callable[[], Awaitable[None]],
        metrics: AgentMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._dispatcher = dispatcher
        self._rank = rank
        self._rank_all = rank_all
        self._publish = publish
        self._elsewhere: list[WantedBenchmark] = []
        self._told_cells: frozenset[Cell] = frozenset()
        self._learnt = learnt
        self._metrics = metrics
        self._clock = clock
        self._run = uuid.uuid4().hex[:8]
        self._sent = 0
        self._spent = 0.0
        self._states: Counter[JobState] = Counter()
        self._running: dict[str, _Job] = {}
        self._recent: deque[_Job] = deque(maxlen=RECENT)
        self._tried: Counter[Cell] = Counter()
        self._measured: Counter[Cell] = Counter()
        self._learning: dict[str, _Job] = {}
        self._unranked: list[_Job] = []
        self._ranked: Ranked | None = None
        self._ranked_cells: tuple[Cell, ...] = ()
        self._power_w: dict[str, float] = {}
        self._most_j: float | None = None
        # Of the uncertainty that was there at first: each job takes its share of what is left.
        self._expected_to_stay = self._stays = 1.0

    # What others ask and tell

    def status(self) -> ExploreReply:
        """Return how it goes."""
        ranked = self._ranked
        return ExploreReply(
            budget=self._told_budget(),
            jobs={"running": len(self._running), **{state: self._states[state] for state in _ENDS}},
            sent=self._sent,
            running=[job.told for job in self._running.values()],
            recent=[job.told for job in reversed(self._recent)],
            wanted=[] if ranked is None else self._open(ranked.wanted)[:SHOWN],
            elsewhere=self._elsewhere,
            waiting=self._waiting(),
            unsaid={
                one.worker_id: what
                for one in (self._online() if self._budget is not None else [])
                if (what := unsaid(one))
            },
            expected_gain=1.0 - self._expected_to_stay,
            gain=1.0 - self._stays,
            uncertainty=None if ranked is None else ranked.uncertainty,
        )

    def submitted(self, event_ids: Iterable[str]) -> None:
        """Take note of events that were handed over to be logged."""
        for event_id in event_ids:
            for job_id, job in (*self._running.items(), *self._learning.items()):
                # Native workers name an event as its job; a pool of tabs adds what tells it apart.
                if event_id == job_id or event_id.startswith(f"{job_id}-"):
                    job.arrived.set()

    # The task

    async def work(self) -> None:
        """Explore until the budget is spent, and go on telling what else is wanted, for ever.

        The task `explorer`.
        """
        if self._budget is None:
            return
        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(self._tell_others(), name="exploration-wanted")
            while True:
                self._metrics.exploration(
                    self._left(), 1.0 - self._expected_to_stay, 1.0 - self._stays
                )
                try:
                    chosen = await self._chosen()
                except Unavailable as error:  # the process that ranks ended; another will start
                    log.warning("exploration_not_ranked", problem=error.message)
                    chosen = []
                for job, worker, what in chosen:
                    jobs.create_task(self._see_through(job, worker, what), name="exploration-job")
                await asyncio.sleep(PAUSE_SECONDS)

    async def _chosen(self) -> list[tuple[_Job, WorkerState, RunJob]]:
        """Return the jobs to give out now, at most one for each quiet host."""
        able = [one for one in self._online() if self._why_not(one) is None]
        if self._is_spent() or not any(map(self._dispatcher.is_quiet, able)):
            if not self._running and not self._learning:
                await self._credit()
            return []
        cells = runnable(able)
        await self._rank_anew(cells)
        assert self._ranked is not None
        chosen: list[tuple[_Job, WorkerState, RunJob]] = []
        taken: set[str] = set()
        by_id = {one.worker_id: one for one in able}
        for wanted in self._open(self._ranked.wanted):
            cell = cell_of(wanted.model, wanted.hardware, wanted.setup)
            for worker_id in cells[cell].workers if cell in cells else ():
                worker = by_id[worker_id]
                if self._is_spent():
                    return chosen
                if host_of(worker) in taken or not self._dispatcher.is_quiet(worker):
                    continue
                taken.add(host_of(worker))
                chosen.append(self._begin(wanted, cell, worker))
                break
        return chosen

    async def _tell_others(self) -> None:
        """Publish what no worker can measure, when it has changed, and once in a while at most."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                wanted = await self._rank_all(CONSIDERED)
            except BadInput:  # nothing was measured yet, or everything
                wanted = []
            except Unavailable as error:
                log.warning("exploration_not_ranked", problem=error.message)
                continue
            here = runnable(self._online())
            missing = {
                cell: one
                for one in wanted
                if (cell := cell_of(one.model, one.hardware, one.setup)) not in here
            }
            self._elsewhere = list(missing.values())[:SHOWN]
            told = frozenset(list(missing)[:SHOWN])
            if told != self._told_cells:
                self._told_cells = told
                await self._publish(Wanted(benchmarks=self._elsewhere))

    async def _rank_anew(self, cells: dict[Cell, Runnable]) -> None:
        """Rank what can be measured now, unless nothing has changed since it was ranked last.

        Where other cells can be measured now, what ended before that gets its share first: of the
        same cells as its expectation.
        """
        await self._credit()
        if self._ranked is None or frozenset(self._ranked_cells) != cells.keys():
            self._ranked = await self._rank(list(cells))
            self._ranked_cells = tuple(cells)

    async def _credit(self) -> None:
        """Rank the same cells once more, and give what ended meanwhile its share of what went.

        Shares of what was left multiply: two that each took half leave a quarter. Those that ended
        between the same two rankings get such shares as make up what went.
        """
        ended, before = list(self._unranked), self._ranked
        if not ended or before is None:
            return
        self._ranked = after = await self._rank(self._ranked_cells)
        del self._unranked[: len(ended)]
        if not before.uncertainty or after.uncertainty is None:
            return
        stays = (after.uncertainty / before.uncertainty) ** 2
        expected = sum(job.told.expected_gain for job in ended)
        for job in ended:
            share = job.told.expected_gain / expected if expected else 1 / len(ended)
            job.told = job.told.model_copy(update={"gain": 1.0 - stays**share})
            self._expected_to_stay *= 1.0 - min(1.0, job.told.expected_gain)
        self._stays *= stays

    def _begin(
        self, wanted: WantedBenchmark, cell: Cell, worker: WorkerState
    ) -> tuple[_Job, WorkerState, RunJob]:
        self._sent += 1
        told = ExplorationJob(
            job_id=f"{ID_PREFIX}{self._run}-{self._sent}",
            worker=worker.worker_id,
            model=wanted.model.name,
            hardware=wanted.hardware.name,
            batch_size=wanted.setup.batch_size or 1,
            state="running",
            expected_gain=wanted.expected_gain,
        )
        job = _Job(told, cell, self._clock(), asyncio.Event())
        self._running[told.job_id] = job
        return job, worker, self._job_of(told, worker)

    def _job_of(self, told: ExplorationJob, worker: WorkerState) -> RunJob:
        hashes = {one.model: one.sha256 for one in worker.models}
        longest = LONGEST_SECONDS
        if self._budget is not None and self._budget.unit == "s":
            longest = min(longest, max(1.0, self._budget.limit - self._spent))
        return RunJob(
            job_id=told.job_id,
            models=[
                JobModel(
                    model=told.model, sha256=hashes.get(told.model), batch_size=told.batch_size
                )
            ],
            strategy="sequential",
            waves=[[told.model]],
            repeats=REPEATS,
            # A browser's memory takes it seconds to tell.
            measure_memory=worker.kind == "native",
            gives_way=True,
            deadline_s=longest,
        )

    async def _see_through(self, job: _Job, worker: WorkerState, what: RunJob) -> None:
        """Have a benchmark run, and account for it."""
        result: JobResult | None = None
        state: JobState = "failed"
        try:
            result = await self._dispatcher.explore(worker, what)
            message = result.message
            if result.outcome in ("ok", "gave_way"):
                state = "done" if result.outcome == "ok" else "gave_way"
        except Vanished as error:
            state, message = "lost", error.message
        except PlacewiseError as error:
            message = error.message
        self._end(job, state, message, result)
        if state == "done":
            await self._wait_until_learnt(job)
            del self._learning[what.job_id]
            self._unranked.append(job)

    async def _wait_until_learnt(self, job: _Job) -> None:
        try:
            async with asyncio.timeout(LEARNT_SECONDS):
                await job.arrived.wait()
                await self._learnt()
        except TimeoutError:
            log.warning("exploration_not_learnt_yet", job_id=job.told.job_id)

    def _end(self, job: _Job, state: JobState, message: str, result: JobResult | None) -> None:
        """Account for a job as soon as its result is there: its host is free from then on."""
        job_id = job.told.job_id
        del self._running[job_id]
        # From when it was sent to its result.
        seconds = self._clock() - job.sent_at
        energy_j = self._energy_j(job.told.worker, result, seconds)
        job.told = job.told.model_copy(
            update={"state": state, "message": message, "seconds": seconds, "energy_j": energy_j}
        )
        self._states[state] += 1
        self._spent += self._cost(job.told)
        self._recent.append(job)
        match state:
            case "done":
                self._measured[job.cell] += 1
                self._learning[job_id] = job
            case "failed" | "lost":
                self._tried[job.cell] += 1
        self._metrics.explored(state)
        log.info("explored", job_id=job_id, state=state, what=job.told.model, problem=message)

    def _energy_j(self, worker_id: str, result: JobResult | None, seconds: float) -> float | None:
        """Return what a job took: the power that it told, or its worker last told, by its time.

        Loading and warming up draw power too: the mean of what was measured stands for them. None
        where the worker never told any. What is only guessed so bounds no other job.
        """
        told_w = None if result is None else result.power_w
        if told_w is not None:
            self._power_w[worker_id] = told_w
            self._most_j = max(self._most_j or 0.0, told_w * seconds)
        power_w = self._power_w.get(worker_id)
        return None if power_w is None else power_w * seconds

    # The budget

    def _cost(self, told: ExplorationJob) -> float:
        """Return what a job that ended took of the budget."""
        unit = self._budget.unit if self._budget is not None else "runs"
        if unit == "runs":
            return 0.0 if told.state == "gave_way" else 1.0
        return (told.seconds if unit == "s" else told.energy_j) or 0.0

    def _most(self) -> float | None:
        """Return what one job takes of the budget at its most; None where nobody knows yet."""
        match self._budget.unit if self._budget is not None else "runs":
            case "runs":
                return 1.0
            case "s":
                return LONGEST_SECONDS
            case "J":
                return self._most_j

    def _left(self) -> float:
        """Return what is left, with what runs now taken off at its most.

        A job of which nobody knows what it takes may take it all.
        """
        if self._budget is None:
            return 0.0
        left = self._budget.limit - self._spent
        if self._running:
            most = self._most()
            left = 0.0 if most is None else left - most * len(self._running)
        return max(0.0, left)

    def _is_spent(self) -> bool:
        """Return whether nothing may begin now, since the budget might not suffice for it.

        The last job is given the time that is left. It cannot be given an energy: what is left has
        to be as much as any job before it took.
        """
        left = self._left()
        if left <= 0:
            return True
        return self._budget is not None and self._budget.unit == "J" and left < (self._most_j or 0)

    def _told_budget(self) -> ExplorationBudget | None:
        if self._budget is None:
            return None
        return ExplorationBudget(
            text=self._budget.text,
            unit=self._budget.unit,
            limit=self._budget.limit,
            spent=self._spent,
            left=self._left(),
        )

    # Workers and benchmarks

    def _online(self) -> list[WorkerState]:
        return [
            one for _, one in sorted(self._dispatcher.workers.items()) if one.status == "online"
        ]

    def _why_not(self, worker: WorkerState) -> str | None:
        return why_not(worker, energy=self._budget is not None and self._budget.unit == "J")

    def _waiting(self) -> dict[str, str]:
        """Return why each worker that is there gets nothing just now."""
        if self._budget is None:
            return {}
        reasons: dict[str, str] = {}
        for worker in self._online():
            why = self._why_not(worker)
            if why is None and self._is_spent():
                why = self._why_spent()
            if why is None and not self._dispatcher.is_quiet(worker):
                why = "its host is at work"
            if why is not None:
                reasons[worker.worker_id] = why
        return reasons

    def _why_spent(self) -> str:
        """Return why nothing may begin, in words."""
        if self._budget is not None and self._budget.unit == "J":
            if self._running and self._most_j is None:
                return "what a benchmark takes is not known until the first has ended"
            if self._left() > 0:
                return f"the budget is spent: a benchmark took up to {self._most_j:.4g} J"
        return "the budget is spent"

    def _open(self, wanted: Iterable[WantedBenchmark]) -> list[WantedBenchmark]:
        """Return what may be given out, in order: what this run has measured comes last."""
        cells = [(one, cell_of(one.model, one.hardware, one.setup)) for one in wanted]
        running = {job.cell for job in self._running.values()}
        free = [
            (one, cell) for one, cell in cells if cell not in running and self._tried[cell] < TRIES
        ]
        return [one for one, _ in sorted(free, key=lambda pair: self._measured[pair[1]])]


_ENDS: tuple[JobState, ...] = ("done", "failed", "lost", "gave_way")
