"""Where the bus contract is held: in memory, and over real brokers through connections to cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from agent.bus.address import BrokerAddress
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Bus, Delivery, Inbox, Outgoing
from tests.support.broker import Broker, Kind, a_broker

VenueKind = Literal["memory", "mosquitto", "embedded"]
VENUES: tuple[VenueKind, ...] = ("memory", "mosquitto", "embedded")
TEST_SECONDS = 50.0


class Proxy:
    """A TCP connection's middle, which can be cut. One for each bus."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Break every connection that stands."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        while self._writers:
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(
                    "127.0.0.1", self._target_port
                )
                self._writers.add(far_writer)
                try:
                    await asyncio.gather(
                        _pump(reader, far_writer), _pump(far_reader, writer), return_exceptions=True
                    )
                finally:
                    self._writers.discard(far_writer)
        finally:
            writer.close()
            self._writers.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Venue(Protocol):
    """A broker, clients of it, and power over both."""

    kind: VenueKind

    async def bus(self, client_id: str, **settings: Any) -> Bus: ...

    async def cut(self, bus: Bus) -> None:
        """Break its connections; return when it has noticed."""

    async def stop(self) -> None: ...

    async def start(self) -> None: ...


class MemoryVenue:
    kind: VenueKind = "memory"

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    async def bus(self, client_id: str, **settings: Any) -> Bus:
        return MemoryBus(self._broker, client_id, **settings)

    async def cut(self, bus: Bus) -> None:
        assert isinstance(bus, MemoryBus)
        self._broker.cut(bus)

    async def stop(self) -> None:
        self._broker.stop()

    async def start(self) -> None:
        self._broker.start()


class BrokerVenue:
    def __init__(self, kind: Kind, broker: Broker, parts: AsyncExitStack) -> None:
        self.kind: VenueKind = kind
        self._broker = broker
        self._parts = parts
        self._proxies: dict[Bus, Proxy] = {}

    async def bus(self, client_id: str, **settings: Any) -> Bus:
        proxy = await self._parts.enter_async_context(Proxy(self._broker.port))
        address = BrokerAddress("127.0.0.1", proxy.port)
        bus = MqttBus(address, MqttConfig(client_id, **settings))
        self._proxies[bus] = proxy
        return bus

    async def cut(self, bus: Bus) -> None:
        self._proxies[bus].cut()
        await until(lambda: bus.state != "connected")

    async def stop(self) -> None:
        await asyncio.to_thread(self._broker.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._broker.start)


def hold(kind: VenueKind, folder: Path, work: Callable[[Venue], Awaitable[None]]) -> None:
    """Do `work` at a venue, within a time limit."""

    async def in_memory() -> None:
        async with asyncio.timeout(TEST_SECONDS):
            await work(MemoryVenue())

    if kind == "memory":
        run(in_memory())
        return
    with a_broker(kind, folder) as broker:

        async def over_broker() -> None:
            async with asyncio.timeout(TEST_SECONDS), AsyncExitStack() as parts:
                await work(BrokerVenue(kind, broker, parts))

        run(over_broker())


def run(work: Any) -> None:
    """Run a coroutine; what a background task or callback raises fails the test."""
    faults: list[dict[str, Any]] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: faults.append(context))
        runner.run(work)
    assert not faults, faults


@asynccontextmanager
async def running(*buses: Bus) -> AsyncIterator[None]:
    """Run buses for the time of the block, then close them cleanly."""
    async with asyncio.TaskGroup() as tasks:
        tasks_running = [tasks.create_task(bus.run()) for bus in buses]
        for bus in buses:
            await until_connected(bus)
        yield
        for bus in buses:
            await bus.close()
        await asyncio.wait(tasks_running)


async def until_connected(bus: Bus) -> None:
    await until(lambda: bus.state == "connected")


async def until(condition: Callable[[], object]) -> None:
    """Wait; the test's time limit ends it."""
    while not condition():
        await asyncio.sleep(0.002)


async def take(inbox: Inbox, count: int, *, acknowledge: bool = True) -> list[Delivery]:
    """Receive so many."""
    taken: list[Delivery] = []
    while len(taken) < count:
        some = await inbox.receive(count - len(taken))
        if acknowledge:
            await inbox.acknowledge(some)
        taken += some
    return taken


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(one.payload[:8]) for one in deliveries]


def numbered(topic: str, number: int, size: int = 8, **settings: Any) -> Outgoing:
    return Outgoing(topic, b"%08d" % number + b"." * (size - 8), **settings)
