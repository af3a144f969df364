"""Does each kind of trouble get its right name? A confusion table over many seeds.

    python -m tests.benchmarks.anomalies [--data FILE] [--seeds 20] [--first-seed 0]

The rows are measured ones, learnt by a whole heart, on hardware with several set-ups, from three
sources in turn, in stretches of work with pauses between them. What is injected, and named so, is
the trouble: from one event on,

- shift: everything on one hardware is 30 % slower;
- throttling: one hardware loses up to 40 % of its speed as a stretch of work goes on (time constant
  60 s), and has it back after a pause;
- fallback: what says that it ran compiled, in half precision, ran uncompiled: its speed is that of
  the row of the same model and batch that was measured so on the same hardware; what was not
  measured so is left out, as it would go on running compiled;
- outlier: a single measurement is ten times or a tenth as fast as it was;
- poisoned source: what one of the three sources says is off by a random factor between two and five
  either way;
- nothing: nothing.

The name given is that of the last alert in the events after the trouble began; one of a single
measurement (an outlier, or one set aside as impossible) only where nothing that lasts was told. It
is right if it also names the right thing: the hardware as a whole, the set-up that fell back and
what it ran as, the measurement, the source; and if no other source was ever blamed. Ten times as
fast is often more than the hardware can do: then to be set aside is right.

The rows themselves hold outliers. One is *odd* if it is off by a factor of two or more from the
median of what the other set-ups of its model on the same hardware let expect, by how the set-ups
usually compare: by all rows, those never learnt here as well, and without the agent. To call an odd
row an outlier is right, so it is no name of the trouble and no false alert. Everything else that is
told where nothing is wrong is false; alerts before the trouble, in as many events, are counted too.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agent.heart.effects import Publish
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged
from schemas.measurement import Benchmark
from schemas.published import Alert
from tests.benchmarks.report import publish
from tests.benchmarks.table import DATA, load

HARDWARE = "nvidia-rtx-pro-6000-blackwell-maxq"
"""Of the vision rows: the hardware on which models were measured in more than one set-up."""

COMPANIONS = ("nvidia-rtx-4090", "nvidia-rtx-3090")
SOURCES = ("rack1", "rack2", "rack3")
RIGHT = {
    "nothing": ("nothing",),
    "shift": ("drift",),
    "throttling": ("throttling",),
    "fallback": ("fallback_backend",),
    "outlier": ("outlier", "quarantine"),
    "poisoned source": ("poisoned_source",),
}
SINGLE = ("outlier", "quarantine")
"""Names of a single measurement: beside what lasts, it is not what the trouble is."""

NAMES = tuple(name for names in RIGHT.values() for name in names)
KNOWN, QUIET, TROUBLED = 3_000, 150, 150
"""Events that are learnt first, those on the hardware before the trouble, and those in it."""

STRETCH, STEP_S, PAUSE_S = 25, 10.0, 600.0
SHIFT, HOT, HEATING_S = 0.7, 0.6, 60.0


FALLING, ONTO = ("bf16", "dynamo"), ("amp", "eager")
"""Precision and way of running that fall back, and onto what."""

ODD = math.log(2.0)
"""How far off (log) a row is that is an outlier by itself."""

Place = tuple[str, float | None]
"""A model and its input size."""


@dataclass(frozen=True)
class Event:
    """A measurement, as it is told.

    Attributes:
        gap: time since the last.
        row: what was measured.
        run: what is said of it.
    """

    source: str
    gap: timedelta
    row: Benchmark
    run: Benchmark


@dataclass(frozen=True)
class Plan:
    """Who lies, if one does, and which measurement is an outlier, if one is."""

    liar: str
    at: int


def is_in(run: Benchmark, setup: tuple[str, str]) -> bool:
    """Return whether a run is in a set-up."""
    precision, options = setup
    return run.setup.precision == precision and options in (run.setup.runtime_options or "")


def place_of(run: Benchmark) -> tuple[str, int | None, float | None]:
    """Return what a run in another set-up must have in common to stand in."""
    return run.model.name, run.setup.batch_size, run.setup.input_size


def setup_of(run: Benchmark) -> tuple[str | None, str | None]:
    """Return by what set-ups differ."""
    return run.setup.precision, run.setup.runtime_options


def oddness(rows: Sequence[Benchmark]) -> dict[tuple[Place, tuple[str | None, str | None]], float]:
    """Return how far (log) each row is off by what the other set-ups of its model let expect."""
    speeds: dict[Place, dict[tuple[str | None, str | None], float]] = defaultdict(dict)
    for one in rows:
        assert one.metrics.throughput_per_s is not None, "rows have a throughput"
        place = one.model.name, one.setup.input_size
        speeds[place][setup_of(one)] = math.log(one.metrics.throughput_per_s)
    apart: dict[tuple[object, object], list[float]] = defaultdict(list)
    for own in speeds.values():
        for one, speed in own.items():
            for other in own.keys() - {one}:
                apart[one, other].append(speed - own[other])
    usual = {pair: statistics.median(found) for pair, found in apart.items()}
    return {
        (place, one): statistics.median(
            [speed - own[other] - usual[one, other] for other in own.keys() - {one}] or [0.0]
        )
        for place, own in speeds.items()
        for one, speed in own.items()
    }


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


def planned(chance: random.Random) -> Plan:
    """Draw who lies and when."""
    return Plan(chance.choice(SOURCES), chance.randrange(20, 60))


def troubled(
    kind: str,
    plan: Plan,
    stream: Sequence[Benchmark],
    own: Sequence[Benchmark],
    chance: random.Random,
) -> Iterator[Event]:
    """Yield the events of a stream in trouble of a kind."""
    uncompiled = {place_of(one): one for one in own if is_in(one, ONTO)}
    times = [10.0, 0.1]
    for number, row in enumerate(stream):
        run = row
        source = SOURCES[number % len(SOURCES)]
        position = number % STRETCH
        gap = timedelta(seconds=PAUSE_S if position == 0 else STEP_S)
        match kind:
            case "shift":
                run = sped(run, SHIFT)
            case "throttling":
                elapsed = position * STEP_S
                run = sped(run, 1 - (1 - HOT) * (1 - math.exp(-elapsed / HEATING_S)))
            case "outlier" if number == plan.at:
                run = sped(run, chance.choice(times))
            case "poisoned source" if source == plan.liar:
                run = sped(run, chance.uniform(2, 5) ** chance.choice([-1, 1]))
            case "fallback" if is_in(run, FALLING):
                if place_of(run) not in uncompiled:
                    continue
                run = run.model_copy(update={"metrics": uncompiled[place_of(run)].metrics})
        yield Event(source, gap, row, run)


def names_it(kind: str, alert: Alert, liar: str, outlier: str | None) -> bool:
    """Return whether an alert of the right kind is about the right thing."""
    match kind:
        case "shift":
            return alert.scope["hardware"] == HARDWARE and "setup" not in alert.scope
        case "throttling":
            return alert.scope["hardware"] == HARDWARE
        case "fallback":
            return all(
                alert.scope[word].startswith(f"{precision} /") and options in alert.scope[word]
                for word, (precision, options) in (("setup", FALLING), ("fits", ONTO))
            )
        case "outlier":
            return alert.scope["id"] == outlier
        case "poisoned source":
            return alert.scope["source"] == liar
    return False


def measure(
    own: Sequence[Benchmark],
    others: Sequence[Benchmark],
    odd: Mapping[tuple[Place, tuple[str | None, str | None]], float],
    job: tuple[str, int],
) -> dict[str, Any]:
    """Learn, wait, bring trouble; return the names that were given."""
    kind, seed = job
    chance = random.Random(f"{kind} {seed}")
    mine = chance.sample(list(own), len(own))
    quiet, trouble = mine[:QUIET], mine[QUIET : QUIET + TROUBLED]
    first = chance.sample(list(others), KNOWN // 2) + mine[QUIET + TROUBLED :][: KNOWN // 2]
    chance.shuffle(first)
    heart, seq, now = Heart(), 0, datetime(2026, 11, 1, tzinfo=UTC)
    rows: dict[str, Benchmark] = {}
    outlier: str | None = None

    def learn(event: Event) -> list[Alert]:
        nonlocal seq, now
        seq += 1
        now += event.gap
        rows[f"e{seq}"] = event.row
        effects = heart.handle(MeasurementLogged(seq, event.source, f"e{seq}", now, event.run))
        alerts = [one.what for one in effects if isinstance(one, Publish)]
        return [one for one in alerts if isinstance(one, Alert) and one.kind in NAMES]

    def is_odd(alert: Alert) -> bool:
        if alert.kind != "outlier":
            return False
        row = rows[alert.scope["id"]]
        if kind == "outlier" and alert.scope["id"] == outlier:
            return False
        return abs(odd[(row.model.name, row.setup.input_size), setup_of(row)]) >= ODD

    for run in first:
        learn(Event(chance.choice(SOURCES), timedelta(seconds=STEP_S), run, run))
    plan = planned(chance)
    before = [
        alert for event in troubled("nothing", plan, quiet, own, chance) for alert in learn(event)
    ]
    plan = planned(chance)
    began = seq
    after: list[Alert] = []
    for event in troubled(kind, plan, trouble, own, chance):
        if event.run is not event.row and kind == "outlier":
            outlier = f"e{seq + 1}"
        after += learn(event)
    told = [alert for alert in after if not is_odd(alert)]
    lasting = [alert for alert in told if alert.kind not in SINGLE]
    about = [alert for alert in told if kind == "outlier" and alert.scope.get("id") == outlier]
    last = (lasting or about or told or [None])[-1]
    blamed = {alert.scope["source"] for alert in before + after if alert.kind == "poisoned_source"}
    innocent = len(blamed - ({plan.liar} if kind == "poisoned source" else set()))
    named = "nothing" if last is None else last.kind
    it = last is None or names_it(kind, last, plan.liar, outlier)
    return {
        "fault": kind,
        "seed": seed,
        "named": named,
        "right": named in RIGHT[kind] and it and not innocent,
        "first_name": told[0].kind if told else "nothing",
        "false_before": sum(not is_odd(alert) for alert in before),
        "odd_rows": sum(is_odd(alert) for alert in before + after),
        "innocent": innocent,
        "distrusted": len(heart.anomalies.distrusted),
        "set_aside": heart.quarantine.set_aside,
        "events": seq - began,
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
        found = list(pool.map(partial(measure, own, others, oddness(own)), jobs))
    publish("anomalies-seeds", "The name given to each injected trouble, by seed", found)
    counted = {
        kind: Counter(row["named"] for row in found if row["fault"] == kind) for kind in RIGHT
    }
    publish(
        "anomalies",
        f"How often of {options.seeds} each injected trouble got each name",
        [
            {
                "injected": kind,
                **{name: counted[kind].get(name, 0) for name in NAMES},
                "right": sum(row["right"] for row in found if row["fault"] == kind),
            }
            for kind in RIGHT
        ],
    )
    false = sum(row["false_before"] > 0 for row in found)
    print(f"false alerts in the {QUIET} quiet events before: in {false} of {len(found)} runs")
    rows = sum(row["odd_rows"] for row in found)
    print(f"rows that are odd by themselves, called outliers: {rows} in {len(found)} runs")
    print(f"sources blamed that did not lie: {sum(row['innocent'] for row in found)}")


if __name__ == "__main__":
    main()
