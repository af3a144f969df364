"""What the benchmark of anomalies calls right."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from schemas.measurement import Benchmark
from schemas.published import Alert
from tests.benchmarks.anomalies import (
    FALLING,
    HARDWARE,
    ODD,
    ONTO,
    SHIFT,
    SOURCES,
    Event,
    Plan,
    Told,
    World,
    consequences,
    names_it,
    oddness,
    place_of,
    rightly_named,
    setup_of,
    speed_of,
    troubled,
)

FELL, RAN_AS = ("bf16", "nchw/cu130/dynamo"), ("amp", "nchw/cu130/eager")
OTHER = ("amp", "nchw/cu130/dynamo")


def row(model: str, setup: tuple[str, str], speed: float, batch_size: int = 8) -> Benchmark:
    precision, options = setup
    return Benchmark.model_validate(
        {
            "model": model,
            "hardware": HARDWARE,
            "setup": {
                "batch_size": batch_size,
                "precision": precision,
                "runtime_options": options,
                "input_size": 224,
            },
            "metrics": {"throughput_per_s": speed, "throughput_unit": "images/s"},
        }
    )


def events(kind: str, stream: list[Benchmark], plan: Plan) -> list[Event]:
    return list(troubled(kind, plan, stream, stream, random.Random(0)))


def test_rows_of_a_model_are_odd_if_one_lets_expect_another() -> None:
    rows = [
        row(f"net{number}", setup, 100.0 * (number + 1) * factor)
        for number in range(9)
        for setup, factor in ((FELL, 2.0), (OTHER, 2.0), (RAN_AS, 1.0))
    ]
    rows[0] = row("net0", FELL, 65.0)
    odd = oddness(rows)
    # Which of them is the strange one, nothing says.
    assert {place for (place, _), off in odd.items() if off >= ODD} == {("net0", 224.0)}
    assert odd[("net0", 224.0), FELL] == pytest.approx(math.log(200 / 65))


def test_a_row_without_others_of_its_model_is_not_odd() -> None:
    assert oddness([row("net", FELL, 5.0)]) == {(("net", 224.0), FELL): 0.0}


def test_all_that_falls_back_runs_as_the_other_setup_or_is_left_out() -> None:
    falls, slow = row("net", FELL, 200.0), row("net", RAN_AS, 90.0)
    unmeasured = row("net", FELL, 210.0, batch_size=16)
    told = events("fallback", [falls, slow, unmeasured], Plan("rack1", 0))
    assert [event.run.metrics.throughput_per_s for event in told] == [90.0, 90.0]
    assert [setup_of(event.run) for event in told] == [FELL, RAN_AS]


def test_one_measurement_is_the_outlier_and_one_source_lies() -> None:
    stream = [row("net", FELL, 100.0) for _ in range(30)]
    off = [
        number
        for number, event in enumerate(events("outlier", stream, Plan("rack1", 21)))
        if event.run is not event.row
    ]
    assert off == [21]
    liars = {
        event.source
        for event in events("poisoned source", stream, Plan(SOURCES[1], 0))
        if event.run is not event.row
    }
    assert liars == {SOURCES[1]}


@pytest.mark.parametrize(
    ("kind", "scope", "right"),
    [
        ("shift", {"hardware": HARDWARE}, True),
        ("shift", {"hardware": HARDWARE, "setup": "amp"}, False),
        ("shift", {"hardware": "another"}, False),
        ("throttling", {"hardware": HARDWARE}, True),
        ("fallback", {"setup": " / ".join(FELL), "fits": " / ".join(RAN_AS)}, True),
        ("fallback", {"setup": " / ".join(FELL), "fits": " / ".join(OTHER)}, False),
        ("fallback", {"setup": " / ".join(OTHER), "fits": " / ".join(RAN_AS)}, False),
        ("outlier", {"id": "e7"}, True),
        ("outlier", {"id": "e8"}, False),
        ("poisoned source", {"source": "rack2"}, True),
        ("poisoned source", {"source": "rack1"}, False),
        ("nothing", {"id": "e7"}, False),
    ],
)
def test_a_name_is_right_only_of_the_right_thing(
    kind: str, scope: dict[str, str], *, right: bool
) -> None:
    assert (FALLING[0], ONTO[0]) == (FELL[0], RAN_AS[0])
    alert = Alert(kind="drift", message="made up", scope=scope)
    assert names_it(kind, alert, liar="rack2", outlier="e7") is right


def test_a_name_that_is_none_of_the_trouble_is_wrong_whatever_it_is_about() -> None:
    plan = Plan("rack2", 0)
    drift = Alert(kind="drift", message="made up", scope={"hardware": HARDWARE})
    assert rightly_named("shift", drift, plan, None)
    assert not rightly_named("fallback", drift, plan, None)
    assert not rightly_named("nothing", drift, plan, None)
    assert rightly_named("nothing", None, plan, None)
    assert not rightly_named("shift", None, plan, None)


# What has to follow


@dataclass
class Expecting(World):
    """A world that predicts what it is told to."""

    expected: list[float] = field(default_factory=list)

    def expects(self, runs: Sequence[Benchmark]) -> list[float]:
        return self.expected


RUNS = [row(f"net{number}", OTHER, 100.0) for number in range(100)]
FALLEN = [row(f"net{number}", FELL, 200.0) for number in range(10)]
SLOW = {place_of(one): one for one in (row(f"net{number}", RAN_AS, 90.0) for number in range(10))}


def follows(
    kind: str,
    moved: list[float],
    *kinds: str,
    learnt: dict[str, str] | None = None,
    runs: list[Benchmark] = RUNS,
) -> dict[str, bool]:
    """Return what followed where predictions of runs were moved, and kinds of alerts were told."""
    world = Expecting(
        learnt=learnt or {},
        expected=[speed_of(run) + by for run, by in zip(runs, moved, strict=True)],
    )
    control = Expecting(expected=[speed_of(run) for run in runs])
    after = [
        (number + 1, Alert(kind=one, message="made up", scope={}))
        for number, one in enumerate(kinds)
    ]
    told = Told([], after, world, None, Plan("rack2", 0))
    found = consequences(kind, told, control, runs, SLOW)
    assert found.pop("nobody else is distrusted")
    return found


def test_after_a_shift_predictions_are_moved_by_it() -> None:
    shift = math.log(SHIFT)
    assert follows("shift", [shift] * 90 + [0.0] * 10) == {"predictions are moved": True}
    assert follows("shift", [shift] * 89 + [0.0] * 11) == {"predictions are moved": False}


def test_an_outlier_moves_hardly_any_prediction() -> None:
    moved = {"hardly any prediction is moved": True}
    assert follows("outlier", [0.5] + [0.0] * 99) == moved
    assert follows("outlier", [0.5] * 2 + [0.0] * 98) != moved


@pytest.mark.parametrize("kind", ["throttling", "fallback"])
def test_what_explains_drifts_is_told_and_they_are_not(kind: str) -> None:
    name = {"throttling": "throttling", "fallback": "fallback_backend"}[kind]
    moved, runs = [0.0] * 100 + [math.log(90 / 200)] * 10, RUNS + FALLEN
    what = "no drift is told beside it"
    assert follows(kind, moved, "drift", name, runs=runs)[what]
    assert not follows(kind, moved, name, "drift", runs=runs)[what]
    assert not follows(kind, moved, runs=runs)[what], "it has to be told"


def test_what_fell_back_is_predicted_as_it_runs_and_nothing_else_is_moved() -> None:
    fell, runs = math.log(90 / 200), RUNS + FALLEN
    right = {"no other set-up is moved": True, "it is predicted as it runs": True}
    told = follows("fallback", [0.0] * 100 + [fell] * 10, "fallback_backend", runs=runs)
    assert right.items() < told.items()
    told = follows("fallback", [fell] * 110, "fallback_backend", runs=runs)
    assert not told["no other set-up is moved"]
    told = follows("fallback", [0.0] * 110, "fallback_backend", runs=runs)
    assert not told["it is predicted as it runs"]


@pytest.mark.parametrize(
    ("learnt", "right"),
    [({"e1": "rack2", "e3": "rack1"}, True), ({"e1": "rack2", "e3": "rack2"}, False)],
)
def test_nothing_is_learnt_of_a_poisoned_source_once_it_is_told(
    learnt: dict[str, str], *, right: bool
) -> None:
    told = follows("poisoned source", [0.0] * 100, "outlier", "poisoned_source", learnt=learnt)
    assert told["nothing is learnt of it"] is right
    assert told["hardly any prediction is moved"]
