"""The voice: everything that the agent says of itself, on its own channels."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

from agent.bus.port import Bus, Delivery, Outgoing
from agent.feed import Feed
from agent.heart.effects import Effect, Publish
from agent.intake import dead_letter
from agent.metrics import AgentMetrics
from schemas import topics
from schemas.errors import BadInput
from schemas.events import envelope
from schemas.explore import WANTED_TYPE, Wanted
from schemas.published import (
    ALERT_TYPE,
    DECISION_TYPE,
    REFINEMENT_TYPE,
    VALIDATION_TYPE,
    AgentState,
    Alert,
    Decision,
    Validation,
)
from schemas.refinement import Refinement

QUEUED_MESSAGES = 1_000
SAID_AT_ONCE = 16

_CHANNELS: dict[type, tuple[topics.AgentChannel, str]] = {
    Decision: ("decisions", DECISION_TYPE),
    Validation: ("validations", VALIDATION_TYPE),
    Alert: ("alerts", ALERT_TYPE),
    Refinement: ("refinements", REFINEMENT_TYPE),
}


class Voice:
    """Publishes decisions, validations, alerts, dead letters and the agent's state, in order.

    Attributes:
        feed: where all but the state is said as well, for whoever watches over HTTP.
        dead_letters: how many messages were refused.
        said: how many messages were published.
    """

    def __init__(
        self, bus: Bus, agent_id: str, metrics: AgentMetrics, clock: Callable[[], datetime]
    ) -> None:
        self.feed = Feed()
        self._bus = bus
        self._agent_id = agent_id
        self._metrics = metrics
        self._clock = clock
        self._queue: asyncio.Queue[Outgoing] = asyncio.Queue(QUEUED_MESSAGES)
        self._given_up = False
        self.dead_letters = self.said = 0

    async def say(self, effects: Iterable[Effect]) -> None:
        """Queue what is to be said, waiting while the queue is full."""
        for effect in effects:
            if not isinstance(effect, Publish):
                continue
            channel, event_type = _CHANNELS[type(effect.what)]
            if isinstance(effect.what, Validation):
                self._metrics.validation(
                    effect.what.metric,
                    effect.what.absolute_percentage_error,
                    within_interval=effect.what.within_interval,
                )
            if isinstance(effect.what, Alert):
                self._metrics.alert(effect.what.kind)
            await self._say(channel, self._event(event_type, effect))

    async def dead_letter(self, delivery: Delivery, error: BadInput) -> None:
        """Publish a refused message with the reason."""
        self.dead_letters += 1
        self._metrics.dead_letter(error.code)
        letter = dead_letter(delivery, error, self._clock())
        await self._say("dead_letters", letter.model_dump_json().encode())

    async def state(self, state: AgentState) -> None:
        """Publish the agent's state, retained, past the queue."""
        await self._bus.publish(state_message(state))

    async def wanted(self, wanted: Wanted) -> None:
        """Publish what no worker can measure, retained, past the queue."""
        message = self._event(WANTED_TYPE, Publish("exploration", wanted))
        self.feed.put("wanted", message)
        topic = topics.agent(self._agent_id, "wanted")
        await self._bus.publish(Outgoing(topic, message, retain=True))

    async def speak(self) -> None:
        """Publish what is queued, for ever. The task `voice`."""
        while True:
            messages = [await self._queue.get()]
            while len(messages) < SAID_AT_ONCE and not self._queue.empty():
                messages.append(self._queue.get_nowait())
            async with asyncio.TaskGroup() as publishing:
                for message in messages:
                    publishing.create_task(self._bus.publish(message), name="voice-publish")
            self.said += len(messages)
            for _ in messages:
                self._queue.task_done()

    def give_up(self) -> None:
        """Say nothing more, and drop what waits: for an end without a broker."""
        self._given_up = True
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()

    def depth(self) -> int:
        """Return how many messages wait."""
        return self._queue.qsize()

    async def drain(self) -> None:
        """Wait until all that was queued is published."""
        await self._queue.join()

    async def _say(self, channel: topics.AgentChannel, message: bytes) -> None:
        self.feed.put(channel, message)
        if self._given_up:
            return
        await self._queue.put(Outgoing(topics.agent(self._agent_id, channel), message))

    def _event(self, event_type: str, effect: Publish) -> bytes:
        event = envelope(
            event_type,
            uuid.uuid4().hex,
            f"placewise/agents/{self._agent_id}",
            self._clock(),
            effect.what.model_dump(mode="json"),
        )
        event["cause"] = effect.cause
        return json.dumps(event, separators=(",", ":")).encode()


def state_message(state: AgentState) -> Outgoing:
    """Return the retained message that tells an agent's state."""
    return Outgoing(
        topics.agent(state.agent_id, "state"), state.model_dump_json().encode(), retain=True
    )
