"""The port through which the agent meets the bus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

ConnectionState = Literal["disconnected", "connecting", "connected", "closed"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that arrived and is not acknowledged yet.

    `token` belongs to the bus that made it; nobody else looks inside.
    """

    topic: str
    payload: bytes
    response_topic: str | None = None
    correlation_data: bytes | None = None
    retained: bool = False
    token: object = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. QoS 1 unless said otherwise."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False
    response_topic: str | None = None
    correlation_data: bytes | None = None


class Inbox(Protocol):
    """The messages of some topic filters, in the order of arrival, bounded.

    When it is full, the bus stops taking messages from the broker: nothing is dropped.
    """

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there, at most `limit`."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that these are safe with us.

        Call for every delivery, of QoS 0 too, in any order: the broker hears of each once all
        that arrived before it are acknowledged. A delivery from a connection that has since been
        lost is skipped: the broker sends it again.
        """
        ...


class Bus(Protocol):
    """Messages in and out, over a connection that comes back by itself."""

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        ...

    def inbox(self, filters: Sequence[str], *, capacity: int) -> Inbox:
        """Subscribe to `filters`. Call before `run`."""
        ...

    async def run(self) -> None:
        """Connect, and stay connected until cancelled or closed.

        Raises:
            BusUnavailable: the broker refuses us for good: bad credentials, a filter that is
                not ours to read, another client of the same id.
        """
        ...

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; return when the broker has it.

        What the broker refuses for good (a topic that is none, or is not ours to publish to, a
        message larger than it takes) is logged and given up: an asker who names such a topic
        for the reply must not end the agent.

        Raises:
            BusUnavailable: the bus was closed.
        """
        ...

    async def close(self) -> None:
        """Disconnect cleanly. `run` returns."""
        ...
