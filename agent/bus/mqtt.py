"""The bus over MQTT, on aiomqtt.

Each inbox has a connection of its own, and what is published has another. MQTT wants messages
acknowledged in the order of their arrival on a connection; events and requests, which are
finished at different times, must not wait for each other.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt import MQTTException
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.bus.address import BrokerAddress
from agent.bus.port import ConnectionState, Delivery, Outgoing
from agent.bus.reconnect import Backoff
from schemas.errors import BusUnavailable, shown

KEEPALIVE_SECONDS = 30
CONNECT_SECONDS = 10.0
SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps what arrives for an agent that is away."""

PUBLISHES_IN_FLIGHT = 128
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it Nagle's algorithm holds each QoS 1 acknowledgement back for some 40 ms."""

_FAILURE = 128
"""From here on MQTT's reason codes mean that something did not work."""

_NOT_AUTHORISED = 135
_REFUSED_FOR_GOOD = frozenset({134, _NOT_AUTHORISED, 138, 140})
"""CONNACK reasons that trying again does not mend: bad credentials, not authorised, banned, bad
authentication method (MQTT 5, section 3.2.2.2)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """How to be on the bus.

    Attributes:
        client_id: prefix of the connections' client ids; a lasting session goes by it.
        lasting: whether the broker keeps what arrives while we are away.
        will: published by the broker when the publishing connection is lost.
        max_packet_bytes: larger messages are not delivered to us; None for any size.
    """

    client_id: str
    lasting: bool = True
    will: Outgoing | None = None
    max_packet_bytes: int | None = None


class _Token(NamedTuple):
    """What identifies a delivery to the connection that made it."""

    client: _InboxClient
    mid: int
    qos: int


class MqttInbox:
    """Messages of some filters, taken from the broker no faster than they are received here.

    While it is full, its connection's socket is not read. TCP then holds the broker back, also
    at QoS 0, for which MQTT has no back-pressure of its own. What a broker does with QoS 0
    messages that it can't hand over is its own affair: mosquitto drops them.
    """

    def __init__(self, filters: Sequence[str], capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"an inbox holds at least one message, not {capacity}")
        self.filters = tuple(filters)
        self.capacity = capacity
        self.client: _InboxClient | None = None
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(capacity)

    def __len__(self) -> int:
        return self._queue.qsize()

    @property
    def full(self) -> bool:
        """Whether it holds as many messages as it may."""
        return self._queue.full()

    def put(self, message: MQTTMessage, client: _InboxClient) -> None:
        """Take a message; only while it is not full."""
        token = _Token(client, message.mid, message.qos)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            # No topic of ours. Unacknowledged it would come back for ever.
            log.warning("topic_not_utf8")
            _acknowledge(token)
            return
        properties = message.properties
        self._queue.put_nowait(
            Delivery(
                topic=topic,
                payload=bytes(message.payload),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation_data=getattr(properties, "CorrelationData", None),
                retained=message.retain,
                token=token,
            )
        )

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there; see the port."""
        received = [await self._queue.get()]
        while len(received) < limit and not self._queue.empty():
            received.append(self._queue.get_nowait())
        if self.client is not None:
            self.client.resume()
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; those of a lost connection are skipped; see the port."""
        for delivery in deliveries:
            token = delivery.token
            assert isinstance(token, _Token), "a delivery of this bus"
            if token.client is self.client:
                _acknowledge(token)

    def forget_unacknowledged(self) -> None:
        """Drop what a lost connection delivered and the broker sends again (not QoS 0)."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for delivery in waiting:
            if isinstance(delivery.token, _Token) and delivery.token.qos == 0:
                self._queue.put_nowait(delivery)


