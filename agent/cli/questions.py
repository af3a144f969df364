"""Commands that ask: predict, compare-hardware, recommend-hardware, place, strategy, status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from agent.cli import files, show
from agent.cli import options as opt
from agent.cli.asking import ask
from agent.cli.tables import console
from agent.settings import load_settings
from schemas.measurement import MetricName
from schemas.refinement import UpdateMethod
from schemas.replies import StrategyOutcome
from schemas.topics import RequestKind
from strategies import drawing

T = TypeVar("T")

NOTHING_QUALIFIES = 4
"""Exit code of a question whose answer is that nothing meets the limits."""

Model = Annotated[str | None, typer.Argument(help="Name of the model.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="MODEL or MODEL@BATCH_SIZE; repeatable.")
]
Hardware = Annotated[
    list[str] | None, typer.Option("--hardware", "-H", help="Name of hardware; repeatable.")
]
Metric = Annotated[str, typer.Option(help="throughput_per_s, latency_ms, memory_mb or power_w.")]
Goal = Annotated[str, typer.Option(help="throughput, latency, memory or energy.")]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="NAME=VALUE, e.g. power_w=300; repeatable.")
]

out = console()
err = Console(stderr=True)


def predict(
    model: Model = None,
    hardware: Hardware = None,
    batch_size: opt.BatchSize = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    task: opt.Task = None,
    sequence_in: opt.SequenceIn = None,
    sequence_out: opt.SequenceOut = None,
    count: opt.DeviceCount = None,
    duration_s: Annotated[
        float | None, typer.Option(help="How long it is to run, in seconds.")
    ] = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Predict throughput, latency, memory, power and energy of a model; and whether it fits."""
    body = (
        opt.read_request(request)
        if request
        else {
            "candidates": [
                {
                    "model": _required(model, "MODEL"),
                    "hardware": {"name": name, **opt.setup_of(count=count)},
                    "setup": opt.setup_of(
                        batch_size=batch_size,
                        precision=precision,
                        runtime=runtime,
                        task=task,
                        sequence_in=sequence_in,
                        sequence_out=sequence_out,
                    ),
                }
                for name in _required(hardware, "--hardware")
            ],
            **opt.setup_of(duration_s=duration_s),
        }
    )
    _answer("predict", body, show.predictions, broker, store, config, timeout, as_json=as_json)


