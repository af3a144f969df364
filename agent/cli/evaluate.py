"""`placewise evaluate`: how good the predictions are, on measurements of your own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from agent.cli import compiling, files, tables
from agent.cli import options as opt
from agent.cli.tables import Table
from schemas.errors import BadInput

if TYPE_CHECKING:
    from agent.evaluation import Row

out = tables.console()
err = Console(stderr=True)

_SHOWN = (
    ("rows", "rows", "{:,}"),
    ("median_ape", "median error", "{:.1%}"),
    ("mean_ape", "mean", "{:.1%}"),
    ("p90_ape", "90th pct.", "{:.1%}"),
    ("spearman", "Spearman", "{:.3f}"),
    ("coverage_90", "coverage of 90 %", "{:.1%}"),
    ("coverage_90_worst", "worst set-up", "{:.1%}"),
    ("coverage_90_first20", "first 20", "{:.1%}"),
    ("half_width", "half-width", "{:.1%}"),
    ("learn_us", "µs learn", "{:,.0f}"),
    ("predict_us", "µs predict", "{:,.0f}"),
)


def evaluate(
    train: Annotated[Path, typer.Argument(help="Learnt in one pass.", exists=True, dir_okay=False)],
    test: Annotated[
        Path | None,
        typer.Option(help="Predicted after that; not needed with --protocol prequential."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="split, or prequential: predict each row, then learn it.")
    ] = "split",
    few_shot: Annotated[
        int,
        typer.Option(min=0, help="Rows of each set-up of TEST unknown to TRAIN to learn first."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the random order.")] = 0,
    mapping: Annotated[list[str] | None, typer.Option("--map", help="THEIRS=OURS column.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here ('-': standard output).")
    ] = None,
) -> None:
    """Learn TRAIN one event at a time, predict TEST, and tell how far off it was."""
    if protocol not in ("split", "prequential"):
        raise BadInput.of_field("--protocol", f"got {protocol!r}", "split or prequential")
    if protocol == "split" and test is None:
        raise BadInput.of_field("--test", "missing", "a file to predict")
    to_standard_output = json_out is not None and str(json_out) == "-"
    to = files.to_write("--json", None if to_standard_output else json_out)
    compiling.announce(err)
    from agent.evaluation import prequential, split
    from agent.learning.bank import Bank

    columns = opt.pairs("--map", mapping or [])
    rows = _read(train, columns)
    held_out = _read(test, columns) if test is not None else []
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("learning and predicting", total=len(rows) + len(held_out))

        def on_progress(count: int) -> None:
            bar.advance(task, count)

        if protocol == "split":
            report = split(
                Bank(), rows, held_out, few_shot=few_shot, seed=seed, on_progress=on_progress
            )
        else:
            report = prequential(Bank(), rows, seed=seed, on_progress=on_progress)
    text = json.dumps(report, indent=2, allow_nan=False)
    if to_standard_output:
        typer.echo(text)
    else:
        show_report(out, report)
    to.write(text + "\n")


def show_report(console: Console, report: dict[str, Any]) -> None:
    """Show the figures, a row per metric and source."""
    table = Table("metric", "source", *[heading for _, heading, _ in _SHOWN])
    for metric, scopes in report.items():
        if unanswered := scopes["all"]["unanswered"]:
            console.print(
                f"{metric}: {unanswered} rows are in units of which nothing was learnt",
                style="yellow",
            )
        for source, row in [("all", scopes["all"]), *scopes["sources"].items()]:
            cells = [
                "-" if row[name] is None else form.format(row[name]) for name, _, form in _SHOWN
            ]
            table.add_row(metric, source, *cells)
    console.print(table)


def _read(path: Path, mapping: dict[str, str]) -> list[Row]:
    from agent.evaluation import Row
    from agent.importing import ImportedRow, read_rows

    files.refuse_empty(path)
    rows = []
    refused = 0
    for row in read_rows(path, mapping):
        if isinstance(row, ImportedRow):
            rows.append(Row(row.source, row.benchmark))
        else:
            refused += 1
    if refused:
        err.print(f"[yellow]{path.name}: {refused} rows refused[/] (placewise import names them)")
    if not rows:
        raise BadInput.of_field(str(path), "no usable row", "measurements")
    return rows
