"""The bus by itself: round trips to a bare echo, and how fast messages come in.

    python -m tests.benchmarks.bus_echo

Echo, asker and sender are processes of their own, all on the bus that the agent uses, over each
broker that is here.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.bus.mqtt import MqttBus
from agent.bus.port import Outgoing
from agent.client import AgentClient, connected
from schemas.errors import Unavailable
from tests.benchmarks import echo
from tests.benchmarks.bus import echoing
from tests.benchmarks.report import publish, spread_ms
from tests.support.broker import Kind, a_broker, mosquitto_missing

MODULE = "tests.benchmarks.bus_echo"  # also when run as `__main__`
WARM_UP = 200
SEQUENTIAL = 1_000
AT_ONCE = 4_000
IN_FLIGHT = 32
PAYLOAD = b"." * 150
EVENTS = 20_000
EVENT = b"." * 700
SENDER_IN_FLIGHT = 200
EVENTS_TOPIC = "bench/events"


def bus_to(port: int) -> MqttBus:
    """Return a passing client's bus."""
    return wiring.bus_to(BrokerAddress("127.0.0.1", port))


async def round_trips(port: int) -> dict[str, Any]:
    """Return the spread of round trips one after another, and of many at once."""
    async with connected(bus_to(port)) as client:
        await _until_answered(client)
        await _in_flight(client, 1, WARM_UP)
        one_by_one = await _in_flight(client, 1, SEQUENTIAL)
        started = time.perf_counter()
        at_once = await _in_flight(client, IN_FLIGHT, AT_ONCE)
        seconds = time.perf_counter() - started
    return {
        "sequential": spread_ms(one_by_one),
        "in_flight": spread_ms(at_once) | {"per_s": round(AT_ONCE / seconds)},
    }


async def ingest(port: int) -> dict[str, Any]:
    """Return messages per second, received in batches and acknowledged, QoS 1."""
    bus = bus_to(port)
    inbox = bus.inbox([EVENTS_TOPIC], capacity=1_000)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bus.run())
        while bus.state != "connected":
            await asyncio.sleep(0.005)
        sender = await asyncio.create_subprocess_exec(sys.executable, "-m", MODULE, str(port))
        first = await inbox.receive(1)
        started = time.perf_counter()
        await inbox.acknowledge(first)
        missing = EVENTS - 1
        while missing:
            deliveries = await inbox.receive(256)
            await inbox.acknowledge(deliveries)
            missing -= len(deliveries)
        seconds = time.perf_counter() - started
        await sender.wait()
        await bus.close()
        await running
    return {"per_s": round(EVENTS / seconds)}


async def send(port: int) -> None:
    """Publish the events: the sender's process."""
    bus = bus_to(port)
    gate = asyncio.Semaphore(SENDER_IN_FLIGHT)

    async def one() -> None:
        async with gate:
            await bus.publish(Outgoing(EVENTS_TOPIC, EVENT))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bus.run())
        async with asyncio.TaskGroup() as sending:
            for _ in range(EVENTS):
                sending.create_task(one())
        await bus.close()


def measure(kind: Kind) -> list[dict[str, Any]]:
    """Return a row for each thing measured over one broker."""
    with tempfile.TemporaryDirectory(prefix="placewise-bench-") as name:
        with a_broker(kind, Path(name)) as broker, echoing(broker.port):
            trips = _run(round_trips(broker.port))
        with a_broker(kind, Path(name)) as broker:
            incoming = _run(ingest(broker.port))
    return [
        {"broker": kind, "what": "echo, one at a time", **trips["sequential"]},
        {"broker": kind, "what": f"echo, {IN_FLIGHT} in flight", **trips["in_flight"]},
        {"broker": kind, "what": "events in, QoS 1", **incoming, "goal": "5,000 per s"},
    ]


async def _in_flight(client: AgentClient, most: int, count: int) -> list[float]:
    """Return the seconds of round trips, so many at a time."""
    seconds: list[float] = []

    async def ask(trips: int) -> None:
        for _ in range(trips):
            started = time.perf_counter()
            await client.ask_raw(echo.TOPIC, PAYLOAD)
            seconds.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as asking:
        for _ in range(most):
            asking.create_task(ask(count // most))
    return seconds


async def _until_answered(client: AgentClient) -> None:
    """Wait for the echo, whose process takes a while to start."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.ask_raw(echo.TOPIC, PAYLOAD, 0.2)
            except Unavailable:
                continue
            return


def _run(work: Any) -> Any:
    # A full collection walks all that was imported, for some 60 ms: not what is measured here.
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        gc.unfreeze()


def main() -> None:
    """Measure over each broker that is here, and tell; with a port, be the sender."""
    if sys.argv[1:]:
        _run(send(int(sys.argv[1])))
        return
    kinds: list[Kind] = ["embedded"] if mosquitto_missing() else ["mosquitto", "embedded"]
    publish("bus_echo", "The bus by itself", [row for kind in kinds for row in measure(kind)])


if __name__ == "__main__":
    main()
