"""Commands about measurements: import and replay."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent.bus import wiring as bus_wiring
from agent.cli import options as opt
from agent.client import connected
from agent.settings import Settings, load_settings
from schemas.topics import EVENTS_BENCHMARK

if TYPE_CHECKING:
    from agent.importing import ImportSummary

SOME_REFUSED = 5
"""Exit code of an import that refused rows (the others are stored)."""

ANSWERS_DIFFER = 6
"""Exit code of a replay whose answers differ from those in the log."""

PUBLISHED_AT_ONCE = 64

out = Console()
err = Console(stderr=True)

File = Annotated[
    Path, typer.Argument(help="Parquet, CSV or JSON lines.", exists=True, dir_okay=False)
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="THEIR_COLUMN=OUR_COLUMN, for files with other names; repeatable."),
]


def import_(
    file: File,
    mapping: Map = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    as_json: opt.AsJson = False,
) -> None:
    """Import measurements from a file into the log. Rows already there change nothing.

    The store must not be in use: to feed a running agent, use `placewise replay FILE`.
    """
    settings = load_settings(config, store=store)
    _load("agent.wiring", "agent.importing")
    summary = asyncio.run(_import(settings, file, opt.pairs("--map", mapping or []), as_json))
    if as_json:
        typer.echo(json.dumps(_summary_json(summary), indent=2))
    else:
        _show_import(summary)
    if summary.refused_count:
        raise typer.Exit(SOME_REFUSED)


def replay(
    file: Annotated[
        Path | None, typer.Argument(help="Publish this file's measurements as events.")
    ] = None,
    mapping: Map = None,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Events per second.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many events.")] = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    as_json: opt.AsJson = False,
) -> None:
    """Replay measurements: a FILE over the bus, or (without FILE) the log of a store.

    A file's rows are published as benchmark events to the broker, for whatever agent
    listens. A log is replayed into a new heart, which must give the logged answers again.
    """
    settings = load_settings(config, broker=broker, store=store)
    if file is not None:
        _load("agent.importing")
        result = asyncio.run(
            _publish(settings, file, opt.pairs("--map", mapping or []), rate, limit)
        )
    else:
        _load("agent.wiring", "agent.verify")
        result = asyncio.run(_verify(settings))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            out.print(f"{name.replace('_', ' ')}: [bold]{value}[/]")
    if result.get("answers_that_differ"):
        raise typer.Exit(ANSWERS_DIFFER)


def _load(*modules: str) -> None:
    """Load what takes long to load, before a loop runs that it would hold up."""
    for module in modules:
        import_module(module)


async def _import(
    settings: Settings, file: Path, mapping: dict[str, str], quiet: bool
) -> ImportSummary:
    from agent import wiring
    from agent.importing import import_file

    store = await wiring.open_store(settings)
    try:
        with _progress(quiet) as bar:
            task = bar.add_task(file.name, total=None)

            def on_progress(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total)

            return await import_file(
                file,
                store,
                mapping=mapping,
                received_at=datetime.now(UTC),
                on_progress=on_progress,
            )
    finally:
        await store.close()


async def _publish(
    settings: Settings, file: Path, mapping: dict[str, str], rate: float | None, limit: int | None
) -> dict[str, Any]:
    from agent.importing import ImportedRow, event_of, read_rows

    started = time.perf_counter()
    published = refused = 0
    async with connected(bus_wiring.client_bus(settings)) as client:
        with _progress(quiet=False) as bar:
            task = bar.add_task(f"publishing {file.name}", total=limit)
            rows = read_rows(file, mapping)
            async with asyncio.TaskGroup() as publishing:
                gate = asyncio.Semaphore(PUBLISHED_AT_ONCE)
                while (limit is None or published < limit) and (
                    row := await asyncio.to_thread(next, rows, None)
                ) is not None:
                    if not isinstance(row, ImportedRow):
                        refused += 1
                        continue
                    if rate is not None:
                        due = started + published / rate
                        await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    await gate.acquire()
                    sending = publishing.create_task(
                        client.publish_event(EVENTS_BENCHMARK, event_of(row)), name="replay-publish"
                    )
                    sending.add_done_callback(lambda _: gate.release())
                    published += 1
                    bar.update(task, completed=published)
    seconds = time.perf_counter() - started
    return {"published": published, "refused": refused, "seconds": round(seconds, 2)}


async def _verify(settings: Settings) -> dict[str, Any]:
    from agent import wiring
    from agent.verify import verify

    store = await wiring.open_store(settings)
    try:
        with _progress(quiet=False) as bar:
            task = bar.add_task("replaying the log", total=None)

            def on_progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            verified = await verify(
                store, await asyncio.to_thread(wiring.heart_config, settings), on_progress
            )
    finally:
        await store.close()
    return {
        "records": verified.records,
        "answers_asked_again": verified.answers,
        "answers_that_differ": len(verified.differing),
        "first_that_differ": verified.differing[:10],
        "digest": verified.digest,
    }


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=quiet,
        transient=True,
    )


def _summary_json(summary: ImportSummary) -> dict[str, Any]:
    refused = [
        {"row": row.number, "details": [detail.model_dump() for detail in row.details]}
        for row in summary.refused
    ]
    return asdict(summary) | {"refused": refused, "ignored": list(summary.ignored)}


def _show_import(summary: ImportSummary) -> None:
    out.print(
        f"read [bold]{summary.read}[/] rows: {summary.stored} stored, "
        f"{summary.duplicates} already there, {summary.refused_count} refused"
    )
    if summary.ignored:
        out.print(f"columns that say nothing to us: {', '.join(summary.ignored)}")
    if summary.refused:
        table = Table("row", "field", "problem", "expected", title="refused")
        for row in summary.refused:
            for detail in row.details:
                table.add_row(str(row.number), detail.field, detail.problem, detail.expected)
        out.print(table)
