"""The desk: answers each request, or says why not. Never silence."""

from __future__ import annotations

import asyncio
import json
import pickle
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

import structlog

from agent.aside import Aside
from agent.browsers.choice import browser_workers
from agent.bus.port import Bus, Delivery, Inbox, Outgoing
from agent.dispatch import Dispatcher
from agent.executing import Executions
from agent.heart.effects import Answer, Effect, Log, Publish
from agent.heart.heart import Heart
from agent.heart.stimuli import RequestReceived
from agent.heart.thought import Thought
from agent.intake import refuse_large
from agent.journal import record_of_answer, record_of_release, stimulus_of
from agent.metrics import AgentMetrics
from agent.voice import Voice
from agent.writer import Draft, Writer
from schemas import topics
from schemas.errors import (
    BadInput,
    BusUnavailable,
    ErrorBody,
    ErrorReply,
    NoReplyAddress,
    PlacewiseError,
)
from schemas.exploration import ExplorationRequest
from schemas.quarantine import Release
from schemas.replies import (
    AnyReply,
    BrowsersReply,
)
from schemas.requests import (
    AnyRequest,
    BestBrowserRequest,
    BrowsersRequest,
    CapacityRequest,
    CompareRequest,
    ExecuteRequest,
    PlaceRequest,
    PredictRequest,
    RecommendRequest,
    StrategyRequest,
    decode_request,
    reply_address,
)
from schemas.topics import RequestKind

RECEIVED_AT_ONCE = 64
_SHORT_CELLS, _SHORT_PLACEMENT, _SHORT_WORKLOAD = 32, 16, 4
"""Cells to predict, models times devices, models to run together: what is answered on the loop."""

_LONG_PAYLOAD_BYTES = 1_024
UNACKNOWLEDGED_REPLIES = 256
BESIDE_AT_ONCE = 256
"""Requests that are answered beside the others: more than that wait, and all behind them."""

EXCUSE_SECONDS = 1.5

_RUNNING = {topics.request("execute"), topics.request("compare_strategies")}
_EXPLORING = {topics.request(kind) for kind in ("active_learning", "batch", "integrate")}
_BESIDE = {topics.request("validation"), topics.request("capacity")} | _EXPLORING
"""What may take long however little is asked: the ledger is read, or much is weighed."""

