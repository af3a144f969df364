"""`make bench-browser`: browsers, backends and models in real tabs, into docs/browsers.md.

    python -m tests.benchmarks.browsers [matrix] [prediction] [strategies] [survival]

Sections that are not named keep what the document has of them. Each runs in a few minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.measurement import Benchmark, Execution, ModelRun
from schemas.replies import StrategyReply
from schemas.requests import Candidate, PredictRequest, StrategyRequest, WorkItem
from tests.browser.test_trouble import jobs_with_kills
from tests.support.browsers import Browser, known_kinds
from tests.support.tabpool import TabPool, tab_pool
from web_bridge.pool import PoolConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "browsers.md"
MODELS = ("minilm-mean", "ocr-recogniser", "silero-vad", "smollm2-135m")
SOFTWARE_MODELS = ("silero-vad", "minilm-mean")
STRATEGIES = ("sequential", "parallel", "batched")
TAUGHT, ASKED = 20, 12
PATIENT = PoolConfig(asleep_seconds=20.0, gone_seconds=120.0)


async def matrix() -> str:
    """Every model in every browser on every backend, alone."""
    rows = [
        "| browser | backend | model | batch | median (ms) | spread (ms) | first run (ms) "
        "| load (ms) | per second | memory (MB) | ran on | output |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in known_kinds():
        if kind.program is None:
            rows.append(f"| {kind.name} | - | (not on this machine) | | | | | | | | | |")
            continue
        for backend in kind.offers:
            async with tab_pool(pool=PATIENT) as pool:
                with Browser(kind, pool.address):
                    await pool.tabs(1)
                    rows += [row async for row in _cells(pool, kind.name, backend)]
            write("matrix", "\n".join(rows))  # what is measured stays, whatever comes
    return "\n".join(rows)


async def _cells(pool: TabPool, browser: str, backend: str) -> Any:
    groups = {one.backend: one for one in pool.service.groups().values()}
    if backend not in groups:
        yield f"| {browser} | {backend} | (not given on this machine) | | | | | | | | | |"
        return
    group = groups[backend]
    software = group.hardware.hardware_class == "software-gpu"
    label = f"{backend} (software)" if software else backend
    name = f"{group.capabilities.browser} {group.capabilities.version.split('.')[0]}"
    for model in SOFTWARE_MODELS if software else MODELS:
        if model == "smollm2-135m" and backend != "wasm":
            continue
        for batch in (1,) if software or model == "smollm2-135m" else (1, 4):
            # Of these, Chromium alone tells the memory, and WebAssembly's is what it sees.
            told = await pool.run(
                [f"{model}@{batch}"],
                backend=backend,
                repeats=3 if software or model == "smollm2-135m" else 10,
                measure_memory=batch == 1 and (browser, backend) == ("chromium", "wasm"),
                deadline_s=90.0,
            )
            yield _row(name, label, model, batch, told)


def _row(name: str, label: str, model: str, batch: int, told: Any) -> str:
    if told.outcome != "ok":
        why = told.message[:60]
        return f"| {name} | {label} | {model} | {batch} | | | | | | | | {told.outcome}: {why} |"
    (one,) = told.models
    ran_in, lat = one.ran_in, one.latency_ms
    count = ran_in.tokens or batch
    unit = " tokens" if ran_in.tokens else ""
    memory = f"{one.memory_mb:.0f}" if one.memory_mb else "-"
    first = f"{one.first_run_ms:.0f}" if one.first_run_ms is not None else "-"
    checked = "agrees" if one.output_checked else "not checked"
    return (
        f"| {name} | {label} | {model} | {batch} | {lat.median:.1f} | {lat.low:.1f}-{lat.high:.1f} "
        f"| {first} | {one.load_ms:.0f} | {1_000 * count / lat.median:.1f}{unit} | {memory} "
        f"| {one.actual_backend} | {checked} |"
    )


async def prediction() -> str:
    """Learn a tab's first measurements, predict the next; how noisy repeats are beside it."""
    chance = random.Random(11)
    cells = list(itertools.product(("minilm-mean", "ocr-recogniser", "silero-vad"), (1, 2, 4)))
    order = [chance.choice(cells) for _ in range(TAUGHT + ASKED)]
    heart = Heart()
    errors: list[float] = []
    seen: dict[tuple[str, int], list[float]] = {}
    async with tab_pool(pool=PATIENT) as pool:
        with Browser(known_kinds()[0], pool.address):
            await pool.tabs(1)
            for number, (model, batch) in enumerate(order):
                told = await pool.run([f"{model}@{batch}"], repeats=7)
                assert told.outcome == "ok", told.message
                run = Benchmark.model_validate(pool.events()[-1])
                measured = run.metrics.latency_ms
                assert measured is not None
                if number >= TAUGHT:
                    predicted = _predicted(heart, run, number)
                    errors.append(abs(predicted - measured) / measured)
                _learn(heart, number, run)
                seen.setdefault((model, batch), []).append(measured)
    noise = [
        abs(one - other) / other
        for values in seen.values()
        for one, other in itertools.permutations(values, 2)
    ]
    return (
        f"After {TAUGHT} measurements of one tab (three models, batches of 1, 2 and 4, in random "
        f"order), the latency of each of its next {ASKED} was predicted before it was measured:\n\n"
        f"- median error {statistics.median(errors):.1%}, mean {statistics.mean(errors):.1%};\n"
        f"- two measurements of the same cell, each a median of 7 runs, differ by "
        f"{statistics.median(noise):.1%} in the median, {statistics.mean(noise):.1%} in the mean: "
        "no prediction can do better than that for long."
    )


