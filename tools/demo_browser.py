"""`make demo-browser`: an agent, a pool of real tabs, four models, every strategy.

Nothing is simulated. With --open no browser is started: open the printed address in your own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from agent.bus import wiring  # noqa: E402
from agent.bus.address import BrokerAddress  # noqa: E402
from agent.client import AgentClient, connected  # noqa: E402
from tests.support.agent import AgentProcess  # noqa: E402
from tests.support.browsers import Browser, known_kinds  # noqa: E402

MODELS = ("minilm-mean", "ocr-recogniser", "silero-vad", "smollm2-135m")
WORKLOADS = (
    ("ocr-recogniser", "silero-vad"),
    ("minilm-mean", "minilm-pooler"),
    ("minilm-mean", "ocr-recogniser", "silero-vad"),
)
STRATEGIES = ("sequential", "parallel", "batched")
ALONE = 4
JOIN_SECONDS = 600.0
EXECUTE_SECONDS = 240.0

out = Console()


async def main(*, open_own: bool) -> int:
    """Run the demonstration; return the exit code."""
    kind = next((one for one in known_kinds() if one.program and one.engine == "blink"), None)
    if kind is None and not open_own:
        out.print("no Chromium here: apt-get install chromium, or use --open and your own browser")
        return 3
    with tempfile.TemporaryDirectory(prefix="placewise-demo-") as folder:
        token = f"demo-{time.time_ns():x}"
        agent = AgentProcess(
            Path(folder),
            None,
            browsers="true",
            browser_port=0,
            browser_token=token,
            models=ROOT / "build" / "models",
        )
        with agent:
            await asyncio.to_thread(agent.start)
            page = f"http://127.0.0.1:{agent.http_port}/tab/#token={token}"
            out.print(f"The pool is open. Your own browser may join: {page}", highlight=False)
            bus = wiring.bus_to(BrokerAddress("127.0.0.1", agent.embedded_port))
            async with connected(bus) as client:
                if open_own or kind is None:
                    await _joined(client, 1)
                    return await _show(client)
                with Browser(kind, page) as browser:
                    await _joined(client, 1)
                    for tabs in (2, 3):
                        await asyncio.to_thread(browser.open, page)
                        await _joined(client, tabs)
                    return await _show(client)


async def _joined(client: AgentClient, tabs: int) -> None:
    """Wait until this many tabs are there."""
    ends = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < ends:
        workers = (await client.ask("browsers", {}))["workers"]
        if any(one["browser"]["tabs"] >= tabs for one in workers):
            return
        await asyncio.sleep(0.25)
    raise TimeoutError(f"{tabs} tabs did not join within {JOIN_SECONDS:g} s")


async def _show(client: AgentClient) -> int:
    workers = (await client.ask("browsers", {}))["workers"]
    table = Table("tabs", "browser", "backend", "hardware", title="Who is there")
    for one in workers:
        kind = one["browser"]
        software = " (software)" if kind.get("software") else ""
        name = f"{kind['browser']} {kind['version']}"
        hardware = one["hardware"]["name"]
        table.add_row(str(kind["tabs"]), name, f"{kind['backend']}{software}", hardware)
    out.print(table)
    failed = await _alone(client)
    failed += await _together(client)
    for model in MODELS[:3]:
        best = await client.ask("best_browser", {"model": model, "goal": "latency"})
        chosen = best["chosen"]
        out.print(
            f"Best browser for {model}: {chosen['browser']} on {chosen['backend']} "
            f"(decided by {best['decided_by'].replace('_', ' ')})",
            highlight=False,
        )
    status = await client.ask("status", {})
    out.print(f"{status['events_logged']} measurements are in the log.")
    return 1 if failed else 0


async def _alone(client: AgentClient) -> int:
    """Run each model alone, several times: what was predicted before each, and what came."""
    table = Table("model", "run", "predicted (ms)", "measured (ms)", "spread", "error", "memory")
    failed = 0
    for model in MODELS:
        times = 1 if model == "smollm2-135m" else ALONE
        for number in range(times):
            reply = await _execute(client, [model], "sequential", memory=number == 0)
            failed += reply["result"]["outcome"] != "ok"
            table.add_row(model, str(number + 1), *_row(reply))
    table.title = "Each model alone, in one tab"
    out.print(table)
    return failed


async def _together(client: AgentClient) -> int:
    """Run workloads under every strategy, after asking which one is recommended."""
    failed = 0
    for workload in WORKLOADS:
        table = Table(
            "strategy", "", "predicted (ms)", "measured (ms)", "spread", "error", "memory"
        )
        table.title = " + ".join(workload)
        advised = await _execute(client, list(workload), None)
        failed += advised["result"]["outcome"] != "ok"
        table.add_row(str(advised["result"].get("strategy")), "recommended", *_row(advised))
        for strategy in STRATEGIES:
            reply = await _execute(client, list(workload), strategy)
            failed += reply["result"]["outcome"] != "ok"
            table.add_row(strategy, "", *_row(reply))
        out.print(table)
    return failed


async def _execute(
    client: AgentClient, models: list[str], strategy: str | None, *, memory: bool = False
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "models": [{"model": one} for one in models],
        "pool": "browsers",
        "backend": "wasm",
        "goal": "latency",
        "repeats": 5,
        "measure_memory": memory,
        "deadline_s": EXECUTE_SECONDS,
    }
    if strategy is not None:
        body["strategy"] = strategy
    return await client.ask("execute", body, EXECUTE_SECONDS + 60.0)


def _row(reply: dict[str, Any]) -> tuple[str, ...]:
    result, predicted = reply["result"], reply.get("predicted")
    if result["outcome"] != "ok":
        return ("", result["outcome"], result["message"][:40], "", "")
    wall = result["wall_time_ms"]
    value = predicted["total_latency_ms"]["value"] if predicted else None
    error = f"{abs(value - wall['median']) / wall['median']:.0%}" if value else "-"
    memory = result.get("peak_memory_mb")
    return (
        f"{value:.1f}" if value else "nothing known yet",
        f"{wall['median']:.1f}",
        f"{wall['low']:.1f} to {wall['high']:.1f}",
        error,
        f"{memory:.0f} MB" if memory else "-",
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(open_own="--open" in sys.argv[1:])))
