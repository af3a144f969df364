"""A client of the agent, as any program on the bus could be one: requests and their replies."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agent.bus.port import Bus, Outgoing
from schemas import topics
from schemas.errors import AgentRefused, ErrorBody, Unavailable
from schemas.requests import AnyRequest

REPLY_SECONDS = 10.0
CONNECT_SECONDS = 10.0


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
        self, kind: str, request: AnyRequest | dict[str, Any], seconds: float = REPLY_SECONDS
    ) -> dict[str, Any]:
        """Ask and return the reply's body.

        Raises:
            AgentRefused: the agent answered with an error.
            Unavailable: no reply within `seconds`.
        """
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
        raise Unavailable(f"no broker within {CONNECT_SECONDS:g} s") from None
