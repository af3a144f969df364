"""The worker on the bus: takes jobs one by one, answers each, and publishes what it measured."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from agent.bus.port import Bus, Delivery, Outgoing
from agent.worker import gauges
from agent.worker.device import Device
from agent.worker.engine import Engine
from agent.worker.report import execution_of
from schemas import topics
from schemas.errors import BadInput, ErrorReply
from schemas.events import EXECUTION_TYPE, envelope
from schemas.jobs import (
    CancelJob,
    Gauges,
    HeldModel,
    JobOutcome,
    JobResult,
    RunJob,
    WorkerState,
    decode_job,
)
from schemas.models import ModelManifest

REMEMBERED_RESULTS = 256
"""A job that comes again, because its acknowledgement was lost, is answered and not run again."""

WAITING_JOBS = 64
CONNECTED_POLL_SECONDS = 0.01
GAUGE_SECONDS = 5.0
FINISH_SECONDS = 20.0
"""How long the job at hand may go on after a stop; then it is cancelled."""

GOODBYE_SECONDS = 5.0
_WARMER_C = 2.0
"""A change of temperature that is worth telling."""

log = structlog.get_logger(__name__)


def native_state(
    worker_id: str, engine: Engine, manifest: ModelManifest, since: datetime
) -> WorkerState:
    """Return what a native worker says of itself and of its device."""
    return WorkerState(
        worker_id=worker_id,
        kind="native",
        status="online",
        since=since,
        hardware=engine.device.hardware(),
        host=socket.gethostname(),
        memory_mb=engine.device.total_memory_mb(),
        gauges=engine.device.gauges(),
        cores=gauges.cores(),
        runtime=engine.runtime,
        backends=engine.backends,
        models=[
            HeldModel(
                model=one.id,
                sha256=one.sha256,
                family=one.family,
                shares=one.shares,
                parameters_m=one.parameters_m,
                gmacs=one.gmacs,
            )
            for one in manifest.models
            if not one.part
        ],
    )


def state_message(state: WorkerState) -> Outgoing:
    """Return the retained message that tells a worker's state."""
    return Outgoing(
        topics.worker(state.worker_id, "state"),
        state.model_dump_json(exclude_none=True).encode(),
        retain=True,
    )


def gone(worker_id: str, since: datetime) -> Outgoing:
    """Return the will: what the broker says once the worker has vanished."""
    return state_message(
        WorkerState(worker_id=worker_id, kind="native", status="offline", since=since)
    )


