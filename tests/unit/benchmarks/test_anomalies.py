"""What the benchmark of anomalies calls right."""

from __future__ import annotations

import math
import random

import pytest

from schemas.measurement import Benchmark
from schemas.published import Alert
from tests.benchmarks.anomalies import (
    FALLING,
    HARDWARE,
    ODD,
    ONTO,
    SOURCES,
    Event,
    Plan,
    names_it,
    oddness,
    setup_of,
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


def test_a_row_is_odd_if_the_other_setups_of_its_model_let_expect_another() -> None:
    rows = [
        row(f"net{number}", setup, 100.0 * (number + 1) * factor)
        for number in range(9)
        for setup, factor in ((FELL, 2.0), (OTHER, 2.0), (RAN_AS, 1.0))
    ]
    rows[0] = row("net0", FELL, 65.0)
    odd = oddness(rows)
    assert [key for key, off in odd.items() if abs(off) >= ODD] == [(("net0", 224.0), FELL)]
    assert odd[("net0", 224.0), FELL] == pytest.approx(math.log(65 / 200))


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
