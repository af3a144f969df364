"""Commands that ask what to measure next: active-learning."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import options as opt
from agent.cli.asking import ask
from agent.settings import load_settings
from schemas.exploration import ActiveLearningReply
from schemas.topics import RequestKind

Budget = Annotated[int, typer.Option(help="How many benchmarks.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Whose uncertainty counts; repeatable.")
]
Models = Annotated[list[str] | None, typer.Option("--model", "-m", help="Only these; repeatable.")]
Hardware = Annotated[
    list[str] | None, typer.Option("--hardware", "-H", help="Only this; repeatable.")
]
HardwareClass = Annotated[
    str | None, typer.Option(help="Of hardware that was never measured: gpu, cpu, npu, …")
]
BatchSizes = Annotated[list[int] | None, typer.Option("--batch-size", "-b", help="Repeatable.")]
Precisions = Annotated[list[str] | None, typer.Option("--precision", help="Repeatable.")]
Runtimes = Annotated[list[str] | None, typer.Option("--runtime", help="Repeatable.")]
WorthBy = Annotated[str, typer.Option(help="gain, gain_per_s, gain_per_j or gain_per_cost.")]
CostPerHour = Annotated[
    list[str] | None, typer.Option(help="HARDWARE=NUMBER in your currency; repeatable.")
]
Thompson = Annotated[bool, typer.Option("--thompson", help="Choose by a draw (see --seed).")]
Seed = Annotated[int, typer.Option(help="Of what is drawn.")]

out = Console()
err = Console(stderr=True)


def active_learning(
    budget: Budget = 10,
    metric: Metrics = None,
    model: Models = None,
    hardware: Hardware = None,
    hardware_class: HardwareClass = None,
    batch_size: BatchSizes = None,
    precision: Precisions = None,
    runtime: Runtimes = None,
    worth: WorthBy = "gain",
    cost_per_hour: CostPerHour = None,
    thompson: Thompson = False,
    seed: Seed = 0,
    diversity: Annotated[float, typer.Option(help="0 to 1.")] = 0.0,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say which benchmarks are worth running next, and what each is expected to teach."""
    body = (
        opt.read_request(request)
        if request
        else {
            "budget": budget,
            "diversity": diversity,
            **_allowed(metric, model, hardware, hardware_class, batch_size, precision, runtime),
            **_preferred(worth, cost_per_hour, thompson=thompson, seed=seed),
        }
    )
    reply = _ask("active_learning", body, broker, store, config)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show(out, ActiveLearningReply.model_validate(reply))


def show(console: Console, reply: ActiveLearningReply) -> None:
    """Show wanted benchmarks, the first to run first."""
    table = Table("", "model", "hardware", "set-up", "gain", "time")
    for one in reply.wanted:
        setup = one.setup.model_dump(exclude_none=True)
        table.add_row(
            str(one.priority),
            one.model.name,
            one.hardware.name
            if one.hardware.count is None
            else f"{one.hardware.count} x {one.hardware.name}",
            ", ".join(_said(name, value) for name, value in setup.items()),
            f"{one.expected_gain:.2%}",
            f"{one.cost_s:.0f} s",
        )
    console.print(table)
    console.print(
        f"uncertainty over {reply.cells} cells: {reply.uncertainty:.1%} now, "
        f"{reply.expected_uncertainty:.1%} when these are measured"
    )
    for reason in reply.reasons:
        console.print(f"- {reason}")
    for gain in reply.measured:
        console.print(
            f"- {gain.id}: {gain.expected_gain:.2%} expected, {gain.measured_gain:.2%} came"
        )


def _said(name: str, value: object) -> str:
    return str(value) if isinstance(value, str) else f"{name.replace('_', ' ')} {value:g}"


def _allowed(
    metric: list[str] | None,
    model: list[str] | None,
    hardware: list[str] | None,
    hardware_class: str | None,
    batch_size: list[int] | None,
    precision: list[str] | None,
    runtime: list[str] | None,
) -> dict[str, Any]:
    """Return what a request allows; what was not said is left out of it."""
    described = {} if hardware_class is None else {"class": hardware_class}
    return opt.setup_of(
        metrics=metric,
        models=model,
        hardware=[{"name": name, **described} for name in hardware] if hardware else None,
        batch_sizes=batch_size,
        precisions=precision,
        runtimes=runtime,
    )


def _preferred(
    worth: str, cost_per_hour: list[str] | None, *, thompson: bool, seed: int
) -> dict[str, Any]:
    costs = opt.pairs("--cost-per-hour", cost_per_hour or [])
    return {
        "worth": worth,
        "cost_per_hour": {
            name: opt.number("--cost-per-hour", value) for name, value in costs.items()
        },
        "thompson": thompson,
        "seed": seed,
    }


def _ask(
    kind: RequestKind, body: dict[str, Any], broker: Any, store: Any, config: Any
) -> dict[str, Any]:
    settings = load_settings(config, broker=broker, store=store)
    return asyncio.run(ask(settings, kind, body, err))
