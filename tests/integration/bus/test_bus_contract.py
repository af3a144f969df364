"""What every bus promises: one suite over the double, mosquitto and the embedded broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from agent.bus.address import BrokerAddress
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Bus, Delivery, Inbox, Outgoing
from tests.support.broker import a_broker

SECONDS = 15.0


class Line(Protocol):
    """The line between a bus and the broker, which a test cuts and mends."""

    bus: Bus

    async def cut(self) -> None: ...

    async def mend(self) -> None: ...


class World(Protocol):
    """Makes buses that meet on one broker."""

    async def line(
        self, client_id: str, *, lasting: bool = True, will: Outgoing | None = None
    ) -> Line: ...

    async def close(self) -> None: ...


class MemoryLine:
    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus

    async def cut(self) -> None:
        self.bus.lose_connection()

    async def mend(self) -> None:
        self.bus.restore_connection()


class MemoryWorld:
    def __init__(self) -> None:
        self._broker = MemoryBroker()

    async def line(
        self, client_id: str, *, lasting: bool = True, will: Outgoing | None = None
    ) -> MemoryLine:
        return MemoryLine(MemoryBus(self._broker, client_id, lasting=lasting, will=will))

    async def close(self) -> None:
        pass


class ProxyLine:
    """A bus whose every connection goes through a proxy, which can reset them all."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.bus: Bus

    async def start(self, config: MqttConfig) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.bus = MqttBus(BrokerAddress("127.0.0.1", port), config)

    async def cut(self) -> None:
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    async def mend(self) -> None:
        self._open = True

    async def close(self) -> None:
        await self.cut()
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0.05)  # the aborted pipes end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
        mine = {writer, back}
        self._writers |= mine
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        self._writers -= mine


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class BrokerWorld:
    def __init__(self, port: int) -> None:
        self._port = port
        self._lines: list[ProxyLine] = []

    async def line(
        self, client_id: str, *, lasting: bool = True, will: Outgoing | None = None
    ) -> ProxyLine:
        line = ProxyLine(self._port)
        await line.start(MqttConfig(client_id=client_id, lasting=lasting, will=will))
        self._lines.append(line)
        return line

    async def close(self) -> None:
        for line in self._lines:
            await line.close()


Scenario = Callable[[World], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(scope="module", params=["memory", "mosquitto", "embedded"])
def world_maker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], World]]:
    if request.param == "memory":
        yield MemoryWorld
        return
    folder: Path = tmp_path_factory.mktemp(request.param)
    with a_broker(request.param, folder) as broker:
        yield lambda: BrokerWorld(broker.port)


@pytest.fixture
def play(world_maker: Callable[[], World]) -> Play:
    def run(scenario: Scenario) -> None:
        async def main() -> None:
            world = world_maker()
            try:
                async with asyncio.timeout(50):
                    await scenario(world)
            finally:
                await world.close()

        asyncio.run(main())

    return run


def a_name() -> str:
    """Return a name that no other test uses: a broker serves several of them."""
    return uuid.uuid4().hex


@asynccontextmanager
async def running(*buses: Bus) -> AsyncIterator[None]:
    """Run buses for the time of the block; they are connected in it, and close cleanly."""
    async with asyncio.TaskGroup() as tasks:
        for bus in buses:
            tasks.create_task(bus.run())
        for bus in buses:
            await until(lambda bus=bus: bus.state == "connected")
        try:
            yield
        finally:
            for bus in buses:
                await bus.close()
    assert all(bus.state == "closed" for bus in buses)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def take(inbox: Inbox, number: int) -> list[Delivery]:
    taken: list[Delivery] = []
    async with asyncio.timeout(SECONDS):
        while len(taken) < number:
            taken += await inbox.receive(number - len(taken))
    return taken


async def nothing_comes(inbox: Inbox, seconds: float = 0.3) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await inbox.receive(1)
    except TimeoutError:
        return True
    return False


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.payload for delivery in deliveries]


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


