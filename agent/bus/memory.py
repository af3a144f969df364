"""The bus in memory: a broker and its clients within one event loop.

For tests, and for whatever wants the agent without a network. It behaves as `agent.bus.mqtt` does
with a real broker; one contract suite holds all of them to that.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from agent.bus.filters import is_filter, is_topic, matches
from agent.bus.port import ConnectionState, Delivery, Outgoing
from schemas.errors import BusUnavailable, shown

log = structlog.get_logger(__name__)


class _Token(NamedTuple):
    """Which delivery it was, of which connection."""

    connection: int
    number: int


@dataclass(slots=True)
class _Session:
    """What the broker knows of one inbox, for as long as its session lasts.

    Attributes:
        filters: what it subscribed to.
        capacity: how many deliveries may be with the client, received or not.
        queue: what it has not been given yet.
        given: what it was given and the broker has not heard back of, in that order.
        done: which of these are acknowledged, but later than one that is not.
        passing: messages of QoS 0 that it was given and has not received.
        give: hands a delivery over; None while the client is away.
    """

    filters: tuple[str, ...]
    capacity: int
    queue: deque[Outgoing] = field(default_factory=deque)
    given: dict[_Token, Outgoing] = field(default_factory=dict)
    done: set[_Token] = field(default_factory=set)
    passing: set[_Token] = field(default_factory=set)
    give: Callable[[Delivery], None] | None = None
    connection: int = 0
    numbers: int = 0

    def flow(self) -> None:
        """Give as much as may be with the client."""
        while self.give is not None and self.queue and self._with_client() < self.capacity:
            message = self.queue.popleft()
            self.numbers += 1
            token = _Token(self.connection, self.numbers)
            if message.qos:
                self.given[token] = message
            else:
                self.passing.add(token)
            self.give(
                Delivery(
                    message.topic,
                    message.payload,
                    message.response_topic,
                    message.correlation_data,
                    retained=message.retain,
                    token=token,
                )
            )

    def received(self, token: _Token) -> None:
        """Forget it if it was of QoS 0."""
        if token in self.passing:
            self.passing.remove(token)
            self.flow()

    def settle(self, token: _Token) -> None:
        """Forget what was acknowledged, in order; a token of a lost connection is skipped."""
        if token not in self.given:
            return
        self.done.add(token)
        while self.given and (first := next(iter(self.given))) in self.done:
            self.done.remove(first)
            del self.given[first]
        self.flow()

    def lose_connection(self) -> None:
        """Take back what was given and not acknowledged, to be given again (not QoS 0)."""
        self.give = None
        self.queue.extendleft(reversed(self.given.values()))
        self.given.clear()
        self.done.clear()
        self.passing.clear()

    def _with_client(self) -> int:
        return len(self.given) + len(self.passing)


class MemoryBroker:
    """Routes messages between the buses made on it. Runs from the start."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, Outgoing] = {}
        self._buses: set[MemoryBus] = set()
        self._running = True

    @property
    def is_running(self) -> bool:
        """Whether it takes connections."""
        return self._running

    def stop(self) -> None:
        """Go away. Sessions and retained messages are kept, as on disk."""
        self._running = False
        for bus in list(self._buses):
            self.cut(bus)

    def start(self) -> None:
        """Come back."""
        self._running = True
        for bus in self._buses:
            bus.notice()

    def cut(self, bus: MemoryBus) -> None:
        """Break the connection of a bus, which it had no part in. Its will is published."""
        if bus.state == "connected":
            bus.lose_connection()
            if bus.will is not None:
                self.route(bus.will)

    def enter(self, bus: MemoryBus) -> None:
        """Tell a bus from now on when the broker comes and goes."""
        self._buses.add(bus)

    def leave(self, bus: MemoryBus) -> None:
        """Tell a bus no more."""
        self._buses.discard(bus)

    def session(self, name: str, inbox: MemoryInbox, *, lasting: bool) -> _Session:
        """Return the session of an inbox, as it was if it lasts; then its retained messages."""
        session = self._sessions.get(name)
        if session is None or not lasting:
            session = self._sessions[name] = _Session(inbox.filters, inbox.capacity)
        session.filters, session.capacity = inbox.filters, inbox.capacity
        for message in self._retained.values():
            if any(matches(one, message.topic) for one in session.filters):
                session.queue.append(message)
        return session

    def end_session(self, name: str) -> None:
        """Forget the session of an inbox that is gone."""
        self._sessions.pop(name, None)

    def route(self, message: Outgoing) -> None:
        """Give a message to whoever subscribed to it, and keep it if it is to be retained."""
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        live = replace(message, retain=False)
        for session in self._sessions.values():
            reachable = message.qos or session.give is not None
            if reachable and any(matches(one, message.topic) for one in session.filters):
                session.queue.append(live)
                session.flow()


