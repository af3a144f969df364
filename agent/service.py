"""What the service manager is told: systemd's notify protocol, on the standard library alone.

Outside systemd (`NOTIFY_SOCKET` is not set) every call does nothing.

Source: sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from schemas.errors import shown


class Notifier:
    """Tells systemd how the daemon is.

    Call `ready` once, when the daemon serves; `stopping` when it begins to stop; keep `watch`
    running in between. No call waits, and none raises because the manager does not listen:
    that the manager is away is no reason for the agent to fail.

    Args:
        environment: where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` stand; the
            process's own if None.

    Raises:
        OSError: `NOTIFY_SOCKET` is set, but nothing can be connected there.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._socket = _connected(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog_seconds = _watchdog_seconds(environment)

    @property
    def enabled(self) -> bool:
        """Whether there is a manager to tell."""
        return self._socket is not None

    @property
    def interval_seconds(self) -> float | None:
        """How often to report being alive: half of what systemd waits; None without watchdog."""
        return None if self._watchdog_seconds is None else self._watchdog_seconds / 2

    def ready(self, status: str = "") -> None:
        """Say that start-up is finished."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """Say in a few words how things are, for `systemctl status`."""
        self._send(*_status(text))

    def starting(self, text: str, seconds: float) -> None:
        """Say that start-up goes on, and ask for `seconds` from now to get further."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", *_status(text))

    def alive(self) -> None:
        """Report being alive, so that the watchdog stays calm."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> None:
        """Say that shutdown has begun."""
        self._send("STOPPING=1", *_status(status))

    async def watch(self, healthy: Callable[[], bool] = lambda: True) -> None:
        """Report being alive for as long as `healthy` says so, until cancelled.

        Runs on the event loop on purpose: a loop that is stuck reports nothing, and systemd
        restarts the agent. Returns at once where there is no watchdog.
        """
        if (interval := self.interval_seconds) is None or not self.enabled:
            return
        while True:
            if healthy():
                self.alive()
            await asyncio.sleep(interval)

    def close(self) -> None:
        """Release the socket. Further calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, *assignments: str) -> None:
        if self._socket is None or not assignments:
            return
        try:
            self._socket.send("\n".join(assignments).encode())
        except (BlockingIOError, ConnectionError):
            # The manager's queue is full, or it is being replaced: the next message will do.
            return


def _connected(address: str) -> socket.socket | None:
    if not address:
        return None
    if address[0] not in "/@":
        raise OSError(f"NOTIFY_SOCKET is neither a path nor abstract: {shown(address)}")
    # A leading "@" stands for the zero byte of Linux's abstract namespace.
    target = "\0" + address[1:] if address[0] == "@" else address
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    connection.setblocking(False)
    try:
        connection.connect(target)
    except OSError:
        connection.close()
        raise
    return connection


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return how long systemd waits for a sign of life, if it waits for this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    # A child inherits the variables, but systemd watches the process that WATCHDOG_PID names.
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6


def _status(text: str) -> list[str]:
    # A line feed would begin a further assignment.
    return [f"STATUS={shown(text)}"] if text else []
