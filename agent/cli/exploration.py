"""Commands about exploration: explore status."""

from __future__ import annotations

import asyncio
import json

import typer
from rich.console import Console
from rich.markup import escape

from agent.cli import options as opt
from agent.cli.asking import ask
from agent.cli.show import Body
from agent.cli.tables import Table, console
from agent.settings import load_settings

out = console()
err = Console(stderr=True)

explore_app = typer.Typer(
    help="What idle workers measure unasked (`placewise run --explore BUDGET`).",
    no_args_is_help=True,
)


@explore_app.callback()
def explore() -> None:
    """Keep `status` a command of its own, though it is the only one."""


@explore_app.command("status")
def status(
    broker: opt.Broker = None, config: opt.Config = None, as_json: opt.AsJson = False
) -> None:
    """Show budget and jobs of a running agent, what is wanted next, and what was gained."""
    settings = load_settings(config, broker=broker)
    reply = asyncio.run(ask(settings, "explore", {}, err))
    if as_json:
        typer.echo(json.dumps(reply, indent=2))
    else:
        show_exploration(out, reply)


def show_exploration(console: Console, reply: Body) -> None:
    """Show an explore reply."""
    budget = reply.get("budget")
    if budget is None:
        console.print("the agent explores not; `placewise run --explore BUDGET` lets it")
        return
    states = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in reply["jobs"].items())
    console.print(
        f"budget {escape(budget['text'])}: {budget['spent']:.4g} {budget['unit']} spent, "
        f"{budget['left']:.4g} left; {reply['sent']} sent: {states}"
    )
    console.print(
        f"uncertainty removed: {reply['gain']:.1%}, expected {reply['expected_gain']:.1%} "
        "(each benchmark's share is of what those before it left)"
    )
    for worker, why in reply["waiting"].items():
        console.print(f"{escape(worker)} waits: {escape(why)}")
    for worker, what in reply["unsaid"].items():
        console.print(f"{escape(worker)} does not tell: {', '.join(what)}")
    if jobs := [*reply["running"], *reply["recent"]]:
        table = Table("job", "worker", "model", "batch", "state", "expected gain", "gain", "")
        for one in jobs:
            gain = one.get("gain")
            table.add_row(
                one["job_id"],
                one["worker"],
                one["model"],
                str(one["batch_size"]),
                one["state"].replace("_", " "),
                f"{one['expected_gain']:.1%}",
                "" if gain is None else f"{gain:.1%}",
                one["message"],
            )
        console.print(table)
    for title, wanted in (("next", reply["wanted"]), ("nobody can run", reply["elsewhere"])):
        if wanted:
            table = Table("model", "hardware", "batch", "expected gain", title=title)
            for one in wanted:
                table.add_row(
                    one["model"]["name"],
                    one["hardware"]["name"],
                    str(one["setup"].get("batch_size") or ""),
                    f"{one['expected_gain']:.1%}",
                )
            console.print(table)
