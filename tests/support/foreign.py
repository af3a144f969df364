"""A foreign client: plain paho, none of our own code between it and the broker."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT_SECONDS = 20.0


class Foreign:
    """A connected MQTT 5 (or 3.1.1) client; use it in a `with`."""

    def __init__(self, port: int, *, version: int = mqtt.MQTTv5) -> None:
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=uuid.uuid4().hex, protocol=version
        )
        self._client.max_inflight_messages_set(200)
        self._port = port
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self._messages.put(message)
        self._client.reconnect_delay_set(1, 1)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._connected.wait(WAIT_SECONDS), "not connected"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # The pair of sockets that wakes its thread is closed by nothing else but garbage
        # collection, which may come to the sockets first.
        self._client.reinitialise()

    def subscribe(self, topic: str) -> None:
        """Subscribe, and wait until the broker says so."""
        self._subscribed.clear()
        self._client.subscribe(topic, qos=1)
        assert self._subscribed.wait(WAIT_SECONDS), "not subscribed"

    def publish(
        self, topic: str, payload: bytes | dict[str, Any], properties: Properties | None = None
    ) -> mqtt.MQTTMessageInfo:
        """Publish with QoS 1; the returned info tells when the broker has it."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self._client.publish(topic, data, qos=1, properties=properties)

    def received(self, seconds: float = WAIT_SECONDS) -> mqtt.MQTTMessage:
        """Return the next message that came, waiting for it."""
        return self._messages.get(timeout=seconds)

    def nothing_received(self, seconds: float) -> bool:
        """Return whether nothing comes within `seconds`."""
        try:
            self._messages.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def ask(
        self, topic: str, payload: bytes | dict[str, Any], seconds: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """Send a request with response topic and correlation data; return the reply's body."""
        replies = f"foreign/{uuid.uuid4().hex}"
        correlation = uuid.uuid4().bytes
        self.subscribe(replies)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = replies
        properties.CorrelationData = correlation
        self.publish(topic, payload, properties)
        message = self.received(seconds)
        assert message.topic == replies
        assert message.properties is not None
        assert message.properties.CorrelationData == correlation
        body = json.loads(message.payload)
        assert isinstance(body, dict)
        return body
