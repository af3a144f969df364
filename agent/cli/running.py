"""`placewise run`: the daemon itself."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import structlog
import typer
import uvloop

from agent.cli import compiling
from agent.cli import options as opt
from agent.logs import configure_logging
from agent.service import Notifier
from agent.settings import load_settings

SWITCH_SECONDS = 0.0005
"""How long the store's thread may keep the loop waiting for the interpreter: by default, 5 ms."""

log = structlog.get_logger(__name__)


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
    browsers: Annotated[
        bool | None,
        typer.Option("--browsers/--no-browsers", help="Give work to browser tabs."),
    ] = None,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, Ctrl-C).

    With no broker configured it brings its own, on loopback. Settings also come from the
    environment (PLACEWISE_…) and from a file (--config).
    """
    settings = load_settings(
        config,
        broker=broker,
        store=store,
        knowledge=knowledge,
        explore=explore,
        browsers=browsers,
    )
    configure_logging(settings)
    _tell_of_compiling()
    from agent.serving import serve

    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def _tell_of_compiling() -> None:
    """Say so, in the log and to systemd, where importing what follows compiles it first."""
    if compiling.is_due(os.environ):
        log.info("compiling", what=compiling.WHAT)
        with Notifier() as notifier:
            notifier.starting(compiling.WHAT, compiling.SECONDS)
