"""The bus in memory: a broker that is an object, for tests and for trying things out.

It keeps the promises that `port.py` makes and behaves as MQTT 5 at QoS 0 and 1 does where the
port can tell the difference: sessions, retained messages, wills, redelivery. One contract suite
runs over it and over the real brokers. Nothing here is safe to use from two event loops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.bus.port import ConnectionState, Delivery, Outgoing


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter covers a topic (MQTT 5, section 4.7).

    `+` stands for one level, `#` for all that follow and for their parent. A wildcard at the
    start does not cover topics that start with `$`, which belong to the broker.
    """
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number == len(levels) or level not in {"+", levels[number]}:
            return False
    return len(wanted) == len(levels)


def check_filter(topic_filter: str) -> None:
    """Refuse what is no topic filter.

    Raises:
        ValueError: it is empty, or a wildcard is not alone in its level, or `#` is not the last.
    """
    levels = topic_filter.split("/")
    misplaced = any(
        ("+" in level and level != "+")
        or ("#" in level and (level != "#" or number < len(levels) - 1))
        for number, level in enumerate(levels)
    )
    if not topic_filter or misplaced:
        raise ValueError(f"no topic filter: {topic_filter!r}")


class MemoryBroker:
    """Takes messages from every `MemoryBus` on it and hands them to the inboxes that match."""

    def __init__(self) -> None:
        self._retained: dict[str, Outgoing] = {}
        self._sessions: dict[str, _Session] = {}

    def publish(self, message: Outgoing) -> None:
        """Take a message; it is with the matching sessions when this returns.

        Raises:
            ValueError: the topic is empty or has a wildcard.
        """
        if not message.topic or "+" in message.topic or "#" in message.topic:
            raise ValueError(f"no topic to publish to: {message.topic!r}")
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for session in list(self._sessions.values()):
            session.offer(message)

    def attach(self, client_id: str, inbox: MemoryInbox, *, lasting: bool) -> _Session:
        """Connect an inbox to its session, made where there is none, and subscribe.

        Another connection of the same client id loses its session to this one, as in MQTT.
        """
        session = self._sessions.get(client_id)
        if session is None or not lasting:
            session = self._sessions[client_id] = _Session(inbox.filters)
            present = False
        else:
            present = True
        session.connect(inbox, present=present)
        for message in self._retained.values():
            session.offer(message, retained=True)
        return session

    def detach(self, client_id: str, session: _Session, *, lasting: bool) -> None:
        """Note that a session's connection is gone; one that does not last is forgotten."""
        if self._sessions.get(client_id) is session:
            session.disconnect()
            if not lasting:
                del self._sessions[client_id]


class _Kept(NamedTuple):
    """A message on its way to an inbox."""

    message: Outgoing
    retained: bool


@dataclass(eq=False, slots=True)
class _Session:
    """What the broker knows of one inbox, connected or not."""

    filters: tuple[str, ...]
    waiting: deque[_Kept] = field(default_factory=deque)
    """Not handed over yet."""

    unacknowledged: dict[int, _Kept] = field(default_factory=dict)
    """Handed over at QoS 1, by delivery number, in the order of arrival."""

    inbox: MemoryInbox | None = None
    connection: int = 0
    """Which connection this is, counted from one; deliveries of earlier ones are void."""

    delivered: int = 0

    def connect(self, inbox: MemoryInbox, *, present: bool) -> None:
        self.filters = inbox.filters
        self.connection += 1
        self.inbox = inbox
        inbox.session = self
        if present:
            inbox.forget_unacknowledged()
        self.hand_over()

    def disconnect(self) -> None:
        self.inbox = None
        self.waiting = deque(kept for kept in self.waiting if kept.message.qos == 1)
        self.waiting.extendleft(reversed(self.unacknowledged.values()))
        self.unacknowledged.clear()

    def offer(self, message: Outgoing, *, retained: bool = False) -> None:
        if self.inbox is None and message.qos == 0:
            return
        if any(matches(one, message.topic) for one in self.filters):
            self.waiting.append(_Kept(message, retained))
            self.hand_over()

    def hand_over(self) -> None:
        """Fill the inbox as far as it takes; what is too much waits here, as on a socket."""
        while self.inbox is not None and self.waiting:
            reliable = self.waiting[0].message.qos == 1
            window_full = reliable and len(self.unacknowledged) >= self.inbox.capacity
            if self.inbox.full or window_full:
                return
            kept = self.waiting.popleft()
            self.delivered += 1
            if reliable:
                self.unacknowledged[self.delivered] = kept
            message = kept.message
            self.inbox.put(
                Delivery(
                    topic=message.topic,
                    payload=message.payload,
                    response_topic=message.response_topic,
                    correlation_data=message.correlation_data,
                    retained=kept.retained,
                    token=_Token(self, self.connection, self.delivered, message.qos),
                )
            )


class _Token(NamedTuple):
    """What identifies a delivery to the session that made it."""

    session: _Session
    connection: int
    number: int
    qos: int


