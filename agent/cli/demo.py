"""`placewise demo`: the main job, on a shipped sample of real measurements.

A real agent is started as a process of its own with its own broker and a new store. This
process then is a client like any other: it publishes measurements, and asks.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.bus.embedded import two_free_ports
from agent.cli import compiling, show
from agent.cli import options as opt
from agent.cli.tables import Table
from agent.client import AgentClient, connected
from schemas.errors import Unavailable
from schemas.measurement import ModelRun
from schemas.topics import EVENTS_BENCHMARK

if TYPE_CHECKING:
    from agent.importing import ImportedRow

SEED = 11
HELD_BACK = 200
CHUNK = 100
FIRST_WINDOWS = (100, 200, 400, 800, 1_600)
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
LEARN_SECONDS = 60.0

console = Console()


@dataclass(frozen=True, slots=True)
class Judged:
    """One prediction held against its measurement."""

    error: float
    inside: bool


def demo(
    as_json: opt.AsJson = False,
    keep: bool = typer.Option(False, "--keep", help="Keep the store, and say where it is."),
) -> None:
    """Start an agent, feed it real measurements, watch it learn, and ask it everything."""
    if as_json:
        console.quiet = True
    compiling.announce(console)
    summary = asyncio.run(_demo(keep=keep))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))


async def _demo(*, keep: bool) -> dict[str, Any]:
    started = time.perf_counter()
    rows = _sample()
    held_back, published = rows[:HELD_BACK], rows[HELD_BACK:]
    console.rule("[bold]Placewise learns")
    console.print(
        f"{len(published):,} measurements, of {_count(rows, 'model')} models on "
        f"{_count(rows, 'hardware')} kinds of hardware, go out over MQTT one by one; "
        f"{len(held_back)} more are held back.\n"
        "Before each hundred is published, the agent is asked to predict it.\n"
    )
    folder = Path(tempfile.mkdtemp(prefix="placewise-demo-"))
    try:
        async with _agent(folder) as address, connected(wiring.bus_to(address)) as client:
            await _until_ready(client)
            windows = await _learn(client, published)
            _show_learning(windows)
            answers = await _ask_everything(client, rows, held_back)
    finally:
        if keep:
            console.print(f"the store is kept: {folder}/demo.duckdb")
        else:
            shutil.rmtree(folder)
    seconds = time.perf_counter() - started
    console.print(f"\n[bold green]done[/] in {seconds:.0f} s; the agent stopped cleanly.")
    return {"windows": windows, "held_back": answers, "seconds": round(seconds, 1)}


def _sample() -> list[ImportedRow]:
    """Return the shipped measurements, in a seeded random order."""
    from agent.importing import ImportedRow, read_rows

    with as_file(files("agent") / "data" / "sample.parquet") as path:
        rows = [row for row in read_rows(path, {}) if isinstance(row, ImportedRow)]
    random.Random(SEED).shuffle(rows)
    return rows


@asynccontextmanager
async def _agent(folder: Path) -> AsyncIterator[BrokerAddress]:
    """Run `placewise run` as a process of its own; stop it as systemd would."""
    port = two_free_ports()
    environment = os.environ | {
        "PLACEWISE_STORE": str(folder / "demo.duckdb"),
        "PLACEWISE_EMBEDDED_PORT": str(port),
        "PLACEWISE_HTTP_PORT": "0",
        "PLACEWISE_AGENT_ID": "demo",
        "PLACEWISE_LOG_LEVEL": "warning",
        # It is to be seen how it learns from nothing; and the sample is among what ships.
        "PLACEWISE_KNOWLEDGE": "false",
    }
    environment.pop("PLACEWISE_BROKER", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.cli", "run", env=environment
    )
    try:
        await _until_listening(process, port)
        yield BrokerAddress("127.0.0.1", port)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            code = await process.wait()
    if code != 0:
        raise Unavailable(f"the agent ended with exit code {code}")


async def _until_listening(process: asyncio.subprocess.Process, port: int) -> None:
    due = await asyncio.to_thread(compiling.is_due, os.environ)
    async with asyncio.timeout(compiling.SECONDS if due else READY_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
    raise Unavailable(f"the agent ended at once, with exit code {process.returncode}")


async def _until_ready(client: AgentClient) -> None:
    """Ask until the agent, whose broker is there a moment earlier than itself, answers."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                await client.ask("status", {}, seconds=1.0)
            except Unavailable:
                continue
            return


