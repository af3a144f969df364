from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.service import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A real datagram socket, as systemd listens on, and its NOTIFY_SOCKET."""
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@placewise-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0") if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def told(manager: socket.socket) -> str:
    return manager.recv(4_096).decode()


def test_the_life_of_a_service(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        assert notifier.enabled
        notifier.starting("replaying 10 of 20", seconds=1.5)
        assert told(listening) == "EXTEND_TIMEOUT_USEC=1500000\nSTATUS=replaying 10 of 20"
        notifier.ready("connected")
        assert told(listening) == "READY=1\nSTATUS=connected"
        notifier.status("learnt 7")
        assert told(listening) == "STATUS=learnt 7"
        notifier.alive()
        assert told(listening) == "WATCHDOG=1"
        notifier.stopping()
        assert told(listening) == "STOPPING=1"
    assert not notifier.enabled
    notifier.status("after the end")  # nobody is told, nothing fails


def test_status_cannot_smuggle_an_assignment(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        notifier.status("model x\nSTOPPING=1" + "y" * 1_000)
    message = told(listening)
    assert "\n" not in message
    assert len(message) < 200


def test_empty_status_sends_nothing(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        notifier.status("")
        notifier.alive()
    assert told(listening) == "WATCHDOG=1"


def test_watch_reports_at_half_the_limit(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
    healthy = True

    async def live() -> int:
        nonlocal healthy
        with Notifier(environment) as notifier:
            assert notifier.interval_seconds == 0.05
            watching = asyncio.create_task(notifier.watch(lambda: healthy), name="watch")
            await asyncio.sleep(0.28)
            healthy = False
            await asyncio.sleep(0.06)  # a report that was due while still healthy
            before = len(drained(listening))
            await asyncio.sleep(0.2)
            assert drained(listening) == []
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            return before

    assert 3 <= asyncio.run(live()) <= 7


def drained(listening: socket.socket) -> list[bytes]:
    messages = []
    listening.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(4_096))
    return messages


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_interval(environment: dict[str, str], expected: float | None) -> None:
    assert Notifier(environment).interval_seconds == expected


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier()
    assert not notifier.enabled
    notifier.ready("x")
    notifier.stopping()
    asyncio.run(asyncio.wait_for(notifier.watch(), 1))
    notifier.close()


def test_a_manager_that_went_away_does_no_harm(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
    with notifier:
        notifier.ready()


def test_a_manager_that_does_not_read_does_not_block(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)

        async def flood() -> None:
            with Notifier({"NOTIFY_SOCKET": name}) as notifier:
                for _ in range(10_000):
                    notifier.alive()

        asyncio.run(flood())
        assert drained(listening)


@pytest.mark.parametrize("address", ["relative", "/nowhere/notify", "vsock:2:1234"])
def test_a_wrong_address_is_said(address: str) -> None:
    with pytest.raises(OSError, match=r"NOTIFY_SOCKET|No such file"):
        Notifier({"NOTIFY_SOCKET": address})