def _predicted(heart: Heart, run: ModelRun, number: int) -> float:
    candidate = Candidate(
        model=run.model, hardware=run.hardware, setup=run.setup, latency_kind="batch"
    )
    request = PredictRequest(candidates=[candidate])
    effects = heart.handle(RequestReceived(f"r{number}", "predict", request))
    reply: Any = next(one.reply for one in effects if hasattr(one, "reply"))
    return float(reply.predictions[0].metrics["latency_ms"].value)


def _learn(heart: Heart, number: int, data: Benchmark | Execution) -> None:
    now = datetime.now(UTC)
    heart.handle(MeasurementLogged(number + 1, "bench", f"e{number}", now, data))


async def strategies(workloads: int = 12) -> str:
    """Choose a strategy for random workloads in the browser, and hold it against all of them."""
    chance = random.Random(5)
    kinds = ("minilm-mean", "minilm-pooler", "ocr-recogniser", "silero-vad")
    heart, number = Heart(), 0
    regrets: dict[str, list[float]] = {name: [] for name in ("chosen", *STRATEGIES, "random")}
    errors: list[float] = []
    async with tab_pool(pool=PATIENT) as pool:
        with Browser(known_kinds()[0], pool.address) as browser:
            await pool.tabs(1)
            for tabs in (2, 3):
                await asyncio.to_thread(browser.open, pool.address)
                await pool.tabs(tabs)
            for model in kinds:
                await pool.run([model])
                _learn(heart, number := number + 1, Benchmark.model_validate(pool.events()[-1]))
            for _ in range(workloads):
                models = sorted(chance.sample(kinds, chance.randint(2, 3)))
                decision = _decision(heart, pool, models, number)
                waves = {one.strategy: one.waves for one in decision.alternatives}
                if decision.chosen:
                    waves[decision.chosen.strategy] = decision.chosen.waves
                walls: dict[str, float] = {}
                for strategy in chance.sample(STRATEGIES, 3):
                    told = await pool.run(
                        models, waves=waves[strategy], strategy=strategy, repeats=5
                    )
                    assert told.outcome == "ok", told.message
                    assert told.wall_time_ms is not None
                    walls[strategy] = told.wall_time_ms.median
                    data: Benchmark | Execution = Execution.model_validate(pool.events()[-1])
                    _learn(heart, number := number + 1, data)
                best = min(walls.values())
                chosen = decision.chosen
                assert chosen is not None
                errors.append(
                    abs(chosen.total_latency_ms.value - walls[chosen.strategy])
                    / walls[chosen.strategy]
                )
                regrets["chosen"].append(walls[chosen.strategy] / best - 1)
                regrets["random"].append(statistics.mean(walls.values()) / best - 1)
                for strategy in STRATEGIES:
                    regrets[strategy].append(walls[strategy] / best - 1)
    later = {name: values[len(values) // 3 :] for name, values in regrets.items()}
    rows = [
        f"{workloads} random workloads of two or three models, each run under all strategies in "
        "shuffled order (medians of 5 executions); the choice was made before, from what had been "
        "learnt so far. Regret: how much longer than the best measured.",
        "",
        "| policy | mean regret | mean regret without the first third |",
        "|---|---|---|",
        *(
            f"| {name} | {statistics.mean(values):.1%} | {statistics.mean(later[name]):.1%} |"
            for name, values in regrets.items()
        ),
        "",
        f"Median error of the predicted total: {statistics.median(errors):.1%}.",
    ]
    return "\n".join(rows)


def _decision(heart: Heart, pool: TabPool, models: list[str], number: int) -> StrategyReply:
    group = pool.group("wasm")
    runs = {one["model"]["name"]: one for event in pool.events() for one in _runs(event)}
    items = [WorkItem(model=runs[name]["model"], setup=runs[name]["setup"]) for name in models]
    request = StrategyRequest(models=items, hardware=group.hardware, goal="latency")
    effects = heart.handle(RequestReceived(f"s{number}", "strategy", request))
    reply = next(one.reply for one in effects if hasattr(one, "reply"))
    assert isinstance(reply, StrategyReply)
    return reply


def _runs(event: dict[str, Any]) -> list[dict[str, Any]]:
    return list(event.get("runs", [event]))


async def survival(jobs: int = 200, tabs: int = 4) -> str:
    """Jobs in tabs that are killed at random: none lost, none twice."""
    began = time.monotonic()
    done, killed = await jobs_with_kills(jobs, tabs, random.Random(3))
    counted = Counter(one.job.id for one in done)
    again = sum(one.attempt > 1 for one in done)
    return (
        f"{jobs} jobs in {tabs} tabs of Chromium, of which one was closed every second or so: "
        f"{len(counted)} results, {sum(counted.values()) - len(counted)} twice, "
        f"{jobs - len(counted)} lost, in {time.monotonic() - began:.0f} s; {killed} tabs were "
        f"killed, {again} jobs were begun more than once."
    )


SECTIONS: dict[str, Callable[[], Awaitable[str]]] = {
    "matrix": matrix,
    "prediction": prediction,
    "strategies": strategies,
    "survival": survival,
}


def write(section: str, text: str) -> None:
    """Put a section's text between its marks in the document."""
    began, ended = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    document = DOCUMENT.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(began) + ".*?" + re.escape(ended), re.DOTALL)
    assert pattern.search(document), f"{DOCUMENT} has no marks for {section}"
    stamp = (
        f"Measured {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {platform.system()}, load "
        f"average {os.getloadavg()[1]:.1f} (of 5 minutes, at the end)."
    )
    body = f"{began}\n{text}\n\n{stamp}\n{ended}"
    DOCUMENT.write_text(pattern.sub(lambda _: body, document), encoding="utf-8")


def main(names: list[str]) -> int:
    """Measure the named sections, or all; return the exit code."""
    for name in names or SECTIONS:
        text = asyncio.run(SECTIONS[name]())  # type: ignore[arg-type]
        write(name, text)
        print(f"## {name}\n\n{text}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