async def _learn(client: AgentClient, rows: Sequence[ImportedRow]) -> list[dict[str, Any]]:
    """Publish everything, predicting each chunk before it goes out; return error by window."""
    from agent.importing import event_of

    windows: list[dict[str, Any]] = []
    judged: list[Judged] = []
    ends = [*FIRST_WINDOWS, len(rows)]
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        judged += await _judge(client, chunk)
        async with asyncio.TaskGroup() as publishing:
            for row in chunk:
                publishing.create_task(client.publish_event(EVENTS_BENCHMARK, event_of(row)))
        await _until_learned(client, start + len(chunk))
        if start + len(chunk) >= ends[0]:
            windows.append(_window(ends.pop(0), judged))
            judged = []
    return windows


async def _judge(client: AgentClient, rows: Sequence[ImportedRow]) -> list[Judged]:
    """Predict the throughput of rows that the agent has not met, and compare."""
    reply = await client.ask(
        "predict",
        {
            "candidates": [candidate_of(row.benchmark) for row in rows],
            "metrics": ["throughput_per_s"],
        },
    )
    judged = []
    for row, prediction in zip(rows, reply["predictions"], strict=True):
        measured = row.benchmark.metrics.throughput_per_s
        estimate = prediction["metrics"].get("throughput_per_s")
        if estimate is not None and measured is not None:
            judged.append(
                Judged(
                    error=abs(estimate["value"] - measured) / measured,
                    inside=estimate["low"] <= measured <= estimate["high"],
                )
            )
    return judged


async def _until_learned(client: AgentClient, count: int) -> None:
    """Wait until the agent has taken so many measurements, as its status tells."""
    async with asyncio.timeout(LEARN_SECONDS):
        while (await client.ask("status", {}))["events_logged"] < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the agent is another process: no event to wait for


def _window(end: int, judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "after": end,
        "predicted": len(judged),
        "median_error": statistics.median(one.error for one in judged) if judged else None,
        "coverage_90": sum(one.inside for one in judged) / len(judged) if judged else None,
    }


def _show_learning(windows: Iterable[dict[str, Any]]) -> None:
    table = Table("measurements seen", "median error of what came next", "inside the 90 % interval")
    before = 0
    for window in windows:
        error, coverage = window["median_error"], window["coverage_90"]
        if error is not None:
            bar = "█" * max(1, round(min(error, 1.0) * 40))
            table.add_row(
                f"{before:,} to {window['after']:,}", f"{error:6.1%} {bar}", f"{coverage:.0%}"
            )
        before = window["after"]
    console.print(table)


async def _ask_everything(
    client: AgentClient, rows: Sequence[ImportedRow], held_back: Sequence[ImportedRow]
) -> dict[str, Any]:
    console.rule("[bold]It predicts what it never saw")
    judged = await _judge(client, held_back)
    await _show_predictions(client, held_back[:8])
    error = statistics.median(one.error for one in judged)
    inside = sum(one.inside for one in judged) / len(judged)
    console.print(
        f"all {len(judged)} held back: median error {error:.1%}, {inside:.0%} inside the interval\n"
    )
    group = _widest_group(rows)
    await _recommend(client, group)
    await _place(client, rows, group)
    await _strategy(client, rows)
    return {"predicted": len(judged), "median_error": error, "coverage_90": inside}


async def _show_predictions(client: AgentClient, rows: Sequence[ImportedRow]) -> None:
    reply = await client.ask(
        "predict", {"candidates": [candidate_of(row.benchmark) for row in rows]}
    )
    table = Table("model", "hardware", "batch", "predicted (90 % interval, confidence)", "measured")
    for row, prediction in zip(rows, reply["predictions"], strict=True):
        run = row.benchmark
        table.add_row(
            run.model.name,
            run.hardware.name,
            str(run.setup.batch_size or "-"),
            show.estimate(prediction["metrics"].get("throughput_per_s")),
            f"{show.amount(run.metrics.throughput_per_s)} {run.metrics.throughput_unit or ''}",
        )
    console.print(table)


