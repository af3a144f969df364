"""Commands about browsers: browsers, best-browser, detect-browsers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from typing import Annotated, Any

import typer
from rich.markup import escape

from agent.cli import options as opt
from agent.cli import show
from agent.cli.asking import over_bus
from agent.cli.tables import Table, console
from agent.settings import load_settings
from schemas.requests import decode_request
from schemas.topics import RequestKind

NO_BROWSER = 4
_VERSION_SECONDS = 10.0
_PROGRAMS = {
    "chrome": ("google-chrome", "google-chrome-stable", "chrome"),
    "chromium": ("chromium", "chromium-browser"),
    "edge": ("microsoft-edge", "microsoft-edge-stable"),
    "firefox": ("firefox", "firefox-esr"),
}

out = console()


def browsers(
    broker: opt.Broker = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Show the browser tabs that are connected, and what they offer."""
    reply = _asked("browsers", {}, broker, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        table = Table("worker", "browser", "backend", "tabs", "hardware", "quarantined", "reused")
        for one in reply["workers"]:
            kind = one["browser"]
            software = " (software)" if kind.get("software") else ""
            table.add_row(
                one["worker_id"],
                f"{kind['browser']} {kind['version']}",
                f"{kind['backend']}{software}",
                str(kind["tabs"]),
                one["hardware"]["name"],
                ", ".join(kind.get("quarantined", {})) or "-",
                show.reuse(kind.get("reuse")),
            )
        out.print(table)
    if not reply["workers"]:
        raise typer.Exit(NO_BROWSER)


def best_browser(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    goal: Annotated[str, typer.Option(help="throughput, latency or memory.")] = "throughput",
    browser: Annotated[
        list[str] | None, typer.Option("--browser", help="Only this one; repeatable.")
    ] = None,
    batch_size: opt.BatchSize = None,
    broker: opt.Broker = None,
    config: opt.Config = None,
    timeout: opt.Timeout = None,
    as_json: opt.AsJson = False,
) -> None:
    """Say which of the connected browsers is best for a model, and what decided that."""
    body = {
        "model": model,
        "goal": goal,
        "setup": opt.setup_of(batch_size=batch_size),
        **({"browsers": browser} if browser else {}),
    }
    reply = _asked("best_browser", body, broker, config, timeout)
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        _show_choice(reply)
    if reply["chosen"] is None:
        raise typer.Exit(NO_BROWSER)


def detect_browsers(as_json: opt.AsJson = False) -> None:
    """List the browsers that are installed on this machine.

    What each offers shows when it opens the agent's page (`placewise run --browsers`): nothing
    is concluded from a name.
    """
    found = [
        {"browser": name, "program": program, "version": _version(program)}
        for name, programs in _PROGRAMS.items()
        if (program := next(filter(None, map(shutil.which, programs)), None)) is not None
    ]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        table = Table("browser", "version", "program")
        for one in found:
            table.add_row(one["browser"], one["version"], one["program"])
        out.print(table)
    if not found:
        raise typer.Exit(NO_BROWSER)


def _version(program: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a program found by its name on the path
            [program, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    version = re.search(r"\d+(?:\.\d+)+", done.stdout)
    return version[0] if version else "unknown"


def _asked(
    kind: RequestKind, body: dict[str, Any], broker: str | None, config: Any, timeout: float | None
) -> dict[str, Any]:
    decode_request(kind, json.dumps(body))  # names what is wrong before anybody was asked
    return asyncio.run(over_bus(load_settings(config, broker=broker), kind, body, timeout))


def _show_choice(reply: dict[str, Any]) -> None:
    if reply["chosen"] is None:
        out.print(reply["reasons"][0], highlight=False)
        return
    table = Table("", "browser", "backend", reply["goal"], "measured", "worker")
    for number, one in enumerate([reply["chosen"], *reply["others"]]):
        estimate = one.get("estimate")
        value = "-" if estimate is None else show.amount(estimate["value"])
        software = " (software)" if one.get("software") else ""
        table.add_row(
            "best" if number == 0 else "",
            f"{one['browser']} {one['version']}",
            f"{one['backend']}{software}",
            value,
            str(one["measured"]),
            one["worker"],
        )
    out.print(table)
    words = {
        "measurements": "decided by measurements",
        "predictions": "decided by predictions from related measurements",
        "rules_of_thumb": "decided by a published rule of thumb, until measurements say otherwise",
        "capabilities": "decided by what the browsers can do: nothing was measured yet",
    }
    out.print(words[reply["decided_by"]], highlight=False)
    for worker, why in reply["excluded"].items():
        out.print(escape(f"excluded: {worker}: {why}"), highlight=False)