class WorkerService:
    """Serves an engine on a bus.

    Args:
        state: what the worker says of itself.
        bus: not yet running; the service runs and closes it.
        engine: runs the jobs, in a thread.
    """

    def __init__(self, state: WorkerState, bus: Bus, engine: Engine) -> None:
        self._state = state
        self._bus = bus
        self._engine = engine
        self._inbox = bus.inbox([topics.worker(state.worker_id, "jobs")], capacity=WAITING_JOBS)
        self._waiting: asyncio.Queue[tuple[Delivery, RunJob]] = asyncio.Queue(WAITING_JOBS)
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._results: OrderedDict[str, JobResult] = OrderedDict()
        self._others = 0
        self._at_hand: str | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self.done = 0

    def stop(self) -> None:
        """Ask `serve` to finish, after the job at hand if that ends in time; others are refused."""
        self._stopping.set()

    async def serve(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called, or a task fails."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._bus.run(), name="worker-bus")
            taking = tasks.create_task(self._take(), name="worker-take")
            working = tasks.create_task(self._work(), name="worker-work")
            telling = tasks.create_task(self._tell_gauges(), name="worker-gauges")
            connected = tasks.create_task(self._say_online(on_ready), name="worker-online")
            await self._stopping.wait()
            connected.cancel()
            for one in (taking, telling):  # none may say `online` once more
                one.cancel()
            # Without a broker nobody would hear of what comes of it.
            reached = self._bus.state == "connected"
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS if reached else 0.0):
                    await self._refuse_left()
                    await self._idle.wait()
            if self._at_hand is not None:
                self._cancelled[self._at_hand] = None  # the engine's thread ends with it
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS if reached else 0.0):
                    await self._idle.wait()
                    await self._bus.publish(gone(self._state.worker_id, datetime.now(UTC)))
            working.cancel()
            await self._bus.close()

    async def _say_online(self, on_ready: Callable[[], None]) -> None:
        while self._bus.state != "connected":  # noqa: ASYNC110 - the port tells its state only
            await asyncio.sleep(CONNECTED_POLL_SECONDS)
        await self._bus.publish(state_message(self._state))
        on_ready()

    async def _refuse_left(self) -> None:
        """Answer the jobs that wait: they will not be run."""
        while not self._waiting.empty():
            delivery, job = self._waiting.get_nowait()
            result = self._not_run(job, "refused", "the worker is being stopped")
            await self._reply(delivery, job, result.model_dump_json(exclude_none=True).encode())

    async def _take(self) -> None:
        while True:
            for delivery in await self._inbox.receive(WAITING_JOBS):
                await self._sort(delivery)
                await self._inbox.acknowledge([delivery])

    async def _sort(self, delivery: Delivery) -> None:
        try:
            job = decode_job(delivery.payload)
        except BadInput as error:
            log.warning("job_refused", problem=error.message)
            payload = ErrorReply(error=error.body()).model_dump_json().encode()
            await self._reply(delivery, None, payload)
            return
        match job:
            case CancelJob():
                self._cancelled[job.job_id] = None
                while len(self._cancelled) > REMEMBERED_RESULTS:
                    self._cancelled.popitem(last=False)
            case RunJob():
                if not job.gives_way:
                    self._others += 1
                await self._waiting.put((delivery, job))

    async def _work(self) -> None:
        while True:
            delivery, job = await self._waiting.get()
            self._at_hand = job.job_id
            self._idle.clear()
            result = self._results.get(job.job_id)
            if result is None:
                result = await self._run(job)
            if not job.gives_way:
                self._others -= 1
            await self._reply(delivery, job, result.model_dump_json(exclude_none=True).encode())
            self._at_hand = None
            self._idle.set()

    async def _run(self, job: RunJob) -> JobResult:
        def in_the_way() -> bool:
            return job.gives_way and self._others > 0

        def cancelled() -> bool:
            return job.job_id in self._cancelled or in_the_way()

        if in_the_way():
            return self._not_run(job, "gave_way", "another job is there")
        result = await asyncio.to_thread(self._engine.run, job, self._state.worker_id, cancelled)
        if result.outcome == "refused" and in_the_way():
            return self._not_run(job, "gave_way", "another job is there")
        if result.outcome == "ok" and job.publish:
            result = result.model_copy(update={"event_id": f"{job.job_id}"})
            await self._publish(result)
        self._results[job.job_id] = result
        while len(self._results) > REMEMBERED_RESULTS:
            self._results.popitem(last=False)
        self.done += 1
        log.info("job_done", job_id=job.job_id, outcome=result.outcome, problem=result.message)
        return result

    def _not_run(self, job: RunJob, outcome: JobOutcome, message: str) -> JobResult:
        return JobResult(
            job_id=job.job_id,
            worker_id=self._state.worker_id,
            outcome=outcome,
            message=message,
            decision_id=job.decision_id,
        )

    async def _tell_gauges(self) -> None:
        """Tell the state anew when the device is warmer, cooler, or runs on something else."""
        while True:
            await asyncio.sleep(GAUGE_SECONDS)
            now = await asyncio.to_thread(self._engine.device.gauges)
            if _differs(self._state.gauges, now):
                self._state = self._state.model_copy(update={"gauges": now})
                await self._bus.publish(state_message(self._state))

    async def _publish(self, result: JobResult) -> None:
        event = envelope(
            EXECUTION_TYPE,
            result.job_id,
            f"placewise/workers/{self._state.worker_id}",
            datetime.now(UTC),
            execution_of(result, self._state).model_dump(mode="json", exclude_none=True),
        )
        topic = f"{topics.EVENTS_EXECUTION}/{self._state.worker_id}"
        await self._bus.publish(Outgoing(topic, json.dumps(event).encode()))

    async def _reply(self, delivery: Delivery, job: RunJob | None, payload: bytes) -> None:
        topic = delivery.response_topic or (job.reply_to if job else None)
        if not topic:
            return
        if delivery.response_topic is None and job is not None and job.correlation_id:
            body = json.loads(payload)
            body["correlation_id"] = job.correlation_id
            payload = json.dumps(body).encode()
        await self._bus.publish(
            Outgoing(topic, payload, correlation_data=delivery.correlation_data)
        )


def _differs(told: Gauges | None, now: Gauges) -> bool:
    if told is None or told.temperature_c is None or now.temperature_c is None:
        return told != now
    warmer = abs(now.temperature_c - told.temperature_c) >= _WARMER_C
    return warmer or told.on_battery != now.on_battery


def new_worker_id(host: str, device: Device) -> str:
    """Return an id for a device's worker on a host: the same each time, so its state is one."""
    slug = "".join(c if c.isalnum() else "-" for c in host)[:50].strip("-") or uuid.uuid4().hex[:8]
    return f"{slug}-{device.label()}"
