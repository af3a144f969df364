"""Commands about how predictions turned out: validation, refinements."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Annotated, Any

import typer
from rich.console import Console

from agent.cli import options as opt
from agent.cli import show
from agent.cli.asking import ask
from agent.cli.tables import console
from agent.settings import load_settings
from schemas.errors import BadInput
from schemas.topics import RequestKind

out = console()
err = Console(stderr=True)

_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def validation(
    by: Annotated[
        str,
        typer.Option(
            help="metric, hardware, model, batch_size, precision, runtime, browser or strategy."
        ),
    ] = "hardware",
    metric: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    hardware: Annotated[str | None, typer.Option("--hardware", "-H")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m")] = None,
    batch_size: opt.BatchSize = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    browser: Annotated[str | None, typer.Option(help="chromium, or chromium-156.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Of executions.")] = None,
    last: Annotated[
        str | None, typer.Option(help="Measured no longer ago: 30min, 24h, 7d.")
    ] = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show how good predictions turned out: error, bias, coverage, trend."""
    body = {"by": by} | opt.setup_of(
        metric=metric,
        hardware=hardware,
        model=model,
        batch_size=batch_size,
        precision=precision,
        runtime=runtime,
        browser=browser,
        strategy=strategy,
        last_s=None if last is None else seconds(last),
    )
    reply = _answer("validation", body, broker, store, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show.validation(out, reply, by)


def refinements(
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show what was tried to make predictions better, with error before, after and next."""
    reply = _answer("models", {}, broker, store, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply["refinements"], indent=2))
    else:
        show.refinements(out, reply["refinements"])


def seconds(text: str) -> float:
    """Read a duration.

    Raises:
        BadInput: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", text)
    if found is None:
        raise BadInput.of_field("--last", f"got {text!r}", "a number with s, min, h, d or w: 24h")
    return float(found[1]) * _SECONDS[found[2]]


def _answer(
    kind: RequestKind,
    body: dict[str, Any],
    broker: str | None,
    store: Any,
    config: Any,
    timeout: float | None,
) -> dict[str, Any]:
    settings = load_settings(config, broker=broker, store=store)
    return asyncio.run(ask(settings, kind, body, err, timeout))
