"""How good the choice of a strategy is: real models, run for real under every strategy.

    python -m tests.benchmarks.strategies [--workloads 40] [--repeats 5] [--seed 0]

Each workload is first put to the agent's heart, which chooses with what it knows so far. Then all
strategies are run by the native worker, lap by lap in shuffled order, and judged by the medians.
The heart then learns from the medians of each, as it does from the events of
`placewise compare-strategies`. Regret is what the choice came to over the best of the three, by
the workload's goal, minus one. The fixed policies are judged by the same laps.

Then two jobs on one GPU (`tests.benchmarks.pairs`).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.dispatch import strategy_request
from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from agent.worker.engine import Engine
from agent.worker.making import load_manifest
from agent.worker.report import execution_of
from agent.worker.service import native_state
from schemas.jobs import JobModel, JobResult, RunJob, Spread, WorkerState
from schemas.measurement import StrategyName
from schemas.replies import StrategyOutcome, StrategyReply
from schemas.requests import ExecuteRequest, Goal
from tests.benchmarks import pairs
from tests.benchmarks.report import publish

MODELS = Path("build/models")
STRATEGIES: tuple[StrategyName, ...] = ("sequential", "parallel", "batched")
RECORD = Path("build/bench/strategies-laps.json")
BY_NAME: StrategyName = "batched_by_name"
"""Two waves, by name: what batched comes to without any prediction."""

GOALS: tuple[Goal, ...] = ("throughput", "latency", "memory")
BATCHES = (1, 2, 4, 8)
_LAP_MS = 600.0
"""Laps of each strategy go on for about so long: short ones are the noisiest."""

_MOST_LAPS = 25
FIRST = 10
"""Workloads that the agent may learn from before its regret counts."""


@dataclass(frozen=True)
class Workload:
    """Models with their batch sizes, and what is wanted of them."""

    items: tuple[tuple[str, int], ...]
    goal: Goal

    def request(self) -> ExecuteRequest:
        return ExecuteRequest.model_validate(
            {
                "models": [
                    {"model": name, "setup": {"batch_size": batch}} for name, batch in self.items
                ],
                "goal": self.goal,
            }
        )


def workloads(count: int, names: Sequence[str], seed: int) -> list[Workload]:
    """Return random workloads of 2 to 4 models and mixed batches."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        chosen = chance.sample(list(names), chance.choice((2, 3, 4)))
        items = tuple((name, chance.choice(BATCHES)) for name in sorted(chosen))
        found.append(Workload(items, chance.choice(GOALS)))
    return found


