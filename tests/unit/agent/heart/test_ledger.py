from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heart.ledger import PAIRED_WITHIN, Happened, Ledger
from agent.heart.stimuli import AnswerLogged
from schemas.measurement import Execution, ModelRun
from schemas.topics import RequestKind

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
AT = Happened(7, NOW, "event", "lab")


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
    candidates = [{"model": {"name": "resnet50"}, "hardware": {"name": "gpu-1"}}] * len(rows)
    return AnswerLogged(
        1, "request", NOW, "predict", {"candidates": candidates}, {"predictions": rows}
    )


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

    (validation,) = ledger.validate(run("p/0"), AT)

    assert validation.metric == "throughput_per_s"
    assert validation.predicted == 90.0
    assert validation.measured == 100.0
    assert validation.absolute_percentage_error == 0.1  # relative to the measurement
    assert not validation.within_interval
    assert (validation.event_id, validation.event_source) == ("event", "lab")


def test_each_metric_is_validated_on_its_own() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    validations = ledger.validate(run("p/0", throughput_per_s=95.0, power_w=250.0), AT)
    assert [(v.metric, v.within_interval) for v in validations] == [
        ("throughput_per_s", True),
        ("power_w", True),
    ]


def test_another_unit_is_not_compared() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert not ledger.validate(run("p/0", throughput_per_s=95.0, throughput_unit="tokens/s"), AT)


def test_what_answers_nothing_validates_nothing() -> None:
    ledger = Ledger()
    assert not ledger.validate(run(None), AT)
    ledger.open(answer("p/0"))
    assert not ledger.validate(run("never asked"), AT)


def test_a_prediction_stays_open_for_further_measurements() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert ledger.validate(run("p/0"), AT)
    assert ledger.validate(run("p/0"), AT)


def test_it_knows_how_good_its_predictions_turned_out() -> None:
    ledger = Ledger()
    ledger.open(answer("p/0"))
    assert ledger.accuracy() == {}
    for measured in (90.0, 100.0, 85.0):
        ledger.validate(run("p/0", throughput_per_s=measured), AT)
    accuracy = ledger.accuracy()["throughput_per_s"]
    assert accuracy.validated == 3
    assert accuracy.median_ape == pytest.approx(5 / 85)
    assert accuracy.coverage_90 == pytest.approx(2 / 3)


def test_beyond_its_capacity_the_oldest_are_forgotten() -> None:
    ledger = Ledger(capacity=2)
    ledger.open(answer("a", "b", "c"))
    assert len(ledger) == 2
    assert not ledger.validate(run("a"), AT)
    assert ledger.validate(run("c"), AT)


def test_predictions_are_found_in_every_kind_of_answer() -> None:
    metrics = {"latency_ms": {"value": 1.0, "low": 0.5, "high": 2.0}}
    row = {"prediction_id": "x", "hardware": "gpu-1", "metrics": metrics}
    kinds: list[tuple[RequestKind, dict[str, Any]]] = [
        ("compare", {"model": "m", "rows": [row]}),
        ("recommend", {"model": "m", "recommended": row, "runners_up": []}),
        ("recommend", {"model": "m", "recommended": None, "runners_up": [row]}),
        ("place", {"placed": [row | {"model": "m", "device": "d"}]}),
    ]
    for kind, reply in kinds:
        ledger = Ledger()
        ledger.open(AnswerLogged(1, "r", NOW, kind, {}, reply))
        (validation,) = ledger.validate(run("x", latency_ms=1.5), AT)
        assert validation.model == "m"


# Paired by cell


def cell_run(**changes: Any) -> ModelRun:
    return ModelRun.model_validate(
        {
            "model": "resnet50",
            "hardware": "gpu-1",
            "setup": {"batch_size": 8, "precision": "fp16"},
            "metrics": {"latency_ms": 1.5},
        }
        | changes
    )


LATENCY = {"latency_ms": {"value": 1.0, "low": 0.5, "high": 2.0}}
CELL_OF: dict[RequestKind, tuple[dict[str, Any], dict[str, Any]]] = {
    "predict": (
        {
            "candidates": [
                {
                    "model": {"name": "resnet50", "family": "vision"},
                    "hardware": {"name": "gpu-1"},
                    "setup": {"precision": "fp16", "batch_size": 8},
                }
            ]
        },
        {
            "predictions": [
                {
                    "prediction_id": "x",
                    "model": "resnet50",
                    "hardware": "gpu-1",
                    "metrics": LATENCY,
                }
            ]
        },
    ),
    "compare": (
        {"setup": {"precision": "fp16"}},
        {
            "model": "resnet50",
            "rows": [
                {"prediction_id": "x", "hardware": "gpu-1", "batch_size": 8, "metrics": LATENCY}
            ],
        },
    ),
    "recommend": (
        {"setup": {"batch_size": 8}, "hardware": [{"name": "gpu-1"}]},
        {
            "model": "resnet50",
            "recommended": None,
            "runners_up": [
                {"prediction_id": "x", "hardware": "gpu-1", "precision": "fp16", "metrics": LATENCY}
            ],
        },
    ),
}