def test_messages_arrive_in_order(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        bus = (await world.line(name)).bus
        inbox = bus.inbox([f"{name}/+/x", f"{name}/other/#"], capacity=300)
        async with running(bus):
            for payload in numbers(200):
                await bus.publish(Outgoing(f"{name}/a/x", payload))
            await bus.publish(Outgoing(f"{name}/a/y", b"no filter of ours"))
            await bus.publish(Outgoing(f"{name}/other", b"last"))
            deliveries = await take(inbox, 201)
            await inbox.acknowledge(deliveries)
            assert payloads(deliveries) == [*numbers(200), b"last"]
            assert deliveries[0].topic == f"{name}/a/x"
            assert await nothing_comes(inbox)

    play(scenario)


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        line = await world.line(name)
        inbox = line.bus.inbox([name], capacity=10)
        async with running(line.bus):
            for payload in numbers(5):
                await line.bus.publish(Outgoing(name, payload))
            first = await take(inbox, 3)
            await inbox.acknowledge(first[:2])
            await asyncio.sleep(0.2)  # an acknowledgement is not answered: let it arrive
            await line.cut()
            await until(lambda: line.bus.state != "connected")
            await line.mend()
            await until(lambda: line.bus.state == "connected")
            await inbox.acknowledge(first[2:])  # of the lost connection: skipped
            again = await take(inbox, 3)
            assert payloads(again) == [b"2", b"3", b"4"]
            await inbox.acknowledge(again)
            await asyncio.sleep(0.2)
            await line.cut()
            await until(lambda: line.bus.state != "connected")
            await line.mend()
            await until(lambda: line.bus.state == "connected")
            assert await nothing_comes(inbox)

    play(scenario)


def test_the_next_run_gets_what_came_while_we_were_away(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        sender = (await world.line(a_name(), lasting=False)).bus
        first = (await world.line(name)).bus
        first.inbox([name], capacity=10)
        async with running(sender):
            async with running(first):
                pass
            for payload in numbers(5):
                await sender.publish(Outgoing(name, payload))
            second = (await world.line(name)).bus
            inbox = second.inbox([name], capacity=10)
            async with running(second):
                assert payloads(await take(inbox, 5)) == numbers(5)

    play(scenario)


def test_a_slow_reader_loses_nothing_and_holds_no_more_than_its_capacity(play: Play) -> None:
    capacity, count = 50, 3_000

    async def scenario(world: World) -> None:
        name = a_name()
        receiver = (await world.line(name)).bus
        sender = (await world.line(a_name(), lasting=False)).bus
        inbox = receiver.inbox([name], capacity=capacity)
        held: list[int] = []

        async def read() -> list[bytes]:
            received: list[bytes] = []
            while len(received) < count:
                held.append(len(inbox))  # type: ignore[arg-type]
                deliveries = await inbox.receive(37)
                await asyncio.sleep(0.002)
                await inbox.acknowledge(deliveries)
                received += payloads(deliveries)
            return received

        async with running(receiver, sender):
            reading = asyncio.create_task(read())
            await asyncio.gather(
                *(sender.publish(Outgoing(name, payload)) for payload in numbers(count))
            )
            assert sorted(await reading, key=int) == numbers(count)
        assert 0 < max(held) <= capacity

    play(scenario)


def test_a_reader_that_never_reads_holds_its_capacity_and_gets_the_rest_later(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        receiver = (await world.line(name)).bus
        sender = (await world.line(a_name(), lasting=False)).bus
        inbox = receiver.inbox([name], capacity=5)
        async with running(receiver, sender):
            for payload in numbers(20):
                await sender.publish(Outgoing(name, payload))
            await until(lambda: len(inbox) == 5)  # type: ignore[arg-type]
            await asyncio.sleep(0.2)
            assert len(inbox) == 5  # type: ignore[arg-type]
            received: list[bytes] = []
            while len(received) < 20:
                deliveries = await inbox.receive(3)
                await inbox.acknowledge(deliveries)
                received += payloads(deliveries)
            assert received == numbers(20)

    play(scenario)


def test_losing_the_line_with_a_full_inbox_loses_nothing(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        line = await world.line(name)
        sender = (await world.line(a_name(), lasting=False)).bus
        inbox = line.bus.inbox([name], capacity=5)
        async with running(line.bus, sender):
            for payload in numbers(20):
                await sender.publish(Outgoing(name, payload))
            await until(lambda: len(inbox) == 5)  # type: ignore[arg-type]
            await line.cut()
            await asyncio.sleep(0.1)
            await line.mend()
            received: list[bytes] = []
            async with asyncio.timeout(SECONDS):
                while set(received) != set(numbers(20)):
                    deliveries = await inbox.receive(3)
                    await inbox.acknowledge(deliveries)
                    received += payloads(deliveries)
            assert len(inbox) <= 5  # type: ignore[arg-type]
            assert list(dict.fromkeys(received)) == numbers(20)

    play(scenario)


def test_a_request_is_answered_on_its_response_topic_with_its_correlation_data(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        asker = (await world.line(a_name(), lasting=False)).bus
        desk = (await world.line(name)).bus
        replies = asker.inbox([f"{name}/replies"], capacity=10)
        requests = desk.inbox([f"{name}/requests/#"], capacity=10)
        async with running(asker, desk):
            await asker.publish(
                Outgoing(
                    f"{name}/requests/one",
                    b"?",
                    response_topic=f"{name}/replies",
                    correlation_data=b"\x00\xff",
                )
            )
            [request] = await take(requests, 1)
            assert request.response_topic == f"{name}/replies"
            assert request.correlation_data == b"\x00\xff"
            await desk.publish(
                Outgoing(request.response_topic, b"!", correlation_data=request.correlation_data)
            )
            [reply] = await take(replies, 1)
            assert (reply.payload, reply.correlation_data) == (b"!", b"\x00\xff")
            assert reply.response_topic is None
            await requests.acknowledge([request])
            await replies.acknowledge([reply])

    play(scenario)


def test_retained_state_waits_for_who_comes_later_until_it_is_cleared(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        teller = (await world.line(a_name(), lasting=False)).bus
        async with running(teller):
            await teller.publish(Outgoing(f"{name}/state", b"old", retain=True))
            await teller.publish(Outgoing(f"{name}/state", b"new", retain=True))
            watcher = (await world.line(a_name(), lasting=False)).bus
            inbox = watcher.inbox([f"{name}/+"], capacity=10)
            async with running(watcher):
                [state] = await take(inbox, 1)
                assert (state.payload, state.retained) == (b"new", True)
                await inbox.acknowledge([state])
                await teller.publish(Outgoing(f"{name}/state", b"live", retain=True))
                [state] = await take(inbox, 1)
                assert (state.payload, state.retained) == (b"live", False)
                await inbox.acknowledge([state])
            await teller.publish(Outgoing(f"{name}/state", b"", retain=True))
            late = (await world.line(a_name(), lasting=False)).bus
            inbox = late.inbox([f"{name}/+"], capacity=10)
            async with running(late):
                assert await nothing_comes(inbox)

    play(scenario)


@pytest.mark.parametrize("how", ["lost", "closed"])
def test_the_will_goes_out_when_the_line_is_lost_and_only_then(play: Play, how: str) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        watcher = (await world.line(a_name(), lasting=False)).bus
        inbox = watcher.inbox([f"{name}/state"], capacity=10)
        will = Outgoing(f"{name}/state", b"gone", retain=True)
        line = await world.line(name, will=will)
        async with running(watcher):
            async with running(line.bus):
                await line.bus.publish(Outgoing(f"{name}/state", b"here", retain=True))
                assert payloads(await take(inbox, 1)) == [b"here"]
                if how == "lost":
                    await line.cut()
                    assert payloads(await take(inbox, 1)) == [b"gone"]
            if how == "closed":
                assert await nothing_comes(inbox)

    play(scenario)


def test_what_is_published_while_disconnected_waits_and_then_goes_out(play: Play) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        line = await world.line(name)
        watcher = (await world.line(a_name(), lasting=False)).bus
        inbox = watcher.inbox([name], capacity=10)
        async with running(watcher, line.bus):
            await line.cut()
            await until(lambda: line.bus.state != "connected")
            publishing = asyncio.create_task(line.bus.publish(Outgoing(name, b"late")))
            assert await nothing_comes(inbox)
            assert not publishing.done()
            await line.mend()
            async with asyncio.timeout(SECONDS):
                await publishing
            assert payloads(await take(inbox, 1)) == [b"late"]

    play(scenario)


@pytest.mark.parametrize("how", ["connected", "disconnected", "full inbox", "cancelled"])
def test_run_ends_cleanly(play: Play, how: str) -> None:
    async def scenario(world: World) -> None:
        name = a_name()
        line = await world.line(name)
        inbox = line.bus.inbox([name], capacity=1)
        before = asyncio.all_tasks()
        assert line.bus.state == "disconnected"
        run = asyncio.create_task(line.bus.run())
        if how == "disconnected":
            await line.cut()
            await asyncio.sleep(0.1)
        else:
            await until(lambda: line.bus.state == "connected")
        if how == "full inbox":
            for payload in numbers(3):
                await line.bus.publish(Outgoing(name, payload))
            await until(lambda: len(inbox) == 1)  # type: ignore[arg-type]
        if how == "cancelled":
            run.cancel()
        else:
            await line.bus.close()
        async with asyncio.timeout(SECONDS):
            await asyncio.wait([run])
        assert run.cancelled() == (how == "cancelled")
        assert run.cancelled() or run.exception() is None
        assert line.bus.state == "closed"
        await asyncio.sleep(0.05)
        ours = {task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)}
        assert not ours, "tasks were left behind"

    play(scenario)
