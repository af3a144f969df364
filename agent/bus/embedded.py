"""The agent's own broker, for when none is configured: rumqttd, by way of iotcore, on loopback.

It keeps nothing on disk, has no authentication, and is meant for one machine. It speaks MQTT 5
on its port and MQTT 3.1.1 on the next one: rumqttd has a listener for each. Configure a real
broker for anything that must survive a restart or cross a network.

What comes with MQTT 5 properties (a response topic, correlation data) must not reach a 3.1.1
client here: rumqttd 0.20 then serves no 3.1.1 client until it is started again.

A payload of up to `MAX_PAYLOAD_BYTES` arrives. Over a larger one rumqttd ends the connection that
sends it, without a reason, and goes on serving the others.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from agent.bus.address import BrokerAddress
from agent.bus.reconnect import Backoff
from schemas.errors import BusUnavailable, shown

HOST = "127.0.0.1"
MAX_PAYLOAD_BYTES = 16 << 20
"""Well beyond what the agent reads, so that it can answer what is too large by itself."""

MAX_IN_FLIGHT = 1_000
START_SECONDS = 15.0
STOP_SECONDS = 5.0
MOST_FAULTS = 10
_CHOSEN = (10_000, 32_000)  # among these it takes ports by itself

SEGMENT_BYTES = 32 << 20
SEGMENTS = 8
"""So much of each topic filter rumqttd keeps in memory, read or unread; beyond it, it drops the
oldest. 256 MiB are some 300,000 events that a reader may be behind."""

_CONFIG = f"""\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 1000
max_segment_size = {SEGMENT_BYTES}
max_segment_count = {SEGMENTS}
"""

_LISTENER = f"""
[{{version}}.1]
name = "{{version}}"
listen = "{HOST}:{{port}}"
next_connection_delay_ms = 1
[{{version}}.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_PAYLOAD_BYTES}
max_inflight_count = {MAX_IN_FLIGHT}
dynamic_filters = true
"""

_CHILD = Path(__file__).with_name("embedded_child.py")

log = structlog.get_logger(__name__)


class EmbeddedBroker:
    """A broker in a child process, which ends with this one however that ends.

    Use as an asynchronous context manager. Should the process end by itself, it is started
    again, with nothing of what it knew; its clients come back by themselves.

    Args:
        port: for MQTT 5; 3.1.1 has the next one. 0 takes two free ones.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._process: Process | None = None
        self._parts = AsyncExitStack()

    @property
    def address(self) -> BrokerAddress:
        """Where it listens for MQTT 5, once started."""
        return BrokerAddress(HOST, self._port)

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            BusUnavailable: a port is taken, or it did not start.
        """
        async with AsyncExitStack() as parts:
            folder = await asyncio.to_thread(
                tempfile.TemporaryDirectory, prefix="placewise-broker-"
            )
            parts.push_async_callback(asyncio.to_thread, folder.cleanup)
            config = await asyncio.to_thread(self._prepare, Path(folder.name))
            self._process = await self._start(config)
            parts.push_async_callback(self._stop)
            watch = asyncio.create_task(self._watch(config), name="embedded-broker")
            parts.push_async_callback(_cancelled, watch)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._parts.aclose()

    def _prepare(self, folder: Path) -> Path:
        """Choose ports; write the settings; return their file."""
        if self._port == 0:
            self._port = two_free_ports()
        elif not (is_free(self._port) and is_free(self._port + 1)):
            raise self._unavailable("taken")
        listeners = (("v5", self._port), ("v4", self._port + 1))
        config = folder / "rumqttd.toml"
        config.write_text(
            _CONFIG + "".join(_LISTENER.format(version=one, port=port) for one, port in listeners),
            encoding="utf-8",
        )
        return config

    async def _start(self, config: Path) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", str(_CHILD), str(config), "2"),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is for the agent, which ends the broker last
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                told = await process.stdout.readline()
        except TimeoutError:
            told = b""
        if told != b"listening\n":
            await _end(process)
            raise self._unavailable("the broker did not start")
        return process

    async def _watch(self, config: Path) -> None:
        """Start it again whenever it ends by itself. The task `embedded-broker`."""
        backoff = Backoff()
        while True:
            process = self._process
            assert process is not None
            assert process.stdout is not None
            told: set[str] = set()
            while line := await process.stdout.readline():
                fault = shown(line.strip())
                if fault not in told and len(told) < MOST_FAULTS:
                    told.add(fault)
                    log.error("embedded_broker_fault", fault=fault)
            code = await process.wait()
            pause = backoff.next_seconds()
            log.error("embedded_broker_ended", exit_code=code, restart_s=round(pause, 2))
            await asyncio.sleep(pause)
            try:
                self._process = await self._start(config)
            except BusUnavailable as error:
                log.error("embedded_broker_not_started", reason=str(error))  # noqa: TRY400

    async def _stop(self) -> None:
        if self._process is not None:
            await _end(self._process)
            self._process = None

    def _unavailable(self, problem: str) -> BusUnavailable:
        return BusUnavailable(
            f"the agent's own broker can't have {HOST}:{self._port} and {self._port + 1}: "
            f"{problem}; choose another embedded_port, or name a broker"
        )


async def _end(process: Process) -> None:
    """End a child by closing its standard input; by force if that does not help."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def is_free(port: int) -> bool:
    """Return whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # As the broker does: what a closed connection leaves behind does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True


def two_free_ports() -> int:
    """Return a port that is free, as is the next one.

    It is none of those that Linux gives to connections (32,768 and up): one of them might be taken
    before a server listens there, or while it starts again.
    """
    while True:
        port = random.randrange(*_CHOSEN)
        if is_free(port) and is_free(port + 1):
            return port
