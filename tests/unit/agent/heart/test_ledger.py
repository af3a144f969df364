from __future__ import annotations

from typing import Any

import pytest

from agent.heart.ledger import Ledger
from agent.heart.stimuli import AnswerLogged
from schemas.measurement import ModelRun


def answer(*prediction_ids: str, unit: str | None = "images/s") -> AnswerLogged:
    rows = [
        {
            "prediction_id": one,
            "model": "resnet50",
            "hardware": "gpu-1",
            "metrics": {
                "throughput_per_s": {"value": 90.0, "low": 80.0, "high": 99.0, "unit": unit},
                "power_w": {"value": 200.0, "low": 100.0, "high": 300.0, "unit": None},
            },
        }
        for one in prediction_ids
    ]
    return AnswerLogged(1, "request", "predict", {"predictions": rows})


def run(prediction_id: str | None, **metrics: Any) -> ModelRun:
    return ModelRun.model_validate(
        {
            "model": "resnet50",
            "hardware": "gpu-1",
            "metrics": metrics or {"throughput_per_s": 100.0, "throughput_unit": "images/s"},
            "prediction_id": prediction_id,
        }
    )


def test_a_measurement_is_held_against_the_prediction_that_it_answers() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))

    (validation,) = ledger.validate(run("p/0"), "event", "lab")

    assert validation.metric == "throughput_per_s"
    assert validation.predicted == 90.0
    assert validation.measured == 100.0
    assert validation.absolute_percentage_error == 0.1  # relative to the measurement
    assert not validation.within_interval
    assert (validation.event_id, validation.event_source) == ("event", "lab")


def test_each_metric_is_validated_on_its_own() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    validations = ledger.validate(run("p/0", throughput_per_s=95.0, power_w=250.0), "e", "s")
    assert [(v.metric, v.within_interval) for v in validations] == [
        ("throughput_per_s", True),
        ("power_w", True),
    ]


def test_another_unit_is_not_compared() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert not ledger.validate(
        run("p/0", throughput_per_s=95.0, throughput_unit="tokens/s"), "e", "s"
    )


def test_what_answers_nothing_validates_nothing() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert not ledger.validate(run(None), "e", "s")
    assert not ledger.validate(run("never asked"), "e", "s")


def test_a_prediction_stays_open_for_further_measurements() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert ledger.validate(run("p/0"), "e1", "s")
    assert ledger.validate(run("p/0"), "e2", "s")


def test_it_knows_how_good_its_predictions_turned_out() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert ledger.accuracy() == {}
    for measured in (90.0, 100.0, 85.0):
        ledger.validate(run("p/0", throughput_per_s=measured), "e", "s")
    accuracy = ledger.accuracy()["throughput_per_s"]
    assert accuracy.validated == 3
    assert accuracy.median_ape == pytest.approx(5 / 85)
    assert accuracy.coverage_90 == pytest.approx(2 / 3)


def test_beyond_its_capacity_the_oldest_are_forgotten() -> None:
    ledger = Ledger(capacity=2)
    ledger.open(answer("a", "b", "c"))
    assert len(ledger) == 2
    assert not ledger.validate(run("a"), "e", "s")
    assert ledger.validate(run("c"), "e", "s")


def test_predictions_are_found_in_every_kind_of_answer() -> None:
    metrics = {"latency_ms": {"value": 1.0, "low": 0.5, "high": 2.0}}
    row = {"prediction_id": "x", "hardware": "gpu-1", "metrics": metrics}
    for reply in (
        {"model": "m", "rows": [row]},
        {"model": "m", "recommended": row, "runners_up": []},
        {"model": "m", "recommended": None, "runners_up": [row]},
        {"placed": [row | {"model": "m", "device": "d"}]},
    ):
        ledger = Ledger()
        ledger.open(AnswerLogged(1, "r", "compare", reply))
        (validation,) = ledger.validate(run("x", latency_ms=1.5), "e", "s")
        assert validation.model == "m"