def compare_hardware(
    model: Model = None,
    hardware: Hardware = None,
    metric: Metric = "throughput_per_s",
    batch_sizes: Annotated[
        str | None, typer.Option(help="Compare these as well, e.g. 1,8,32.")
    ] = None,
    batch_size: opt.BatchSize = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare one model over hardware (all that is known, or what you name) and batch sizes."""
    body = (
        opt.read_request(request)
        if request
        else {
            "model": _required(model, "MODEL"),
            "metric": metric,
            "setup": opt.setup_of(batch_size=batch_size, precision=precision, runtime=runtime),
            **({"hardware": hardware} if hardware else {}),
            **({"batch_sizes": _batch_sizes(batch_sizes)} if batch_sizes else {}),
        }
    )
    _answer("compare", body, show.comparison, broker, store, config, timeout, as_json=as_json)


def recommend_hardware(
    model: Model = None,
    hardware: Hardware = None,
    metric: Metric = "throughput_per_s",
    weight: Annotated[
        list[str] | None,
        typer.Option(help="performance|power|memory|cost|availability=NUMBER; repeatable."),
    ] = None,
    limit: Limits = None,
    only_precision: Annotated[
        list[str] | None, typer.Option(help="Allow only this precision; repeatable.")
    ] = None,
    batch_size: opt.BatchSize = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Recommend hardware for a model, by a metric or a weighted mix, under hard limits.

    Costs and availability of hardware are given in a whole request (--request FILE).
    """
    limits: dict[str, Any] = opt.numbers("--limit", limit)
    if only_precision:
        limits["precision"] = only_precision
    body = (
        opt.read_request(request)
        if request
        else {
            "model": _required(model, "MODEL"),
            "metric": metric,
            "setup": opt.setup_of(batch_size=batch_size, precision=precision, runtime=runtime),
            "limits": limits,
            **({"weights": opt.numbers("--weight", weight)} if weight else {}),
            **({"hardware": [{"name": name} for name in hardware]} if hardware else {}),
        }
    )
    reply = _answer(
        "recommend", body, show.recommendation, broker, store, config, timeout, as_json=as_json
    )
    if reply["recommended"] is None:
        raise typer.Exit(NOTHING_QUALIFIES)


def place(
    models: Models = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", help="NAME=HARDWARE or NAME=HARDWARE@MEMORY_MB."),
    ] = None,
    goal: Goal = "throughput",
    limit: Limits = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Place models onto devices, within their memory."""
    setup = opt.setup_of(precision=precision, runtime=runtime)
    body = (
        opt.read_request(request)
        if request
        else {
            "models": [opt.work_item(text, setup) for text in _required(models, "--model")],
            "devices": [opt.device(text) for text in _required(device, "--device")],
            "goal": goal,
            "limits": opt.numbers("--limit", limit),
        }
    )
    reply = _answer("place", body, show.placement, broker, store, config, timeout, as_json=as_json)
    if reply["unplaced"]:
        raise typer.Exit(NOTHING_QUALIFIES)


def strategy(
    models: Models = None,
    hardware: Annotated[str | None, typer.Option("--hardware", "-H")] = None,
    memory_mb: Annotated[float | None, typer.Option(help="Memory of the device.")] = None,
    goal: Goal = "throughput",
    weight: opt.GoalWeight = None,
    limit: Limits = None,
    explore_budget: opt.ExploreBudget = None,
    precision: opt.Precision = None,
    runtime: opt.Runtime = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the chosen timeline into this SVG file.")
    ] = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Choose how models run together on a device: parallel, sequential or batched."""
    setup = opt.setup_of(precision=precision, runtime=runtime)
    body = (
        opt.read_request(request)
        if request
        else {
            "models": [opt.work_item(text, setup) for text in _required(models, "--model")],
            "hardware": _required(hardware, "--hardware"),
            **opt.setup_of(memory_mb=memory_mb),
            **opt.wanted(goal, weight, limit, explore_budget),
        }
    )
    to = files.to_write("--picture", picture)
    reply = _answer(
        "strategy", body, show.strategies, broker, store, config, timeout, as_json=as_json
    )
    if reply["chosen"] is None:
        raise typer.Exit(NOTHING_QUALIFIES)
    if picture is not None:
        to.write(drawing.picture(StrategyOutcome.model_validate(reply["chosen"])))


def status(
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Ask a running agent how it is."""
    _answer("status", {}, show.status, broker, store, config, timeout, as_json=as_json)


def models(
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show the versions of what was learnt, what each was worth, and how the current one does."""
    _answer("models", {}, show.models, broker, store, config, timeout, as_json=as_json)


def update(
    method: Annotated[UpdateMethod, typer.Argument(help="How to make learned state anew.")],
    metric: Annotated[MetricName | None, typer.Option(help="For window and weighted.")] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", "-H", help="For window and weighted.")
    ] = None,
    newest: Annotated[
        int | None, typer.Option(min=1, help="Measurements of the scope that count in full.")
    ] = None,
    keep_one_in: Annotated[
        int | None, typer.Option(min=1, help="Weighted: of the older, learn one in so many.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=0, help="Rollback: the version to return to.")
    ] = None,
    broker: opt.Broker = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Ask a running agent to learn anew in another way; it keeps what makes predictions better.

    window: of a metric or hardware, only the newest measurements. weighted: older ones count
    less. rebuild: everything again, in random order. rollback: as an earlier version did.
    """
    body = {
        "method": method,
        "scope": opt.setup_of(metric=metric, hardware=hardware),
        **opt.setup_of(newest=newest, keep_one_in=keep_one_in, version=version),
    }
    _answer("update", body, show.accepted, broker, None, config, timeout, as_json=as_json)


def _answer(
    kind: RequestKind,
    body: dict[str, Any],
    render: Callable[[Console, dict[str, Any]], None],
    broker: str | None,
    store: Path | None,
    config: Path | None,
    timeout: float | None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    settings = load_settings(config, broker=broker, store=store)
    reply = asyncio.run(ask(settings, kind, body, err, timeout))
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        render(out, reply)
    return reply


def _required(value: T | None, name: str) -> T:
    if not value:
        raise typer.BadParameter(f"{name} is needed, or a whole request with --request FILE")
    return value


def _batch_sizes(text: str) -> list[int]:
    return [opt.whole("--batch-sizes", size.strip()) for size in text.split(",")]
