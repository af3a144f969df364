"""The pool on the bus: workers that are tabs, jobs for them, and what they measured.

Each group of like tabs (see `agent.browsers.groups`) keeps a retained state as a worker, so that
whoever gives jobs to native workers gives them to browsers as well. Before a timing of a model in
a browser counts, the model's output there is held against the reference; a wrong one is
quarantined, and told as an alert.
"""

from __future__ import annotations

import asyncio
import json
import operator
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agent.browsers.groups import Group, grouped, held, prefix_of
from agent.browsers.measured import benchmark_of, event_of, memory_of, result_of, together
from agent.browsers.planning import AnyModel, Plan, check_job, memory_job, plan
from agent.browsers.shelf import Shelf
from agent.bus.port import Bus, Delivery, Outgoing
from schemas import topics
from schemas.errors import BadInput, BusUnavailable, ErrorBody, ErrorReply
from schemas.events import BENCHMARK_TYPE, EXECUTION_TYPE, envelope
from schemas.jobs import (
    CancelJob,
    EmbeddingReuse,
    JobOutcome,
    JobResult,
    RunJob,
    WorkerState,
    decode_job,
)
from schemas.models import ModelManifest, TextModel
from schemas.published import ALERT_TYPE, Alert
from schemas.requests import reply_address
from web_bridge.job import Done, GivenUp
from web_bridge.pool import Pool
from web_bridge.server import Bridge
from web_bridge.tab import Tab
from web_bridge.truth import wrong_outputs, wrong_text

