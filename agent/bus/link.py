"""One MQTT connection: aiomqtt makes it and ends it, messages pass through paho underneath.

aiomqtt 2 acknowledges on arrival, keeps what arrives in a queue without bound, and spends a task
and a timer on each message in either direction. paho, which it stands on, has hooks for all of it;
this module sets them, and is the only one that knows of either package's inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import aiomqtt
from paho.mqtt import MQTTException
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.bus.port import Outgoing

if TYPE_CHECKING:
    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

PUBLISHES_IN_FLIGHT = 128
CONNECT_SECONDS = 10.0
TCP_CONNECT_SECONDS = 5.0
GOODBYE_SECONDS = 2.0
"""How long a clean end may take before the socket is closed without one."""

ANSWER_SECONDS = 0.05
KEEPALIVE_SECONDS = 30
TRICKLE_SECONDS = KEEPALIVE_SECONDS / 3
"""While reading is paused one packet is read this often: paho takes a connection for dead when
nothing arrives on it for twice the keep-alive."""

READS_AT_ONCE = 32
"""Packets read before the event loop gets its turn."""

_BROKEN = (OSError, ValueError, IndexError, struct.error, MQTTException)
"""What paho raises over a packet that breaks the protocol; the stream is then of no use."""

QUIET = logging.getLogger("placewise.paho")
QUIET.setLevel(logging.CRITICAL + 1)
"""paho reports each lost connection as an error; ours are told once, with the reason."""


T = TypeVar("T")


class Refused(Exception):
    """The broker does not take this message, and would not when asked again."""


class NotSent(aiomqtt.MqttError):
    """There was no connection to send it over."""


class Welcome(NamedTuple):
    """What the broker said when it let us in."""

    session_present: bool
    receive_maximum: int
    max_packet_bytes: int | None


class Link:
    """A connection, for one time: `async with` it, then wait in `until_lost`.

    Everything here is called on the event loop.

    Args:
        client: neither connected yet nor used by anybody else.
        on_message: takes each message at once; may call `pause`. Reading goes on until it does.
        on_welcome: called when the broker has let us in, before the first message.
        is_expected: asked at the end whether it was meant to end. If not, there is no goodbye, so
            that the broker publishes our will.
    """

    def __init__(
        self,
        client: aiomqtt.Client,
        on_message: Callable[[MQTTMessage], None] = lambda _: None,
        on_welcome: Callable[[Welcome], None] = lambda _: None,
        is_expected: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._paho: PahoClient = client._client  # noqa: SLF001 - aiomqtt has no way around it
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._on_message = on_message
        self._on_welcome = on_welcome
        self._is_expected = is_expected
        self._arrived = 0
        self._paused = False
        self._trickle: asyncio.TimerHandle | None = None
        self._answered = False
        self._lost: asyncio.Future[aiomqtt.MqttError] = self._loop.create_future()
        self._abandoned = False
        self._flush_due = False
        self._writer_added = False
        self._broken: Exception | None = None
        self._gate = asyncio.Semaphore(PUBLISHES_IN_FLIGHT)
        self._max_packet_bytes: int | None = None
        self._confirmations: dict[int, asyncio.Future[ReasonCode]] = {}
        self._hook()

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            aiomqtt.MqttError: the broker can't be reached, or refuses us.
        """
        connected = False
        try:
            await self._unless_lost(self._client.__aenter__(), "bus-connect")
            connected = True
        finally:
            if not connected:
                self._abandoned = True
                # Not at once: the thread that connects may just have handed us the socket.
                self._loop.call_soon(self._abandon)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_trickle()
        if not self._lost.done() and self._is_expected():
            self._paho.disconnect()
            await asyncio.wait({self._lost}, timeout=GOODBYE_SECONDS)
        if not self._lost.done():
            self._abandon()

    async def until_lost(self) -> None:
        """Wait for as long as the connection lasts.

        Raises:
            aiomqtt.MqttError: it is lost; says why.
        """
        await asyncio.wait({self._lost})
        raise self._lost.result()

    async def subscribe(self, filters: Sequence[str]) -> list[int]:
        """Subscribe with QoS 1; return the broker's reason for each filter (128 and up: no).

        Raises:
            aiomqtt.MqttError: no answer.
        """
        wanted = [(one, 1) for one in filters]
        reasons = await self._unless_lost(self._client.subscribe(wanted), "bus-subscribe")
        return [one if isinstance(one, int) else one.value for one in reasons]

    async def publish(self, message: Outgoing, properties: Properties | None) -> None:
        """Publish; return when the broker has it (QoS 0: when it is on its way).

        Raises:
            Refused: the broker does not take it, or it can't be sent at all.
            NotSent: the connection was lost before this call.
            aiomqtt.MqttError: the connection was lost before the broker said that it has it.
        """
        largest = self._max_packet_bytes
        if largest is not None and (size := _packet_bytes(message)) > largest:
            raise Refused(f"{size} bytes; the broker takes {largest}")
        async with self._gate:
            if self._lost.done():
                # Whoever waited at the gate: what paho takes now, it would keep for ever.
                raise NotSent("the connection is lost")
            try:
                info = self._paho.publish(
                    message.topic, message.payload, message.qos, message.retain, properties
                )
            except ValueError as error:  # the topic is none to publish to
                raise Refused(str(error)) from None
            if info.rc != 0:
                raise NotSent(f"not published: {info.rc!r}")
            confirmation = self._confirmations[info.mid] = self._loop.create_future()
            try:
                reason = await confirmation
            finally:
                del self._confirmations[info.mid]
        if reason.is_failure:
            raise Refused(str(reason))

    def acknowledge(self, mid: int) -> None:
        """Acknowledge a message of QoS 1."""
        self._paho.ack(mid, 1)

    def pause(self) -> None:
        """Read no more from the socket: TCP then makes the broker wait."""
        sock = self._paho.socket()
        if self._paused or sock is None:
            return
        self._paused = True
        self._loop.remove_reader(sock.fileno())
        self._trickle = self._loop.call_later(TRICKLE_SECONDS, self._read_one)

    def resume(self) -> None:
        """Read again."""
        if not self._paused:
            return
        self._paused = False
        self._stop_trickle()
        sock = self._paho.socket()
        if sock is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            # TLS may hold what select() no longer tells of.
            self._loop.call_soon(self._read)

    def socket(self) -> socket.socket | None:
        """Return the socket, or None when there is none; to look at, in tests."""
        found = self._paho.socket()
        return found if isinstance(found, socket.socket) else None

    def _hook(self) -> None:
        """Put ourselves between paho and aiomqtt, which keeps what makes and ends connections."""
        paho = self._paho
        paho.connect_timeout = TCP_CONNECT_SECONDS
        paho.max_inflight_messages_set(PUBLISHES_IN_FLIGHT)
        paho.manual_ack_set(True)
        paho.on_message = self._take
        paho.on_publish = self._confirm
        inner_connect: Any = paho.on_connect
        inner_open: Any = paho.on_socket_open

        def answered(
            client: PahoClient,
            data: Any,
            flags: ConnectFlags,
            reason: ReasonCode,
            properties: Properties | None,
        ) -> None:
            self._answered = True
            if not reason.is_failure:
                self._welcome(flags, properties)
            inner_connect(client, data, flags, reason, properties)

        def opened(client: PahoClient, data: Any, sock: Any) -> None:
            # In the thread that connects. Nobody waits any more: the socket must not linger.
            if self._abandoned:
                sock.close()
            else:
                inner_open(client, data, sock)
                self._loop.call_soon_threadsafe(self._start_reading)

        paho.on_connect = answered
        paho.on_disconnect = self._note_loss
        paho.on_socket_open = opened
        paho.on_socket_register_write = self._write_wanted
        paho.on_socket_unregister_write = self._write_done

    def _welcome(self, flags: ConnectFlags, properties: Properties | None) -> None:
        receive_maximum = getattr(properties, "ReceiveMaximum", PUBLISHES_IN_FLIGHT)
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        # paho 2 does not heed the broker's receive maximum.
        self._gate = asyncio.Semaphore(min(PUBLISHES_IN_FLIGHT, receive_maximum))
        self._on_welcome(Welcome(flags.session_present, receive_maximum, self._max_packet_bytes))

    def _note_loss(
        self,
        _client: PahoClient,
        _data: Any,
        _flags: Any,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        # In the place of aiomqtt's, which forgets a loss that comes right after the welcome.
        if self._lost.done():
            return
        if self._broken is not None:
            self._lost.set_result(aiomqtt.MqttError(f"broken packet: {self._broken}"))
        elif not self._answered:
            self._lost.set_result(aiomqtt.MqttError("the broker hung up before it let us in"))
        else:
            self._lost.set_result(aiomqtt.MqttCodeError(reason, "connection lost"))
        self._fail_confirmations()

    async def _unless_lost(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do `work`, but do not wait for an answer that can't come any more."""
        doing = asyncio.create_task(work, name=name)
        either: set[asyncio.Future[Any]] = {doing, self._lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                # An answer may have come with the loss, and not have got to `doing` yet.
                await asyncio.wait({doing}, timeout=ANSWER_SECONDS)
            if not doing.done():
                raise self._lost.result()
            return await doing
        finally:
            doing.cancel()
            # It may have failed just after it was given up: nobody asks for that any more.
            doing.add_done_callback(_heard)

    def _start_reading(self) -> None:
        """Read by our own callback, in the place of aiomqtt's."""
        sock = self._paho.socket()
        if sock is not None and not self._paused:
            self._loop.add_reader(sock.fileno(), self._read)

    def _take(self, _client: PahoClient, _data: Any, message: MQTTMessage) -> None:
        self._arrived += 1
        self._on_message(message)

    def _confirm(
        self, _client: PahoClient, _data: Any, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(reason)

    def _read(self) -> None:
        """Read until a packet was no message, reading was paused, or others must have their turn.

        paho reads one packet at a time and does not tell whether there was one.
        """
        for _ in range(READS_AT_ONCE):
            if self._paused:
                return
            before = self._arrived
            self._read_packet()
            if self._arrived == before:
                break
        else:
            self._loop.call_soon(self._read)

    def _read_one(self) -> None:
        self._trickle = self._loop.call_later(TRICKLE_SECONDS, self._read_one)
        self._read_packet()

    def _read_packet(self) -> None:
        try:
            self._paho.loop_read()
            while _holds_decrypted(self._paho.socket()) and not self._paused:
                self._paho.loop_read()
        except _BROKEN as error:
            self._broken = error
            self._abandon()

    def _write_wanted(self, _client: PahoClient, _data: Any, _sock: Any) -> None:
        """Write in the next turn of the loop: all of what this turn had to send."""
        if self._flush_due:
            return
        self._flush_due = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._flush)
        else:  # the thread that connects
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._paho.loop_write()
        sock = self._paho.socket()
        if sock is not None and self._paho.want_write() and not self._writer_added:
            self._writer_added = True
            self._loop.add_writer(sock.fileno(), self._paho.loop_write)

    def _write_done(self, _client: PahoClient, _data: Any, sock: Any) -> None:
        if self._writer_added and sock.fileno() >= 0:
            self._writer_added = False
            self._loop.remove_writer(sock.fileno())

    def _stop_trickle(self) -> None:
        if self._trickle is not None:
            self._trickle.cancel()
            self._trickle = None

    def _fail_confirmations(self) -> None:
        for confirmation in self._confirmations.values():
            if not confirmation.done():
                confirmation.set_exception(self._lost.result())

    def _abandon(self) -> None:
        """End it without a goodbye: the broker publishes our will."""
        self._abandoned = True
        sock = self.socket()
        if sock is None:
            return
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        # paho closes what it fails to write to, and tells aiomqtt.
        self._paho.on_socket_register_write = _ignore
        self._paho.disconnect()
        self._paho.loop_write()


def publish_properties(message: Outgoing) -> Properties:
    """Return what MQTT 5 sends beside the payload."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    if message.correlation_data is not None:
        properties.CorrelationData = message.correlation_data
    return properties


_HEADERS_BYTES = 32
"""What surrounds topic, properties and payload, at most."""


def _packet_bytes(message: Outgoing) -> int:
    """Return how large the packet is, at most."""
    texts = len(message.topic.encode()) + len((message.response_topic or "").encode())
    return _HEADERS_BYTES + texts + len(message.payload) + len(message.correlation_data or b"")


def _heard(task: asyncio.Task[Any]) -> None:
    """Take note of how a task ended."""
    if not task.cancelled():
        task.exception()


def _ignore(*_: Any) -> None:
    """Do nothing."""


def _holds_decrypted(sock: Any) -> bool:
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0
