"""Commands about measurements: import and replay."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from agent.cli import compiling, files
from agent.cli import options as opt
from agent.cli.tables import Table, console
from agent.settings import load_settings

if TYPE_CHECKING:
    from agent.importing import ImportSummary

SOME_REFUSED = 5
"""Exit code of an import that refused rows (the others are stored)."""

ANSWERS_DIFFER = 6
"""Exit code of a replay whose answers differ from those in the log."""

out = console()
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
    files.refuse_empty(file)
    compiling.announce(err)
    from agent.cli import feeding

    settings = load_settings(config, store=store)
    names = opt.pairs("--map", mapping or [])
    summary = asyncio.run(feeding.into_log(settings, file, names, quiet=as_json))
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
    if file is not None:
        files.refuse_empty(file)
    compiling.announce(err)
    from agent.cli import feeding

    settings = load_settings(config, broker=broker, store=store)
    if file is not None:
        names = opt.pairs("--map", mapping or [])
        result = asyncio.run(feeding.over_bus(settings, file, names, rate, limit))
    else:
        result = asyncio.run(feeding.once_more(settings))
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            out.print(f"{name.replace('_', ' ')}: [bold]{value}[/]")
    if result.get("answers_that_differ"):
        raise typer.Exit(ANSWERS_DIFFER)


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
