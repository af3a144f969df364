"""Commands about memory and about what is set aside: capacity, quarantine."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.console import Console

from agent.cli import options as opt
from agent.cli import show
from agent.cli.asking import ask
from agent.cli.tables import console
from agent.settings import load_settings

NOTHING_FITS = 4
"""Exit code of a question whose answer is that nothing fits anywhere."""

out = console()
err = Console(stderr=True)


def capacity(
    model: Annotated[str | None, typer.Argument(help="Name of the model.")] = None,
    hardware: Annotated[
        list[str] | None, typer.Option("--hardware", "-H", help="Name of hardware; repeatable.")
    ] = None,
    find: Annotated[str, typer.Option(help="batch_size or context.")] = "batch_size",
    precision: Annotated[
        list[str] | None, typer.Option(help="Of the weights: fp16, int4, …; repeatable.")
    ] = None,
    kv_precision: Annotated[
        list[str] | None, typer.Option(help="Of the key-value cache: fp16, 2bit, …; repeatable.")
    ] = None,
    batch_size: opt.BatchSize = None,
    sequence_in: opt.SequenceIn = None,
    sequence_out: opt.SequenceOut = None,
    task: opt.Task = None,
    count: opt.DeviceCount = None,
    parameters_m: Annotated[float | None, typer.Option(help="Parameters, in millions.")] = None,
    kv_values_per_token: Annotated[
        float | None, typer.Option(help="2 x layers x key-value heads x head dimension.")
    ] = None,
    memory_mb: Annotated[float | None, typer.Option(help="Memory of one device.")] = None,
    probability: Annotated[float, typer.Option(help="With which it has to fit.")] = 0.9,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Find the largest batch, or the longest context, that fits into memory.

    Several precisions show side by side what fewer bits buy.
    """
    if request is None and not (model and hardware):
        missing = "--hardware" if model else "MODEL"
        raise typer.BadParameter(f"{missing} is needed, or a whole request with --request FILE")
    body = (
        opt.read_request(request)
        if request
        else {
            "model": {
                "name": model,
                **opt.setup_of(parameters_m=parameters_m, kv_values_per_token=kv_values_per_token),
            },
            "hardware": [{"name": name, **opt.setup_of(count=count)} for name in hardware or ()],
            "setup": opt.setup_of(
                batch_size=batch_size,
                sequence_in=sequence_in,
                sequence_out=sequence_out,
                task=task,
            ),
            "find": find,
            "probability": probability,
            **opt.setup_of(
                precisions=precision or None,
                kv_precisions=kv_precision or None,
                memory_mb=memory_mb,
            ),
        }
    )
    settings = load_settings(config, broker=broker, store=store)
    reply = asyncio.run(ask(settings, "capacity", body, err, timeout))
    if not _print(reply, as_json=as_json):
        show.capacity(out, reply)
    if all(row["largest"] == 0 for row in reply["rows"]):
        raise typer.Exit(NOTHING_FITS)


quarantine_app = typer.Typer(
    help="Impossible measurements, which are set aside: list them, or release one.",
    invoke_without_command=True,
)


@quarantine_app.callback()
def quarantine(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 100,
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """List the measurements that were set aside as impossible, with the reason."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(config, broker=broker, store=store)
    reply = asyncio.run(ask(settings, "quarantine", {"limit": limit}, err, timeout))
    if not _print(reply, as_json=as_json):
        show.quarantine(out, reply)


@quarantine_app.command("release")
def release(
    source: Annotated[str, typer.Argument(help="Of the event, as the list says it.")],
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Of the event.")],
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Learn a measurement that was set aside, because you know that it is right."""
    settings = load_settings(config, broker=broker, store=store)
    body = {"source": source, "id": event_id}
    reply = asyncio.run(ask(settings, "release", body, err, timeout))
    if not _print(reply, as_json=as_json):
        show.released(out, reply)


def _print(reply: dict[str, Any], *, as_json: bool) -> bool:
    """Print a reply as JSON if that was asked for; return whether it was."""
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    return as_json
