"""The bus over MQTT.

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
from functools import partial
from typing import Literal

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.bus.address import BrokerAddress
from agent.bus.filters import is_topic
from agent.bus.inbox import MqttInbox
from agent.bus.link import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    QUIET,
    Link,
    NotSent,
    Refused,
    Welcome,
    publish_properties,
)
from agent.bus.port import ConnectionState, Outgoing
from agent.bus.reconnect import ConnectionLost, keep_connected
from agent.bus.tls import tls_context
from schemas.errors import BusUnavailable, shown

SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps what arrives for an agent that is away."""

MOST_RECEIVE_MAXIMUM = 65_535
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it Nagle's algorithm holds each QoS 1 acknowledgement back for some 40 ms."""

SUSPECT_LOSSES = 2
MOST_LOSSES = 5
"""Brokers end the connection over what they do not like: too large, say. A message over which it
was lost twice is from then on sent when no other such message is; lost over it five times, it is
taken for the cause. Otherwise it would come with every new connection, and end that too."""

_REFUSED_FOR_GOOD = {
    134: "wrong user name or password",
    135: "not authorised",
    138: "banned",
    140: "it wants another method of authentication",
    142: "another client has taken our client id: is there a second agent of this agent_id?",
}
"""Reasons that trying again does not mend (MQTT 5, section 2.4)."""

_UNSUPPORTED_VERSION = 132
_FAILURE = 128

log = structlog.get_logger(__name__)

MqttVersion = Literal["5", "3.1.1"]
Stands = Callable[[], None]


@dataclass(frozen=True, slots=True)
class MqttConfig:
    """How to be on the bus.

    Attributes:
        client_id: prefix of the connections' client ids; a lasting session goes by it.
        lasting: whether the broker keeps what arrives while we are away.
        will: published by the broker when the publishing connection is lost. What was last
            published, retained, on the same topic is published again on each new connection.
        birth: published on each new connection until something else was, on the will's topic.
        max_packet_bytes: larger messages are not delivered to us; None for any size.
        version: of MQTT. A broker that does not speak 5 is spoken to in 3.1.1. There, nothing
            published carries a response topic or correlation data.
    """

    client_id: str
    lasting: bool = True
    will: Outgoing | None = None
    birth: Outgoing | None = None
    max_packet_bytes: int | None = None
    version: MqttVersion = "5"


