"""The agent's own broker, for when none is configured: rumqttd, by way of iotcore, on loopback.

It keeps nothing on disk, has no authentication, and is meant for one machine. It speaks MQTT 5
on its port and MQTT 3.1.1 on the next one: rumqttd has a listener for each. Configure a real
broker for anything that must survive a restart or cross a network.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from iotcore import Broker

from agent.bus.address import BrokerAddress
from schemas.errors import BusUnavailable

HOST = "127.0.0.1"
MAX_PAYLOAD_BYTES = 16 << 20
"""Well beyond what the agent reads, so that it can answer what is too large by itself."""

MAX_IN_FLIGHT = 1_000
START_SECONDS = 15.0

_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 1000
max_segment_size = 104857600
max_segment_count = 10
{listeners}
"""

_LISTENER = """
[{version}.1]
name = "{version}"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = {max_payload}
max_inflight_count = {max_in_flight}
dynamic_filters = true
"""


class EmbeddedBroker:
    """A broker in a child process, which ends with this one however that ends.

    Use as an asynchronous context manager.

    Args:
        port: for MQTT 5; 3.1.1 has the next one. 0 takes two free ones.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._broker: Broker | None = None

    @property
    def address(self) -> BrokerAddress:
        """Where it listens for MQTT 5, once started."""
        return BrokerAddress(HOST, self._port)

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            BusUnavailable: a port is taken, or it did not start.
        """
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._broker is not None:
            await asyncio.to_thread(self._broker.stop)
            self._broker = None

    def _start(self) -> None:
        self._port = self._port or _two_free_ports()
        listeners = "".join(
            _LISTENER.format(
                version=version,
                host=HOST,
                port=port,
                max_payload=MAX_PAYLOAD_BYTES,
                max_in_flight=MAX_IN_FLIGHT,
            )
            for version, port in (("v5", self._port), ("v4", self._port + 1))
        )
        with tempfile.TemporaryDirectory(prefix="placewise-broker-") as folder:
            config = Path(folder) / "rumqttd.toml"
            config.write_text(_CONFIG.format(listeners=listeners), encoding="utf-8")
            broker = Broker(config_path=str(config))
            try:
                broker.start(timeout=START_SECONDS)
            except (OSError, RuntimeError) as error:
                raise BusUnavailable(
                    f"the agent's own broker can't start on {HOST}:{self._port} and "
                    f"{self._port + 1}: {error}; choose another embedded_port, or name a broker"
                ) from error
        self._broker = broker


def _two_free_ports() -> int:
    """Return a port that is free, as is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            try:
                second.bind((HOST, port + 1))
            except (OSError, OverflowError):
                continue
            return port