class MemoryInbox:
    """See `Inbox` in the port."""

    def __init__(self, filters: Sequence[str], capacity: int) -> None:
        for one in filters:
            check_filter(one)
        if capacity < 1:
            raise ValueError(f"an inbox holds at least one message, not {capacity}")
        self.filters = tuple(filters)
        self.capacity = capacity
        self.session: _Session | None = None
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(capacity)

    def __len__(self) -> int:
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        """Whether it holds as many messages as it may."""
        return self._queue.full()

    def put(self, delivery: Delivery) -> None:
        """Take a message; only while it is not full."""
        self._queue.put_nowait(delivery)

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there; see the port."""
        received = [await self._queue.get()]
        while len(received) < limit and not self._queue.empty():
            received.append(self._queue.get_nowait())
        if self.session is not None:
            self.session.hand_over()
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; those of a lost connection are skipped; see the port.

        Raises:
            ValueError: not in the order of arrival, or for the second time: a real broker may
                close the connection over it.
        """
        for delivery in deliveries:
            token = delivery.token
            assert isinstance(token, _Token), "a delivery of this bus"
            session = token.session
            stale = session.inbox is not self or token.connection != session.connection
            if token.qos == 0 or stale:
                continue
            if token.number != next(iter(session.unacknowledged), None):
                raise ValueError(f"acknowledged out of order: {delivery.topic}")
            del session.unacknowledged[token.number]
        if self.session is not None:
            self.session.hand_over()

    def forget_unacknowledged(self) -> None:
        """Drop what an earlier connection delivered and the broker sends again (not QoS 0)."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for delivery in waiting:
            if isinstance(delivery.token, _Token) and delivery.token.qos == 0:
                self._queue.put_nowait(delivery)


class MemoryBus:
    """See `Bus` in the port; its connection can be taken away and given back.

    Args:
        broker: shared by everyone who shall meet.
        client_id: under which the broker keeps the inboxes' sessions.
        lasting: whether the broker keeps what arrives at QoS 1 while we are away.
        will: published by the broker when the connection is lost, but not when it is closed.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str = "memory",
        *,
        lasting: bool = True,
        will: Outgoing | None = None,
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._lasting = lasting
        self._will = will
        self._inboxes: list[MemoryInbox] = []
        self._sessions: list[_Session] = []
        self._reachable = asyncio.Event()
        self._reachable.set()
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._closing = asyncio.Event()
        self._state: ConnectionState = "disconnected"

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._state

    def inbox(self, filters: Sequence[str], *, capacity: int) -> MemoryInbox:
        """Subscribe to `filters`; see the port.

        Raises:
            ValueError: one is no topic filter, or the capacity is below one.
        """
        inbox = MemoryInbox(filters, capacity)
        self._inboxes.append(inbox)
        return inbox

    async def run(self) -> None:
        """Connect, and stay connected until cancelled or closed; see the port."""
        closing = asyncio.create_task(self._closing.wait(), name="memory-bus-closing")
        try:
            while not self._closing.is_set():
                self._set_state("connecting")
                if await _first(self._reachable, closing):
                    self._connect()
                    await _first(self._lost, closing)
        finally:
            closing.cancel()
            self._disconnect()
            self._set_state("closed")

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port.

        Raises:
            ValueError: the topic is empty or has a wildcard.
        """
        await self._up.wait()
        self._broker.publish(message)
        await asyncio.sleep(0)  # the others get their turn, as they do around real I/O

    async def close(self) -> None:
        """Disconnect cleanly, without the will; `run` returns."""
        self._closing.set()

    def lose_connection(self) -> None:
        """Cut the line, as an accident would: the will goes out, nothing comes back by itself."""
        was_up = self._up.is_set()
        self._reachable.clear()
        self._disconnect()
        self._lost.set()
        if was_up and self._will is not None:
            self._broker.publish(self._will)

    def restore_connection(self) -> None:
        """Mend the line; `run` connects again."""
        self._reachable.set()

    def _connect(self) -> None:
        self._lost.clear()
        for number, inbox in enumerate(self._inboxes):
            name = f"{self._client_id}-inbox-{number}"
            self._sessions.append(self._broker.attach(name, inbox, lasting=self._lasting))
        self._up.set()
        self._set_state("connected")

    def _disconnect(self) -> None:
        self._up.clear()
        for number, session in enumerate(self._sessions):
            name = f"{self._client_id}-inbox-{number}"
            self._broker.detach(name, session, lasting=self._lasting)
        self._sessions.clear()
        if self._state == "connected":
            self._set_state("connecting")

    def _set_state(self, state: ConnectionState) -> None:
        """The only place where the state changes."""
        self._state = state


async def _first(event: asyncio.Event, closing: asyncio.Task[bool]) -> bool:
    """Wait for the event or the closing; return whether it was the event."""
    waiting = asyncio.create_task(event.wait(), name="memory-bus-waiting")
    try:
        await asyncio.wait((waiting, closing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return event.is_set() and not closing.done()
