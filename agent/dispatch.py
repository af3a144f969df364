"""Jobs for workers: who is there, who gets one, and what came of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from agent.bus.port import Bus, Delivery, Outgoing
from schemas import topics
from schemas.errors import BadInput, PlacewiseError, Unavailable
from schemas.jobs import (
    LARGEST_BATCH,
    CancelJob,
    JobModel,
    JobResult,
    RunJob,
    WorkerState,
    decode_result,
    decode_worker_state,
)
from schemas.measurement import HardwareSpec, ModelSpec, Setup, StrategyName
from schemas.replies import Joined
from schemas.requests import ExecuteRequest, StrategyRequest, WorkItem

SLACK_SECONDS = 30.0
"""How long after its deadline a job's result may still come: loading, the way back."""

INBOX_CAPACITY = 1_000

QUIET_SECONDS = 1.0
"""How long nobody must have asked a host for anything before it explores: jobs come in rows."""

GIVE_WAY_SECONDS = 5.0
"""How long a job waits for exploration on its host to end: the execution at hand."""

log = structlog.get_logger(__name__)


class Vanished(Unavailable):
    """The worker vanished with its job."""


@dataclass(slots=True)
class _Exploring:
    """A benchmark that a host runs while it has nothing else to do."""

    worker_id: str
    job_id: str
    result: asyncio.Future[JobResult]
    cancelled: bool = False


