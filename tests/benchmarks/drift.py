"""Is a lasting change noticed, and quickly made up for? Is nothing noticed where nothing changed?

    python -m tests.benchmarks.drift [--data FILE] [--seeds 20] [--stationary 10000]

The rows are measured ones. What is injected, and named so, is the shift: from one event on, all
that is measured on one hardware comes out 30 % slower. Two hundred rows are not as hard to predict
as three hundred others, so errors after the shift are also held against those of the same rows,
learnt from the same moment on, without it.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import statistics
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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
CLOSE = 1.2
"""How many times as large the error may be after a shift."""


def observations(path: Path) -> list[Observation]:
    """Return the measured runs of a file that went well and say how fast."""
    found = [observation_of(row.run) for row in load(path)]
    return [one for one in found if one.outcome == "ok" and METRIC in one.metrics]


def sped(one: Observation, speed: float) -> Observation:
    """Return a run as it would be on hardware so many times as fast."""
    metrics = dict(one.metrics)
    metrics[METRIC] *= speed
    if "latency_ms" in metrics:
        metrics["latency_ms"] /= speed
    return replace(one, metrics=metrics)


@dataclass
class Stationary:
    """What was learnt before the shift, and what comes with it.

    Attributes:
        bank: learnt all that came before.
        hardware: the one that is to shift.
        errors: of the newest `BEFORE` events of that hardware (absolute, relative).
        alarms: lasting changes announced so far, all of them false.
        rest: what comes from the moment of the shift on.
    """

    bank: Bank
    hardware: str
    errors: list[float]
    alarms: int
    rest: list[Observation]


@dataclass
class Followed:
    """What came of the rest.

    Attributes:
        errors: of the events of the hardware from the shift on.
        detected: after how many of them the shift was announced; None if never.
        alarms: what was announced that is no shift.
    """

    errors: list[float]
    detected: int | None
    alarms: int


def learn(bank: Bank, one: Observation) -> tuple[float | None, list[str]]:
    """Learn a run; return how wrong its speed was predicted, and where changes were announced."""
    found = [one for one in bank.learn(one) if one.metric == METRIC]
    error = abs(math.expm1(-found[0].error)) if found else None
    return error, [drift.hardware for drift in bank.take_drifts()]


def stationary(rows: list[Observation], count: int, seed: int) -> Stationary:
    """Learn so many rows in random order, then go on to the moment at which a hardware shifts."""
    chance = random.Random(seed)
    order = list(rows)
    chance.shuffle(order)
    bank, alarms = Bank(), 0
    for one in order[:count]:
        alarms += len(learn(bank, one)[1])
    rest = order[count:]
    left = Counter(one.cell.hardware for one in rest)
    hardware = chance.choice(sorted(name for name, more in left.items() if more >= NEEDED))
    errors: list[float] = []
    own = 0
    for number, one in enumerate(rest):
        if one.cell.hardware == hardware and own == BEFORE:
            return Stationary(bank, hardware, errors, alarms, rest[number:])
        error, drifts = learn(bank, one)
        alarms += len(drifts)
        if one.cell.hardware == hardware:
            own += 1
            errors += [] if error is None else [error]
    raise AssertionError("there are enough rows of the hardware")


def follow(begun: Stationary, speed: float) -> Followed:
    """Learn the rest, all of it on the hardware so many times as fast as it was measured."""
    bank = copy.deepcopy(begun.bank)
    followed = Followed([], None, 0)
    own = 0
    for one in begun.rest:
        here = one.cell.hardware == begun.hardware
        own += here
        error, drifts = learn(bank, sped(one, speed) if here else one)
        if here and error is not None:
            followed.errors.append(error)
        for hardware in drifts:
            # An alarm without the shift, or elsewhere, is a false one: all of that is stationary.
            if speed == 1.0 or hardware != begun.hardware:
                followed.alarms += 1
            elif followed.detected is None:
                followed.detected = own
        if own >= WITHIN + AFTER:
            break
    return followed


def measure(rows: list[Observation], count: int, seed: int) -> dict[str, Any]:
    """Learn a random stationary stream, then the same kind of stream with and without a shift."""
    begun = stationary(rows, count, seed)
    shifted, control = follow(begun, SPEED), follow(begun, 1.0)
    before = statistics.median(begun.errors)
    after, unshifted = (statistics.median(one.errors[WITHIN:]) for one in (shifted, control))
    return {
        "seed": seed,
        "hardware": begun.hardware,
        "false_alarms": begun.alarms + shifted.alarms + control.alarms,
        "detected_after_events": shifted.detected,
        "median_ape_before": round(before, 4),
        "median_ape_first_60": round(statistics.median(shifted.errors[:WITHIN]), 4),
        "median_ape_after_60": round(after, 4),
        "after_to_before": round(after / before, 3),
        "unshifted_to_before": round(unshifted / before, 3),
        "after_to_unshifted": round(after / unshifted, 3),
    }


def main() -> None:
    """Measure all seeds; say in how many each goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--stationary", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args()
    rows = observations(options.data)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(partial(measure, rows, options.stationary), seeds))
    publish("drift", f"A shift of {SPEED - 1:.0%} on one hardware, from one event on", found)
    goals = {
        "detected within 30 events": [
            (row["detected_after_events"] or math.inf) <= 30 for row in found
        ],
        "error within 1.2 times that before, after 60": [
            row["after_to_before"] <= CLOSE for row in found
        ],
        "error within 1.2 times that of the same rows without the shift, after 60": [
            row["after_to_unshifted"] <= CLOSE for row in found
        ],
        f"no false alarm in {options.stationary}": [row["false_alarms"] == 0 for row in found],
    }
    publish(
        "drift-goals",
        "Goals reached",
        [{"goal": name, "seeds": f"{sum(met)} of {len(met)}"} for name, met in goals.items()],
    )


if __name__ == "__main__":
    main()
