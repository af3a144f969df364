"""The command `placewise`.

Exit codes: 0 done; 1 a fault of ours; 2 wrong usage or bad input; 3 a part that is needed is
not there (agent, broker, store); 4 nothing meets the limits; 5 an import refused some rows;
6 a replayed log gives other answers.
"""

from __future__ import annotations

import logging
import sys

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from agent.cli import (
    browsing,
    data,
    demo,
    evaluate,
    exploration,
    exploring,
    memory,
    questions,
    running,
    validating,
    working,
)
from schemas.errors import AgentRefused, BadInput, PlacewiseError, Unavailable

BAD_INPUT = 2
UNAVAILABLE = 3
FAULT = 1

app = typer.Typer(
    name="placewise",
    help=(
        "Learns, one event at a time, how fast AI models run on the hardware at hand, and "
        "decides where and how to run them."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(running.run)
app.command("demo")(demo.demo)
app.command("import")(data.import_)
app.command("replay")(data.replay)
app.command("predict")(questions.predict)
app.command("compare-hardware")(questions.compare_hardware)
app.command("recommend-hardware")(questions.recommend_hardware)
app.command("place")(questions.place)
app.command("strategy")(questions.strategy)
app.command("capacity")(memory.capacity)
app.add_typer(memory.quarantine_app, name="quarantine")
app.command("models")(questions.models)
app.command("update")(questions.update)
app.command("validation")(validating.validation)
app.command("refinements")(validating.refinements)
app.command("worker")(working.worker)
app.command("execute")(working.execute)
app.command("compare-strategies")(working.compare_strategies)
app.command("browsers")(browsing.browsers)
app.command("best-browser")(browsing.best_browser)
app.command("detect-browsers")(browsing.detect_browsers)
app.add_typer(exploration.explore_app, name="explore")
app.command("status")(questions.status)
app.command("active-learning")(exploring.active_learning)
app.command("batch")(exploring.batch)
app.command("integrate")(exploring.integrate)
app.command("evaluate")(evaluate.evaluate)


def main() -> None:
    """Run the command line; end with an exit code that a script can use."""
    _log_to_standard_error()
    try:
        app()
    except* PlacewiseError as group:
        sys.exit(_explain(_first(group)))


def _log_to_standard_error() -> None:
    """Keep standard output for answers; a command tells of errors only (`run` tells more).

    That a connection did not stand at once is no error: the command says so if it never does.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _first(group: BaseExceptionGroup[PlacewiseError]) -> PlacewiseError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, PlacewiseError)
    return error


def _explain(error: PlacewiseError) -> int:
    """Print what is wrong; return the exit code."""
    console = Console(stderr=True)
    first, *others = _lines(error)
    console.print(f"[bold red]error:[/] {escape(first)}", highlight=False, soft_wrap=True)
    for line in others:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    if isinstance(error, AgentRefused):
        return {"unavailable": UNAVAILABLE, "internal": FAULT}.get(error.remote_code, BAD_INPUT)
    if isinstance(error, BadInput):
        return BAD_INPUT
    return UNAVAILABLE if isinstance(error, Unavailable) else FAULT


def _lines(error: PlacewiseError) -> list[str]:
    """Return what is wrong, each field once: most messages name the first of them already."""
    fields = [f"{one.field}: {one.problem}; expected {one.expected}" for one in error.details]
    if not error.details:
        return [error.message]
    first = error.details[0]
    before, named, _ = error.message.partition(f"{first.field}: {first.problem}")
    if not named:
        return [error.message, *fields]
    if len(fields) == 1:
        return [before + fields[0]]
    return [before.rstrip(" :"), *fields] if before else fields
