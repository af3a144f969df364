"""The agent's own broker: that it starts, ends with its parent, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from agent.bus import embedded as module
from agent.bus.address import BrokerAddress
from agent.bus.embedded import HOST, EmbeddedBroker
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Outgoing
from schemas.errors import BusUnavailable
from tests.support.agent import wait_until
from tests.support.venues import (
    numbered,
    numbers,
    run,
    running,
    take,
    until,
    until_connected,
)

pytestmark = pytest.mark.integration

PARENT = """
import asyncio, sys
from agent.bus.embedded import EmbeddedBroker
async def main():
    async with EmbeddedBroker(0) as broker:
        print(broker.address.port, broker.pid, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def bus_on(address: BrokerAddress, client_id: str = "one", **settings: object) -> MqttBus:
    return MqttBus(address, MqttConfig(client_id, **settings))  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    try:
        # A zombie is dead: whoever adopted it has only not looked yet.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def listening_sockets() -> list[tuple[str, str]]:
    """Return address and port, in the kernel's hexadecimal, of what listens on IPv4."""
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    pairs = [one[1].split(":") for one in fields if one[3] == "0A"]
    return [(address, port) for address, port in pairs]


def test_starts_and_ends() -> None:
    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            pid, port = broker.pid, broker.address.port
            assert pid is not None
            bus = bus_on(broker.address)
            inbox = bus.inbox(["a"], capacity=1)
            async with running(bus):
                await bus.publish(numbered("a", 7))
                assert numbers(await take(inbox, 1)) == [7]
        assert broker.pid is None
        assert not lives(pid)
        assert not listens(port)
        assert not listens(port + 1)

    run(work())


def test_on_uvloop_too() -> None:
    async def work() -> None:
        async with EmbeddedBroker(0) as broker, running(bus_on(broker.address)):
            pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def test_listens_on_loopback_alone() -> None:
    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            wanted = {f"{broker.address.port + more:04X}" for more in (0, 1)}
            listening = listening_sockets()
            assert sorted(port for _, port in listening if port in wanted) == sorted(wanted)
            assert {address for address, port in listening if port in wanted} == {"0100007F"}

    run(work())


@pytest.mark.parametrize("which", [0, 1])
def test_a_port_that_is_taken(which: int) -> None:
    async def work() -> None:
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            port = taken.getsockname()[1] - which
            with pytest.raises(BusUnavailable, match=f"{port}.*embedded_port"):
                async with EmbeddedBroker(port):
                    pass

    run(work())


def test_a_broker_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(3)")
    monkeypatch.setattr(module, "_CHILD", child)

    async def work() -> None:
        with pytest.raises(BusUnavailable, match="did not start"):
            async with EmbeddedBroker(0):
                pass

    run(work())


def test_a_broker_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("import sys; sys.stdin.read()")
    monkeypatch.setattr(module, "_CHILD", child)
    monkeypatch.setattr(module, "START_SECONDS", 0.3)

    async def work() -> None:
        with pytest.raises(BusUnavailable, match="did not start"):
            async with EmbeddedBroker(0):
                pass

    run(work())


def test_a_broker_that_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; print('listening', flush=True); time.sleep(60)")
    monkeypatch.setattr(module, "_CHILD", child)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)

    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            pid = broker.pid
        assert pid is not None
        assert not lives(pid)

    run(work())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ends_with_its_parent_however_that_ends(how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        assert parent.stdout is not None
        port, pid = map(int, parent.stdout.readline().split())
        assert listens(port)
        parent.send_signal(how)
        # Its port may be another test's by now: what counts is that the process is gone.
        wait_until(lambda: not lives(pid), 5, "the broker ended")
    finally:
        parent.kill()
        parent.communicate(timeout=5)


def test_signals_for_everybody_are_not_for_it() -> None:
    """Ctrl-C, or a service manager: the agent still says goodbye over the broker."""

    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            pid = broker.pid
            assert pid is not None
            assert os.getpgid(pid) != os.getpgid(0)
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, one)
            async with running(bus_on(broker.address)):
                assert broker.pid == pid

    run(work())


def test_comes_back_after_a_crash_and_so_do_its_clients() -> None:
    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            bus = bus_on(broker.address)
            inbox = bus.inbox(["a"], capacity=1)
            first = broker.pid
            assert first is not None
            async with running(bus):
                with capture_logs() as logs:
                    os.kill(first, signal.SIGKILL)
                    await until(lambda: bus.state != "connected")
                    await until_connected(bus)
                assert broker.pid != first
                await bus.publish(numbered("a", 7))
                assert numbers(await take(inbox, 1)) == [7]
            assert "embedded_broker_ended" in {one["event"] for one in logs}

    run(work())


def test_a_3_1_1_client_that_is_sent_properties_harms_nobody_else() -> None:
    """A limit of rumqttd 0.20, told loudly: 3.1.1 is over until it is started again."""

    async def work() -> None:
        async with EmbeddedBroker(0) as broker:
            old_address = BrokerAddress(HOST, broker.address.port + 1)
            old, new = bus_on(old_address, "old", version="3.1.1"), bus_on(broker.address, "new")
            old.inbox(["a"], capacity=1)
            inbox = new.inbox(["b"], capacity=1)
            pid = broker.pid
            async with running(old, new):
                with capture_logs() as logs:
                    await new.publish(Outgoing("a", b"1", correlation_data=b"c"))
                    await until(lambda: any(x["event"] == "embedded_broker_fault" for x in logs))
                await new.publish(numbered("b", 2))
                assert numbers(await take(inbox, 1)) == [2]
                async with running(bus_on(broker.address, "newer")):
                    pass
            assert broker.pid == pid

    run(work())


def test_what_it_accepts_goes_without_nagles_delay() -> None:
    from agent.bus.embedded_child import _undelay_one

    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        assert _undelay_one(os.dup(listening.fileno()))
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                assert not _undelay_one(os.dup(accepted.fileno()))
    reading, writing = os.pipe()
    assert not _undelay_one(reading)
    os.close(writing)


def test_its_port_can_be_chosen() -> None:
    async def work() -> None:
        port = module.two_free_ports()
        async with EmbeddedBroker(port) as broker:
            assert broker.address == BrokerAddress(HOST, port)

    run(work())