_STOPPED = "the agent stops; the job may still run"
_UNDECIDED = "the agent stops before it has the answer: ask again"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a reply goes, and what it carries so that the asker knows it again."""

    topic: str
    correlation_data: bytes | None


def address_of(delivery: Delivery) -> ReplyAddress:
    """Return where a request wants its reply: message properties first, then its body.

    Raises:
        NoReplyAddress: neither names one.
        BadInput: the topic can't be published to, or is one on which the agent listens.
    """
    topic, correlation = delivery.response_topic, delivery.correlation_data
    if not topic:
        body = reply_address(delivery.payload)
        topic = body.reply_to
        if correlation is None and body.correlation_id is not None:
            correlation = body.correlation_id.encode()
    if not topic:
        raise NoReplyAddress
    if any(c in topic for c in "+#\x00") or topic.startswith("$"):
        raise BadInput.of_field("reply_to", "not a topic to publish to", "a topic, no wildcards")
    if topic.startswith((f"{topics.PREFIX}/events/", f"{topics.REQUESTS}/")):
        raise BadInput.of_field("reply_to", "the agent listens there", "a topic of your own")
    return ReplyAddress(topic, correlation)


def is_long(request: AnyRequest) -> bool:
    """Return whether an answer may take longer than the loop may stand still."""
    match request:
        case PredictRequest():
            return len(request.candidates) > _SHORT_CELLS
        case CompareRequest() | RecommendRequest():
            ways = max(len(getattr(request, "batch_sizes", None) or ()), 1) * max(
                len(getattr(request, "precisions", None) or ()), 1
            )
            return len(request.hardware or ()) * ways > _SHORT_CELLS
        case CapacityRequest() | ExplorationRequest():
            return True
        case PlaceRequest():
            return len(request.models) * len(request.devices) > _SHORT_PLACEMENT
        case StrategyRequest():
            return len(request.models) > _SHORT_WORKLOAD
    return False


class Desk:
    """Takes requests from an inbox; answers from the heart, or with what was wrong."""

    def __init__(  # noqa: PLR0913 - its parts, each by name
        self,
        *,
        inbox: Inbox,
        bus: Bus,
        heart: Heart,
        heart_in_use: asyncio.Lock,
        aside: Aside,
        writer: Writer,
        voice: Voice,
        metrics: AgentMetrics,
        agent_id: str,
        max_payload_bytes: int,
        own: Mapping[str, Callable[[Any], AnyReply | Awaitable[AnyReply]]],
        dispatcher: Dispatcher,
        clock: Callable[[], datetime],
    ) -> None:
        self._inbox = inbox
        self._bus = bus
        self._heart = heart
        self._writer = writer
        self._voice = voice
        self._metrics = metrics
        self._agent_id = agent_id
        self._max_payload_bytes = max_payload_bytes
        self._own = own
        self._dispatcher = dispatcher
        self._heart_in_use = heart_in_use
        self._aside = aside
        self._executions = Executions(dispatcher, self._answer)
        self._clock = clock
        self._sent: asyncio.Queue[tuple[Delivery, asyncio.Task[None] | None]] = asyncio.Queue(
            UNACKNOWLEDGED_REPLIES
        )
        self._beside = asyncio.Semaphore(BESIDE_AT_ONCE)
        self._exploring = asyncio.Lock()
        self.answered = 0

    async def serve(self) -> None:
        """Answer what comes in, for ever. The task `desk`."""
        async with asyncio.TaskGroup() as replies:
            while True:
                for delivery in await self._inbox.receive(RECEIVED_AT_ONCE):
                    if delivery.topic in _RUNNING:
                        # Takes as long as the job does. Acknowledged at once: it must not be run
                        # a second time because the agent was started anew in between.
                        replies.create_task(self._handle_and_reply(delivery), name="desk-execute")
                        await self._sent.put((delivery, None))
                        continue
                    if delivery.topic in _BESIDE or len(delivery.payload) > _LONG_PAYLOAD_BYTES:
                        # What may take long is answered beside the others, not before them.
                        await self._beside.acquire()
                        answering = replies.create_task(
                            self._handle_and_reply(delivery), name="desk-long"
                        )
                        answering.add_done_callback(lambda _: self._beside.release())
                        # An exploration may take many seconds, and brokers give out but a few
                        # messages that are not acknowledged: others would soon wait for it.
                        later = None if delivery.topic in _EXPLORING else answering
                        await self._sent.put((delivery, later))
                        continue
                    outgoing = await self._handle(delivery)
                    sending = (
                        replies.create_task(self._bus.publish(outgoing), name="desk-reply")
                        if outgoing is not None
                        else None
                    )
                    await self._sent.put((delivery, sending))

    async def ask(self, kind: RequestKind) -> bytes:
        """Return the answer to a request without a body that came another way, as JSON.

        Raises:
            PlacewiseError: why there is none.
        """
        reply = await self._answer(uuid.uuid4().hex, kind, decode_request(kind, b"{}"))
        return reply.model_dump_json().encode()

    async def acknowledge(self) -> None:
        """Acknowledge requests in order, once their reply is out. The task `desk-acknowledge`.

        Runs and explorations are acknowledged at once; whoever waits for one is told if the agent
        stops before its answer.
        """
        while True:
            delivery, sending = await self._sent.get()
            if sending is not None:
                await sending
            await self._inbox.acknowledge([delivery])

    async def _handle(self, delivery: Delivery) -> Outgoing | None:
        """Return the reply to send, or None where there is nobody to send it to."""
        started = perf_counter()
        kind = delivery.topic.removeprefix(f"{topics.REQUESTS}/")
        try:
            address = address_of(delivery)
        except BadInput as error:
            self._metrics.request(_known(kind), error.code, perf_counter() - started)
            await self._voice.dead_letter(delivery, error)
            return None
        request_id = uuid.uuid4().hex
        try:
            refuse_large(delivery, self._max_payload_bytes)
            request = decode_request(kind, delivery.payload)
            reply = await self._answer(request_id, kind, request)
            payload, outcome = reply.model_dump_json().encode(), "ok"
            self.answered += 1
        except PlacewiseError as error:
            payload, outcome = _error_payload(error.body()), error.code
        except (
            Exception
        ) as error:  # one request must not end the daemon: the asker and the log are told
            log.exception("request_failed", kind=_known(kind), request_id=request_id)
            body = ErrorBody(code="internal", message=f"a fault of ours: {type(error).__name__}")
            payload, outcome = _error_payload(body), "internal"
        self._metrics.request(_known(kind), outcome, perf_counter() - started)
        return _outgoing(delivery, address, payload)

    async def _handle_and_reply(self, delivery: Delivery) -> None:
        try:
            outgoing = await self._handle(delivery)
        except asyncio.CancelledError:
            if delivery.topic in _RUNNING:
                await self._excuse(delivery, _STOPPED)
            if delivery.topic in _EXPLORING:
                await self._excuse(delivery, _UNDECIDED)
            raise
        if outgoing is not None:
            await self._bus.publish(outgoing)

    async def _excuse(self, delivery: Delivery, why: str) -> None:
        """Tell whose request was acknowledged that the agent ends before its answer."""
        body = ErrorBody(code="unavailable", message=why)
        with suppress(BadInput, BusUnavailable, TimeoutError):
            outgoing = _outgoing(delivery, address_of(delivery), _error_payload(body))
            async with asyncio.timeout(EXCUSE_SECONDS):
                await self._bus.publish(outgoing)

    async def _answer(self, request_id: str, kind: str, request: AnyRequest) -> AnyReply:
        if kind in self._own:
            reply = self._own[kind](request)
            return await reply if isinstance(reply, Awaitable) else reply
        if isinstance(request, ExecuteRequest | BestBrowserRequest):
            return await self._executions.answer(request_id, request)
        if isinstance(request, BrowsersRequest):
            return BrowsersReply(workers=browser_workers(self._dispatcher.workers.values()))
        stimulus = RequestReceived(request_id, kind, request)  # type: ignore[arg-type]
        answer: Answer | None = None
        for effect in await self._ask(stimulus):
            match effect:
                case Answer():
                    answer = effect
                    if effect.logged:
                        await self._log(effect, request)
                case Log(what=release):
                    await self._release(release)
                case Publish():
                    await self._voice.say([effect])
        assert answer is not None, "the heart answers every request"
        return answer.reply

    async def _ask(self, stimulus: RequestReceived) -> list[Effect]:
        """Let the heart answer; what takes long is done where the loop does not wait for it."""
        if isinstance(stimulus.request, ExplorationRequest):
            # They are thought one at a time: those that wait need not be written down yet.
            async with self._exploring:
                return await self._ask_long(stimulus)
        if is_long(stimulus.request):
            return await self._ask_long(stimulus)
        async with self._heart_in_use:
            return self._heart.handle(stimulus)

    async def _ask_long(self, stimulus: RequestReceived) -> list[Effect]:
        async with self._heart_in_use:
            asked = await asyncio.to_thread(self._heart.ask, stimulus)
            answer = asked.answer
            if isinstance(answer, Thought):
                # What it rests on is written down before anything else is learnt.
                thought = await asyncio.to_thread(pickle.dumps, answer, 5)
        if isinstance(answer, Thought):
            return self._heart.conclude(asked, await self._aside.think(thought))
        return self._heart.conclude(asked, answer)

    async def _log(self, answer: Answer, request: AnyRequest) -> None:
        record = record_of_answer(answer, request, self._agent_id, self._clock())
        await self._writer.submit([Draft(record, stimulus_of(record))])

    async def _release(self, release: Release) -> None:
        """Log a release; wait until it is committed, so that who is answered can rely on it."""
        committed = asyncio.Event()

        async def tell() -> None:
            committed.set()

        record = record_of_release(release, self._agent_id, self._clock())
        await self._writer.submit([Draft(record, stimulus_of(record))], tell)
        await committed.wait()


def _error_payload(body: ErrorBody) -> bytes:
    return ErrorReply(error=body).model_dump_json().encode()


def _outgoing(delivery: Delivery, address: ReplyAddress, payload: bytes) -> Outgoing:
    """Return a reply to a request, as who asked can read it."""
    if delivery.response_topic is None:
        # An MQTT 3.1.1 client sees no properties, and rumqttd fails to leave them out for it.
        return Outgoing(address.topic, _with_correlation_id(payload, address))
    return Outgoing(address.topic, payload, correlation_data=address.correlation_data)


def _with_correlation_id(payload: bytes, address: ReplyAddress) -> bytes:
    """Put the correlation id into the body, for MQTT 3.1.1 clients that see no properties."""
    if address.correlation_data is None:
        return payload
    body = json.loads(payload)
    body["correlation_id"] = address.correlation_data.decode("utf-8", errors="replace")
    return json.dumps(body).encode()


def _known(kind: str) -> str:
    """Keep names that anybody may invent out of metrics and logs."""
    return kind if kind in topics.REQUEST_KINDS else "unknown"
