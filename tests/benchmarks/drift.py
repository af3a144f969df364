"""Is a lasting change noticed, and quickly made up for? Is nothing noticed where nothing changed?

    python -m tests.benchmarks.drift [--data FILE] [--seeds 20] [--stationary 10000]

The rows are measured ones. What is injected, and named so, is the shift: from one event on, all
that is measured on one hardware comes out 30 % slower.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent.heart.cells import observation_of
from agent.learning.bank import Bank, Observation
from tests.benchmarks.report import publish
from tests.benchmarks.table import DATA, load

METRIC = "throughput_per_s"
SPEED = 0.7
BEFORE, WITHIN, AFTER = 300, 60, 200
"""Events of the hardware: those that say how large its error was, those in which it may recover,
those that say how large it is then."""

NEEDED = 1_000


def observations(path: Path) -> list[Observation]:
    """Return the measured runs of a file that went well and say how fast."""
    found = [observation_of(row.run) for row in load(path)]
    return [one for one in found if one.outcome == "ok" and METRIC in one.metrics]


def slower(one: Observation) -> Observation:
    """Return a run as it would be on hardware that has become slower."""
    metrics = dict(one.metrics)
    metrics[METRIC] *= SPEED
    if "latency_ms" in metrics:
        metrics["latency_ms"] /= SPEED
    return replace(one, metrics=metrics)


def measure(rows: list[Observation], stationary: int, seed: int) -> dict[str, Any]:
    """Learn a random stationary stream, then the same kind of stream with a shift."""
    chance = random.Random(seed)
    order = list(rows)
    chance.shuffle(order)
    bank, alarms = Bank(), 0
    for one in order[:stationary]:
        bank.learn(one)
        alarms += len(bank.take_drifts())
    rest = order[stationary:]
    counts: dict[str, int] = {}
    for one in rest:
        counts[one.cell.hardware] = counts.get(one.cell.hardware, 0) + 1
    hardware = chance.choice(sorted(name for name, count in counts.items() if count >= NEEDED))
    own = 0
    detected: int | None = None
    errors: list[float] = []
    for one in rest:
        here = one.cell.hardware == hardware
        shifted = here and own >= BEFORE
        own += here
        for surprise in bank.learn(slower(one) if shifted else one):
            if here and surprise.metric == METRIC:
                errors.append(abs(math.expm1(-surprise.error)))
        for drift in bank.take_drifts():
            # An alarm before the shift, or elsewhere, is a false one: all of that is stationary.
            if shifted and drift.hardware == hardware:
                detected = detected if detected is not None else own - BEFORE
            else:
                alarms += 1
        if own >= BEFORE + WITHIN + AFTER:
            break
    before = statistics.median(errors[:BEFORE])
    after = statistics.median(errors[BEFORE + WITHIN :])
    return {
        "seed": seed,
        "hardware": hardware,
        "false_alarms": alarms,
        "detected_after_events": detected,
        "median_ape_before": round(before, 4),
        "median_ape_first_60": round(statistics.median(errors[BEFORE : BEFORE + WITHIN]), 4),
        "median_ape_after_60": round(after, 4),
        "after_to_before": round(after / before, 3),
    }


def main() -> None:
    """Measure all seeds; say in how many each goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--stationary", type=int, default=10_000)
    options = parser.parse_args()
    rows = observations(options.data)
    with ProcessPoolExecutor() as pool:
        one_seed = partial(measure, rows, options.stationary)
        found = list(pool.map(one_seed, range(options.seeds)))
    publish("drift", f"A shift of {SPEED - 1:.0%} on one hardware, from one event on", found)
    goals = {
        "detected within 30 events": [
            (row["detected_after_events"] or math.inf) <= 30 for row in found
        ],
        "error within 1.2 times after 60": [row["after_to_before"] <= 1.2 for row in found],
        f"no false alarm in {options.stationary}": [row["false_alarms"] == 0 for row in found],
    }
    publish(
        "drift-goals",
        "Goals reached",
        [{"goal": name, "seeds": f"{sum(met)} of {len(met)}"} for name, met in goals.items()],
    )


if __name__ == "__main__":
    main()