INBOX_CAPACITY = 1_000
MAX_JOBS = 256
REMEMBERED_MEMORIES = 1_000
MEMORY_PAUSE_SECONDS = 90.0
STATE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class BrowserService:
    """Takes jobs for tabs from the bus, and tells what came of them.

    Args:
        bridge: runs the tabs.
        bus: not yet running; whoever made it runs it. Of this service alone.
        agent_id: the first part of the workers' names, and the source of the events.
        manifest: the models that there are.
        folder: where their files are.
        shelf: where tabs find files and inputs.
        engine: the runtime in the tabs, with its version.
        clock: returns the time; given by tests.
    """

    def __init__(
        self,
        bridge: Bridge,
        bus: Bus,
        *,
        agent_id: str,
        manifest: ModelManifest,
        folder: Path,
        shelf: Shelf,
        engine: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bridge = bridge
        self._bus = bus
        self._agent_id = agent_id
        self.manifest = manifest
        self._shelf = shelf
        self._engine = engine
        self._clock = clock
        self._since = clock()
        self._inbox = bus.inbox(
            [f"{topics.WORKERS}/+/jobs", topics.WORKER_STATE_FILTER], capacity=INBOX_CAPACITY
        )
        self._told: dict[str, WorkerState] = {}
        self._checked: dict[tuple[str, str], str | None] = {}
        self._reuse: dict[str, EmbeddingReuse | None] = {}
        self._memories: dict[tuple[str, ...], float] = {}
        self._memory_paused: dict[str, float] = {}
        self._checking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Jobs that were taken, and the tasks of those that have begun.
        self._running: dict[str, asyncio.Task[None] | None] = {}
        self._cancelled: set[str] = set()
        self._tabs: list[Tab] = []
        self._groups: dict[str, Group] = {}
        every: list[AnyModel] = [*manifest.models, *manifest.text_models]
        for model in every:
            shelf.put_file(model.sha256, folder / model.file)

    async def run(self) -> None:
        """Serve until cancelled; then say that the tabs are gone."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell(), name="browser-states")
                while True:
                    for delivery in await self._inbox.receive(64):
                        self._take(delivery, tasks)
                        await self._inbox.acknowledge([delivery])
        finally:
            with suppress(BusUnavailable):  # the end did not wait for a broker that is away
                for state in list(self._told.values()):
                    await self._publish_state(state.model_copy(update={"status": "offline"}))

    def groups(self) -> dict[str, Group]:
        """Return the groups of tabs that are there now."""
        tabs = list(self._bridge.pool.tabs.values())
        # A tab is another object each time it joins, and what it can do stays as it said then.
        if len(tabs) != len(self._tabs) or any(map(operator.is_not, tabs, self._tabs)):
            self._tabs, self._groups = tabs, grouped(self._agent_id, tabs)
        return self._groups

    def quarantined(self, worker_id: str) -> dict[str, str]:
        """Return the models whose output was wrong in a group, with what was wrong."""
        return {
            model: wrong
            for (worker, model), wrong in self._checked.items()
            if worker == worker_id and wrong is not None
        }

    async def work(self, job: RunJob, worker_id: str) -> JobResult:
        """Have a group of tabs run a job, and tell its events; return what came of it."""
        group = self.groups().get(worker_id)
        if group is None:
            return _nothing(job, worker_id, "refused", "no such tab is connected any more")
        if job.backend is not None and job.backend != group.backend:
            return _nothing(job, worker_id, "refused", f"{worker_id} runs {group.backend}")
        try:
            async with asyncio.timeout(job.deadline_s):
                return await self._work(job, group)
        except BadInput as error:
            return _nothing(job, worker_id, "refused", error.message)
        except TimeoutError:
            return _nothing(job, worker_id, "too_late", f"not done within {job.deadline_s:g} s")

    async def _work(self, job: RunJob, group: Group) -> JobResult:
        planned = await asyncio.to_thread(
            plan, job, group, self.manifest, self._shelf, cache=job.reuse_embeddings
        )
        files = {one.id: one for unit in planned.units.values() for one in unit.files}
        checked: dict[str, bool | None] = {}
        for model in files.values():
            wrong = await self._check(model, group)
            if wrong is not None:
                return _nothing(job, group.worker_id, "wrong_output", f"{model.id}: {wrong}")
            checked[model.id] = True
        memory_mb = await self._memory(planned, group) if job.measure_memory else None
        outcome = await self._bridge.run(planned.job)
        if isinstance(outcome, GivenUp):
            code: JobOutcome = "refused" if outcome.code in {"no_tab", "cancelled"} else "failed"
            if any("out_of_memory" in setback for setback in outcome.setbacks):
                code = "out_of_memory"
            return _nothing(job, group.worker_id, code, outcome.message)
        result = result_of(job, planned, outcome, group, checked, memory_mb)
        self._reuse[group.worker_id] = together(self._reuse.get(group.worker_id), result.reuse)
        if job.publish and not job.reuse_embeddings:
            event_id = await self._publish(result, group, planned, outcome)
            result = result.model_copy(update={"event_id": event_id})
        return result

    async def _check(self, model: AnyModel, group: Group) -> str | None:
        """Return what is wrong with a model's output in a group; it is looked at once."""
        key = (group.worker_id, model.id)
        async with self._checking[group.worker_id]:
            if key in self._checked:
                return self._checked[key]
            job_id = f"check-{uuid.uuid4().hex}"
            looked = await asyncio.to_thread(check_job, job_id, model, group, self._shelf)
            outcome = await self._bridge.run(looked)
            if isinstance(outcome, GivenUp):
                return f"could not be checked: {outcome.message}"  # asked again next time
            shown = outcome.seats[0].prepared.models[0]
            if isinstance(model, TextModel):
                wrong = wrong_text(model.text, model.agrees, shown.text)
            else:
                wrong = wrong_outputs(model.outputs, shown.outputs)
            self._checked[key] = wrong
        if wrong is not None:
            await self._alert(model.id, group, wrong)
        return wrong

    async def _memory(self, planned: Plan, group: Group) -> float | None:
        """Return what a plan's models take; measured once for the same models in a group.

        A browser that could not tell is left in peace for a while: asking costs seconds.
        """
        now = time.monotonic()
        pause = self._memory_paused.get(group.worker_id, 0.0)
        if not group.capabilities.can_measure_memory or now < pause:
            return None
        models = [task.model_dump_json() for seat in planned.job.seats for task in seat.models]
        key = (group.worker_id, *models)
        if key not in self._memories:
            done = await self._bridge.run(memory_job(f"memory-{uuid.uuid4().hex}", planned))
            memory_mb = memory_of(done) if isinstance(done, Done) else None
            if memory_mb is None:
                self._memory_paused[group.worker_id] = now + MEMORY_PAUSE_SECONDS
                return None
            self._memories[key] = memory_mb
            if len(self._memories) > REMEMBERED_MEMORIES:
                self._memories.pop(next(iter(self._memories)))
        return self._memories[key]

    # The bus

    def _take(self, delivery: Delivery, tasks: asyncio.TaskGroup) -> None:
        worker_id, _, channel = delivery.topic.removeprefix(f"{topics.WORKERS}/").partition("/")
        if channel == "state":
            self._forget_if_stale(worker_id, delivery, tasks)
            return
        if worker_id not in self._told:
            return  # another worker's
        try:
            job = decode_job(delivery.payload)
        except BadInput as error:
            self._answer(delivery, ErrorReply(error=error.body()), tasks)
            return
        if isinstance(job, CancelJob):
            self._cancel(job.job_id)
            return
        if len(self._running) >= MAX_JOBS or job.job_id in self._running:
            full = ErrorBody(code="unavailable", message=f"{len(self._running)} jobs wait already")
            self._answer(delivery, ErrorReply(error=full), tasks)
            return
        self._running[job.job_id] = None
        tasks.create_task(self._serve(job, worker_id, delivery), name=f"job-{job.job_id}")

    def _cancel(self, job_id: str) -> None:
        if job_id not in self._running:
            return
        self._cancelled.add(job_id)
        if (begun := self._running[job_id]) is not None:
            begun.cancel()

    async def _serve(self, job: RunJob, worker_id: str, delivery: Delivery) -> None:
        self._running[job.job_id] = asyncio.current_task()
        try:
            # A task that is cancelled before it begins would not even answer.
            if job.job_id in self._cancelled:
                result = _nothing(job, worker_id, "refused", "cancelled")
            else:
                result = await self.work(job, worker_id)
        except asyncio.CancelledError:
            if job.job_id not in self._cancelled:
                raise  # the service ends
            result = _nothing(job, worker_id, "refused", "cancelled")
        finally:
            self._cancelled.discard(job.job_id)
            self._running.pop(job.job_id, None)
        reply = _reply(delivery, result.model_dump_json().encode())
        if reply is not None:
            await self._bus.publish(reply)

    def _answer(self, delivery: Delivery, error: ErrorReply, tasks: asyncio.TaskGroup) -> None:
        reply = _reply(delivery, error.model_dump_json().encode())
        if reply is not None:
            tasks.create_task(self._bus.publish(reply), name="browser-refusal")

    def _forget_if_stale(
        self, worker_id: str, delivery: Delivery, tasks: asyncio.TaskGroup
    ) -> None:
        """Take back what an agent of the same name left behind when it was killed."""
        mine = worker_id.startswith(prefix_of(self._agent_id)) and worker_id not in self._told
        if not mine or not delivery.payload:
            return
        try:
            state = WorkerState.model_validate_json(delivery.payload)
        except ValueError:
            return  # whoever said that, it is no state of ours
        if state.kind == "browser" and state.status == "online":
            gone = state.model_copy(update={"status": "offline"})
            tasks.create_task(self._publish_state(gone), name="browser-stale-state")

    async def _tell(self) -> None:
        """Keep the retained states as the tabs are, for ever. The task `browser-states`."""
        while True:
            groups = self.groups()
            for worker_id, state in list(self._told.items()):
                if worker_id not in groups and state.status == "online":
                    await self._publish_state(state.model_copy(update={"status": "offline"}))
            for worker_id, group in groups.items():
                state = group.state(
                    "online",
                    self._since,
                    self._engine,
                    held(self.manifest, group.backend),
                    self.quarantined(worker_id),
                    self._reuse.get(worker_id),
                )
                if self._told.get(worker_id) != state:
                    await self._publish_state(state)
            await self._bridge.until(self._has_changed, STATE_SECONDS)

    def _has_changed(self, _pool: Pool) -> bool:
        groups = self.groups()
        online = {one for one, state in self._told.items() if state.status == "online"}
        return groups.keys() != online

    async def _publish_state(self, state: WorkerState) -> None:
        self._told[state.worker_id] = state
        await self._bus.publish(
            Outgoing(
                topics.worker(state.worker_id, "state"),
                state.model_dump_json(exclude_none=True).encode(),
                retain=True,
            )
        )

    async def _publish(self, result: JobResult, group: Group, plan_: Plan, done: Done) -> str:
        """Tell what was measured; return the event's id."""
        state = group.state(
            "online", self._since, self._engine, held(self.manifest, group.backend), {}
        )
        execution = event_of(result, state, plan_, done)
        event_id = f"{result.job_id}-{uuid.uuid4().hex[:8]}"
        alone = len(execution.runs) == 1 and execution.decision_id is None
        data = benchmark_of(execution.runs[0]) if alone else execution
        kind = BENCHMARK_TYPE if alone else EXECUTION_TYPE
        topic = topics.EVENTS_BENCHMARK if alone else topics.EVENTS_EXECUTION
        event = envelope(
            kind,
            event_id,
            f"browsers/{self._agent_id}",
            self._clock(),
            data.model_dump(mode="json", by_alias=True, exclude_none=True),
        )
        payload = json.dumps(event).encode()
        await self._bus.publish(Outgoing(f"{topic}/{group.worker_id}", payload))
        return event_id

    async def _alert(self, model: str, group: Group, wrong: str) -> None:
        log.warning("wrong_output", model=model, worker=group.worker_id, wrong=wrong)
        alert = Alert(
            kind="wrong_output",
            message=f"{model} is wrong in {group.browser} on {group.backend}: {wrong}. It is not "
            "run there any more, and nothing is learnt of it",
            scope={"model": model, "worker": group.worker_id, "hardware": group.hardware.name},
        )
        event = envelope(
            ALERT_TYPE,
            uuid.uuid4().hex,
            f"placewise/agents/{self._agent_id}",
            self._clock(),
            alert.model_dump(mode="json"),
        )
        await self._bus.publish(
            Outgoing(topics.agent(self._agent_id, "alerts"), json.dumps(event).encode())
        )


def _nothing(job: RunJob, worker_id: str, outcome: JobOutcome, message: str) -> JobResult:
    return JobResult(
        job_id=job.job_id,
        worker_id=worker_id,
        outcome=outcome,
        message=message,
        decision_id=job.decision_id,
    )


def _reply(delivery: Delivery, payload: bytes) -> Outgoing | None:
    """Return the reply where the job asked for it, or None if it asked for none."""
    if delivery.response_topic:
        return Outgoing(
            delivery.response_topic, payload, correlation_data=delivery.correlation_data
        )
    address = reply_address(delivery.payload)
    if address.reply_to is None:
        return None
    body = {**json.loads(payload), "correlation_id": address.correlation_id}
    return Outgoing(address.reply_to, json.dumps(body).encode())