async def _recommend(client: AgentClient, group: Sequence[ModelRun]) -> None:
    """Ask for the best hardware where the answer is known from measurements."""
    first = group[0]
    console.rule(f"[bold]Which hardware for {first.model.name}?")
    reply = await client.ask(
        "recommend",
        {
            "model": first.model.name,
            "setup": first.setup.model_dump(mode="json", exclude_none=True),
            "hardware": [run.hardware.model_dump(mode="json", exclude_none=True) for run in group],
        },
    )
    show.recommendation(console, reply)
    _show_measured(group)


async def _place(
    client: AgentClient, rows: Sequence[ImportedRow], group: Sequence[ModelRun]
) -> None:
    console.rule("[bold]Which model where?")
    setup = group[0].setup.model_dump(mode="json", exclude_none=True)
    like = [
        row.benchmark
        for row in rows
        if row.benchmark.setup == group[0].setup
        and row.benchmark.model.family == group[0].model.family
    ]
    names = sorted({run.model.name for run in like})[:4]
    hardware = {run.hardware.name: run.hardware for run in group}
    reply = await client.ask(
        "place",
        {
            "models": [{"model": name, "setup": setup} for name in names],
            "devices": [
                {
                    "name": f"{name}-0",
                    "hardware": one.model_dump(mode="json", exclude_none=True),
                }
                for name, one in hardware.items()
            ],
        },
    )
    show.placement(console, reply)
    _show_measured(
        [run for run in like if run.model.name in names and run.hardware.name in hardware]
    )


async def _strategy(client: AgentClient, rows: Sequence[ImportedRow]) -> None:
    """Ask how three vision models should share a device on which each was measured alone."""
    by_hardware: dict[str, dict[str, ModelRun]] = defaultdict(dict)
    for row in rows:
        if row.source == "timm":
            by_hardware[row.benchmark.hardware.name][row.benchmark.model.name] = row.benchmark
    hardware, runs = max(by_hardware.items(), key=lambda item: (len(item[1]), item[0]))
    chosen = [runs[name] for name in sorted(runs)[:3]]
    console.rule(f"[bold]How should three models share {hardware}?")
    reply = await client.ask(
        "strategy",
        {
            "models": [
                {
                    "model": run.model.name,
                    "setup": run.setup.model_dump(mode="json", exclude_none=True),
                }
                for run in chosen
            ],
            "hardware": hardware,
            "goal": "latency",
        },
    )
    show.strategies(console, reply)
    _show_measured(chosen)


def _show_measured(runs: Iterable[ModelRun]) -> None:
    table = Table("really measured, alone", "hardware", "throughput", "latency (ms)")
    for run in sorted(runs, key=lambda run: (run.model.name, run.hardware.name)):
        table.add_row(
            run.model.name,
            run.hardware.name,
            f"{show.amount(run.metrics.throughput_per_s)} {run.metrics.throughput_unit or ''}",
            show.amount(run.metrics.latency_ms),
        )
    console.print(table)


def _widest_group(rows: Sequence[ImportedRow]) -> list[ModelRun]:
    """Return one model in one set-up, measured on as many kinds of hardware as possible."""
    groups: dict[tuple[str, str], dict[str, ModelRun]] = defaultdict(dict)
    for row in rows:
        run = row.benchmark
        if run.setup.batch_size is not None:
            key = (run.model.name, run.setup.model_dump_json())
            groups[key].setdefault(run.hardware.name, run)
    _, widest = max(groups.items(), key=lambda item: (len(item[1]), item[0]))
    return list(widest.values())


def candidate_of(run: ModelRun) -> dict[str, Any]:
    """Return the predict candidate of a run: what it was, without what it measured."""
    candidate: dict[str, Any] = run.model_dump(
        mode="json", exclude_none=True, include={"model", "hardware", "setup"}
    )
    if run.metrics.throughput_unit is not None:
        candidate["throughput_unit"] = run.metrics.throughput_unit
    if run.metrics.latency_kind is not None:
        candidate["latency_kind"] = run.metrics.latency_kind
    return candidate


def _count(rows: Iterable[ImportedRow], what: str) -> int:
    return len({getattr(row.benchmark, what).name for row in rows})