class MqttBus:
    """Messages in and out over a broker, through connections that come back by themselves.

    Make it, ask it for inboxes, then `run` it, once. All on one event loop.
    """

    def __init__(self, address: BrokerAddress, config: MqttConfig) -> None:
        self._address = address
        self._config = config
        self._version: MqttVersion = config.version
        self._inboxes: list[MqttInbox] = []
        self._tls: ssl.SSLContext | None = None
        self._publisher: Link | None = None
        self._publisher_up = asyncio.Event()
        self._last_words = config.birth
        self._connected: set[str] = set()
        self._closing = asyncio.Event()
        self._state: ConnectionState = "disconnected"
        self._refused = 0
        self._suspects = asyncio.Lock()

    def __str__(self) -> str:
        """Return where the broker is."""
        return str(self._address)

    @property
    def state(self) -> ConnectionState:
        """The state of the connections together: connected when all of them are."""
        return self._state

    @property
    def refused(self) -> int:
        """How many messages the broker would not take, each of which was logged."""
        return self._refused

    def inbox(self, filters: Sequence[str], *, capacity: int) -> MqttInbox:
        """Subscribe to `filters`; see the port."""
        inbox = MqttInbox(filters, capacity)
        self._inboxes.append(inbox)
        return inbox

    async def run(self) -> None:
        """Connect, and stay connected until cancelled or closed; see the port."""
        if self._address.tls:
            self._tls = await asyncio.to_thread(tls_context)
        self._settle("connecting")
        try:
            async with asyncio.TaskGroup() as connections:
                holds: dict[str, Callable[[Stands], Awaitable[None]]] = {
                    f"inbox-{number}": partial(self._hold_inbox, inbox, f"inbox-{number}")
                    for number, inbox in enumerate(self._inboxes)
                }
                holds["publish"] = self._hold_publisher
                held = [
                    connections.create_task(self._keep(name, hold), name=f"bus-{name}")
                    for name, hold in holds.items()
                ]
                await self._closing.wait()
                for task in held:
                    task.cancel()
        except BaseExceptionGroup as group:
            # One of them is told of in full; the others were cancelled, or failed alike.
            unavailable, others = group.split(BusUnavailable)
            if unavailable is None or others is not None:
                raise
            raise _first(unavailable) from None
        finally:
            self._settle("closed")
            self._publisher_up.set()  # whoever waits for it learns that it will not come

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port.

        A message whose acknowledgement was lost with the connection is published again: it
        may arrive twice, as QoS 1 allows.
        """
        will = self._config.will
        if will is not None and message.retain and message.topic == will.topic:
            self._last_words = message
        if not is_topic(message.topic):
            self._refuse(message, "not a topic to publish to")
            return
        for losses in range(MOST_LOSSES):
            try:
                if losses < SUSPECT_LOSSES:
                    await self._publish_once(message)
                else:
                    async with self._suspects:
                        await self._publish_once(message)
            except Refused as refusal:
                self._refuse(message, str(refusal))
                return
            except aiomqtt.MqttError:
                continue
            else:
                return
        self._refuse(message, f"the connection was lost over it {MOST_LOSSES} times")

    async def _publish_once(self, message: Outgoing) -> None:
        """Send it over one connection.

        Raises:
            Refused: the broker does not take it.
            aiomqtt.MqttError: the connection was lost over it.
        """
        properties = self._properties_of(message)
        while True:
            link = await self._connected_publisher()
            try:
                await link.publish(message, properties)
            except NotSent:
                if self._publisher is link:  # and not yet the one that came after it
                    self._set_publisher(None)
            else:
                return

    async def close(self) -> None:
        """Disconnect cleanly; `run` returns."""
        self._closing.set()

    async def _connected_publisher(self) -> Link:
        """Wait for the connection that publishes.

        Raises:
            BusUnavailable: the bus was closed.
        """
        while self._publisher is None:
            if self._state == "closed":
                raise BusUnavailable("the bus is closed")
            await self._publisher_up.wait()
        return self._publisher

    def _set_publisher(self, link: Link | None) -> None:
        self._publisher = link
        if link is not None:
            self._publisher_up.set()
        else:
            self._publisher_up.clear()

    def _properties_of(self, message: Outgoing) -> Properties | None:
        has_any = message.response_topic is not None or message.correlation_data is not None
        return publish_properties(message) if has_any and self._version == "5" else None

    def _refuse(self, message: Outgoing, reason: str) -> None:
        self._refused += 1
        log.error(
            "publish_refused",
            topic=shown(message.topic),
            bytes=len(message.payload),
            reason=shown(reason),
        )

    async def _keep(self, name: str, hold: Callable[[Stands], Awaitable[None]]) -> None:
        """Hold one connection, again and again."""

        def lost(error: ConnectionLost, pause: float) -> None:
            log.warning(
                "disconnected", connection=name, reason=shown(str(error)), retry_s=round(pause, 2)
            )

        await keep_connected(partial(self._once, name, hold), lost)

    async def _once(
        self, name: str, hold: Callable[[Stands], Awaitable[None]], stands: Stands
    ) -> None:
        """Hold one connection; tell what trying again may mend from what it does not."""

        def connected() -> None:
            stands()
            self._connected.add(name)
            self._settle_by_connections()
            log.info("connected", connection=name, broker=str(self._address))

        try:
            await hold(connected)
        except (MqttConnectError, aiomqtt.MqttCodeError) as error:
            code = error.rc if isinstance(error.rc, int) else getattr(error.rc, "value", 0)
            if code == _UNSUPPORTED_VERSION and self._version == "5":
                self._version = "3.1.1"
                raise ConnectionLost("the broker has no MQTT 5; falling back to 3.1.1") from error
            if code in _REFUSED_FOR_GOOD:
                raise BusUnavailable(
                    f"{self._address} refuses us: {_REFUSED_FOR_GOOD[code]}"
                ) from error
            raise ConnectionLost(str(error)) from error
        except aiomqtt.MqttError as error:
            raise ConnectionLost(str(error)) from error
        finally:
            self._connected.discard(name)
            self._settle_by_connections()

    async def _hold_publisher(self, connected: Stands) -> None:
        client = self._client("publish", will=self._config.will)
        async with Link(client, is_expected=self._closing.is_set) as link:
            if (words := self._last_words) is not None:
                try:
                    await link.publish(words, self._properties_of(words))
                except Refused as refusal:
                    self._refuse(words, str(refusal))
            self._set_publisher(link)
            connected()
            try:
                await link.until_lost()
            finally:
                self._set_publisher(None)

    async def _hold_inbox(self, inbox: MqttInbox, name: str, connected: Stands) -> None:
        def welcomed(welcome: Welcome) -> None:
            # A session that the broker lost will not bring again what we hold.
            if welcome.session_present:
                inbox.forget()

        client = self._client(name, lasting=self._config.lasting, receive_maximum=inbox.capacity)
        link = Link(client, inbox.put, welcomed)
        inbox.connect(link)
        try:
            async with link:
                reasons = await link.subscribe(inbox.filters)
                refused = [
                    one
                    for one, reason in zip(inbox.filters, reasons, strict=False)
                    if reason >= _FAILURE
                ]
                if refused:
                    raise BusUnavailable(f"{self._address} does not let us read {refused}")
                inbox.allow_pause()
                connected()
                await link.until_lost()
        finally:
            inbox.disconnect()

    def _client(
        self,
        name: str,
        *,
        will: Outgoing | None = None,
        lasting: bool = False,
        receive_maximum: int | None = None,
    ) -> aiomqtt.Client:
        address = self._address
        is_5 = self._version == "5"
        properties: Properties | None = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            if lasting:
                properties.SessionExpiryInterval = SESSION_SECONDS
            if receive_maximum is not None:
                properties.ReceiveMaximum = min(receive_maximum, MOST_RECEIVE_MAXIMUM)
            if self._config.max_packet_bytes is not None:
                properties.MaximumPacketSize = self._config.max_packet_bytes
        return aiomqtt.Client(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            identifier=f"{self._config.client_id}-{name}",
            protocol=aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311,
            clean_start=not lasting if is_5 else MQTT_CLEAN_START_FIRST_ONLY,
            clean_session=None if is_5 else not lasting,
            properties=properties,
            keepalive=KEEPALIVE_SECONDS,
            timeout=CONNECT_SECONDS,
            will=None
            if will is None
            else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
            tls_context=self._tls,
            socket_options=[NO_DELAY],
            logger=QUIET,
        )

    def _settle_by_connections(self) -> None:
        everything = len(self._connected) == 1 + len(self._inboxes)
        self._settle("connected" if everything else "connecting")

    def _settle(self, state: ConnectionState) -> None:
        """Set the state. Nothing else does."""
        self._state = state


def _first(group: BaseExceptionGroup[BusUnavailable]) -> BusUnavailable:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
