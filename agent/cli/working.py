"""Commands that run models: worker, execute, compare-strategies."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from agent.bus import wiring
from agent.cli import options as opt
from agent.cli import show
from agent.cli.asking import over_bus
from agent.cli.tables import console
from agent.settings import Settings, load_settings
from schemas.errors import Unavailable
from schemas.requests import STRATEGIES, decode_request
from schemas.topics import RequestKind

MODELS_FOLDER = Path("build/models")
REPLY_SLACK_SECONDS = 60.0
NOTHING_RAN = 4

Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="MODEL or MODEL@BATCH_SIZE; repeatable.")
]
WorkerName = Annotated[str | None, typer.Option("--worker", "-w", help="Id of a worker.")]
Pool = Annotated[str | None, typer.Option(help="native or browsers; any if left out.")]
Browser = Annotated[str | None, typer.Option(help="chromium, chrome, edge, firefox, …")]
Backend = Annotated[str | None, typer.Option(help="cpu, cuda, wasm, webgpu, webnn.")]
Goal = Annotated[str, typer.Option(help="throughput, latency, memory or energy.")]
Share = Annotated[bool, typer.Option(help="Run an encoder that models have in common once.")]
Validate = Annotated[
    bool,
    typer.Option(help="Tell the agent what was measured, so that it is held to it and learns."),
]
Memory = Annotated[bool, typer.Option(help="Measure memory, in a pass of its own.")]
Limit = Annotated[list[str] | None, typer.Option("--limit", help="NAME=VALUE, e.g. memory_mb=500.")]
Repeats = Annotated[int, typer.Option(min=1, max=100, help="Executions that are measured.")]

out = console()
err = Console(stderr=True)


def worker(
    models: Annotated[
        Path, typer.Option("--models", help="Folder of models, as `make models` fills it.")
    ] = MODELS_FOLDER,
    worker_id: Annotated[str | None, typer.Option("--id", help="Its name on the bus.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; cuda where a GPU answers, else cpu, if left out."),
    ] = None,
    broker: opt.Broker = None,
    config: opt.Config = None,
) -> None:
    r"""Run models on this machine as the bus asks, until told to stop (SIGTERM, Ctrl-C).

    Needs the extra `worker`: pip install 'placewise\[worker]', or `gpu` for an NVIDIA GPU. A
    machine with both runs two workers, one with each backend.
    """
    settings = load_settings(config, broker=broker)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, models, worker_id, backend))


async def _serve(
    settings: Settings, folder: Path, worker_id: str | None, backend: str | None
) -> None:
    try:
        # Not installed with everything: only who runs models needs it.
        from agent.worker.device import chosen
        from agent.worker.engine import Engine
        from agent.worker.making import load_manifest
        from agent.worker.service import (
            WorkerService,
            gone,
            native_state,
            new_worker_id,
        )
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} is missing: pip install 'placewise[worker]'") from None
    manifest = await asyncio.to_thread(load_manifest, folder)
    device = await asyncio.to_thread(chosen, backend)
    engine = Engine(folder, manifest, device=device)
    since = datetime.now(UTC)
    name = worker_id or new_worker_id(socket.gethostname(), device)
    state = await asyncio.to_thread(native_state, name, engine, manifest, since)
    bus = wiring.worker_bus(settings, state.worker_id, gone(state.worker_id, since))
    service = WorkerService(state, bus, engine)
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, service.stop)
    held = ", ".join(one.model for one in state.models)
    try:
        await service.serve(
            lambda: err.print(f"{state.worker_id} is ready: {held}", highlight=False)
        )
    finally:
        await asyncio.to_thread(engine.close)


def execute(
    models: Models = None,
    worker_id: WorkerName = None,
    pool: Pool = None,
    browser: Browser = None,
    backend: Backend = None,
    strategy: Annotated[
        str | None, typer.Option(help="parallel, sequential or batched; the best if left out.")
    ] = None,
    goal: Goal = "throughput",
    weight: opt.GoalWeight = None,
    limit: Limit = None,
    explore_budget: opt.ExploreBudget = None,
    repeats: Repeats = 3,
    share: Share = True,
    reuse: Annotated[
        bool, typer.Option(help="Take embeddings of inputs that were seen before, in browsers.")
    ] = False,
    validate: Validate = True,
    memory: Memory = True,
    request: opt.RequestFile = None,
    broker: opt.Broker = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Decide how models run together, run them on a worker, and show what was measured."""
    body = (
        opt.read_request(request)
        if request
        else _body(models, worker_id, repeats)
        | opt.wanted(goal, weight, limit, explore_budget)
        | opt.setup_of(pool=pool, browser=browser, backend=backend, strategy=strategy)
        | {"share_encoders": share, "reuse_embeddings": reuse}
        | {"publish": validate, "measure_memory": memory}
    )
    reply = _asked("execute", body, load_settings(config, broker=broker), timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show.executions(out, [reply])
    if reply["result"]["outcome"] != "ok":
        raise typer.Exit(NOTHING_RAN)


def compare_strategies(
    models: Models = None,
    worker_id: WorkerName = None,
    pool: Pool = None,
    browser: Browser = None,
    backend: Backend = None,
    goal: Goal = "throughput",
    weight: opt.GoalWeight = None,
    limit: Limit = None,
    repeats: Repeats = 5,
    share: Share = True,
    validate: Validate = True,
    memory: Memory = True,
    seed: Annotated[int, typer.Option(help="Of the order in which they are run.")] = 0,
    broker: opt.Broker = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Recommend a strategy, run the models under every one, and show how good the choice was."""
    body = _body(models, worker_id, repeats) | opt.wanted(goal, weight, limit, None)
    body |= opt.setup_of(pool=pool, browser=browser, backend=backend, seed=seed)
    body |= {"share_encoders": share, "publish": validate, "measure_memory": memory}
    reply = _asked("compare_strategies", body, load_settings(config, broker=broker), timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show.executions(out, reply["executions"])
        show.recommended(out, reply)
    if any(one["result"]["outcome"] != "ok" for one in reply["executions"]):
        raise typer.Exit(NOTHING_RAN)


def _body(models: list[str] | None, worker_id: str | None, repeats: int) -> dict[str, Any]:
    if not models:
        raise typer.BadParameter("--model is needed, or a whole request with --request FILE")
    return {
        "models": [opt.work_item(text, {}) for text in models],
        "repeats": repeats,
        **({"worker": worker_id} if worker_id else {}),
    }


def _asked(
    kind: RequestKind, body: dict[str, Any], settings: Settings, timeout: float | None
) -> dict[str, Any]:
    decode_request(kind, json.dumps(body))  # names what is wrong before anybody was asked
    if timeout is None:
        runs = len(STRATEGIES) if kind == "compare_strategies" else 1
        timeout = runs * (float(body.get("deadline_s", 120.0)) + REPLY_SLACK_SECONDS)
    return asyncio.run(over_bus(settings, kind, body, timeout))