class _Client(aiomqtt.Client):
    """One connection, used once, that leaves nothing behind however it ends.

    This and `_InboxClient` are the only places that reach into aiomqtt 2 and the paho client
    underneath; the version of aiomqtt is pinned for their sake, and the contract suite covers
    each method replaced here.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_thread = False
        self._abandoned = False
        self.lost = False

    @property
    def paho(self) -> PahoClient:
        """The paho client underneath."""
        return self._client

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Be connected for the time of the block.

        Raises:
            aiomqtt.MqttError: it could not connect.
        """
        try:
            async with self:
                # aiomqtt overlooks a connection that is lost in the moment it is made.
                if self.paho.socket() is None:
                    raise aiomqtt.MqttError("lost as soon as it was made")
                yield
        finally:
            self.lost = True
            self._shut()

    async def until_lost(self) -> None:
        """Wait for the end of the connection.

        Raises:
            aiomqtt.MqttError: it came; always.
        """
        async for _ in self.messages:  # none come here: an inbox takes them before that
            pass

    def _shut(self) -> None:
        """Close the socket where aiomqtt left it open: cancelled, timed out, or an odd error.

        Whoever waits for an acknowledgement is woken: aiomqtt would keep them for their time.
        """
        self._abandoned = True
        for confirmed in list(self._pending_publishes.values()):
            confirmed.set()
        if not self._in_thread and self.paho.socket() is not None:
            self.paho.disconnect()
            self.paho._sock_close()  # noqa: SLF001

    def _client_connect(self) -> None:
        """Connect, in a thread, which goes on when whoever waits for it is cancelled."""
        self._in_thread = True
        try:
            super()._client_connect()
        finally:
            self._in_thread = False
            if self._abandoned:
                self._loop.call_soon_threadsafe(self._shut)

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Note the end, also one that comes before the broker has answered.

        aiomqtt overlooks that one, and would wait for the answer all of its time.
        """
        if self._connected.cancelled():
            return
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("lost before the broker answered"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self,
        client: PahoClient,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        if reason_code.is_failure:
            log.warning("publish_refused", reason=shown(str(reason_code)))
        super()._on_publish(client, userdata, mid, reason_code, properties)


class _InboxClient(_Client):
    """A connection that puts what arrives into an inbox, and is not read while that is full."""

    def __init__(self, inbox: MqttInbox, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._inbox = inbox
        self._paused = False
        self.paho.manual_ack_set(True)

    def resume(self) -> None:
        """Read on, if the inbox has room again."""
        socket_ = self.paho.socket()
        if self._paused and not self._inbox.full:
            self._paused = False
            if socket_ is not None:
                self._loop.add_reader(socket_.fileno(), self._read)
                # TLS may hold decoded bytes of which the selector knows nothing.
                self._loop.call_soon(self._read)

    def _pause(self) -> None:
        self._paused = True
        socket_ = self.paho.socket()
        if socket_ is not None:
            self._loop.remove_reader(socket_.fileno())

    def _read(self) -> None:
        """Read packets while there are any and the inbox has room."""
        try:
            while not self._paused:
                self.paho.loop_read()
                socket_ = self.paho.socket()
                if not isinstance(socket_, ssl.SSLSocket) or not socket_.pending():
                    break
        except (OSError, ValueError, LookupError, struct.error, MQTTException) as error:
            # A broken line, or a packet that is none. paho leaves the socket as it was.
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_socket_open(self, client: PahoClient, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock.fileno(), self._read)

    def _on_connect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """Note whether the broker still knows us, before any message of this connection.

        If it does, it sends again what was not acknowledged. If not, what waits here is all
        that is left of it, and stays.
        """
        if flags.session_present:
            self._inbox.forget_unacknowledged()
        super()._on_connect(client, userdata, flags, reason_code, properties)
        if self._inbox.full:
            self._pause()

    def _on_message(self, client: PahoClient, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        self._inbox.put(message, self)
        if self._inbox.full:
            self._pause()

    async def _misc_loop(self) -> None:
        while True:
            if self._paused:
                # The broker's answer to our ping waits unread behind the messages. Pings go on,
                # so that the broker keeps us; a dead line shows when they can't be sent.
                self.paho._ping_t = 0.0  # noqa: SLF001
            if self.paho.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            await asyncio.sleep(1)


class MqttBus:
    """Messages in and out over a broker, through connections that come back by themselves."""

    def __init__(self, address: BrokerAddress, config: MqttConfig) -> None:
        self._address = address
        self._config = config
        self._inboxes: list[MqttInbox] = []
        self._publisher: _Client | None = None
        self._publisher_up = asyncio.Event()
        self._connected = 0
        self._closing = asyncio.Event()
        self._in_flight = asyncio.Semaphore(PUBLISHES_IN_FLIGHT)
        self._tls: ssl.SSLContext | None = None
        self._state: ConnectionState = "disconnected"

    @property
    def state(self) -> ConnectionState:
        """The state of the connections together: connected when all of them are."""
        return self._state

    def inbox(self, filters: Sequence[str], *, capacity: int) -> MqttInbox:
        """Subscribe to `filters`; see the port."""
        inbox = MqttInbox(filters, capacity)
        self._inboxes.append(inbox)
        return inbox

    async def run(self) -> None:
        """Connect, and stay connected until cancelled or closed; see the port."""
        if self._address.tls:
            # It reads the system's certificates from files.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        self._note(0)
        try:
            async with asyncio.TaskGroup() as connections:
                running = [
                    connections.create_task(
                        self._keep(self._publish_on, "publish"), name="bus-publish"
                    )
                ]
                for number, inbox in enumerate(self._inboxes):
                    name = f"inbox-{number}"
                    read = partial(self._read_into, inbox, name)
                    running.append(
                        connections.create_task(self._keep(read, name), name=f"bus-{name}")
                    )
                await self._closing.wait()
                for task in running:
                    task.cancel()
        except BaseExceptionGroup as failures:
            refusals, others = failures.split(BusUnavailable)
            if refusals is None or others is not None:
                raise
            # Each connection may have been refused, for the same reason; one of them says it.
            raise _first(refusals) from None
        finally:
            self._set_state("closed")

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port.

        A message whose acknowledgement was lost with the connection is published again: it
        may arrive twice, as QoS 1 allows. One that the broker refuses in its acknowledgement
        (no right to the topic, say) is logged and not tried again.

        Raises:
            ValueError: the topic is empty or has a wildcard.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.response_topic is not None:
            properties.ResponseTopic = message.response_topic
        if message.correlation_data is not None:
            properties.CorrelationData = message.correlation_data
        backoff = Backoff()
        async with self._in_flight:
            while True:
                await self._publisher_up.wait()
                client = self._publisher
                if client is None:
                    continue
                try:
                    await client.publish(
                        message.topic, message.payload, message.qos, message.retain, properties
                    )
                except aiomqtt.MqttError as error:
                    log.debug("publish_failed", topic=message.topic, reason=shown(str(error)))
                else:
                    if not client.lost:
                        return
                if client is self._publisher:
                    await asyncio.sleep(backoff.next_seconds())

    async def close(self) -> None:
        """Disconnect cleanly; `run` returns."""
        self._closing.set()

    async def _keep(
        self, connection: Callable[[Callable[[], None]], Awaitable[None]], name: str
    ) -> None:
        """Hold one connection, again and again."""
        backoff = Backoff()
        while True:
            reached = False

            def note_reached() -> None:
                nonlocal reached
                reached = True
                backoff.reset()
                self._note(+1)
                log.info("connected", connection=name, broker=str(self._address))

            try:
                await connection(note_reached)
            except MqttConnectError as error:
                if _reason(error) in _REFUSED_FOR_GOOD:
                    raise BusUnavailable(f"{self._address} refuses us: {error}") from error
                lost: Exception = error
            except aiomqtt.MqttError as error:
                lost = error
            finally:
                if reached:
                    self._note(-1)
            # A broker that stays away is worth one line, not one for each try.
            tell = log.warning if backoff.failures == 0 else log.debug
            pause = backoff.next_seconds()
            tell("disconnected", connection=name, reason=_why(lost), retry_s=round(pause, 2))
            await asyncio.sleep(pause)

    async def _publish_on(self, reached: Callable[[], None]) -> None:
        client = _Client(**self._options("publish", self._config.will))
        # aiomqtt warns at each publish beyond ten in flight; the semaphore bounds them instead.
        client.pending_calls_threshold = PUBLISHES_IN_FLIGHT + 1
        async with client.connected():
            self._publisher = client
            self._publisher_up.set()
            reached()
            try:
                await client.until_lost()
            finally:
                self._publisher_up.clear()
                self._publisher = None

    async def _read_into(self, inbox: MqttInbox, name: str, reached: Callable[[], None]) -> None:
        client = _InboxClient(inbox, **self._options(name, receive_maximum=inbox.capacity))
        inbox.client = client
        try:
            async with client.connected():
                # The answer may wait behind a full inbox, for as long as its reader takes.
                codes = await client.subscribe(
                    [(one, 1) for one in inbox.filters], timeout=math.inf
                )
                self._check_subscribed(inbox.filters, codes)
                reached()
                await client.until_lost()
        finally:
            inbox.client = None

    def _check_subscribed(self, filters: Sequence[str], codes: Sequence[int | ReasonCode]) -> None:
        for one, code in zip(filters, codes, strict=True):
            value = code if isinstance(code, int) else code.value
            if value == _NOT_AUTHORISED:
                raise BusUnavailable(f"{self._address} lets us not subscribe to {one}")
            if value >= _FAILURE:
                raise aiomqtt.MqttError(f"subscription to {one} refused: {code}")

    def _options(
        self, name: str, will: Outgoing | None = None, receive_maximum: int | None = None
    ) -> dict[str, Any]:
        """Return what a connection is made with."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if self._config.lasting:
            properties.SessionExpiryInterval = SESSION_SECONDS
        if receive_maximum is not None:
            properties.ReceiveMaximum = min(receive_maximum, 65_535)
        if self._config.max_packet_bytes is not None:
            properties.MaximumPacketSize = self._config.max_packet_bytes
        return {
            "hostname": self._address.host,
            "port": self._address.port,
            "username": self._address.username,
            "password": self._address.password,
            "identifier": f"{self._config.client_id}-{name}",
            "protocol": aiomqtt.ProtocolVersion.V5,
            "clean_start": not self._config.lasting,
            "properties": properties,
            "keepalive": KEEPALIVE_SECONDS,
            "timeout": CONNECT_SECONDS,
            "will": will and aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            "tls_context": self._tls,
            "socket_options": [NO_DELAY],
        }

    def _note(self, change: int) -> None:
        """Count the connections that are up."""
        self._connected += change
        everything = 1 + len(self._inboxes)
        self._set_state("connected" if self._connected == everything else "connecting")

    def _set_state(self, state: ConnectionState) -> None:
        """The only place where the state changes."""
        self._state = state


def _acknowledge(token: _Token) -> None:
    """Tell the broker. On a line that has just broken this does nothing: it sends again."""
    token.client.paho.ack(token.mid, token.qos)


def _first(refusals: BaseExceptionGroup[BusUnavailable]) -> BusUnavailable:
    first = refusals.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _why(error: Exception) -> str:
    """Return the reason of a loss, with what lies beneath it."""
    beneath = f": {error.__cause__}" if error.__cause__ is not None else ""
    return shown(f"{error}{beneath}")


def _reason(error: MqttConnectError) -> int:
    reason = error.rc
    return reason if isinstance(reason, int) else reason.value if reason is not None else 0
