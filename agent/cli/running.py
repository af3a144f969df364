"""`placewise run`: the daemon itself."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
import uvloop

from agent.cli import options as opt
from agent.logs import configure_logging
from agent.settings import load_settings

SWITCH_SECONDS = 0.0005
"""How long the store's thread may keep the loop waiting for the interpreter: by default, 5 ms."""


def run(
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
    knowledge: Annotated[
        bool | None,
        typer.Option("--knowledge/--no-knowledge", help="Begin with shipped public measurements."),
    ] = None,
    explore: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="Have idle workers measure what is most worth knowing: at most 50 benchmarks, "
            "10min of their time, 2kJ.",
        ),
    ] = None,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, Ctrl-C).

    With no broker configured it brings its own, on loopback. Settings also come from the
    environment (PLACEWISE_…) and from a file (--config).
    """
    settings = load_settings(
        config, broker=broker, store=store, knowledge=knowledge, explore=explore
    )
    configure_logging(settings)
    from agent.serving import serve

    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))