class Bench:
    """The heart on one side, the worker on the other, no bus between them."""

    def __init__(self, repeats: int, seed: int) -> None:
        self.manifest = load_manifest(MODELS)
        self.engine = Engine(MODELS, self.manifest)
        self.worker: WorkerState = native_state(
            "bench", self.engine, self.manifest, datetime.now(UTC)
        )
        self.heart = Heart()
        self.repeats = repeats
        self.chance = random.Random(seed)
        self.seq = 0

    def ask(self, workload: Workload, only: StrategyName | None = None) -> StrategyReply:
        """Put a workload to the heart; with `only`, ask what that strategy would do."""
        request = workload.request().model_copy(update={"strategy": only})
        stimulus = RequestReceived("r", "strategy", strategy_request(request, self.worker))
        (answer,) = [one for one in self.heart.handle(stimulus) if isinstance(one, Answer)]
        assert isinstance(answer.reply, StrategyReply)
        return answer.reply

    def measure(
        self, workload: Workload, waves: Mapping[StrategyName, list[list[str]]]
    ) -> dict[StrategyName, list[JobResult]]:
        """Run every strategy, lap by lap in shuffled order; return the laps, fastest first.

        The first lap of each measures memory, warms up, and is not counted for time.
        """
        # The same waves under two names are run once: they can't differ but by chance.
        same: dict[str, StrategyName] = {}
        twins = {one: same.setdefault(repr(waves[one]), one) for one in waves}
        different = {one: waves[one] for one in same.values()}
        peaks = {
            one: self._run(workload, one, found, memory=True)
            for one, found in different.items()
            if one == "sequential" or workload.goal == "memory"
        }
        # Sessions of the memory pass are gone: they are loaded again, uncounted.
        once = {one: _wall(self._run(workload, one, found)) for one, found in different.items()}
        once = {one: _wall(self._run(workload, one, found)) for one, found in different.items()}
        laps: dict[StrategyName, list[JobResult]] = {one: [] for one in different}
        enough = math.ceil(_LAP_MS / max(once.values()))
        for _ in range(min(_MOST_LAPS, max(self.repeats, enough))):
            for one in self.chance.sample(list(different), len(different)):
                lap = self._run(workload, one, waves[one])
                peak = peaks.get(one)
                if peak is not None:
                    memory = {model.model: model.memory_mb for model in peak.models}
                    models = [
                        model.model_copy(update={"memory_mb": memory[model.model]})
                        for model in lap.models
                    ]
                    lap = lap.model_copy(
                        update={"peak_memory_mb": peak.peak_memory_mb, "models": models}
                    )
                laps[one].append(lap)
        for found in laps.values():
            found.sort(key=_wall)
        return {one: laps[twin] for one, twin in twins.items()}

    def learn(self, laps: Mapping[StrategyName, list[JobResult]]) -> None:
        """Let the heart take what came of each strategy, as the worker's event tells it."""
        for found in {id(found): found for found in laps.values()}.values():
            self.seq += 1
            data = execution_of(_of_all(found), self.worker)
            self.heart.handle(
                MeasurementLogged(self.seq, "bench", str(self.seq), datetime.now(UTC), data)
            )

    def _run(
        self,
        workload: Workload,
        strategy: StrategyName,
        waves: list[list[str]],
        *,
        memory: bool = False,
    ) -> JobResult:
        result = self.engine.run(
            RunJob(
                job_id="bench",
                models=[JobModel(model=name, batch_size=batch) for name, batch in workload.items],
                strategy=strategy,
                waves=waves,
                repeats=1,
                warm_up=memory,
                measure_memory=memory,
            ),
            "bench",
        )
        assert result.outcome == "ok", result.message
        return result


def _wall(lap: JobResult) -> float:
    assert lap.wall_time_ms is not None
    return lap.wall_time_ms.median


def _of_all(laps: Sequence[JobResult]) -> JobResult:
    """Return the medians of laps, as the worker tells them of one job with so many repeats."""
    by_model = zip(*(lap.models for lap in laps), strict=True)
    models = [
        same[0].model_copy(
            update={
                "latency_ms": _middle([one.latency_ms.median for one in same]),
                "start_ms": statistics.median(one.start_ms for one in same),
            }
        )
        for same in by_model
    ]
    wall = _middle([_wall(lap) for lap in laps])
    return laps[0].model_copy(update={"models": models, "wall_time_ms": wall})


def _middle(values: Sequence[float]) -> Spread:
    return Spread(
        median=statistics.median(values), low=min(values), high=max(values), count=len(values)
    )


def cost(goal: Goal, laps: Sequence[JobResult]) -> float:
    """Return what laps of one strategy came to by a goal: lower is better."""
    match goal:
        case "latency":
            ends = [
                statistics.fmean(one.start_ms + one.latency_ms.median for one in lap.models)
                for lap in laps
            ]
            return statistics.median(ends)
        case "memory":
            return laps[0].peak_memory_mb or float("inf")
        case _:
            return statistics.median(_wall(lap) for lap in laps)


def predicted_cost(goal: Goal, outcome: StrategyOutcome) -> float | None:
    """Return what an outcome was predicted to come to."""
    if goal == "latency":
        return outcome.mean_latency_ms.value if outcome.mean_latency_ms else None
    if goal == "memory":
        return outcome.memory_mb.value if outcome.memory_mb else None
    return outcome.total_latency_ms.value


def fixed_rule(workload: Workload) -> StrategyName:
    """Return what the rule of thumb says."""
    if workload.goal == "memory":
        return "sequential"
    return "parallel" if len(workload.items) <= 3 else BY_NAME


def default_waves(workload: Workload) -> dict[StrategyName, list[list[str]]]:
    """Return waves for a workload of which nothing is known."""
    names = [name for name, _ in workload.items]
    half = (len(names) + 1) // 2
    return {
        "sequential": [[name] for name in names],
        "parallel": [names],
        "batched": [names[:half], names[half:]],
    }


