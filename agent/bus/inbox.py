"""What arrived over a connection and waits to be received and acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from paho.mqtt.client import MQTTMessage

from agent.bus.port import Delivery

MOST_BYTES = 64 << 20
"""Payloads that wait in one inbox, together; a little more while the last one comes in."""


class Source(Protocol):
    """The connection that an inbox is filled from."""

    def acknowledge(self, mid: int) -> None:
        """Tell the broker."""

    def pause(self) -> None:
        """Let nothing more come."""

    def resume(self) -> None:
        """Let more come."""


class _Token(NamedTuple):
    """What identifies a delivery to the connection that made it."""

    source: Source
    mid: int
    qos: int


class MqttInbox:
    """Messages of some filters, taken from the broker no faster than they are received here.

    QoS 1 is bounded by the receive maximum, which the bus asks the broker to keep; QoS 0, and
    MQTT 3.1.1, by reading no more from the socket while the inbox is full.

    Acknowledgements go out in the order of arrival, as MQTT wants it, in whatever order
    `acknowledge` is called: one that is early waits for those before it.
    """

    def __init__(self, filters: Sequence[str], capacity: int) -> None:
        self.filters = tuple(filters)
        self.capacity = capacity
        self._source: Source | None = None
        self._may_pause = False
        self._paused = False
        self._waiting: deque[Delivery] = deque()
        self._waiting_bytes = 0
        self._arrival = asyncio.Event()
        self._unacknowledged: dict[int, bool] = {}

    def connect(self, source: Source) -> None:
        """Start anew with a connection. What waits stays, until `forget` says otherwise."""
        self._source = source
        self._may_pause = self._paused = False
        self._unacknowledged.clear()

    def allow_pause(self) -> None:
        """Let it pause its connection from now on: nothing on it is waited for any more."""
        self._may_pause = True
        self._pause_if_full()

    def disconnect(self) -> None:
        """The connection is lost."""
        self._source = None
        self._may_pause = self._paused = False

    def forget(self) -> None:
        """Drop what the broker sends again: everything unacknowledged, but for QoS 0."""
        kept = [one for one in self._waiting if _token(one).qos == 0]
        self._waiting = deque(kept)
        self._waiting_bytes = sum(len(one.payload) for one in kept)

    def put(self, message: MQTTMessage) -> None:
        """Take a message of the present connection."""
        source = self._source
        assert source is not None, "connected"
        properties = message.properties
        delivery = Delivery(
            topic=message.topic,
            payload=bytes(message.payload),
            response_topic=getattr(properties, "ResponseTopic", None),
            correlation_data=getattr(properties, "CorrelationData", None),
            retained=message.retain,
            token=_Token(source, message.mid, message.qos),
        )
        if message.qos:
            self._unacknowledged[message.mid] = False
        self._waiting.append(delivery)
        self._waiting_bytes += len(delivery.payload)
        self._arrival.set()
        self._pause_if_full()

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there; see the port."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        received = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._waiting_bytes -= sum(len(one.payload) for one in received)
        if self._paused and self._is_half_empty() and self._source is not None:
            self._paused = False
            self._source.resume()
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; those of a lost connection are skipped; see the port."""
        source = self._source
        if source is None:
            return
        for delivery in deliveries:
            token = _token(delivery)
            if token.source is source and token.mid in self._unacknowledged:
                self._unacknowledged[token.mid] = True
        while (
            self._unacknowledged and self._unacknowledged[mid := next(iter(self._unacknowledged))]
        ):
            del self._unacknowledged[mid]
            source.acknowledge(mid)

    def _pause_if_full(self) -> None:
        full = len(self._waiting) >= self.capacity or self._waiting_bytes >= MOST_BYTES
        if full and self._may_pause and not self._paused and self._source is not None:
            self._paused = True
            self._source.pause()

    def _is_half_empty(self) -> bool:
        return len(self._waiting) <= self.capacity // 2 and self._waiting_bytes <= MOST_BYTES // 2


def _token(delivery: Delivery) -> _Token:
    token = delivery.token
    assert isinstance(token, _Token), "a delivery of this bus"
    return token