class MemoryInbox:
    """Messages of some filters; see the port."""

    def __init__(self, filters: Sequence[str], capacity: int) -> None:
        self.filters = tuple(filters)
        self.capacity = capacity
        self.session: _Session | None = None
        self._waiting: deque[Delivery] = deque()
        self._arrival = asyncio.Event()

    def give(self, delivery: Delivery) -> None:
        """Take a delivery from the broker."""
        self._waiting.append(delivery)
        self._arrival.set()

    def lose_connection(self, *, forget: bool) -> None:
        """Part from the session; drop what it will give again."""
        if self.session is None:
            return
        if forget:
            given = self.session.given
            self._waiting = deque(one for one in self._waiting if _token(one) not in given)
        self.session.lose_connection()
        self.session = None

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there; see the port."""
        while not self._waiting:
            self._arrival.clear()
            await self._arrival.wait()
        received = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        if (session := self.session) is not None:
            for delivery in received:
                session.received(_token(delivery))
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; those of a lost connection are skipped; see the port."""
        for delivery in deliveries:
            if self.session is not None:
                self.session.settle(_token(delivery))


class MemoryBus:
    """A client of a `MemoryBroker`; see the port.

    Args:
        broker: where it connects.
        client_id: a lasting session goes by it; one of its own if left out.
        lasting: whether the broker keeps what arrives while we are away.
        will: published by the broker when the connection is lost.
        birth: published on each new connection until something else was, on the will's topic.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str | None = None,
        *,
        lasting: bool = True,
        will: Outgoing | None = None,
        birth: Outgoing | None = None,
    ) -> None:
        self.will = will
        self._broker = broker
        self._client_id = client_id or uuid.uuid4().hex
        self._lasting = lasting
        self._last_words = birth
        self._inboxes: list[MemoryInbox] = []
        self._state: ConnectionState = "disconnected"
        self._changed = asyncio.Event()
        self._closing = False
        self._connections = 0

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._state

    def inbox(self, filters: Sequence[str], *, capacity: int) -> MemoryInbox:
        """Subscribe to `filters`; see the port."""
        assert all(is_filter(one) for one in filters), filters
        inbox = MemoryInbox(filters, capacity)
        self._inboxes.append(inbox)
        return inbox

    async def run(self) -> None:
        """Connect, and stay connected until cancelled or closed; see the port."""
        self._broker.enter(self)
        self._settle("connecting")
        try:
            while not self._closing:
                if self._state != "connected" and self._broker.is_running:
                    self._connect()
                await self._next_change()
        finally:
            self._broker.leave(self)
            self.lose_connection()
            if not self._lasting:
                for number in range(len(self._inboxes)):
                    self._broker.end_session(self._session_name(number))
            self._settle("closed")

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port."""
        if self.will is not None and message.retain and message.topic == self.will.topic:
            self._last_words = message
        while self._state != "connected":
            if self._state == "closed":
                raise BusUnavailable("the bus is closed")
            await self._next_change()
        if is_topic(message.topic):
            self._broker.route(message)
        else:
            log.error("publish_refused", topic=shown(message.topic), reason="no topic")
        await asyncio.sleep(0)  # over a network, others have their turn meanwhile

    async def close(self) -> None:
        """Disconnect cleanly; `run` returns."""
        self._closing = True
        self.notice()

    def notice(self) -> None:
        """Look again whether the broker is there."""
        self._changed.set()

    def lose_connection(self) -> None:
        """Be disconnected, by the broker or by ourselves."""
        if self._state == "connected":
            self._settle("connecting")
        for inbox in self._inboxes:
            inbox.lose_connection(forget=self._lasting)

    def _connect(self) -> None:
        self._connections += 1
        self._settle("connected")
        if self._last_words is not None:
            self._broker.route(self._last_words)
        for number, inbox in enumerate(self._inboxes):
            name = self._session_name(number)
            session = inbox.session = self._broker.session(name, inbox, lasting=self._lasting)
            session.connection = self._connections
            session.give = inbox.give
            session.flow()

    def _session_name(self, number: int) -> str:
        return f"{self._client_id}-inbox-{number}"

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _settle(self, state: ConnectionState) -> None:
        """Set the state. Nothing else does."""
        self._state = state
        self.notice()


def _token(delivery: Delivery) -> _Token:
    token = delivery.token
    assert isinstance(token, _Token), "a delivery of this bus"
    return token
