"""How long does the event loop stand still while the agent learns, answers and keeps snapshots?

    python -m tests.benchmarks.pauses [--learnt 50000] [--events 10000]

A daemon on a DuckDB file and an in-memory bus, with the shipped sample learnt again and again as
load: in other batch sizes, so that all rows are cells of their own, and every seventh time under
other names, so that there is a network for some 26 rows (there is one for 24 in the public tables).
While events come as fast as they are taken, questions are asked: a hundred candidates, a placement
of 64 models on 32 devices. A task that wants to run every millisecond notes by how much it came
late.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import resource
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Inbox, Outgoing
from agent.cli.running import SWITCH_SECONDS
from agent.daemon import Daemon, DaemonConfig
from agent.heart.heart import Heart
from agent.journal import stimulus_of
from agent.learning.footprint import footprint_bytes
from agent.metrics import AgentMetrics
from agent.restore import Restored
from agent.store.duck import DuckStore
from agent.store.port import LogRecord
from schemas import topics
from schemas.events import BENCHMARK_TYPE, envelope
from tests.benchmarks.heart import request, sample
from tests.benchmarks.report import publish, spread_ms

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_SECONDS = 0.001
ASK_SECONDS = 0.2
RENAMED_EVERY = 7
"""Times that the sample is learnt under the same names."""


def bodies(count: int) -> list[dict[str, Any]]:
    """Return so many benchmarks, all of different cells."""
    rows = [row.model_dump(mode="json", exclude_none=True) for row in sample()]
    made = []
    for index in range(count):
        row, time = rows[index % len(rows)], index // len(rows)
        name = f"{row['model']['name']}-{time // RENAMED_EVERY}"
        setup = row.get("setup", {}) | {"batch_size": 2 * time + 1}
        made.append(row | {"model": row["model"] | {"name": name}, "setup": setup})
    return made


async def learnt(store: DuckStore, data: list[dict[str, Any]]) -> Heart:
    """Write benchmarks into a log, and return the heart that has learnt them."""
    heart = Heart()
    for start in range(0, len(data), 500):
        records = [
            LogRecord("benchmark", "load", str(start + i), NOW, NOW, json.dumps(one))
            for i, one in enumerate(data[start : start + 500])
        ]
        for record in await store.append(records):
            assert record is not None, "each has an id of its own"
            heart.handle(stimulus_of(record))
    return heart


async def measure(folder: Path, before: int, events: int) -> list[dict[str, object]]:
    """Return how late the loop was, and what went on meanwhile."""
    data = bodies(before + events)
    store = await DuckStore.open(folder / "load.duckdb")
    heart = await learnt(store, data[:before])
    gc.collect()
    broker = MemoryBroker()
    client = MemoryBus(broker, "client")
    replies = client.inbox(["replies"], capacity=100)
    daemon = Daemon(
        DaemonConfig("bench", snapshot_every_events=max(1, events // 4)),
        MemoryBus(broker, "agent"),
        store,
        Restored(heart, 0, None),
        AgentMetrics("bench"),
    )
    late: list[float] = []
    worked: list[float] = []
    answered: list[float] = []
    tasks = [asyncio.create_task(one) for one in (client.run(), daemon.run(), watch(late, worked))]
    while client.state != "connected":
        await asyncio.sleep(0.01)
    messages = [
        Outgoing(
            f"{topics.EVENTS_BENCHMARK}/load",
            json.dumps(envelope(BENCHMARK_TYPE, f"e{i}", "load", NOW, one)).encode(),
            qos=1,
        )
        for i, one in enumerate(data[before:])
    ]
    asked = questions()
    gc.collect()
    tasks.append(asyncio.create_task(ask(client, replies, asked, answered)))
    await asyncio.sleep(1.0)
    late.clear()
    worked.clear()
    started = time.perf_counter()
    for start in range(0, events, 100):
        while heart.events < before + start - 1_000:
            await asyncio.sleep(0.005)
        for message in messages[start : start + 100]:
            await client.publish(message)
    while heart.events < before + events:
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - started
    seen, done = list(late), list(worked)
    daemon.stop()
    await tasks[1]
    for task in (tasks[0], *tasks[2:]):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await store.close()
    return [
        {
            "what": "the loop came late",
            "times": len(seen),
            **spread_ms(seen),
            "over 20 ms": sum(one > 0.02 for one in seen),
        },
        {
            "what": "at work between two turns",
            "times": len(done),
            **spread_ms(done),
            "over 20 ms": sum(one > 0.02 for one in done),
        },
        {"what": "questions answered meanwhile", "times": len(answered), **spread_ms(answered)},
        {"what": "events learnt", "times": events, "per_s": round(events / seconds)},
        {
            "what": f"learned state of {before + events:,} events (MB)",
            "times": round(footprint_bytes(daemon.heart.bank) / 1e6),
        },
        {
            "what": f"memory of the process after {before + events:,} events (MB)",
            "times": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
    ]


async def watch(late: list[float], worked: list[float]) -> None:
    """Note by how much each turn comes late, and how long the thread was at work since the last.

    On a machine that others use, the clock tells of them as well; work is the agent's own.
    """
    while True:
        due = time.perf_counter() + EVERY_SECONDS
        before = time.thread_time()
        await asyncio.sleep(EVERY_SECONDS)
        late.append(max(0.0, time.perf_counter() - due))
        worked.append(time.thread_time() - before)


def questions() -> list[tuple[topics.RequestKind, bytes]]:
    """Return a question about a hundred candidates, and one where to place many models."""
    rows = sample()
    predict = request(rows, 0).request.model_dump_json(exclude_none=True).encode()
    models = {row.model.name: row for row in rows}
    place = {
        "models": [
            {"model": row.model.model_dump(exclude_none=True)} for row in list(models.values())[:64]
        ],
        "devices": [
            {"name": f"d{i}", "hardware": rows[i % 8].hardware.name, "memory_mb": 80_000}
            for i in range(32)
        ],
    }
    return [("predict", predict), ("place", json.dumps(place).encode())]


async def ask(
    client: MemoryBus,
    replies: Inbox,
    asked: list[tuple[topics.RequestKind, bytes]],
    answered: list[float],
) -> None:
    """Ask one question after another."""
    for kind, payload in itertools.cycle(asked):
        correlation = uuid.uuid4().bytes
        started = time.perf_counter()
        message = Outgoing(
            topics.request(kind), payload, response_topic="replies", correlation_data=correlation
        )
        await client.publish(message)
        await replies.acknowledge(await replies.receive(1))
        answered.append(time.perf_counter() - started)
        await asyncio.sleep(ASK_SECONDS)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learnt", type=int, default=50_000)
    parser.add_argument("--events", type=int, default=10_000)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(Path(folder), options.learnt, options.events))
    publish("pauses", "How long the event loop stands still", found)


if __name__ == "__main__":
    main()
