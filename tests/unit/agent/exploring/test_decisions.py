"""Benchmarks that change what hardware is chosen come first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.exploring.batches import batch
from agent.exploring.decisions import knowledge_gradient
from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.exploration import BatchRequest, IntegrateReply, IntegrateRequest
from tests.unit.agent.exploring.test_asked import WHEN, benchmark, some, taught
from tests.unit.agent.exploring.test_batches import CELLS, field

logs = st.floats(-5.0, 5.0)


def integrate(heart: Heart, **request: object) -> IntegrateReply:
    asked = IntegrateRequest.model_validate({"budget": 3, **request})
    (answer,) = heart.handle(RequestReceived("r", "integrate", asked))
    assert isinstance(answer, Answer)
    assert isinstance(answer.reply, IntegrateReply)
    return answer.reply


@given(st.lists(logs, min_size=1, max_size=6), st.floats(0.0, 2.0))
def test_knowing_more_never_makes_a_choice_worse(centre: list[float], size: float) -> None:
    change = np.eye(len(centre)) * size
    assert (knowledge_gradient(np.array(centre), change) >= 0.0).all()


def test_a_doubtful_rival_is_worth_more_than_a_hopeless_one() -> None:
    change = np.eye(3) * 0.3
    gain = knowledge_gradient(np.array([0.0, -0.1, -3.0]), change)
    assert gain[1] > 100 * gain[2]


def test_the_gain_is_that_of_the_normal_distribution() -> None:
    """Of one doubtful alternative as good as a sure one: s / sqrt(2 pi)."""
    gain = knowledge_gradient(np.zeros(2), np.array([[0.5, 0.0]]))
    np.testing.assert_allclose(gain, 0.5 / np.sqrt(2 * np.pi), rtol=0.06)


def test_both_gains_are_shown_and_decisions_are_told() -> None:
    reply = integrate(some())
    assert reply.metric == "throughput_per_s"
    assert reply.wanted
    assert all(one.decision_gain is not None and one.decision_gain >= 0 for one in reply.wanted)
    assert all(one.expected_gain > 0 for one in reply.wanted)
    assert {one.recommended for one in reply.decisions} <= {"left", "right"}
    losses = [one.expected_regret for one in reply.decisions]
    assert losses == sorted(losses, reverse=True)
    assert all(0.0 <= one.chance_best <= 1.0 for one in reply.decisions)


def test_what_was_measured_is_not_wanted() -> None:
    heart = taught(benchmark("small", "left"), benchmark("small", "right"))
    large = {"name": "large", "family": "vision", "parameters_m": 90.0}
    reply = integrate(heart, models=["small", large])
    assert {one.model.name for one in reply.wanted} == {"large"}


def test_what_does_not_fit_is_no_alternative() -> None:
    heart = some()
    for seq, name in enumerate(("nvidia-rtx-3090", "nvidia-h100-sxm"), 6):
        heart.handle(MeasurementLogged(seq, "lab", name, WHEN, benchmark("small", name)))
    giant = {"name": "giant", "family": "vision", "parameters_m": 30_000.0}
    reply = integrate(heart, models=[giant], budget=50)
    assert "nvidia-rtx-3090" not in {one.hardware.name for one in reply.wanted}
    assert {one.recommended for one in reply.decisions} <= {"left", "right", "nvidia-h100-sxm"}
    assert any("do not fit" in reason for reason in reply.reasons)


def test_a_batch_without_hardware_that_is_free_is_empty() -> None:
    free = {"left": 0.0, "right": 0.0, "middle": 0.0}
    reply = batch(field(CELLS), BatchRequest(size=5, availability=free), "r", [], [])
    assert reply.wanted == []
    assert any("limit of left" in reason for reason in reply.reasons)
