"""The daemon: wires the heart to its shells, and lives until it is told to stop."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import structlog

from agent.aside import Aside
from agent.budget import Budget
from agent.bus.port import Bus, Delivery, Inbox
from agent.desk import EXCUSE_SECONDS, Desk
from agent.dispatch import Dispatcher
from agent.explorer import LONGEST_SECONDS, REPEATS, Explorer, Ranked
from agent.feed import Feed
from agent.garbage import SET_ASIDE_SECONDS, short_collections
from agent.heart.effects import Effect
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RefinementLogged, RequestReceived
from agent.intake import decode
from agent.journal import record_of_event
from agent.learning.cell import Cell
from agent.learning.footprint import footprint_bytes
from agent.metrics import AgentMetrics
from agent.refiner import Refiner
from agent.restore import Restored, snapshot_of
from agent.slices import Slices
from agent.store.port import Store
from agent.validations import Validations
from agent.version import VERSION
from agent.voice import Voice
from agent.writer import Draft, Writer
from schemas import topics
from schemas.errors import BadInput
from schemas.exploration import ActiveLearningRequest, WantedBenchmark
from schemas.published import AgentState
from schemas.replies import StatusReply
from schemas.topics import RequestKind

LOOP_LAG_SECONDS = 0.25
STATE_SECONDS = 10.0
CONNECTED_POLL_SECONDS = 0.01
DRAIN_SECONDS = 10.0

log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """What the daemon needs to know beside its parts."""

    agent_id: str
    max_payload_bytes: int = 1 << 20
    inbox_capacity: int = 1_000
    max_batch_events: int = 256
    snapshot_every_events: int = 50_000
    explore: Budget | None = None


class Daemon:
    """The agent at work: takes events, learns, answers.

    Owns the tasks; each has a name, and the failure of any ends `run`.

    Args:
        config: identity and limits.
        bus: not yet running; the daemon runs and closes it.
        store: open; whoever opened it closes it.
        restored: the heart that the store's log makes (see `agent.restore`).
        metrics: where counters go.
        clock: returns the time; given by tests.
    """

    def __init__(
        self,
        config: DaemonConfig,
        bus: Bus,
        store: Store,
        restored: Restored,
        metrics: AgentMetrics,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._bus = bus
        self._store = store
        self._heart: Heart = restored.heart
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock()
        self._snapshot_seq = self._heart.applied_seq if not restored.replayed else 0
        self._learned_bytes = 0
        self._stopping = asyncio.Event()
        heart_in_use = self._heart_in_use = asyncio.Lock()
        self._aside = Aside()
        self._voice = Voice(bus, config.agent_id, metrics, clock)
        self._writer = Writer(
            store, self._heart, heart_in_use, self._learned, self._completed, metrics
        )
        self._refiner = Refiner(store, self._heart, self._writer, config.agent_id, clock)
        self._validations = Validations(store, clock)
        self._events: Inbox = bus.inbox(topics.EVENT_FILTERS, capacity=config.inbox_capacity)
        self._dispatcher = Dispatcher(bus, config.agent_id)
        self._explorer = Explorer(
            budget=config.explore,
            dispatcher=self._dispatcher,
            rank=self._rank,
            rank_all=self._rank_all,
            publish=self._voice.wanted,
            learnt=self._writer.drain,
            metrics=metrics,
        )
        self._desk = Desk(
            inbox=bus.inbox([topics.REQUEST_FILTER], capacity=config.inbox_capacity),
            bus=bus,
            heart=self._heart,
            heart_in_use=heart_in_use,
            aside=self._aside,
            writer=self._writer,
            voice=self._voice,
            metrics=metrics,
            agent_id=config.agent_id,
            max_payload_bytes=config.max_payload_bytes,
            dispatcher=self._dispatcher,
            own={
                "status": lambda _: self.status(),
                "models": self._refiner.models,
                "update": self._refiner.update,
                "validation": self._validations.answer,
                "explore": lambda _: self._explorer.status(),
            },
            clock=clock,
        )

    @property
    def heart(self) -> Heart:
        """The heart, to look at; only the daemon's own tasks change it."""
        return self._heart

    @property
    def feed(self) -> Feed:
        """What the agent says, for whoever watches."""
        return self._voice.feed

    async def ask(self, kind: RequestKind) -> bytes:
        """Return the answer to a request without a body, as JSON.

        Raises:
            PlacewiseError: why there is none.
        """
        return await self._desk.ask(kind)

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called, or a task fails; then finish what was begun.

        Args:
            on_ready: called once, when the agent is connected and takes events.

        Raises:
            ExceptionGroup: of whatever ended a task.
        """
        async with self._aside, asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(coroutine, name=name)
                for name, coroutine in (
                    ("bus", self._bus.run()),
                    ("writer", self._writer.write()),
                    ("learner", self._writer.learn()),
                    ("voice", self._voice.speak()),
                    ("intake", self._take_events()),
                    ("desk", self._desk.serve()),
                    ("desk-acknowledge", self._desk.acknowledge()),
                    ("dispatcher", self._dispatcher.listen()),
                    ("refiner", self._refiner.work()),
                    ("validations", self._validations.work()),
                    ("explorer", self._explorer.work()),
                    ("loop-lag", self._watch_loop()),
                    ("collections", self._keep_collections_short()),
                    ("state", self._tell_state(on_ready)),
                )
            ]
            await self._stopping.wait()
            await self._finish(running)

    def stop(self) -> None:
        """Ask `run` to finish. Safe to call from a signal handler, and more than once."""
        self._stopping.set()

    def status(self) -> StatusReply:
        """Return how the agent is."""
        return StatusReply(
            agent_id=self._config.agent_id,
            version=VERSION,
            started_at=self._started_at,
            log_records=self._heart.applied_seq,
            events_logged=self._heart.events,
            observations_learned=self._heart.bank.observed_count,
            models_known=len(self._heart.bank.known_models()),
            hardware_known=len(self._heart.bank.known_hardware()),
            requests_answered=self._desk.answered,
            dead_letters=self._voice.dead_letters,
            open_predictions=len(self._heart.ledger),
            quarantined=len(self._heart.quarantine),
            learned_mb=round(self._learned_bytes / 1e6, 1),
            metrics=self._heart.ledger.accuracy(),
            reuse={
                one.worker_id: one.browser.reuse
                for one in self._dispatcher.workers.values()
                if one.status == "online" and one.browser and one.browser.reuse
            },
        )

    async def _take_events(self) -> None:
        while True:
            deliveries = await self._events.receive(self._config.max_batch_events)
            drafts: list[Draft] = []
            slices = Slices()
            for one in deliveries:
                draft = await self._draft(one)
                if draft is not None:
                    drafts.append(draft)
                await slices.pause()
            # The broker forgets a message once it is acknowledged: not before the commit.
            await self._writer.submit(drafts, then=partial(self._events.acknowledge, deliveries))
            self._explorer.submitted(draft.record.id for draft in drafts)

    async def _rank(self, cells: Sequence[Cell]) -> Ranked:
        """Return which of the cells that workers can measure come first."""
        async with self._heart_in_use:
            order = await asyncio.to_thread(
                self._heart.order,
                cells,
                runs=REPEATS + 1,
                longest_s=LONGEST_SECONDS / 2,
                order_id=uuid.uuid4().hex,
            )
            thought = await asyncio.to_thread(pickle.dumps, order, 5)
        return Ranked(await self._aside.think(thought), order.uncertainty)

    async def _rank_all(self, count: int) -> list[WantedBenchmark]:
        """Return the most wanted benchmarks of all that is known, whoever can run them.

        Raises:
            BadInput: nothing was measured yet, or nothing is left to measure.
        """
        request = ActiveLearningRequest(budget=count)
        stimulus = RequestReceived(uuid.uuid4().hex, "active_learning", request)
        async with self._heart_in_use:
            asked = await asyncio.to_thread(self._heart.ask, stimulus)
            thought = await asyncio.to_thread(pickle.dumps, asked.answer, 5)
        return (await self._aside.think(thought)).wanted  # type: ignore[no-any-return]

    async def _draft(self, delivery: Delivery) -> Draft | None:
        now = self._clock()
        try:
            event = decode(delivery, now, self._config.max_payload_bytes)
        except BadInput as error:
            self._metrics.event("unknown", "refused")
            await self._voice.dead_letter(delivery, error)
            return None
        record = record_of_event(event, now)
        self._metrics.event(record.kind, "accepted")
        return Draft(
            record, MeasurementLogged(0, record.source, record.id, record.event_time, event.data)
        )

    async def _learned(self, effects: list[Effect]) -> None:
        """Say what follows from a batch; keep a snapshot once enough was learnt since the last."""
        await self._voice.say(effects)
        self._refiner.take(effects)
        self._validations.take(effects, self._heart.applied_seq)
        if self._heart.applied_seq - self._snapshot_seq >= self._config.snapshot_every_events:
            await self._save_snapshot()

    async def _completed(self, stimulus: RefinementLogged) -> RefinementLogged:
        return await self._refiner.complete(stimulus)

    async def _save_snapshot(self) -> None:
        """Keep a snapshot. Nothing is learnt meanwhile: the learner, or the end, calls this."""
        self._snapshot_seq = self._heart.applied_seq
        # What came before a snapshot is not replayed: the ledger must hold it by then.
        await self._validations.keep()
        await self._store.save_snapshot(await snapshot_of(self._heart))

    async def _tell_state(self, on_ready: Callable[[], None]) -> None:
        """Publish the retained state: at once, then whenever it has changed."""
        told: AgentState | None = None
        while self._bus.state != "connected":  # noqa: ASYNC110 - the port tells its state only
            await asyncio.sleep(CONNECTED_POLL_SECONDS)
        while True:
            self._learned_bytes = footprint_bytes(self._heart.bank)
            self._metrics.learned_state(self._learned_bytes)
            state = self._state("online")
            if state != told:
                await self._voice.state(state)
                if told is None:
                    on_ready()
                told = state
            await asyncio.sleep(STATE_SECONDS)

    def _state(self, status: Literal["online", "offline"]) -> AgentState:
        return AgentState(
            agent_id=self._config.agent_id,
            status=status,
            version=VERSION,
            since=self._started_at,
            events_logged=self._heart.events,
            observations_learned=self._heart.bank.observed_count,
        )

    async def _keep_collections_short(self) -> None:
        with short_collections() as set_aside:
            while True:
                await asyncio.sleep(SET_ASIDE_SECONDS)
                set_aside()

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_LAG_SECONDS
            await asyncio.sleep(LOOP_LAG_SECONDS)
            self._metrics.loop_lag(max(0.0, loop.time() - due))
            self._metrics.open_predictions(len(self._heart.ledger))
            self._metrics.quarantined(len(self._heart.quarantine))
            self._metrics.connection(self._bus.state)
            for queue, depth in (*self._writer.depths().items(), ("voice", self._voice.depth())):
                self._metrics.queue_depth(queue, depth)

    async def _finish(self, running: list[asyncio.Task[None]]) -> None:
        """Take no more, finish what was taken, keep a snapshot, say goodbye."""
        by_name = {task.get_name(): task for task in running}
        for name in (
            "intake",
            "desk",
            "state",
            "loop-lag",
            "collections",
            "refiner",
            "explorer",
            "validations",
        ):
            by_name[name].cancel()
        # Whose job runs is told that nobody waits for it any more.
        await asyncio.wait([by_name["desk"]], timeout=EXCUSE_SECONDS + 0.5)
        await self._learn_what_was_taken()
        self._voice.feed.close()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._voice.drain()
                await self._voice.state(self._state("offline"))
        except TimeoutError:
            log.warning("goodbye_unsaid", reason="the broker could not be reached in time")
        await self._validations.keep()
        if self._heart.applied_seq > self._snapshot_seq:
            await self._save_snapshot()
        await self._bus.close()
        for task in running:
            task.cancel()

    async def _learn_what_was_taken(self) -> None:
        """Wait until it is learnt. What cannot be said meanwhile, for want of a broker, is not."""
        learning = asyncio.create_task(self._writer.drain(), name="drain")
        try:
            while not learning.done():
                said = self._voice.said
                await asyncio.wait([learning], timeout=DRAIN_SECONDS)
                if not learning.done() and self._voice.depth() and self._voice.said == said:
                    log.warning("left_unsaid", messages=self._voice.depth())
                    self._voice.give_up()
            await learning
        finally:
            learning.cancel()
