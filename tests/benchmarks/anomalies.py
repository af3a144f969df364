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

The rows themselves hold outliers. One is *odd* if it is off by a factor of two or more from what
another set-up of its model on the same hardware lets expect, by how the two usually compare: by all
rows, those never learnt here as well, and without the agent. Which of the two is the strange one
nothing says, so both are odd. To call an odd row an outlier is right, so it is no name of the
trouble and no false alert. Everything else that is told where nothing is wrong is false; alerts
before the trouble, in as many events, are counted too.

What has to follow is asked as well: of the predictions of runs that nobody measured, beside those
of a heart that took the same rows without the trouble (see `consequences`).
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from agent.heart.cells import observation_of
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
KNOWN, QUIET, TROUBLED, UNMEASURED = 3_000, 150, 150, 500
"""Events that are learnt first, those on the hardware before the trouble, those in it, and runs on
it that nobody measures: what is predicted of them shows what was learnt of the trouble."""

STRETCH, STEP_S, PAUSE_S = 25, 10.0, 600.0
SHIFT, HOT, HEATING_S = 0.7, 0.6, 60.0


FALLING, ONTO = ("bf16", "dynamo"), ("amp", "eager")
"""Precision and way of running that fall back, and onto what."""
CLOSE, MOST, NEARLY_ALL = 0.05, 0.9, 0.99
"""How far (log) predictions may be from what they ought to be after a trouble, and the shares of
them that have to be so close. One measurement tells of its own model and a few like it at most."""

AS_IT_RUNS = 0.15
"""The same of the median where a set-up fell back: models differ by how much they lose, with a
standard deviation of 0.2, and no more than about thirty runs tell of it."""

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


def speed_of(run: Benchmark) -> float:
    """Return the log of how fast a run was."""
    assert run.metrics.throughput_per_s is not None, "rows have a throughput"
    return math.log(run.metrics.throughput_per_s)


def setup_of(run: Benchmark) -> tuple[str | None, str | None]:
    """Return by what set-ups differ."""
    return run.setup.precision, run.setup.runtime_options


