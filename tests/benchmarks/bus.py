"""The agent over the bus: requests beside a bare echo, and events from publish to learnt.

    python -m tests.benchmarks.bus

Agent, echo and client are three processes on one broker. Echo and predict take turns in blocks,
so that what else the machine does meets both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import uvloop

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.client import AgentClient, connected
from schemas.events import BENCHMARK_TYPE
from schemas.topics import EVENTS_BENCHMARK, request
from tests.benchmarks import echo
from tests.benchmarks.heart import sample
from tests.benchmarks.report import publish, spread_ms
from tests.support.agent import AgentProcess
from tests.support.broker import Kind, a_broker, mosquitto_missing

BLOCKS = 10
REQUESTS_PER_BLOCK = 60
WARM_UP = 100
IN_FLIGHT = 32
EVENTS = 5_000


@contextmanager
def echoing(port: int) -> Iterator[None]:
    """Run the echo for the time of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.echo", str(port)], stdin=subprocess.PIPE
    )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


async def sequential(
    client: AgentClient, topic: str, payloads: Iterator[bytes], number: int
) -> list[float]:
    """Return the seconds of round trips one after another."""
    seconds = []
    for payload in islice(payloads, number):
        started = time.perf_counter()
        await client.ask_raw(topic, payload)
        seconds.append(time.perf_counter() - started)
    return seconds


async def at_once(client: AgentClient, topic: str, payloads: Iterator[bytes], number: int) -> float:
    """Return round trips per second with many in flight."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(payload: bytes) -> None:
        async with gate:
            await client.ask_raw(topic, payload)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as asking:
        for payload in islice(payloads, number):
            asking.create_task(one(payload))
    return number / (time.perf_counter() - started)


def questions(*, varied: bool) -> Iterator[bytes]:
    """Return predict requests of one candidate: the same for ever, or a new cell each time."""
    for number in count(1):
        yield json.dumps(
            {
                "candidates": [
                    {
                        "model": "resnet50",
                        "hardware": "nvidia-rtx-3090",
                        "setup": {"batch_size": number if varied else 256, "precision": "amp"},
                    }
                ]
            }
        ).encode()


def events() -> list[bytes]:
    """Return events with all four metrics, from the shipped measurements over and over."""
    rows = [row.model_dump(mode="json", exclude_none=True) for row in sample()]
    return [
        json.dumps(
            {
                "specversion": "1.0",
                "type": BENCHMARK_TYPE,
                "source": "bench",
                "id": f"e{number}",
                "data": rows[number % len(rows)],
            }
        ).encode()
        for number in range(EVENTS)
    ]


async def learn(client: AgentClient) -> float:
    """Return events per second, from the first publish until the last is learnt."""
    payloads = events()
    gate = asyncio.Semaphore(200)
    before = (await client.ask("status", {}))["events_logged"]

    async def one(payload: bytes) -> None:
        async with gate:
            await client.publish_raw(EVENTS_BENCHMARK, payload)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as publishing:
        for payload in payloads:
            publishing.create_task(one(payload))
    while (await client.ask("status", {}))["events_logged"] < before + EVENTS:
        await asyncio.sleep(0.02)
    return EVENTS / (time.perf_counter() - started)


async def measure(port: int, kind: Kind) -> list[dict[str, Any]]:
    """Measure against a running agent and echo."""
    predict = request("predict")
    cases = {
        "bare echo": (echo.TOPIC, questions(varied=False)),
        "predict, a cell asked before": (predict, questions(varied=False)),
        "predict, a new cell": (predict, questions(varied=True)),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    async with connected(wiring.bus_to(BrokerAddress("127.0.0.1", port))) as client:
        learned = await learn(client)
        for topic, payloads in cases.values():
            await sequential(client, topic, payloads, WARM_UP)
        for _ in range(BLOCKS):
            for name, (topic, payloads) in cases.items():
                times[name] += await sequential(client, topic, payloads, REQUESTS_PER_BLOCK)
        for _ in range(BLOCKS // 2):
            for name, (topic, payloads) in cases.items():
                rates[name].append(await at_once(client, topic, payloads, 4 * REQUESTS_PER_BLOCK))
    bare = statistics.median(times["bare echo"])
    rows: list[dict[str, Any]] = [
        {
            "broker": kind,
            "what": name,
            **spread_ms(times[name]),
            f"per_s at {IN_FLIGHT} in flight": round(statistics.median(rates[name])),
            "p50 / echo's": round(statistics.median(times[name]) / bare, 2),
            "goal": "" if name == "bare echo" else "1.5",
        }
        for name in cases
    ]
    rows.append(
        {
            "broker": kind,
            "what": f"learn {EVENTS:,} events, 4 metrics",
            "per_s": round(learned),
            "goal": "1,000 per s",
        }
    )
    return rows


def main() -> None:
    """Measure on each broker that is here, and tell."""
    rows: list[dict[str, Any]] = []
    kinds: list[Kind] = ["embedded"] if mosquitto_missing() else ["mosquitto", "embedded"]
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="placewise-bench-") as name:
            folder = Path(name)
            with (
                a_broker(kind, folder) as broker,
                AgentProcess(folder, broker.port, log_level="warning") as agent,
                echoing(broker.port),
            ):
                agent.start()
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    rows += runner.run(measure(broker.port, kind))
    publish("bus", "The agent over the bus", rows)


if __name__ == "__main__":
    main()
