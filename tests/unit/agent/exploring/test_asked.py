"""The heart is asked which benchmarks are worth running, and learns what they were worth."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.exploring.choosing import doubts_of
from agent.exploring.record import HOPELESS
from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import AnswerLogged, MeasurementLogged, RequestReceived
from agent.learning.intervals import DEVIATIONS
from schemas.errors import BadInput
from schemas.exploration import ActiveLearningReply, ActiveLearningRequest, WantedBenchmark
from schemas.measurement import Benchmark, Metrics
from schemas.replies import Estimate
from schemas.requests import PredictRequest

WHEN = datetime(2026, 11, 2, tzinfo=UTC)
HARDWARE = ("left", "right", "middle")


def benchmark(model: str, hardware: str, batch: int = 1, **more: Any) -> Benchmark:
    size = {"small": 5.0, "medium": 25.0, "large": 90.0}[model]
    return Benchmark(
        model={"name": model, "family": "vision", "parameters_m": size, "gmacs": size / 5},
        hardware={"name": hardware, "class": "gpu"},
        setup={"task": "inference", "batch_size": batch, "precision": "fp16", "runtime": "ort"},
        metrics=Metrics(throughput_per_s=2e4 * batch**0.5 / size, throughput_unit="images/s"),
        **more,
    )


def taught(*benchmarks: Benchmark) -> Heart:
    heart = Heart()
    for seq, one in enumerate(benchmarks, 1):
        heart.handle(MeasurementLogged(seq, "lab", str(seq), WHEN, one))
    return heart


def some() -> Heart:
    return taught(
        *[benchmark(model, "left", batch) for model in ("small", "large") for batch in (1, 8)],
        benchmark("medium", "right", duration_s=20.0),
    )


def giants() -> Heart:
    """Return a heart that knows hardware with little memory, with much, and with who knows."""
    devices = ("left", "nvidia-rtx-3090", "nvidia-h100-sxm")
    return taught(*[benchmark("small", name) for name in devices])


def ask(heart: Heart, request_id: str = "r", **request: Any) -> ActiveLearningReply:
    asked = ActiveLearningRequest.model_validate({"budget": 3, **request})
    (answer,) = heart.handle(RequestReceived(request_id, "active_learning", asked))
    assert isinstance(answer, Answer)
    assert answer.logged
    assert isinstance(answer.reply, ActiveLearningReply)
    return answer.reply


def measured(one: WantedBenchmark) -> Benchmark:
    made = benchmark(one.model.name, one.hardware.name, one.setup.batch_size or 1)
    return made.model_copy(update={"setup": one.setup, "hardware": one.hardware})


def test_what_is_wanted_was_not_measured_and_comes_in_order() -> None:
    reply = ask(some(), budget=50)
    known = {("small", "left", 1), ("small", "left", 8), ("large", "left", 1), ("large", "left", 8)}
    known.add(("medium", "right", 1))
    cells = [(one.model.name, one.hardware.name, one.setup.batch_size) for one in reply.wanted]
    assert len(set(cells)) == len(cells) == 9 - len(known)
    assert not known & set(cells)
    assert [one.priority for one in reply.wanted] == list(range(1, len(cells) + 1))
    assert [one.id for one in reply.wanted] == [f"r/{index}" for index in range(len(cells))]
    gains = [one.expected_gain for one in reply.wanted]
    assert gains == sorted(gains, reverse=True)
    assert 0.0 < sum(gains) <= 1.0
    assert reply.expected_uncertainty < reply.uncertainty


def test_hardware_and_models_are_only_those_asked_about() -> None:
    reply = ask(some(), hardware=["right"], models=["small"], batch_sizes=[2, 4], budget=9)
    assert {one.hardware.name for one in reply.wanted} == {"right"}
    assert {one.model.name for one in reply.wanted} == {"small"}
    assert {one.setup.batch_size for one in reply.wanted} == {2, 4}


def test_a_benchmark_is_taken_to_last_as_long_as_those_that_said() -> None:
    assert {one.cost_s for one in ask(some()).wanted} == {20.0}


def test_thompson_draws_by_seed() -> None:
    heart = some()
    first = [one.model_dump() for one in ask(heart, thompson=True, seed=1).wanted]
    assert first == [one.model_dump() for one in ask(heart, thompson=True, seed=1).wanted]


def test_the_gain_that_came_is_told_and_replays() -> None:
    hearts = [some(), some()]
    reply = ask(hearts[0])
    answered = AnswerLogged(6, "r", WHEN, "active_learning", {}, reply.model_dump(mode="json"))
    result = MeasurementLogged(7, "lab", "7", WHEN, measured(reply.wanted[0]))
    for heart in hearts:
        heart.handle(answered)
        heart.handle(result)
    assert hearts[0].digest() == hearts[1].digest()
    (came,) = ask(hearts[1], "again").measured
    assert came.id == "r/0"
    assert came.expected_gain == reply.wanted[0].expected_gain
    assert came.measured_gain <= 1.0
    assert result.data.model.name in hearts[1].explored.known.models


def test_intervals_say_what_is_doubtful() -> None:
    def estimate(high: float) -> Estimate:
        return Estimate(value=100.0, low=50.0, high=high, confidence=0.5)

    wide, narrow, none = doubts_of(
        [
            {"latency_ms": estimate(200.0), "throughput_per_s": estimate(400.0)},
            {"latency_ms": estimate(110.0)},
            {},
        ]
    )
    assert wide == pytest.approx(1.5 * math.log(2.0) / DEVIATIONS)
    assert narrow == pytest.approx(math.log(1.1) / DEVIATIONS)
    assert none == 0.0


def test_what_was_asked_for_matters_more() -> None:
    heart = some()
    prediction = {"model": "small", "hardware": "right", "prediction_id": "p", "metrics": {}}
    candidate = {"model": {"name": "small"}, "hardware": {"name": "right"}}
    asked, reply = {"candidates": [candidate]}, {"predictions": [prediction]}
    alike, looked_at = ask(heart).reasons
    assert alike == (
        "nothing was asked for yet: all 9 cells that are known, or may be measured, count alike"
    )
    assert looked_at.startswith("4 of 9 combinations were looked at; the others were measured")
    heart.handle(AnswerLogged(6, "p", WHEN, "predict", asked, reply))
    assert heart.explored.asked == {("small", "right"): 1}
    told = ask(heart)
    assert told.wanted[0].hardware.name == "right"
    assert told.cells == 1
    assert told.reasons[0] == "only the one cell that was asked for counts"
    prediction["hardware"] = "left"
    heart.handle(AnswerLogged(7, "q", WHEN, "predict", asked, reply))
    told = ask(heart)
    assert told.cells == 3
    assert told.reasons[0] == (
        "only the 3 cells that were asked for count, each as often as it was"
    )


def test_what_was_asked_for_and_is_nowhere_known_is_said_to_count_for_nothing() -> None:
    heart = some()
    prediction = {"model": "other", "hardware": "moon", "prediction_id": "p", "metrics": {}}
    asked = {"candidates": [{"model": {"name": "other"}, "hardware": {"name": "moon"}}]}
    heart.handle(AnswerLogged(6, "p", WHEN, "predict", asked, {"predictions": [prediction]}))
    told = ask(heart)
    assert told.cells == 9
    assert told.reasons[0].startswith("nothing of what was asked for can be run here: all 9 cells")


def test_what_cannot_fit_is_neither_wanted_nor_matters_if_asked_for() -> None:
    heart = giants()
    spec = {"name": "giant", "family": "vision", "parameters_m": 30_000.0}
    everywhere = ask(heart, models=[spec], budget=50)
    assert {one.hardware.name for one in everywhere.wanted} == {"left", "nvidia-h100-sxm"}
    assert any("do not fit" in reason for reason in everywhere.reasons)
    with pytest.raises(BadInput, match="nothing that it allows fits into memory"):
        ask(heart, models=[spec], hardware=["nvidia-rtx-3090"])

    candidate = {"model": spec, "hardware": "nvidia-rtx-3090", "setup": {"batch_size": 1}}
    request = PredictRequest.model_validate({"candidates": [candidate]})
    (answer, *_) = heart.handle(RequestReceived("p", "predict", request))
    assert isinstance(answer, Answer)
    reply = answer.reply.model_dump(mode="json")
    assert reply["predictions"][0]["fits"] < HOPELESS
    asked = request.model_dump(mode="json")
    heart.handle(AnswerLogged(9, "p", WHEN, "predict", asked, reply))
    assert heart.explored.asked == {}


def test_hardware_and_models_are_known_though_their_cells_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.exploring.record.MEASURED", 2)
    heart = some()
    heart.handle(MeasurementLogged(6, "lab", "6", WHEN, benchmark("medium", "middle")))
    heart.handle(MeasurementLogged(7, "lab", "7", WHEN, benchmark("medium", "middle", 8)))
    reply = ask(heart, models=["small"], hardware=["left"])
    assert {(one.model.name, one.hardware.name) for one in reply.wanted} == {("small", "left")}
    assert {one.hardware.hardware_class for one in reply.wanted} == {"gpu"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smal", r"models: smal was never measured; expected measured models \(small, …\), or"),
        ("nope", "models: nope was never measured; expected measured models, or its parameters_m"),
    ],
)
def test_a_model_of_which_nothing_is_known_is_refused(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ask(some(), models=["small", name])


@pytest.mark.parametrize(
    "model",
    [
        {"name": "nope", "parameters_m": 3.0},
        {"name": "nope", "gmacs": 3.0},
        {"name": "nope-7B"},
        {"name": "resnet50"},
    ],
)
def test_a_model_whose_size_is_known_is_accepted(model: dict[str, Any]) -> None:
    assert {one.model.name for one in ask(some(), models=[model]).wanted} == {model["name"]}


def test_hardware_with_a_name_nearly_so_is_told() -> None:
    with pytest.raises(BadInput, match=r"expected measured hardware \(right, …\), or its class"):
        ask(some(), hardware=["rihgt"])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"hardware": ["moon"]}, "hardware"),
        ({"cost_per_hour": {"moon": 1.0}}, "cost_per_hour"),
        ({"models": ["small"], "hardware": ["left"]}, "request"),
    ],
)
def test_what_cannot_be_is_refused(request_: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        ask(some(), **request_)
    assert refused.value.details[0].field == field


def test_nothing_known_is_told() -> None:
    with pytest.raises(BadInput, match="none was ever measured"):
        ask(taught())


def test_hardware_never_measured_is_wanted_where_its_class_is_said() -> None:
    reply = ask(some(), hardware=[{"name": "moon", "class": "gpu"}])
    assert {one.hardware.name for one in reply.wanted} == {"moon"}
