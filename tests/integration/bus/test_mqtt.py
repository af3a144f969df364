"""What the MQTT bus does with real brokers, beyond the contract of every bus."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.bus import inbox as inbox_module
from agent.bus import link as link_module
from agent.bus import mqtt as mqtt_module
from agent.bus.address import BrokerAddress
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Outgoing
from schemas.errors import BusUnavailable
from tests.support.broker import Kind, a_broker, a_mosquitto
from tests.support.ports import free_port
from tests.support.venues import (
    Proxy,
    numbered,
    numbers,
    run,
    running,
    take,
    until,
    until_connected,
)

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"


def bus_on(port: int, client_id: str = "one", **settings: Any) -> MqttBus:
    return MqttBus(BrokerAddress(HOST, port), MqttConfig(client_id, **settings))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def go(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(50):
            await work()

    run(limited())


@pytest.fixture(params=["mosquitto", "embedded"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


CONNECT, PUBLISH, SUBSCRIBE, DISCONNECT = 1, 3, 8, 14
CONNACK = b"\x20\x03\x00\x00\x00"
Answer = bytes | Callable[[bytes], bytes]


@asynccontextmanager
async def a_fake_broker(
    answers: dict[int, Answer], connections: list[int] | None = None
) -> AsyncIterator[int]:
    """Answer each kind of packet as told, the others with silence; give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connections is not None:
            connections.append(len(connections))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while header := await reader.read(1):
                body = await reader.readexactly((await reader.readexactly(1))[0])
                answer = answers.get(header[0] >> 4, b"")
                writer.write(answer if isinstance(answer, bytes) else answer(body))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def sockets_of(bus: MqttBus) -> list[socket.socket]:
    links = [bus._publisher, *(one._source for one in bus._inboxes)]
    return [one.socket() for one in links]  # type: ignore[union-attr]