class Dispatcher:
    """Knows the workers on the bus, gives them jobs, and waits for the results.

    A job that somebody waits for and exploration are never on one host at the same time:
    exploration begins only where it is quiet, and is cancelled when a job comes.

    Args:
        bus: not yet running; whoever made it runs it.
        agent_id: whose jobs these are; results come back on a topic of its own.
        clock: seconds that never jump; given by tests.
    """

    def __init__(
        self, bus: Bus, agent_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._asked: Counter[str] = Counter()
        self._asked_at: dict[str, float] = {}
        self._exploring: dict[str, _Exploring] = {}
        self._bus = bus
        self._results = f"{topics.PREFIX}/agents/{agent_id}/results"
        self._inbox = bus.inbox(
            [topics.WORKER_STATE_FILTER, self._results], capacity=INBOX_CAPACITY
        )
        self._waiting: dict[bytes, asyncio.Future[JobResult]] = {}
        self.workers: dict[str, WorkerState] = {}

    async def listen(self) -> None:
        """Take workers' states and results, for ever. The task `dispatcher`."""
        while True:
            deliveries = await self._inbox.receive(64)
            for delivery in deliveries:
                try:
                    self._take(delivery)
                except BadInput as error:
                    log.warning("worker_not_understood", problem=error.message)
            await self._inbox.acknowledge(deliveries)

    def worker_for(self, request: ExecuteRequest) -> WorkerState:
        """Return the worker that a request names, or the first by name that has its models.

        Of several it is one that has the backend that is asked for.

        Raises:
            BadInput: the named worker is unknown or lacks a model.
            Unavailable: nobody is there who has the models.
        """
        names = {item.model.name for item in request.models}
        online = [one for _, one in sorted(self.workers.items()) if one.status == "online"]
        if request.worker is not None:
            found = next((one for one in online if one.worker_id == request.worker), None)
            if found is None:
                known = ", ".join(one.worker_id for one in online) or "none"
                raise BadInput.of_field("worker", f"{request.worker} is not there", known)
            missing = sorted(names - {one.model for one in found.models})
            if missing:
                raise BadInput.of_field(
                    "models", f"{found.worker_id} has no {', '.join(missing)}", _held(found)
                )
            return found
        fitting = [one for one in online if is_wanted(one, request)]
        able = [one for one in fitting if names <= {held.model for held in one.models}]
        for one in able:
            if request.backend in (None, *one.backends):
                return one
        if able:
            return able[0]  # it says itself, with the reason, that it lacks the backend
        listed = ", ".join(sorted(names))
        if online and not fitting:
            raise Unavailable(
                f"no worker for {listed} is of the pool, browser or backend that is asked for: "
                f"{', '.join(one.worker_id for one in online)}"
            )
        there = "; ".join(f"{one.worker_id} has {_held(one)}" for one in fitting) or "none is there"
        raise Unavailable(f"no worker has {listed}: {there}")

    async def run(self, worker: WorkerState, job: RunJob) -> JobResult:
        """Give a worker a job and return what came of it; exploration on its host gives way.

        Raises:
            Unavailable: no result came in time.
        """
        host = host_of(worker)
        self._asked[host] += 1
        try:
            await self._clear(host)
            return await self._give(worker, job, asyncio.get_running_loop().create_future())
        finally:
            self._asked[host] -= 1
            self._asked_at[host] = self._clock()

    def is_quiet(self, worker: WorkerState) -> bool:
        """Return whether a worker's host runs nothing that this agent knows of."""
        host = host_of(worker)
        since = self._clock() - self._asked_at.get(host, float("-inf"))
        return not self._asked[host] and host not in self._exploring and since >= QUIET_SECONDS

    async def explore(self, worker: WorkerState, job: RunJob) -> JobResult:
        """Give a worker a job that gives way to any other; return what came of it.

        Where somebody was faster, and the worker's host is not quiet any more, it gives way at
        once.

        Raises:
            Vanished: the worker is gone.
            Unavailable: no result came in time.
        """
        host = host_of(worker)
        if not self.is_quiet(worker):
            return JobResult(
                job_id=job.job_id,
                worker_id=worker.worker_id,
                outcome="gave_way",
                message="another job was faster",
            )
        one = _Exploring(worker.worker_id, job.job_id, asyncio.get_running_loop().create_future())
        self._exploring[host] = one
        try:
            result = await self._give(worker, job, one.result)
        finally:
            del self._exploring[host]
        if one.cancelled and result.outcome != "ok":
            return result.model_copy(update={"outcome": "gave_way"})
        return result

    async def _clear(self, host: str) -> None:
        """Cancel what explores on a host, and wait until it has ended, or nearly so."""
        one = self._exploring.get(host)
        if one is None:
            return
        one.cancelled = True
        cancel = CancelJob(job_id=one.job_id).model_dump_json().encode()
        await self._bus.publish(Outgoing(topics.worker(one.worker_id, "jobs"), cancel))
        await asyncio.wait([one.result], timeout=GIVE_WAY_SECONDS)

    async def _give(
        self, worker: WorkerState, job: RunJob, result: asyncio.Future[JobResult]
    ) -> JobResult:
        correlation = uuid.uuid4().bytes
        self._waiting[correlation] = result
        try:
            async with asyncio.timeout(job.deadline_s + SLACK_SECONDS):
                await self._bus.publish(
                    Outgoing(
                        topics.worker(worker.worker_id, "jobs"),
                        job.model_dump_json(exclude_none=True).encode(),
                        response_topic=self._results,
                        correlation_data=correlation,
                    )
                )
                return await result
        except TimeoutError:
            raise Unavailable(f"{worker.worker_id} sent no result of {job.job_id}") from None
        finally:
            self._waiting.pop(correlation, None)

    def _take(self, delivery: Delivery) -> None:
        if delivery.topic != self._results:
            state = decode_worker_state(delivery.payload)
            self.workers[state.worker_id] = state
            if state.status == "offline":
                self._lose(state.worker_id)
            return
        waiting = self._waiting.pop(delivery.correlation_data or b"", None)
        if waiting is None or waiting.done():
            return
        try:
            waiting.set_result(decode_result(delivery.payload))
        except PlacewiseError as error:
            waiting.set_exception(error)

    def _lose(self, worker_id: str) -> None:
        """End the wait for what a worker was exploring. A job may still come back with it."""
        for one in self._exploring.values():
            if one.worker_id == worker_id and not one.result.done():
                one.result.set_exception(Vanished(f"{worker_id} has vanished"))


def host_of(worker: WorkerState) -> str:
    """Return what tells a worker's machine from others; its own name where it is not known."""
    return worker.host or worker.worker_id


def is_wanted(worker: WorkerState, request: ExecuteRequest) -> bool:
    """Return whether a worker is of the kind, the browser and the backend that are asked for."""
    kind = {"native": "native", "browsers": "browser"}.get(request.pool or "", worker.kind)
    browser = None if worker.browser is None else worker.browser.browser
    return (
        worker.kind == kind
        and request.browser in (None, browser)
        # Where no native worker has the backend, one is asked all the same: it says why.
        and (worker.kind == "native" or request.backend in (None, *worker.backends))
        and not _quarantined(worker, request)
    )


def _quarantined(worker: WorkerState, request: ExecuteRequest) -> bool:
    """Return whether the output of any of the models was wrong there."""
    wrong = {} if worker.browser is None else worker.browser.quarantined
    return any(item.model.name in wrong for item in request.models)


def strategy_request(request: ExecuteRequest, worker: WorkerState) -> StrategyRequest:
    """Return the decision that an execution needs, in terms of the worker that will run it.

    The worker's memory is not made a limit here: a model that was never run has no known memory,
    and could then never be run. What does not fit comes back as `out_of_memory`, and is learnt.
    """
    return StrategyRequest(
        models=[_described(item, worker) for item in request.models],
        hardware=worker.hardware or HardwareSpec(name=worker.worker_id),
        goal=request.goal,
        limits=request.limits,
        strategy=request.strategy,
        weights=request.weights,
        explore_budget=request.explore_budget,
    )


def job_of(
    request: ExecuteRequest,
    worker: WorkerState,
    decision_id: str,
    strategy: StrategyName,
    waves: Sequence[Sequence[str]],
    joined: Sequence[Joined] = (),
) -> RunJob:
    """Return the job that carries a decision out.

    Raises:
        BadInput: a batch is larger than any worker takes.
    """
    for item in request.models:
        size = item.setup.batch_size or 1
        if size > LARGEST_BATCH:
            raise BadInput.of_field(
                f"models.{item.model.name}.setup.batch_size",
                f"{size} is more than workers take",
                f"at most {LARGEST_BATCH}",
            )
    larger = {one.model: one for one in joined}
    hashes = {one.model: one.sha256 for one in worker.models}
    return RunJob(
        job_id=decision_id,
        models=[
            JobModel(
                model=item.model.name,
                sha256=hashes.get(item.model.name),
                batch_size=(
                    larger[item.model.name].batch_size
                    if item.model.name in larger
                    else item.setup.batch_size or 1
                ),
                runs=(
                    larger[item.model.name].batches
                    if item.model.name in larger
                    else item.batches or 1
                ),
            )
            for item in request.models
        ],
        strategy=strategy,
        waves=[list(wave) for wave in waves],
        repeats=request.repeats,
        backend=request.backend,
        share_encoders=request.share_encoders,
        reuse_embeddings=request.reuse_embeddings,
        publish=request.publish,
        measure_memory=request.measure_memory,
        deadline_s=request.deadline_s,
        decision_id=decision_id,
    )


def _described(item: WorkItem, worker: WorkerState) -> WorkItem:
    """Return a model with what the worker knows of it and how it will run it."""
    held = next((one for one in worker.models if one.model == item.model.name), None)
    known = {} if held is None else held.model_dump(exclude={"model", "sha256"}, exclude_none=True)
    model = ModelSpec.model_validate(known | item.model.model_dump(exclude_none=True))
    setup = Setup.model_validate(
        {"task": "inference", "batch_size": 1, "precision": "fp32", "runtime": worker.runtime}
        | item.setup.model_dump(exclude_none=True)
    )
    return item.model_copy(update={"model": model, "setup": setup})


def _held(worker: WorkerState) -> str:
    return ", ".join(one.model for one in worker.models) or "no models"
