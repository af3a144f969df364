"""Does each kind of trouble get its right name? A confusion table over many seeds.

    python -m tests.benchmarks.anomalies [--data FILE] [--seeds 20] [--first-seed 0]

The rows are measured ones, learnt by a whole heart, on hardware with several set-ups, from three
sources in turn, in stretches of work with pauses between them. What is injected, and named so, is
the trouble: from one event on,

- shift: everything on one hardware is 30 % slower;
- throttling: one hardware loses up to 40 % of its speed as a stretch of work goes on (time constant
  60 s), and has it back after a pause;
- fallback: what says that it ran compiled, in half precision, ran uncompiled: its speed is that of
  the row of the same model and batch that was measured so on the same hardware;
- outlier: a single measurement is ten times or a tenth as fast as it was (the rows themselves hold
  some that are off by a factor of four);
- poisoned source: what one of the three sources says is off by a random factor between two and five
  either way;
- nothing: nothing.

The name given is that of the last alert in the events after the trouble began, of an outlier only
where nothing else was told; an alert before it, in as many events, counts as a false one.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agent.heart.effects import Publish
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged
from schemas.measurement import Benchmark
from schemas.published import Alert
from tests.benchmarks.accuracy import DATA, load
from tests.benchmarks.report import publish

HARDWARE = "nvidia-rtx-pro-6000-blackwell-maxq"
"""Of the vision rows: the hardware on which models were measured in more than one set-up."""

COMPANIONS = ("nvidia-rtx-4090", "nvidia-rtx-3090")
SOURCES = ("rack1", "rack2", "rack3")
RIGHT = {
    "nothing": "nothing",
    "shift": "drift",
    "throttling": "throttling",
    "fallback": "fallback_backend",
    "outlier": "outlier",
    "poisoned source": "poisoned_source",
}
KNOWN, QUIET, TROUBLED = 3_000, 150, 150
"""Events that are learnt first, those on the hardware before the trouble, and those in it."""

STRETCH, STEP_S, PAUSE_S = 25, 10.0, 600.0
SHIFT, HOT, HEATING_S = 0.7, 0.6, 60.0


FALLING, ONTO = ("bf16", "dynamo"), ("amp", "eager")
"""Precision and way of running that fall back, and onto what."""


def is_in(run: Benchmark, setup: tuple[str, str]) -> bool:
    """Return whether a run is in a set-up."""
    precision, options = setup
    return run.setup.precision == precision and options in (run.setup.runtime_options or "")


def place_of(run: Benchmark) -> tuple[str, int | None, float | None]:
    """Return what a run in another set-up must have in common to stand in."""
    return run.model.name, run.setup.batch_size, run.setup.input_size


def sped(run: Benchmark, factor: float) -> Benchmark:
    """Return a run so many times as fast."""
    metrics = run.metrics.model_copy(
        update={
            name: value * factor if name == "throughput_per_s" else value / factor
            for name in ("throughput_per_s", "latency_ms")
            if (value := getattr(run.metrics, name)) is not None
        }
    )
    return run.model_copy(update={"metrics": metrics})


def rows_of(path: Path) -> tuple[list[Benchmark], list[Benchmark]]:
    """Return the vision rows on the hardware, and on its companions."""
    runs = [
        Benchmark.model_validate(row.run.model_dump(by_alias=True))
        for row in load(path)
        if row.run.metrics.throughput_per_s is not None and row.run.result == "ok"
    ]
    own = [one for one in runs if one.hardware.name == HARDWARE]
    return own, [one for one in runs if one.hardware.name in COMPANIONS]


def troubled(
    kind: str, stream: Sequence[Benchmark], own: Sequence[Benchmark], chance: random.Random
) -> Iterator[tuple[str, timedelta, Benchmark]]:
    """Yield source, time after the last and run of each event in trouble of a kind."""
    uncompiled = {place_of(one): one for one in own if is_in(one, ONTO)}
    liar = chance.choice(SOURCES)
    at = chance.randrange(20, 60)
    times = [10.0, 0.1]
    for number, run in enumerate(stream):
        source = SOURCES[number % len(SOURCES)]
        position = number % STRETCH
        gap = timedelta(seconds=PAUSE_S if position == 0 else STEP_S)
        match kind:
            case "shift":
                run = sped(run, SHIFT)
            case "throttling":
                elapsed = position * STEP_S
                run = sped(run, 1 - (1 - HOT) * (1 - math.exp(-elapsed / HEATING_S)))
            case "outlier" if number == at:
                run = sped(run, chance.choice(times))
            case "poisoned source" if source == liar:
                run = sped(run, chance.uniform(2, 5) ** chance.choice([-1, 1]))
            case "fallback" if is_in(run, FALLING) and place_of(run) in uncompiled:
                run = run.model_copy(update={"metrics": uncompiled[place_of(run)].metrics})
        yield source, gap, run


def measure(
    own: Sequence[Benchmark], others: Sequence[Benchmark], job: tuple[str, int]
) -> dict[str, Any]:
    """Learn, wait, bring trouble; return the names that were given."""
    kind, seed = job
    chance = random.Random(f"{kind} {seed}")
    mine = chance.sample(list(own), len(own))
    quiet, trouble = mine[:QUIET], mine[QUIET : QUIET + TROUBLED]
    first = chance.sample(list(others), KNOWN // 2) + mine[QUIET + TROUBLED :][: KNOWN // 2]
    chance.shuffle(first)
    heart, seq, now = Heart(), 0, datetime(2026, 11, 1, tzinfo=UTC)

    def learn(source: str, gap: timedelta, run: Benchmark) -> list[Alert]:
        nonlocal seq, now
        seq += 1
        now += gap
        effects = heart.handle(MeasurementLogged(seq, source, f"e{seq}", now, run))
        return [
            one.what for one in effects if isinstance(one, Publish) and isinstance(one.what, Alert)
        ]

    for run in first:
        learn(chance.choice(SOURCES), timedelta(seconds=STEP_S), run)
    before = [alert for event in troubled("nothing", quiet, own, chance) for alert in learn(*event)]
    after = [alert for event in troubled(kind, trouble, own, chance) for alert in learn(*event)]
    names = [alert.kind for alert in after if alert.kind in RIGHT.values()]
    # An outlier is a single measurement: beside what lasts, it is not what the trouble is.
    lasting = [name for name in names if name != "outlier"]
    return {
        "fault": kind,
        "seed": seed,
        "named": (lasting or names or ["nothing"])[-1],
        "first_name": names[0] if names else "nothing",
        "false_before": sum(alert.kind in RIGHT.values() for alert in before),
        "distrusted": len(heart.anomalies.distrusted),
        "set_aside": heart.quarantine.set_aside,
    }


def main() -> None:
    """Measure all seeds; print the confusion table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    own, others = rows_of(options.data)
    jobs = [
        (kind, seed)
        for kind in RIGHT
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(partial(measure, own, others), jobs))
    publish("anomalies-seeds", "The name given to each injected trouble, by seed", found)
    counted = {
        kind: Counter(row["named"] for row in found if row["fault"] == kind) for kind in RIGHT
    }
    publish(
        "anomalies",
        f"How often of {options.seeds} each injected trouble got each name",
        [
            {"injected": kind, **{name: counted[kind].get(name, 0) for name in RIGHT.values()}}
            for kind in RIGHT
        ],
    )
    false = sum(row["false_before"] > 0 for row in found)
    print(f"alerts in the {QUIET} quiet events before: in {false} of {len(found)} runs")


if __name__ == "__main__":
    main()
