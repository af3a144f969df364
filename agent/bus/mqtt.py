"""The bus over MQTT, on aiomqtt.

Each inbox has a connection of its own, and what is published has another. MQTT wants messages
acknowledged in the order of their arrival on a connection; events and requests, which are
finished at different times, must not wait for each other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

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

_REFUSED_FOR_GOOD = frozenset({134, 135, 138, 140})
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

    client: aiomqtt.Client
    mid: int
    qos: int


class MqttInbox:
    """Messages of some filters, taken from the broker no faster than they are received here."""

    def __init__(self, filters: Sequence[str], capacity: int) -> None:
        self.filters = tuple(filters)
        self.capacity = capacity
        self.client: aiomqtt.Client | None = None
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(capacity)

    async def put(self, message: aiomqtt.Message, client: aiomqtt.Client) -> None:
        """Queue a message, waiting while the queue is full."""
        properties = message.properties
        payload = message.payload
        await self._queue.put(
            Delivery(
                topic=str(message.topic),
                payload=bytes(payload) if isinstance(payload, (bytes, bytearray)) else b"",
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation_data=getattr(properties, "CorrelationData", None),
                retained=message.retain,
                token=_Token(client, message.mid, message.qos),
            )
        )

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for at least one message; return what is there; see the port."""
        received = [await self._queue.get()]
        while len(received) < limit and not self._queue.empty():
            received.append(self._queue.get_nowait())
        return received

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; those of a lost connection are skipped; see the port."""
        for delivery in deliveries:
            token = delivery.token
            assert isinstance(token, _Token), "a delivery of this bus"
            if token.client is self.client:
                _paho(token.client).ack(token.mid, token.qos)

    def forget_unacknowledged(self) -> None:
        """Drop what a lost connection delivered and the broker sends again (not QoS 0)."""
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for delivery in waiting:
            if isinstance(delivery.token, _Token) and delivery.token.qos == 0:
                self._queue.put_nowait(delivery)


class MqttBus:
    """Messages in and out over a broker, through connections that come back by themselves."""

    def __init__(self, address: BrokerAddress, config: MqttConfig) -> None:
        self._address = address
        self._config = config
        self._inboxes: list[MqttInbox] = []
        self._publisher: aiomqtt.Client | None = None
        self._publisher_up = asyncio.Event()
        self._connected = 0
        self._closing = asyncio.Event()
        self._in_flight = asyncio.Semaphore(PUBLISHES_IN_FLIGHT)
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

                    async def read(
                        reached: Callable[[], None], inbox: MqttInbox = inbox, name: str = name
                    ) -> None:
                        await self._read_into(inbox, name, reached)

                    running.append(
                        connections.create_task(self._keep(read, name), name=f"bus-{name}")
                    )
                await self._closing.wait()
                for task in running:
                    task.cancel()
        finally:
            self._state = "closed"

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port.

        A message whose acknowledgement was lost with the connection is published again: it
        may arrive twice, as QoS 1 allows.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if message.response_topic is not None:
            properties.ResponseTopic = message.response_topic
        if message.correlation_data is not None:
            properties.CorrelationData = message.correlation_data
        while True:
            await self._publisher_up.wait()
            client = self._publisher
            if client is None:
                continue
            try:
                async with self._in_flight:
                    await client.publish(
                        message.topic, message.payload, message.qos, message.retain, properties
                    )
            except aiomqtt.MqttError as error:
                log.debug("publish_failed", topic=message.topic, reason=shown(str(error)))
                if client is self._publisher:
                    await asyncio.sleep(Backoff().next_seconds())
            else:
                return

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
            pause = backoff.next_seconds()
            log.warning(
                "disconnected", connection=name, reason=shown(str(lost)), retry_s=round(pause, 2)
            )
            await asyncio.sleep(pause)

    async def _publish_on(self, reached: Callable[[], None]) -> None:
        async with self._client("publish", self._config.will) as client:
            self._publisher = client
            self._publisher_up.set()
            reached()
            try:
                async for _ in client.messages:  # none come; it ends when the connection does
                    pass
            finally:
                self._publisher_up.clear()
                self._publisher = None

    async def _read_into(self, inbox: MqttInbox, name: str, reached: Callable[[], None]) -> None:
        client = self._client(name, receive_maximum=inbox.capacity)
        _paho(client).manual_ack_set(True)
        inbox.forget_unacknowledged()
        async with client:
            inbox.client = client
            try:
                await client.subscribe([(one, 1) for one in inbox.filters])
                reached()
                async for message in client.messages:
                    await inbox.put(message, client)
            finally:
                inbox.client = None

    def _client(
        self, name: str, will: Outgoing | None = None, receive_maximum: int | None = None
    ) -> aiomqtt.Client:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        if self._config.lasting:
            properties.SessionExpiryInterval = SESSION_SECONDS
        if receive_maximum is not None:
            properties.ReceiveMaximum = min(receive_maximum, 65_535)
        if self._config.max_packet_bytes is not None:
            properties.MaximumPacketSize = self._config.max_packet_bytes
        client = aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=f"{self._config.client_id}-{name}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=not self._config.lasting,
            properties=properties,
            keepalive=KEEPALIVE_SECONDS,
            timeout=CONNECT_SECONDS,
            will=None
            if will is None
            else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            tls_context=ssl.create_default_context() if self._address.tls else None,
            socket_options=[NO_DELAY],
        )
        # aiomqtt warns at each publish beyond ten in flight; the semaphore bounds them instead.
        client.pending_calls_threshold = PUBLISHES_IN_FLIGHT + 1
        return client

    def _note(self, change: int) -> None:
        """The only place where the state changes."""
        self._connected += change
        everything = 1 + len(self._inboxes)
        self._state = "connected" if self._connected == everything else "connecting"


def _paho(client: aiomqtt.Client) -> PahoClient:
    """Return the paho client underneath: aiomqtt 2 has no manual acknowledgement of its own."""
    return client._client  # noqa: SLF001


def _reason(error: MqttConnectError) -> int:
    reason = error.rc
    return reason if isinstance(reason, int) else reason.value if reason is not None else 0
