"""A client of the agent, as any program on the bus could be one: requests and their replies."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pydantic import ValidationError

from agent.bus.port import Bus, Delivery, Outgoing
from schemas import topics
from schemas.errors import AgentRefused, ErrorBody, Unavailable
from schemas.published import AgentState
from schemas.requests import AnyRequest

REPLY_SECONDS = 10.0
LONG_REPLY_SECONDS = 60.0
"""How long a reply is waited for: to most questions, and to those for which much is weighed."""

CONNECT_SECONDS = 10.0
STATE_SECONDS = 1.0
"""How long the retained states of agents may take to arrive once the bus is connected."""

_LONG = {"active_learning", "batch", "integrate", "capacity", "place", "strategy"}
_STATE_FILTER = topics.agent("+", "state")


class AgentClient:
    """Asks the agent over a bus, many questions in flight at a time.

    Made by `connected`, which also runs the bus.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._replies = f"{topics.PREFIX}/replies/{uuid.uuid4().hex}"
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._inbox = bus.inbox([self._replies], capacity=1_000)

    async def listen(self) -> None:
        """Hand replies to whoever waits for them, for ever."""
        while True:
            deliveries = await self._inbox.receive(64)
            for delivery in deliveries:
                waiting = self._waiting.pop(delivery.correlation_data or b"", None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(delivery.payload)
            await self._inbox.acknowledge(deliveries)

    async def ask(
        self, kind: str, request: AnyRequest | dict[str, Any], seconds: float | None = None
    ) -> dict[str, Any]:
        """Ask and return the reply's body.

        Args:
            kind: of question.
            request: the question.
            seconds: how long to wait; as long as such a question may take if None.

        Raises:
            AgentRefused: the agent answered with an error.
            Unavailable: no reply in time.
        """
        seconds = patience(kind) if seconds is None else seconds
        body = request if isinstance(request, dict) else request.model_dump(exclude_none=True)
        payload = await self.ask_raw(topics.request(kind), json.dumps(body).encode(), seconds)
        reply: dict[str, Any] = json.loads(payload)
        if "error" in reply:
            raise AgentRefused(ErrorBody(**reply["error"]))
        return reply

    async def ask_raw(self, topic: str, payload: bytes, seconds: float = REPLY_SECONDS) -> bytes:
        """Send any payload as a request to any topic; return the reply's payload.

        Raises:
            Unavailable: no reply within `seconds`.
        """
        correlation = uuid.uuid4().bytes
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = reply
        try:
            async with asyncio.timeout(seconds):
                await self._bus.publish(
                    Outgoing(
                        topic, payload, response_topic=self._replies, correlation_data=correlation
                    )
                )
                return await reply
        except TimeoutError:
            raise Unavailable(f"no reply within {seconds:g} s: is an agent on this bus?") from None
        finally:
            self._waiting.pop(correlation, None)

    async def publish_event(self, topic: str, event: dict[str, Any]) -> None:
        """Publish one event; return when the broker has it."""
        await self.publish_raw(topic, json.dumps(event).encode())

    async def publish_raw(self, topic: str, payload: bytes) -> None:
        """Publish any payload; return when the broker has it."""
        await self._bus.publish(Outgoing(topic, payload))


def patience(kind: str) -> float:
    """Return for how many seconds the reply to such a question is waited for."""
    return LONG_REPLY_SECONDS if kind in _LONG else REPLY_SECONDS


async def agents_online(bus: Bus) -> list[str]:
    """Return the ids of agents that say, retained, that they are online.

    Args:
        bus: not yet running; run for this, and closed.

    Raises:
        Unavailable: the broker can't be reached in time, or lets nobody read it.
    """
    states = bus.inbox([_STATE_FILTER], capacity=1_000)
    online: list[str] = []
    async with connected(bus):
        with suppress(TimeoutError):
            async with asyncio.timeout(STATE_SECONDS):
                while not online:
                    found = await states.receive(64)
                    online += [one for one in map(_online, found) if one is not None]
                    await states.acknowledge(found)
    return sorted(online)


def _online(state: Delivery) -> str | None:
    """Return whose state it is, if it is online."""
    with suppress(ValidationError):
        agent = AgentState.model_validate_json(state.payload)
        if agent.status == "online":
            return agent.agent_id
    return None


@asynccontextmanager
async def connected(bus: Bus) -> AsyncIterator[AgentClient]:
    """Run `bus` and a client on it for the time of the block.

    Raises:
        Unavailable: the broker can't be reached in time.
    """
    client = AgentClient(bus)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bus.run(), name="client-bus")
        listening = tasks.create_task(client.listen(), name="client-listen")
        try:
            await _until_connected(bus)
            yield client
        finally:
            listening.cancel()
            await bus.close()
            running.cancel()


async def _until_connected(bus: Bus) -> None:
    """Wait for every connection: a question sent before its replies are subscribed is lost."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while bus.state != "connected":  # noqa: ASYNC110 - the port tells its state only
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise Unavailable(f"no broker at {bus} within {CONNECT_SECONDS:g} s") from None