def opened(kind: RequestKind = "predict", ledger: Ledger | None = None) -> Ledger:
    ledger = ledger or Ledger()
    ledger.open(AnswerLogged(1, "r", NOW, kind, *CELL_OF[kind]))
    return ledger


@pytest.mark.parametrize("kind", CELL_OF)
def test_a_measurement_without_an_id_answers_the_prediction_of_its_cell(kind: RequestKind) -> None:
    (validation,) = opened(kind).validate(cell_run(), AT)
    assert (validation.prediction_id, validation.paired_by) == ("x", "cell")
    assert (validation.batch_size, validation.precision) == (8, "fp16")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "resnet18"},
        {"hardware": "gpu-2"},
        {"hardware": {"name": "gpu-1", "count": 2}},
        {"setup": {"batch_size": 8}},
        {"setup": {"batch_size": 16, "precision": "fp16"}},
        {"setup": {"batch_size": 8, "precision": "fp16", "runtime": "onnxruntime-1.23"}},
        {"prediction_id": "of nobody"},
    ],
)
def test_another_cell_is_not_answered(changes: dict[str, Any]) -> None:
    assert not opened().validate(cell_run(**changes), AT)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_prediction_is_answered_within_its_time_however_the_clocks_go(sign: int) -> None:
    ledger = opened()
    near, far = PAIRED_WITHIN, PAIRED_WITHIN + timedelta(seconds=1)
    assert ledger.validate(cell_run(), replace(AT, time=NOW + sign * near))
    assert not ledger.validate(cell_run(), replace(AT, time=NOW + sign * far))


def test_the_newest_prediction_of_a_cell_is_answered() -> None:
    ledger = opened()
    request, reply = CELL_OF["predict"]
    newer = reply["predictions"][0] | {"prediction_id": "y"}
    ledger.open(AnswerLogged(2, "s", NOW, "predict", request, {"predictions": [newer]}))
    assert ledger.validate(cell_run(), AT)[0].prediction_id == "y"
    assert ledger.validate(cell_run(prediction_id="x"), AT)[0].paired_by == "id"


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50))
def test_so_many_measurements_give_so_many_validations_relative_to_them(
    measured: list[float],
) -> None:
    ledger = opened()
    found = [
        one
        for value in measured
        for one in ledger.validate(cell_run(metrics={"latency_ms": value}), AT)
    ]
    assert len(found) == len(measured)
    for one, value in zip(found, measured, strict=True):
        assert one.relative_error == pytest.approx((1.0 - value) / value)
        assert one.absolute_percentage_error == abs(one.relative_error)
        assert one.within_interval == (0.5 <= value <= 2.0)
    assert ledger.accuracy()["latency_ms"].validated == len(measured)


# Decisions


def decided() -> Ledger:
    total = {"value": 20.0, "low": 18.0, "high": 25.0}
    chosen = {
        "strategy": "parallel",
        "waves": [["b", "a"]],
        "total_latency_ms": total,
        "memory_mb": {"value": 300.0, "low": 250.0, "high": 400.0},
        "energy_j": None,
    }
    ledger = Ledger()
    reply = {"decision_id": "d", "chosen": chosen}
    ledger.open(AnswerLogged(1, "d", NOW, "strategy", {"hardware": {"name": "gpu-1"}}, reply))
    return ledger


def execution(**changes: Any) -> Execution:
    runs = [cell_run(model=name) for name in "ab"]
    whole = {"strategy": "parallel", "decision_id": "d", "wall_time_ms": 24.0, "energy_j": 3.0}
    return Execution.model_validate(whole | {"runs": runs} | changes)


def test_a_decision_is_held_to_what_it_promised_of_the_whole() -> None:
    (latency,) = decided().validate_decision(execution(), AT)
    assert (latency.metric, latency.predicted, latency.measured) == ("total_latency_ms", 20.0, 24.0)
    assert (latency.prediction_id, latency.model) == ("d", "a, b")
    assert latency.within_interval
    both = decided().validate_decision(execution(peak_memory_mb=500.0), AT)
    assert [one.metric for one in both] == ["total_latency_ms", "peak_memory_mb"]
    assert not both[1].within_interval


@pytest.mark.parametrize("changes", [{"strategy": "sequential"}, {"decision_id": "of nobody"}])
def test_what_was_not_decided_is_not_held_against_it(changes: dict[str, Any]) -> None:
    assert not decided().validate_decision(execution(**changes), AT)
