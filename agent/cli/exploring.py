"""Commands that ask what to measure next: active-learning, batch, integrate."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from agent.cli import files, tables
from agent.cli import options as opt
from agent.cli.asking import ask
from agent.cli.tables import Table
from agent.settings import load_settings
from schemas.errors import BadInput
from schemas.exploration import ActiveLearningReply, BatchReply, IntegrateReply
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

_SHORT = {"throughput": "throughput_per_s", "latency": "latency_ms", "memory": "memory_mb"}
_SHOWN_DECISIONS = 10

out = tables.console()
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
    timeout: opt.Timeout = None,
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
    reply = _ask("active_learning", body, broker, store, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show(out, ActiveLearningReply.model_validate(reply))


def batch(
    size: Annotated[int, typer.Option(help="At most so many benchmarks.")] = 10,
    limit: Annotated[
        list[str] | None, typer.Option(help="HARDWARE=NUMBER of benchmarks; repeatable.")
    ] = None,
    availability: Annotated[
        list[str] | None, typer.Option(help="HARDWARE=SHARE of time; repeatable.")
    ] = None,
    diversity: Annotated[float, typer.Option(help="0 to 1.")] = 0.3,
    budget_runs: Annotated[int | None, typer.Option(help="Runs in all.")] = None,
    budget_s: Annotated[float | None, typer.Option(help="Seconds in all.")] = None,
    budget_j: Annotated[float | None, typer.Option(help="Joules in all.")] = None,
    repeats: Annotated[int, typer.Option(help="How often each is run.")] = 1,
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
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Put together a batch of benchmarks under limits."""
    body = (
        opt.read_request(request)
        if request
        else {
            "size": size,
            "limits": {
                name: opt.whole("--limit", value)
                for name, value in opt.pairs("--limit", limit or []).items()
            },
            "availability": opt.numbers("--availability", availability),
            "diversity": diversity,
            "repeats": repeats,
            **opt.setup_of(budget_runs=budget_runs, budget_s=budget_s, budget_j=budget_j),
            **_allowed(metric, model, hardware, hardware_class, batch_size, precision, runtime),
            **_preferred(worth, cost_per_hour, thompson=thompson, seed=seed),
        }
    )
    reply = _ask("batch", body, broker, store, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
        return
    found = BatchReply.model_validate(reply)
    show(out, found)
    shares = ", ".join(f"{count} on {name}" for name, count in found.per_hardware.items())
    out.print(escape(f"{found.runs} runs in {found.cost_s:.0f} s: {shares or 'nothing'}"))


def integrate(
    budget: Budget = 5,
    metric: Annotated[
        str, typer.Option(help="throughput_per_s, latency_ms, memory_mb or power_w.")
    ] = "throughput_per_s",
    model: Models = None,
    hardware: Hardware = None,
    hardware_class: HardwareClass = None,
    batch_size: BatchSizes = None,
    precision: Precisions = None,
    runtime: Runtimes = None,
    worth: WorthBy = "gain",
    cost_per_hour: CostPerHour = None,
    output: Annotated[Path | None, typer.Option(help="Write the answer here, as JSON.")] = None,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say which benchmarks would most change for the better what hardware is chosen."""
    body = (
        opt.read_request(request)
        if request
        else {
            "budget": budget,
            "metric": _SHORT.get(metric, metric),
            **_allowed(None, model, hardware, hardware_class, batch_size, precision, runtime),
            **_preferred(worth, cost_per_hour, thompson=False, seed=0),
        }
    )
    to = files.to_write("--output", output)
    reply = _ask("integrate", body, broker, store, config, timeout)
    text = json.dumps(reply, indent=2)
    if as_json:
        typer.echo(text)
    else:
        _show_decisions(IntegrateReply.model_validate(reply))
    to.write(text + "\n")


def _show_decisions(found: IntegrateReply) -> None:
    """Show the choices of hardware at hand, then what would make them surer."""
    table = Table("model", "recommended", "runner-up", "surely the best", "expected loss")
    for one in found.decisions[:_SHOWN_DECISIONS]:
        table.add_row(
            one.model,
            one.recommended,
            one.runner_up or "-",
            f"{one.chance_best:.0%}",
            f"{one.expected_regret:.2%}",
        )
    out.print(table)
    show(out, found)


def show(console: Console, reply: ActiveLearningReply) -> None:
    """Show wanted benchmarks, the first to run first."""
    table = Table("", "model", "hardware", "set-up", "gain", "for decisions", "time")
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
            "-" if one.decision_gain is None else f"{one.decision_gain:.2%}",
            f"{one.cost_s:.0f} s",
        )
    console.print(table)
    console.print(
        f"uncertainty over {reply.cells} cells: {reply.uncertainty:.1%} now, "
        f"{reply.expected_uncertainty:.1%} when these are measured"
    )
    for reason in reply.reasons:
        console.print(escape(f"- {reason}"))
    for gain in reply.measured:
        came = f"{gain.expected_gain:.2%} expected, {gain.measured_gain:.2%} came"
        console.print(escape(f"- {gain.id}: {came}"))


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
    costs = opt.numbers("--cost-per-hour", cost_per_hour)
    if worth == "gain_per_cost" and not costs:
        raise BadInput.of_field(
            "--cost-per-hour", "missing", "HARDWARE=NUMBER, since --worth is gain_per_cost"
        )
    return {
        "worth": worth,
        "cost_per_hour": costs,
        "thompson": thompson,
        "seed": seed,
    }


def _ask(
    kind: RequestKind,
    body: dict[str, Any],
    broker: Any,
    store: Any,
    config: Any,
    timeout: float | None,
) -> dict[str, Any]:
    settings = load_settings(config, broker=broker, store=store)
    return asyncio.run(ask(settings, kind, body, err, timeout))
