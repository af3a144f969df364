"""The bus over MQTT.

Each inbox has a connection of its own, and what is published has another. MQTT wants messages
acknowledged in the order of their arrival on a connection; events and requests, which are
finished at different times, must not wait for each other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.bus.address import BrokerAddress
from agent.bus.inbox import MqttInbox
from agent.bus.link import (
    CONNECT_SECONDS,
    KEEPALIVE_SECONDS,
    QUIET,
    Link,
    Refused,
    Welcome,
    publish_properties,
)
from agent.bus.port import ConnectionState, Outgoing
from agent.bus.reconnect import ConnectionLost, keep_connected
from schemas.errors import BusUnavailable, shown

SESSION_SECONDS = 7 * 24 * 3600
"""How long the broker keeps what arrives for an agent that is away."""

MOST_RECEIVE_MAXIMUM = 65_535
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it Nagle's algorithm holds each QoS 1 acknowledgement back for some 40 ms."""

MOST_LOSSES = 5
"""A message over which the connection was lost this often is taken for the cause: brokers end the
connection on what is too large for them, and not all say beforehand what is."""

_REFUSED_FOR_GOOD = {
    4: "wrong user name or password",  # 3.1.1
    5: "not authorised",  # 3.1.1
    134: "wrong user name or password",
    135: "not authorised",
    138: "banned",
    140: "it wants another method of authentication",
    142: "another client has taken our client id: is there a second agent of this agent_id?",
}
"""Reasons that trying again does not mend (MQTT 5, section 2.4)."""

_UNSUPPORTED_VERSION = frozenset({1, 132})
_FAILURE = 128

log = structlog.get_logger(__name__)

MqttVersion = Literal["5", "3.1.1"]


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
        self._publisher_changed = asyncio.Condition()
        self._last_words = config.birth
        self._connected: set[str] = set()
        self._closing = asyncio.Event()
        self._state: ConnectionState = "disconnected"
        self._refused = 0

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
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        self._settle("connecting")
        try:
            async with asyncio.TaskGroup() as connections:
                held = [connections.create_task(self._keep("publish", self._hold_publisher))]
                for number, inbox in enumerate(self._inboxes):
                    hold = partial(self._hold_inbox, inbox, f"inbox-{number}")
                    held.append(connections.create_task(self._keep(f"inbox-{number}", hold)))
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
            async with self._publisher_changed:
                self._publisher_changed.notify_all()

    async def publish(self, message: Outgoing) -> None:
        """Publish, waiting for the connection if need be; see the port.

        A message whose acknowledgement was lost with the connection is published again: it
        may arrive twice, as QoS 1 allows.
        """
        will = self._config.will
        if will is not None and message.retain and message.topic == will.topic:
            self._last_words = message
        losses = 0
        while losses < MOST_LOSSES:
            link = await self._connected_publisher()
            try:
                await link.publish(message, self._properties_of(message))
            except Refused as refusal:
                self._refuse(message, str(refusal))
                return
            except aiomqtt.MqttError:
                losses += 1
            else:
                return
        self._refuse(message, f"the connection was lost over it {losses} times")

    async def close(self) -> None:
        """Disconnect cleanly; `run` returns."""
        self._closing.set()

    async def _connected_publisher(self) -> Link:
        """Wait for the connection that publishes.

        Raises:
            BusUnavailable: the bus was closed.
        """
        async with self._publisher_changed:
            while self._publisher is None:
                if self._state == "closed":
                    raise BusUnavailable("the bus is closed")
                await self._publisher_changed.wait()
            return self._publisher