def oddness(rows: Sequence[Benchmark]) -> dict[tuple[Place, tuple[str | None, str | None]], float]:
    """Return how far (log) each row is off, at most, by what another set-up of its model says."""
    speeds: dict[Place, dict[tuple[str | None, str | None], float]] = defaultdict(dict)
    for one in rows:
        speeds[one.model.name, one.setup.input_size][setup_of(one)] = speed_of(one)
    apart: dict[tuple[object, object], list[float]] = defaultdict(list)
    for own in speeds.values():
        for one, speed in own.items():
            for other in own.keys() - {one}:
                apart[one, other].append(speed - own[other])
    usual = {pair: statistics.median(found) for pair, found in apart.items()}
    return {
        (place, one): max(
            (abs(speed - own[other] - usual[one, other]) for other in own.keys() - {one}),
            default=0.0,
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


def uncompiled_of(
    own: Sequence[Benchmark],
) -> dict[tuple[str, int | None, float | None], Benchmark]:
    """Return the rows as which those that fall back run, by their places."""
    return {place_of(one): one for one in own if is_in(one, ONTO)}


def troubled(
    kind: str,
    plan: Plan,
    stream: Sequence[Benchmark],
    own: Sequence[Benchmark],
    chance: random.Random,
) -> Iterator[Event]:
    """Yield the events of a stream in trouble of a kind."""
    uncompiled = uncompiled_of(own)
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


def rightly_named(kind: str, alert: Alert | None, plan: Plan, outlier: str | None) -> bool:
    """Return whether the name that was given is that of the trouble, and of the right thing."""
    if alert is None or alert.kind not in RIGHT[kind]:
        return alert is None and kind == "nothing"
    return names_it(kind, alert, plan.liar, outlier)


@dataclass
class World:
    """A heart that is told of measurements, and what was told of them.

    Attributes:
        rows: what was measured in each event, by its id.
        learnt: sources of what was learnt, by the event's id.
    """

    heart: Heart = field(default_factory=Heart)
    seq: int = 0
    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    rows: dict[str, Benchmark] = field(default_factory=dict)
    learnt: dict[str, str] = field(default_factory=dict)

    def learn(self, event: Event) -> list[Alert]:
        """Tell the heart of an event; return what it says of anomalies."""
        self.seq += 1
        self.now += event.gap
        name = f"e{self.seq}"
        self.rows[name] = event.row
        before = self.heart.bank.observed_count
        effects = self.heart.handle(
            MeasurementLogged(self.seq, event.source, name, self.now, event.run)
        )
        if self.heart.bank.observed_count > before:
            self.learnt[name] = event.source
        alerts = [one.what for one in effects if isinstance(one, Publish)]
        return [one for one in alerts if isinstance(one, Alert) and one.kind in NAMES]

    def expects(self, runs: Sequence[Benchmark]) -> list[float]:
        """Return the logs of the speeds that are predicted of runs."""
        cells = [observation_of(run).cell for run in runs]
        found = self.heart.bank.predict(cells, ("throughput_per_s",))
        return [math.log(one["throughput_per_s"].value) for one in found]


@dataclass(frozen=True)
class Told:
    """What was told in a world, and what it believes since.

    Attributes:
        before: alerts in the quiet events.
        after: alerts since the trouble began, each with the number of events that were then taken.
        world: after the trouble.
        outlier: id of the single measurement that was off, if one was.
        plan: who lied, or when the outlier was.
    """

    before: list[Alert]
    after: list[tuple[int, Alert]]
    world: World
    outlier: str | None
    plan: Plan

    def explains_drifts(self, kind: str) -> bool:
        """Return whether a kind was told, and no drift after it."""
        kinds = [alert.kind for _, alert in self.after]
        return kind in kinds and "drift" not in kinds[kinds.index(kind) :]


def within(offs: Sequence[float], share: float, close: float = CLOSE) -> bool:
    """Return whether at least such a share of offsets (log) is small."""
    return sum(abs(one) < close for one in offs) >= share * len(offs)


def consequences(
    kind: str,
    told: Told,
    control: World,
    unmeasured: Sequence[Benchmark],
    uncompiled: Mapping[tuple[str, int | None, float | None], Benchmark],
) -> dict[str, bool]:
    """Return what has to follow from a trouble, and whether it did.

    Args:
        kind: of the trouble.
        told: what was told of it.
        control: the same world, in which the same rows were measured without trouble.
        unmeasured: runs on the hardware that were never measured.
        uncompiled: rows as which those that fell back ran, by their places.
    """
    world = told.world
    expected = world.expects(unmeasured)
    moved = [one - other for one, other in zip(expected, control.expects(unmeasured), strict=True)]
    liar = told.plan.liar if kind == "poisoned source" else None
    found = {"nobody else is distrusted": set(world.heart.anomalies.distrusted) <= {liar}}
    match kind:
        case "shift":
            found["predictions are moved"] = within([one - math.log(SHIFT) for one in moved], MOST)
        case "throttling":
            found["no drift is told beside it"] = told.explains_drifts("throttling")
        case "fallback":
            found["no drift is told beside it"] = told.explains_drifts("fallback_backend")
            fell = [is_in(run, FALLING) for run in unmeasured]
            rest = [one for one, is_one in zip(moved, fell, strict=True) if not is_one]
            found["no other set-up is moved"] = within(rest, MOST)
            left = [
                speed_of(uncompiled[place_of(run)]) - one
                for run, one, is_one in zip(unmeasured, expected, fell, strict=True)
                if is_one and place_of(run) in uncompiled
            ]
            found["it is predicted as it runs"] = abs(statistics.median(left)) < AS_IT_RUNS
        case "outlier":
            found["hardly any prediction is moved"] = within(moved, NEARLY_ALL)
        case "poisoned source":
            when = [seq for seq, alert in told.after if alert.kind == "poisoned_source"]
            later = [
                name
                for name, source in world.learnt.items()
                if source == liar and when and int(name[1:]) > when[0]
            ]
            found["nothing is learnt of it"] = bool(when) and not later
            found["hardly any prediction is moved"] = within(moved, MOST)
        case _:
            found["nothing is set aside"] = not world.heart.quarantine.set_aside
    return found


def settled(
    own: Sequence[Benchmark], others: Sequence[Benchmark], seed: int
) -> tuple[World, list[Alert], list[Benchmark], list[Benchmark]]:
    """Learn, and wait.

    Returns:
        The world then, what was told in the quiet events, the rows that come next, and rows of the
        hardware that do not come at all.
    """
    chance = random.Random(seed)
    mine = chance.sample(list(own), len(own))
    quiet, trouble = mine[:QUIET], mine[QUIET : QUIET + TROUBLED]
    rest = mine[QUIET + TROUBLED :]
    first = chance.sample(list(others), KNOWN // 2) + rest[: KNOWN // 2]
    chance.shuffle(first)
    world = World()
    for run in first:
        world.learn(Event(chance.choice(SOURCES), timedelta(seconds=STEP_S), run, run))
    plan = planned(chance)
    before = [
        alert
        for event in troubled("nothing", plan, quiet, own, chance)
        for alert in world.learn(event)
    ]
    return world, before, trouble, rest[KNOWN // 2 :][:UNMEASURED]


def trouble_in(
    world: World,
    before: list[Alert],
    kind: str,
    stream: Sequence[Benchmark],
    own: Sequence[Benchmark],
    seed: int,
) -> Told:
    """Bring trouble into a copy of a world."""
    world = copy.deepcopy(world)
    chance = random.Random(f"{kind} {seed}")
    plan = planned(chance)
    outlier: str | None = None
    after: list[tuple[int, Alert]] = []
    for event in troubled(kind, plan, stream, own, chance):
        if event.run is not event.row and kind == "outlier":
            outlier = f"e{world.seq + 1}"
        after += [(world.seq, alert) for alert in world.learn(event)]
    return Told(before, after, world, outlier, plan)


def judged(
    kind: str,
    seed: int,
    told: Told,
    odd: Mapping[tuple[Place, tuple[str | None, str | None]], float],
    followed: Mapping[str, bool],
) -> dict[str, Any]:
    """Return the name that was given, and whether it and what followed are right."""

    def is_odd(alert: Alert) -> bool:
        if alert.kind != "outlier" or alert.scope["id"] == told.outlier:
            return False
        row = told.world.rows[alert.scope["id"]]
        return odd[(row.model.name, row.setup.input_size), setup_of(row)] >= ODD

    after = [alert for _, alert in told.after]
    meant = [alert for alert in after if not is_odd(alert)]
    lasting = [alert for alert in meant if alert.kind not in SINGLE]
    about = [alert for alert in meant if kind == "outlier" and alert.scope["id"] == told.outlier]
    last = (lasting or about or meant or [None])[-1]
    blamed = {
        alert.scope["source"] for alert in told.before + after if alert.kind == "poisoned_source"
    }
    innocent = len(blamed - ({told.plan.liar} if kind == "poisoned source" else set()))
    return {
        "fault": kind,
        "seed": seed,
        "named": "nothing" if last is None else last.kind,
        "right": rightly_named(kind, last, told.plan, told.outlier) and not innocent,
        "followed": all(followed.values()),
        "missing": ", ".join(what for what, did in followed.items() if not did),
        "first_name": meant[0].kind if meant else "nothing",
        "false_before": sum(not is_odd(alert) for alert in told.before),
        "odd_rows": sum(is_odd(alert) for alert in told.before + after),
        "innocent": innocent,
        "set_aside": told.world.heart.quarantine.set_aside,
    }


def measure(
    own: Sequence[Benchmark],
    others: Sequence[Benchmark],
    odd: Mapping[tuple[Place, tuple[str | None, str | None]], float],
    seed: int,
) -> list[dict[str, Any]]:
    """Learn, wait, bring each trouble; return the names that were given, and what followed."""
    world, before, stream, unmeasured = settled(own, others, seed)
    found: list[dict[str, Any]] = []
    control: World | None = None
    for kind in RIGHT:
        told = trouble_in(world, before, kind, stream, own, seed)
        control = told.world if control is None else control
        followed = consequences(kind, told, control, unmeasured, uncompiled_of(own))
        found.append(judged(kind, seed, told, odd, followed))
    return found


def main() -> None:
    """Measure all seeds; print the confusion table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args()
    own, others = rows_of(options.data)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.processes) as pool:
        each = pool.map(partial(measure, own, others, oddness(own)), seeds)
        found = [row for rows in each for row in rows]
    publish("anomalies-seeds", "The name given to each injected trouble, by seed", found)
    counted = {
        kind: Counter(row["named"] for row in found if row["fault"] == kind) for kind in RIGHT
    }
    publish(
        "anomalies",
        f"How often of {options.seeds} each injected trouble got each name, and its consequence",
        [
            {
                "injected": kind,
                **{name: counted[kind].get(name, 0) for name in NAMES},
                "right": sum(row["right"] for row in found if row["fault"] == kind),
                "followed": sum(row["followed"] for row in found if row["fault"] == kind),
            }
            for kind in RIGHT
        ],
    )
    quiet = [row for row in found if row["fault"] == "nothing"]
    false = sum(row["false_before"] > 0 for row in quiet)
    print(f"false alerts in the {QUIET} quiet events before: in {false} of {len(quiet)} runs")
    rows = sum(row["odd_rows"] for row in quiet)
    print(f"rows that are odd by themselves, called outliers: {rows} in {len(quiet)} runs")
    print(f"sources blamed that did not lie: {sum(row['innocent'] for row in found)}")


if __name__ == "__main__":
    main()
