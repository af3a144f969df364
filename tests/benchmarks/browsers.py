"""`make bench-browser`: browsers, backends and models in real tabs, into docs/browsers.md.

    python -m tests.benchmarks.browsers [matrix] [prediction] [strategies] [sharing]
        [survival]

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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.browsers.groups import held
from agent.browsers.wiring import engine_name
from agent.dispatch import strategy_request
from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.jobs import JobResult
from schemas.measurement import Benchmark, Execution, ModelRun, StrategyName
from schemas.replies import StrategyReply
from schemas.requests import Candidate, Goal, PredictRequest
from tests.benchmarks.strategies import (
    BY_NAME,
    Workload,
    cost,
    default_waves,
    fixed_rule,
    predicted_cost,
)
from tests.browser.test_trouble import jobs_with_kills
from tests.support.browsers import Browser, known_kinds
from tests.support.tabpool import TabPool, tab_pool
from web_bridge.pool import PoolConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "browsers.md"
MODELS = ("minilm-mean", "ocr-recogniser", "silero-vad", "smollm2-135m")
TEXT_MODELS = ("smollm2-135m",)
SOFTWARE_MODELS = ("silero-vad", "minilm-mean")
TAUGHT, ASKED = 20, 40
TOGETHER = ("minilm-mean", "minilm-pooler", "ocr-direction", "ocr-recogniser", "silero-vad")
GOALS: tuple[Goal, ...] = ("throughput", "latency")
SETTLED = 8
"""Workloads that are learnt from before regret counts."""

PATIENT = PoolConfig(asleep_seconds=20.0, gone_seconds=120.0)


async def matrix() -> str:
    """Every model in every browser on every backend, alone, each in a browser begun anew."""
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
            for model in MODELS:
                if model in TEXT_MODELS and backend != "wasm":
                    continue
                async with tab_pool(pool=PATIENT) as pool:
                    with Browser(kind, pool.address):
                        await pool.tabs(1)
                        rows += [row async for row in _cells(pool, kind.name, backend, model)]
            write("matrix", "\n".join(rows))  # what is measured stays, whatever comes
    return "\n".join(rows)


async def _cells(pool: TabPool, browser: str, backend: str, model: str) -> AsyncIterator[str]:
    groups = {one.backend: one for one in pool.service.groups().values()}
    if backend not in groups:
        yield f"| {browser} | {backend} | (not given on this machine) | | | | | | | | | |"
        return
    group = groups[backend]
    software = group.hardware.hardware_class == "software-gpu"
    if software and model not in SOFTWARE_MODELS:
        return
    slow = software or model in TEXT_MODELS
    label = f"{backend} (software)" if software else backend
    name = f"{group.capabilities.browser} {group.capabilities.version.split('.')[0]}"
    for batch in (1,) if slow else (1, 4):
        told = await pool.run(
            [f"{model}@{batch}"],
            backend=backend,
            repeats=3 if slow else 15,
            measure_memory=batch == 1 and backend == "wasm",
            deadline_s=240.0,
        )
        yield _row(name, label, model, batch, told)


def _row(name: str, label: str, model: str, batch: int, told: JobResult) -> str:
    if told.outcome != "ok":
        why = told.message[:60]
        return f"| {name} | {label} | {model} | {batch} | | | | | | | | {told.outcome}: {why} |"
    (one,) = told.models
    ran_in, lat = one.ran_in, one.latency_ms
    count = ran_in.tokens or batch
    unit = " tokens" if ran_in.tokens else ""
    memory = f"{one.memory_mb:.0f}" if one.memory_mb else "-"
    # A session has its first run once: at batch 1.
    first = f"{one.first_run_ms:.0f} | {one.load_ms:.0f}" if batch == 1 else "- | -"
    checked = "agrees" if one.output_checked else "not checked"
    return (
        f"| {name} | {label} | {model} | {batch} | {lat.median:.1f} | {lat.low:.1f}-{lat.high:.1f} "
        f"| {first} | {1_000 * count / lat.median:.1f}{unit} | {memory} "
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


async def strategies(count: int = 24, tabs: int = 4) -> str:
    """Choose a strategy for random workloads in the browser, and hold it against all of them."""
    chance = random.Random(5)
    heart, number = Heart(), 0
    regrets: list[dict[str, float]] = []
    errors: list[float] = []
    async with tab_pool(pool=PATIENT) as pool:
        with Browser(known_kinds()[0], pool.address) as browser:
            await pool.tabs(1)
            for there in range(1, tabs):
                await asyncio.to_thread(browser.open, pool.address)
                await pool.tabs(there + 1)
            for _ in range(count):
                workload = _workload(chance)
                reply = _decision(heart, pool, workload)
                waves = default_waves(workload)
                for one in [*([reply.chosen] if reply.chosen else []), *reply.alternatives]:
                    waves[one.strategy] = one.waves
                waves[BY_NAME] = default_waves(workload)["batched"]
                told = await _under_each(pool, workload, waves, chance)
                costs = {one: cost(workload.goal, [result]) for one, result in told.items()}
                chosen = reply.chosen.strategy if reply.chosen else "sequential"
                if reply.chosen and (value := predicted_cost(workload.goal, reply.chosen)):
                    errors.append(abs(value - costs[chosen]) / costs[chosen])
                regrets.append(_regrets(workload, chosen, costs))
                # As part of what ran is run once under two names, so it is learnt once.
                for data in pool.events()[number:]:
                    number += 1
                    _learn(heart, number, _measurement(data))
    rows = [
        f"{count} random workloads of two to four models of {len(TOGETHER)}, batches of 1, 2 or 4, "
        f"a random goal each (throughput, latency), in {tabs} tabs of one Chromium. Each was first "
        "put to the agent, which began knowing nothing; then every strategy was run (medians of 5 "
        "executions, in shuffled order), and learnt. Regret: what the choice came to over the "
        f"best measured, less one; from workload {SETTLED + 1} on.",
        "",
        "| policy | mean regret | largest | mean from the first workload on |",
        "|---|---|---|---|",
    ]
    later = regrets[SETTLED:]
    for policy in sorted(regrets[0], key=lambda one: statistics.fmean(r[one] for r in later)):
        mean = statistics.fmean(one[policy] for one in later)
        largest = max(one[policy] for one in later)
        whole = statistics.fmean(one[policy] for one in regrets)
        rows.append(f"| {policy} | {mean:.1%} | {largest:.0%} | {whole:.1%} |")
    rows += [
        "",
        "Median error of what was predicted for the choice: "
        f"{statistics.median(errors[SETTLED:]):.1%}.",
    ]
    return "\n".join(rows)


def _workload(chance: random.Random) -> Workload:
    names = sorted(chance.sample(TOGETHER, chance.choice((2, 3, 4))))
    items = tuple((name, chance.choice((1, 2, 4))) for name in names)
    return Workload(items, chance.choice(GOALS))


async def _under_each(
    pool: TabPool,
    workload: Workload,
    waves: Mapping[StrategyName, list[list[str]]],
    chance: random.Random,
) -> dict[StrategyName, JobResult]:
    """Run every strategy; the same waves under two names once: they differ but by chance."""
    same: dict[str, JobResult] = {}
    told = {}
    for strategy in chance.sample(list(waves), len(waves)):
        key = repr(waves[strategy])
        if key not in same:
            same[key] = await pool.run(
                [f"{name}@{batch}" for name, batch in workload.items],
                waves=waves[strategy],
                strategy=strategy,
                repeats=5,
                deadline_s=90.0,
            )
            assert same[key].outcome == "ok", same[key].message
        told[strategy] = same[key]
    return told


def _regrets(
    workload: Workload, chosen: StrategyName, costs: Mapping[StrategyName, float]
) -> dict[str, float]:
    """Return what each policy came to over the best, less one."""
    best = min(costs.values())
    policies = {
        "**Placewise**": costs[chosen],
        "always sequential": costs["sequential"],
        "always parallel": costs["parallel"],
        "always batched, in the waves that Placewise plans": costs["batched"],
        "always batched, two halves by name": costs[BY_NAME],
        "a random choice": statistics.fmean(costs.values()),
        "the fixed rule (parallel for two or three, else batched)": costs[fixed_rule(workload)],
    }
    return {policy: came_to / best - 1 for policy, came_to in policies.items()}


def _decision(heart: Heart, pool: TabPool, workload: Workload) -> StrategyReply:
    group = pool.group("wasm")
    models = held(pool.manifest, "wasm")
    worker = group.state("online", datetime.now(UTC), engine_name(), models, {})
    request = strategy_request(workload.request(), worker)
    effects = heart.handle(RequestReceived("s", "strategy", request))
    (answer,) = [one for one in effects if isinstance(one, Answer)]
    assert isinstance(answer.reply, StrategyReply)
    return answer.reply


def _measurement(data: dict[str, Any]) -> Benchmark | Execution:
    kind = Execution if "runs" in data else Benchmark
    return kind.model_validate(data)


async def sharing() -> str:
    """Two heads: with an encoder each, with one for both, and with its outputs reused."""
    pair = ["minilm-mean", "minilm-pooler"]
    ways: dict[str, dict[str, Any]] = {
        "separate models": {"share_encoders": False, "waves": [[one] for one in pair]},
        "one encoder": {},
        "one encoder, its output reused": {"reuse_embeddings": True},
    }
    rows = [
        "| | median (ms) | spread (ms) | memory (MB) | output known | saved (ms) | kept (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, fields in ways.items():
        async with tab_pool(pool=PATIENT) as pool:
            with Browser(known_kinds()[0], pool.address):
                await pool.tabs(1)
                told = await pool.run(
                    pair, **{"waves": [pair], "repeats": 20, "measure_memory": True, **fields}
                )
                assert told.outcome == "ok", told.message
                assert told.wall_time_ms is not None
                lat, reuse = told.wall_time_ms, told.reuse
                memory = f"{told.peak_memory_mb:.0f}" if told.peak_memory_mb else "-"
                known = (
                    f"{reuse.reused} of {reuse.runs} | {reuse.saved_ms:.0f} | {reuse.kept_mb:.2f}"
                    if reuse
                    else "- | - | -"
                )
                rows.append(
                    f"| {way} | {lat.median:.1f} | {lat.low:.1f}-{lat.high:.1f} | {memory} "
                    f"| {known} |"
                )
    return "\n".join(rows)


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
    "sharing": sharing,
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