def test_every_socket_goes_without_nagles_delay(kind: Kind, tmp_path: Path) -> None:
    with a_broker(kind, tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            bus.inbox(["a"], capacity=1)
            async with running(bus):
                found = sockets_of(bus)
                assert len(found) == 2
                for one in found:
                    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

        go(work)


def test_many_publishes_at_once_are_not_warned_about(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with a_broker(kind, tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            inbox = bus.inbox(["a"], capacity=1_000)
            async with running(bus), asyncio.TaskGroup() as sending:
                for number in range(1_000):
                    sending.create_task(bus.publish(numbered("a", number)))
                assert numbers(await take(inbox, 1_000)) == list(range(1_000))

        go(work)
    assert not caplog.records


def test_broker_stopped_and_started_under_load(tmp_path: Path) -> None:
    """Everything that either side was told to be safe arrives; what was acknowledged stays so."""
    count = 3_000
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            reader, writer = bus_on(broker.port, "reader"), bus_on(broker.port, "writer")
            inbox = reader.inbox(["events"], capacity=100)
            seen: list[int] = []

            async def read() -> None:
                while len(set(seen)) < count:
                    some = await inbox.receive(32)
                    await asyncio.sleep(0.002)
                    seen.extend(numbers(some))
                    await inbox.acknowledge(some)

            async def write() -> None:
                gate = asyncio.Semaphore(50)

                async def one(number: int) -> None:
                    await writer.publish(numbered("events", number, 500))
                    gate.release()

                async with asyncio.TaskGroup() as sending:
                    for number in range(count):
                        await gate.acquire()
                        sending.create_task(one(number))
                        written.append(number)
                        await asyncio.sleep(0.001)

            written: list[int] = []
            async with running(reader, writer):
                reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
                for load in (500, 1_500):
                    await until(lambda: len(written) > load)  # noqa: B023
                    await asyncio.to_thread(broker.stop)
                    assert not writing.done()
                    await asyncio.sleep(1.0)
                    await asyncio.to_thread(broker.start)
                await writing
                await reading
            assert set(seen) == set(range(count))
            # Twice is only what was under way when the broker went.
            assert len(seen) - count <= 2 * (100 + 50)

        go(work)


def test_what_waits_for_a_full_connection_that_is_lost_goes_over_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as may be in flight are, and others wait behind them, when the broker hangs up."""
    monkeypatch.setattr("agent.bus.reconnect.FIRST_SECONDS", 0.01)
    waiting = 72
    count = link_module.PUBLISHES_IN_FLIGHT + waiting

    async def work() -> None:
        published: list[list[bytes]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken: list[bytes] = []
            published.append(taken)
            is_first = len(published) == 1
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while header := await reader.read(1):
                    body = await reader.readexactly((await reader.readexactly(1))[0])
                    if header[0] >> 4 == CONNECT:
                        writer.write(CONNACK)
                    if header[0] >> 4 != PUBLISH:
                        continue
                    taken.append(body[-8:])
                    if not is_first:
                        writer.write(b"\x40\x02" + body[3:5])  # behind the topic, of one letter
                    elif len(taken) == link_module.PUBLISHES_IN_FLIGHT:
                        break
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            bus = bus_on(server.sockets[0].getsockname()[1])
            async with running(bus):
                async with asyncio.timeout(20), asyncio.TaskGroup() as sending:
                    for number in range(count):
                        sending.create_task(bus.publish(numbered("a", number)))
                await bus.publish(numbered("a", count))
        first, second = published
        assert len(first) == link_module.PUBLISHES_IN_FLIGHT
        assert sorted(map(int, second)) == list(range(count + 1))

    go(work)


def test_who_failed_on_a_lost_connection_leaves_the_next_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody learns of the loss only when the next connection stands already."""
    monkeypatch.setattr("agent.bus.reconnect.FIRST_SECONDS", 0.01)
    with a_broker("embedded", tmp_path) as broker:

        async def work() -> None:
            async with Proxy(broker.port) as proxy:
                bus = bus_on(proxy.port)
                async with running(bus):
                    old = bus._publisher
                    assert old is not None
                    for _ in range(link_module.PUBLISHES_IN_FLIGHT):
                        await old._gate.acquire()
                    late = asyncio.create_task(bus.publish(numbered("a", 1)))
                    await until(lambda: old._gate._waiters)
                    proxy.cut()
                    await until(lambda: bus._publisher not in (None, old))
                    new = bus._publisher
                    old._gate.release()
                    async with asyncio.timeout(10):
                        await late
                        await bus.publish(numbered("a", 2))
                    assert bus._publisher is new

        go(work)


def test_an_end_that_nobody_asked_for_lets_the_broker_tell_of_it(
    kind: Kind, tmp_path: Path
) -> None:
    with a_broker(kind, tmp_path) as broker:

        async def work() -> None:
            watcher = bus_on(broker.port, "watcher", lasting=False)
            inbox = watcher.inbox(["state", "mark"], capacity=10)
            async with running(watcher):
                for number, is_closed in enumerate([True, False, True]):
                    will = numbered("state", number, retain=True)
                    bus = bus_on(broker.port, f"ending-{number}", will=will)
                    bus.inbox(["jobs"], capacity=10)
                    task = asyncio.create_task(bus.run())
                    await until_connected(bus)
                    if is_closed:
                        await bus.close()
                        await task
                        # Had there been a will, it would come with what is retained, or before.
                        await watcher.publish(numbered("mark", 10 + number))
                        assert numbers(await take(inbox, 1)) == [10 + number]
                        continue
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert numbers(await take(inbox, 1)) == [number]
                late = bus_on(broker.port, "late", lasting=False)
                retained = late.inbox(["state"], capacity=10)
                async with running(late):
                    assert numbers(await take(retained, 1)) == [1]

        go(work)


def test_wrong_credentials_end_it(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path, _users(tmp_path)) as broker:
        for password in ("wrong", None):
            address = BrokerAddress(HOST, broker.port, username="agent", password=password)

            async def refused(address: BrokerAddress = address) -> None:
                bus = MqttBus(address, MqttConfig("one"))
                bus.inbox(["a"], capacity=1)
                with pytest.raises(BusUnavailable, match=r"not authorised|password") as caught:
                    await bus.run()
                assert "wrong" not in str(caught.value).replace("wrong user name", "")
                assert bus.state == "closed"

            go(refused)


def test_what_is_not_ours_to_read_or_to_publish(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path, _users(tmp_path)) as broker:
        address = BrokerAddress(HOST, broker.port, username="agent", password="secret")

        async def work() -> None:
            bus = MqttBus(address, MqttConfig("one"))
            inbox = bus.inbox(["ours/#"], capacity=1)
            async with running(bus):
                await bus.publish(numbered("theirs/a", 1))
                assert bus.refused == 1
                await bus.publish(numbered("ours/a", 2))
                assert numbers(await take(inbox, 1)) == [2]
            assert bus.refused == 1

        go(work)


def test_a_filter_that_is_not_ours_to_read_ends_it() -> None:
    async def work() -> None:
        async with a_fake_broker(
            {CONNECT: CONNACK, SUBSCRIBE: b"\x90\x05\x00\x01\x00\x01\x87"}
        ) as port:
            bus = bus_on(port)
            bus.inbox(["ours/#", "theirs/#"], capacity=1)
            with pytest.raises(BusUnavailable, match="theirs") as caught:
                await bus.run()
            assert "ours" not in str(caught.value)

    go(work)


def test_what_is_larger_than_the_broker_takes_is_given_up(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path, "max_packet_size 2000\n") as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            inbox = bus.inbox(["a"], capacity=1)
            async with running(bus):
                await bus.publish(Outgoing("a", b"." * 2_000))
                assert bus.refused == 1
                await bus.publish(numbered("a", 7, 1_900))
                assert numbers(await take(inbox, 1)) == [7]

        go(work)


def test_over_what_the_embedded_broker_hangs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say beforehand what is too large, nor afterwards that it was."""
    monkeypatch.setattr("agent.bus.reconnect.FIRST_SECONDS", 0.01)
    with a_broker("embedded", tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            inbox = bus.inbox(["a"], capacity=100)
            async with running(bus), asyncio.TaskGroup() as sending:
                sending.create_task(bus.publish(Outgoing("large", b"." * ((16 << 20) + 1))))
                for number in range(20):
                    sending.create_task(bus.publish(numbered("a", number)))
                found: set[int] = set()
                while len(found) < 20:
                    found |= set(numbers(await take(inbox, 1)))
            assert bus.refused == 1
            assert found == set(range(20))

        go(work)


def test_what_is_larger_than_we_take_is_not_delivered(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port, max_packet_bytes=1_000)
            inbox = bus.inbox(["a"], capacity=5)
            async with running(bus):
                await bus.publish(numbered("a", 1, 1_000))
                await bus.publish(numbered("a", 2, 900))
                assert numbers(await take(inbox, 1)) == [2]

        go(work)


def test_mqtt_3_1_1_when_told(kind: Kind, tmp_path: Path) -> None:
    with a_broker(kind, tmp_path) as broker:

        async def work() -> None:
            old, new = bus_on(broker.old_port, "old", version="3.1.1"), bus_on(broker.port, "new")
            inbox = old.inbox(["a"], capacity=5)
            async with running(old, new):
                assert old._version == "3.1.1"
                for number in range(50):
                    await new.publish(numbered("a", number))
                assert numbers(await take(inbox, 50)) == list(range(50))
                await old.publish(
                    Outgoing("a", b"00000051", response_topic="b", correlation_data=b"c")
                )
                assert numbers(await take(inbox, 1)) == [51]

        go(work)


def test_a_slow_reader_of_mqtt_3_1_1_holds_the_rest_back(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            old = bus_on(broker.port, "old", version="3.1.1")
            inbox = old.inbox(["a"], capacity=5)
            async with running(old):
                for number in range(500):
                    await old.publish(numbered("a", number))
                assert len(inbox._waiting) == 5
                assert numbers(await take(inbox, 500)) == list(range(500))

        go(work)


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"])
def test_falls_back_where_there_is_no_mqtt_5(refusal: bytes) -> None:
    """Both kinds of refusal: in the words of 3.1.1, and in those of 5."""

    def welcome(body: bytes) -> bytes:
        return b"\x20\x02\x00\x00" if body[6] == 4 else refusal

    def confirm(body: bytes) -> bytes:
        topic_bytes = int.from_bytes(body[:2], "big")
        return b"\x40\x02" + body[2 + topic_bytes : 4 + topic_bytes]

    async def work() -> None:
        async with a_fake_broker({CONNECT: welcome, PUBLISH: confirm}) as port:
            bus = bus_on(port)
            async with running(bus):
                assert bus._version == "3.1.1"
                await bus.publish(Outgoing("a", b"1", response_topic="b"))

    go(work)


def test_properties_do_not_reach_old_clients(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            old, new = bus_on(broker.port, "old", version="3.1.1"), bus_on(broker.port, "new")
            inbox = old.inbox(["a"], capacity=5)
            async with running(old, new):
                await new.publish(Outgoing("a", b"1", response_topic="b", correlation_data=b"c"))
                (found,) = await take(inbox, 1)
                assert (found.response_topic, found.correlation_data) == (None, None)

        go(work)


def test_another_client_of_our_id_ends_it() -> None:
    async def work() -> None:
        taken_over = b"\xe0\x01\x8e"
        async with a_fake_broker({CONNECT: CONNACK + taken_over}) as port:
            with pytest.raises(BusUnavailable, match="agent_id"):
                await bus_on(port).run()

    go(work)


def test_a_goodbye_right_behind_the_welcome_is_heard() -> None:
    async def work() -> None:
        connections: list[int] = []
        shutting_down = b"\xe0\x01\x8b"
        async with a_fake_broker({CONNECT: CONNACK + shutting_down}, connections) as port:
            bus = bus_on(port)
            task = asyncio.create_task(bus.run())
            await until(lambda: len(connections) >= 3)
            await bus.close()
            await task

    go(work)


def test_a_broker_that_never_answers_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mqtt_module, "CONNECT_SECONDS", 0.05)
    monkeypatch.setattr("agent.bus.reconnect.MOST_SECONDS", 0.01)

    async def work() -> None:
        accepted = 0
        hung_up = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal accepted, hung_up
            accepted += 1
            while await reader.read(1 << 16):
                pass
            hung_up += 1
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            bus = bus_on(server.sockets[0].getsockname()[1])
            before = open_files()
            task = asyncio.create_task(bus.run())
            await until(lambda: accepted >= 5)
            await bus.close()
            await task
            await until(lambda: hung_up == accepted)
            gc.collect()
            assert open_files() <= before

    go(work)


def test_a_broker_that_hangs_up_at_once_is_tried_again_soon() -> None:
    async def work() -> None:
        accepted = 0

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal accepted
            accepted += 1
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        async with server, asyncio.timeout(link_module.CONNECT_SECONDS / 2):
            bus = bus_on(server.sockets[0].getsockname()[1])
            task = asyncio.create_task(bus.run())
            await until(lambda: accepted >= 3)
            await bus.close()
            await task

    go(work)


def test_nobody_there() -> None:
    async def work() -> None:
        bus = bus_on(free_port())
        task = asyncio.create_task(bus.run())
        await until(lambda: bus.state == "connecting")
        await asyncio.sleep(0.5)
        assert bus.state == "connecting"
        await bus.close()
        async with asyncio.timeout(1):
            await task

    go(work)


@pytest.mark.parametrize(
    "rubbish", [b"\x00" * 64, b"\x20\x03\x00\x00\x63", b"HTTP/1.1 400\r\n\r\n"]
)
def test_something_else_is_there(rubbish: bytes) -> None:
    async def work() -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            bus = bus_on(server.sockets[0].getsockname()[1])
            task = asyncio.create_task(bus.run())
            await asyncio.sleep(0.5)
            assert bus.state == "connecting"
            await bus.close()
            async with asyncio.timeout(3):
                await task

    go(work)


def test_rubbish_from_a_broker_that_had_let_us_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        connections = ended = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections, ended
            connections += 1
            await reader.read(1 << 16)
            writer.write(b"\x20\x03\x00\x00\x00")
            # A publish whose topic is longer than the packet.
            writer.write(b"\x32\x04\xff\xffab")
            with contextlib.suppress(ConnectionError):  # the client may have hung up by now
                await writer.drain()
                await reader.read(1 << 16)
            writer.close()
            ended += 1

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            bus = bus_on(server.sockets[0].getsockname()[1])
            task = asyncio.create_task(bus.run())
            await until(lambda: connections >= 3)
            await bus.close()
            async with asyncio.timeout(5):
                await task
            # What still serves when the loop ends is cancelled: an error to Python 3.11.
            await until(lambda: ended == connections)

    go(work)


def test_closing_does_not_wait_for_a_broker_that_stands_still(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            bus.inbox(["a"], capacity=1)
            task = asyncio.create_task(bus.run())
            await until_connected(bus)
            broker.freeze()
            try:
                # More than the sockets hold, so that no goodbye gets through.
                stuck = asyncio.create_task(bus.publish(Outgoing("a", b"." * (30 << 20))))
                await asyncio.sleep(0.3)
                await bus.close()
                async with asyncio.timeout(link_module.GOODBYE_SECONDS + 3):
                    await task
                with pytest.raises(BusUnavailable):
                    await stuck
            finally:
                broker.freeze(False)

        go(work)


def test_a_reader_that_stands_still_keeps_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is paused for longer than the keep-alive lets paho wait for a sign of life."""
    monkeypatch.setattr(mqtt_module, "KEEPALIVE_SECONDS", 2)
    monkeypatch.setattr(link_module, "TRICKLE_SECONDS", 0.5)
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            reader, writer = bus_on(broker.port, "reader"), bus_on(broker.port, "writer")
            inbox = reader.inbox(["a"], capacity=5)
            async with running(reader, writer):
                first = inbox._source
                for number in range(100):
                    await writer.publish(numbered("a", number, qos=0))
                await asyncio.sleep(6)
                assert numbers(await take(inbox, 100)) == list(range(100))
                assert inbox._source is first

        go(work)


def test_large_messages_are_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MOST_BYTES", 4 << 20)
    with a_mosquitto(tmp_path) as broker:

        async def work() -> None:
            bus = bus_on(broker.port)
            inbox = bus.inbox(["a"], capacity=1_000)
            async with running(bus):
                for number in range(20):
                    await bus.publish(numbered("a", number, 1 << 20))
                await asyncio.sleep(0.2)
                assert inbox._waiting_bytes <= 5 << 20
                assert numbers(await take(inbox, 20)) == list(range(20))

        go(work)


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _a_mosquitto_with_tls(tmp_path) as broker:
        port = broker.port

        async def work() -> None:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            bus = MqttBus(BrokerAddress("localhost", port, tls=True), MqttConfig("one"))
            inbox = bus.inbox(["a"], capacity=10)
            async with running(bus):
                (one, _) = sockets_of(bus)
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                for qos in (0, 1):
                    for number in range(200):
                        await bus.publish(numbered("a", number, 2_000, qos=qos))
                    await asyncio.sleep(0.1)
                    assert numbers(await take(inbox, 200)) == list(range(200))
                await bus.publish(Outgoing("a", b"." * (3 << 20)))
                assert len((await take(inbox, 1))[0].payload) == 3 << 20

        go(work)

        async def not_trusted() -> None:
            monkeypatch.delenv("SSL_CERT_FILE")
            gc.collect()
            bus = MqttBus(BrokerAddress("localhost", port, tls=True), MqttConfig("one"))
            task = asyncio.create_task(bus.run())
            await asyncio.sleep(0.5)
            assert bus.state == "connecting"
            await bus.close()
            await task
            gc.collect()  # a socket that was left open would be warned of here

        go(not_trusted)


def _users(folder: Path) -> str:
    """Return settings by which the user `agent` may use `ours/#` alone."""
    passwords, rules = folder / "passwords", folder / "rules"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([tool, "-b", "-c", passwords, "agent", "secret"], check=True)
    passwords.chmod(0o600)
    rules.write_text("user agent\ntopic readwrite ours/#\ntopic deny theirs/#\n")
    return f"allow_anonymous false\npassword_file {passwords}\nacl_file {rules}\n"


@contextmanager
def _a_mosquitto_with_tls(folder: Path) -> Iterator[Any]:
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [
            *(tool, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", "key.pem"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", "ca.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    settings = f"cafile {folder}/ca.pem\ncertfile {folder}/ca.pem\nkeyfile {folder}/key.pem\n"
    with a_mosquitto(folder, settings) as broker:
        yield broker
