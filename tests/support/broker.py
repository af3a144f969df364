"""Real brokers for tests: on loopback, in a process group of their own, surely ended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import pytest

from tests.support.agent import wait_until
from tests.support.ports import free_pair, free_port

Kind = Literal["mosquitto", "embedded"]
START_SECONDS = 15.0

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
persistence true
persistence_location {folder}/
autosave_interval 1800
log_dest none
"""


class Broker(Protocol):
    """A broker that tests can take away and bring back."""

    port: int
    old_port: int

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Mosquitto:
    """mosquitto, with persistence: what is queued survives a clean stop."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """Write its settings, with `more` of them behind."""
        self.port = self.old_port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(_MOSQUITTO.format(port=self.port, folder=folder) + more)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        command = [binary, "-c", str(self._config)]
        if os.getuid() == 0:
            # As root it would become a user who may not write into the test's folder.
            text = self._config.read_text()
            if "user " not in text:
                self._config.write_text(text + "user root\n")
        self._process = subprocess.Popen(command, start_new_session=True)
        wait_until(lambda: _listens(self.port), START_SECONDS, "mosquitto listens")

    def stop(self) -> None:
        if self._process is not None:
            self.freeze(False)
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def freeze(self, frozen: bool = True) -> None:
        """Have it stand still, its connections open: the broker that does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


class Embedded:
    """The agent's own broker, started from a process of the test's."""

    _CODE = """
import asyncio, sys
from agent.bus.embedded import EmbeddedBroker
async def main():
    async with EmbeddedBroker(int(sys.argv[1])):
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""

    def __init__(self) -> None:
        self.port = free_pair()
        self.old_port = self.port + 1
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import sys

        self._process = subprocess.Popen(
            [sys.executable, "-c", self._CODE, str(self.port)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(lambda: _listens(self.port), START_SECONDS, "the embedded broker listens")

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None


def mosquitto_missing() -> str | None:
    """Return why there is no mosquitto, or None."""
    found = shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()
    return None if found else "mosquitto is not installed"


@contextmanager
def a_mosquitto(folder: Path, more: str = "") -> Iterator[Mosquitto]:
    """Run mosquitto with `more` settings for the time of the block; skip where it is missing."""
    if missing := mosquitto_missing():
        pytest.skip(missing)
    broker = Mosquitto(folder, more)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def a_broker(kind: Kind, folder: Path) -> Iterator[Broker]:
    """Run a broker for the time of the block; skip the test where it is not installed."""
    if kind == "mosquitto" and (missing := mosquitto_missing()):
        pytest.skip(missing)
    broker: Broker = Mosquitto(folder) if kind == "mosquitto" else Embedded()
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
