"""What holds for every learner that claims to be a River regressor."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, metrics
from river.checks import check_estimator

from agent.learning.bank import Observation
from agent.learning.regressors import CellRegressor, RooflineOffset

LEARNERS: list[Callable[[], Any]] = [CellRegressor, RooflineOffset]
every_learner = pytest.mark.parametrize("make", LEARNERS)

CELL = {"model": "resnet50", "hardware": "nvidia-t4", "gmacs": 4.1, "batch_size": 8.0}


def taught(make: Callable[[], Any], world: list[Observation], rows: int = 300) -> Any:
    learner = make()
    for one in world[:rows]:
        learner.learn_one(one.cell._asdict(), one.metrics["throughput_per_s"])
    return learner


@every_learner
def test_river_accepts_it(make: Callable[[], Any]) -> None:
    pytest.importorskip("sklearn", reason="River's checks read scikit-learn's data sets")
    learner = make()
    assert isinstance(learner, base.Regressor)
    check_estimator(learner)


@every_learner
def test_before_anything_was_learnt_it_answers(make: Callable[[], Any]) -> None:
    assert make().predict_one(CELL) == 0.0


@every_learner
def test_one_event_is_remembered(make: Callable[[], Any]) -> None:
    learner = make()
    learner.learn_one(CELL, 1000.0)

    assert learner.predict_one(CELL) == pytest.approx(1000.0, rel=0.2)


@every_learner
@pytest.mark.parametrize("y", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_no_metric_can_be_changes_nothing(make: Callable[[], Any], y: float) -> None:
    learner = make()
    learner.learn_one(CELL, 1000.0)
    before = learner.predict_one(CELL)

    learner.learn_one(CELL, y)

    assert learner.predict_one(CELL) == before


@every_learner
def test_a_constant_metric_stays_constant(make: Callable[[], Any]) -> None:
    learner = make()
    for _ in range(1000):
        learner.learn_one(CELL, 50.0)

    assert learner.predict_one(CELL) == pytest.approx(50.0, rel=0.01)


@every_learner
def test_predicting_changes_nothing(make: Callable[[], Any], world: list[Observation]) -> None:
    learner = taught(make, world)
    asked = copy.deepcopy(learner)
    for one in world[300:400]:
        asked.predict_one(one.cell._asdict())

    for one in world[300:340]:
        learner.learn_one(one.cell._asdict(), one.metrics["throughput_per_s"])
        asked.learn_one(one.cell._asdict(), one.metrics["throughput_per_s"])
        assert asked.predict_one(one.cell._asdict()) == learner.predict_one(one.cell._asdict())


@every_learner
def test_a_pickled_copy_answers_bit_for_bit(
    make: Callable[[], Any], world: list[Observation]
) -> None:
    learner = taught(make, world)
    other = pickle.loads(pickle.dumps(learner))

    for one in world[300:350]:
        assert other.predict_one(one.cell._asdict()) == learner.predict_one(one.cell._asdict())
        learner.learn_one(one.cell._asdict(), one.metrics["throughput_per_s"])
        other.learn_one(one.cell._asdict(), one.metrics["throughput_per_s"])


@every_learner
def test_one_outlier_does_not_ruin_it(make: Callable[[], Any], world: list[Observation]) -> None:
    learner = taught(make, world)
    x = world[0].cell._asdict()
    before = learner.predict_one(x)

    learner.learn_one(x, 1e12)

    assert before / 3 < learner.predict_one(x) < before * 3


@settings(max_examples=50, deadline=None)
@given(
    x=st.dictionaries(
        st.sampled_from(["model", "hardware", "gmacs", "batch_size", "task", "odd"]),
        st.none() | st.text(max_size=5) | st.floats() | st.integers(-5, 5) | st.booleans(),
    ),
    y=st.floats(),
)
@every_learner
def test_nothing_makes_it_answer_with_nan(make: Callable[[], Any], x: Any, y: float) -> None:
    learner = make()
    learner.learn_one(CELL, 100.0)
    learner.learn_one(x, y)

    for asked in (x, CELL):
        assert math.isfinite(learner.predict_one(asked))


def error(make: Callable[[], Any], rows: list[Observation], metric: str) -> float:
    learner, judged = make(), metrics.MAE()
    for index, one in enumerate(rows):
        x, y = one.cell._asdict(), one.metrics[metric]
        x["unit"] = one.units.get(metric)
        if index > len(rows) // 2:
            judged.update(0.0, abs(learner.predict_one(x) / y - 1))
        learner.learn_one(x, y)
    return float(judged.get())


def test_the_full_learner_beats_the_baseline(sample: list[Observation]) -> None:
    rows = [one for one in sample if "throughput_per_s" in one.metrics][:3000]

    full = error(CellRegressor, rows, "throughput_per_s")
    baseline = error(RooflineOffset, rows, "throughput_per_s")

    assert full < 0.6 * baseline