Laps = dict[StrategyName, list[JobResult]]


def _recorded(path: Path, number: int) -> Laps:
    """Return the laps that an earlier run measured of a workload."""
    found = json.loads(path.read_text())[number]
    return {one: [JobResult.model_validate(lap) for lap in laps] for one, laps in found.items()}


def run(count: int, repeats: int, seed: int, replay: Path | None) -> None:
    """Measure everything, print it, and leave it as JSON.

    With `replay`, laps are those of an earlier run: to see what a change of the learners does.
    Waves that it would now choose but did not run then are judged by those that ran.
    """
    record: list[Any] = []
    bench = Bench(repeats, seed)
    names = [one.id for one in bench.manifest.models if not one.part]
    regrets: list[dict[str, float]] = []
    errors: list[float] = []
    chosen_counts: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for number, workload in enumerate(workloads(count, names, seed)):
        asked = time.perf_counter()
        reply = bench.ask(workload)
        asked = time.perf_counter() - asked
        waves = default_waves(workload)
        for one in [*([reply.chosen] if reply.chosen else []), *reply.alternatives]:
            waves[one.strategy] = one.waves
        waves[BY_NAME] = default_waves(workload)["batched"]
        laps = _recorded(replay, number) if replay else bench.measure(workload, waves)
        record.append(
            {
                one: [lap.model_dump(exclude_none=True) for lap in found]
                for one, found in laps.items()
            }
        )
        costs = {one: cost(workload.goal, found) for one, found in laps.items()}
        best = min(costs.values())
        choice = reply.chosen.strategy if reply.chosen else "sequential"
        chosen_counts[choice] = chosen_counts.get(choice, 0) + 1
        if reply.chosen is not None and (p := predicted_cost(workload.goal, reply.chosen)):
            errors.append(abs(p - costs[choice]) / costs[choice])
        regrets.append(
            {
                "Placewise": costs[choice] / best - 1,
                "always sequential": costs["sequential"] / best - 1,
                "always parallel": costs["parallel"] / best - 1,
                "always batched, halves by name": costs.get(BY_NAME, best) / best - 1,
                "always batched, in Placewise's waves": costs["batched"] / best - 1,
                "a random choice": statistics.fmean(costs.values()) / best - 1,
                "the fixed rule": costs.get(fixed_rule(workload), costs["batched"]) / best - 1,
            }
        )
        rows.append(
            {
                "n": number + 1,
                "goal": workload.goal,
                "models": ", ".join(f"{name}@{batch}" for name, batch in workload.items),
                "chosen": choice,
                "best": min(costs, key=costs.__getitem__),
                "regret": regrets[-1]["Placewise"],
                "asked ms": 1e3 * asked,
            }
        )
        bench.learn({one: found for one, found in laps.items() if one != BY_NAME})
    bench.engine.close()
    if replay is None:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record))
    held = bench.heart.company.contention.held(bench.worker.hardware.name)  # type: ignore[union-attr]
    print(f"held: {held}")
    print(f"{count} workloads in {time.monotonic() - began:.0f} s; chosen: {chosen_counts}")
    publish("strategies-workloads", "Each workload", rows)
    publish(
        "strategies",
        f"Mean regret over {count} workloads; predicted totals are off by a median of "
        f"{statistics.median(errors[FIRST:] or errors):.1%}",
        [
            {
                "policy": policy,
                "all": statistics.fmean(one[policy] for one in regrets),
                f"after the first {FIRST}": statistics.fmean(
                    one[policy] for one in regrets[FIRST:]
                ),
                "largest": max(one[policy] for one in regrets[FIRST:]),
            }
            for policy in regrets[0]
        ],
    )


def main(arguments: list[str]) -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, help="laps of an earlier run, as it left them")
    parser.add_argument("--only", choices=("worker", "pairs"))
    asked = parser.parse_args(arguments)
    if asked.only != "pairs":
        run(asked.workloads, asked.repeats, asked.seed, asked.replay)
    if asked.only != "worker":
        pairs.main()


if __name__ == "__main__":
    main(sys.argv[1:])
