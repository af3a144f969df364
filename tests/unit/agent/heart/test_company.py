"""The heart learns from executions what models do to each other, and uses it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.measurement import Execution
from schemas.replies import StrategyReply
from schemas.requests import StrategyRequest

WHEN = datetime(2026, 11, 23, tzinfo=UTC)
ALONE_MS = {"a": 10.0, "b": 20.0}


def run(name: str, latency: float, **fields: Any) -> dict[str, Any]:
    return {
        "model": {"name": name, "parameters_m": 10.0, "gmacs": 1.0},
        "hardware": {"name": "box", "class": "cpu"},
        "setup": {"task": "inference", "batch_size": 1, "precision": "fp32", "runtime": "r"},
        "metrics": {
            "latency_ms": latency,
            "latency_kind": "batch",
            "throughput_per_s": 1_000 / latency,
            "throughput_unit": "items/s",
            "memory_mb": 100.0,
        },
        **fields,
    }


def tell(heart: Heart, seq: int, **execution: Any) -> None:
    data = Execution.model_validate(execution)
    heart.handle(MeasurementLogged(seq, "w", str(seq), WHEN, data))


def alone(heart: Heart, seq: int) -> None:
    tell(
        heart,
        seq,
        runs=[run(name, ms) for name, ms in ALONE_MS.items()],
        strategy="sequential",
        waves=[["a"], ["b"]],
    )


def ask(heart: Heart, shares: str | None = None, **fields: Any) -> StrategyReply:
    described = run("a", 1.0)
    models = [
        {
            "model": {**described["model"], "name": name, **({"shares": shares} if shares else {})},
            "setup": described["setup"],
        }
        for name in ALONE_MS
    ]
    request = StrategyRequest.model_validate(
        {"models": models, "hardware": described["hardware"], **fields}
    )
    (answer,) = [
        one
        for one in heart.handle(RequestReceived("r", "strategy", request))
        if isinstance(one, Answer)
    ]
    assert isinstance(answer.reply, StrategyReply)
    return answer.reply


def outcome(reply: StrategyReply, strategy: str) -> float:
    found = [reply.chosen, *reply.alternatives]
    (one,) = [one for one in found if one is not None and one.strategy == strategy]
    return one.total_latency_ms.value


@pytest.mark.parametrize(("speed", "best"), [(0.98, "parallel"), (0.35, "sequential")])
def test_what_ran_together_decides_what_will(speed: float, best: str) -> None:
    heart = Heart()
    for seq in range(1, 6):
        alone(heart, seq)
    # Both at `speed` while both run; then b alone.
    both = 10 / speed
    end = both + 20 - 10
    for seq in range(6, 26):
        tell(
            heart,
            seq,
            runs=[run("a", both), run("b", end)],
            strategy="parallel",
            waves=[["a", "b"]],
        )
    reply = ask(heart)
    assert reply.chosen is not None
    assert reply.chosen.strategy == best
    assert outcome(reply, "parallel") == pytest.approx(end, rel=0.06)
    assert outcome(reply, "sequential") == pytest.approx(30, rel=0.02)


def test_a_shared_encoder_is_learnt_and_used() -> None:
    heart = Heart()
    for seq in range(1, 6):
        alone(heart, seq)
    for seq in range(6, 10):
        tell(
            heart,
            seq,
            runs=[run(name, 21.0, shared_encoder="enc") for name in ALONE_MS],
            strategy="parallel",
            waves=[["a", "b"]],
            peak_memory_mb=110.0,
        )
    shared = ask(heart, shares="enc")
    assert outcome(shared, "parallel") == pytest.approx(21, rel=0.03)
    assert shared.chosen is not None
    assert shared.chosen.memory_mb is not None
    assert shared.chosen.memory_mb.value == pytest.approx(110, rel=0.03)
    # What shares nothing gets nothing of it.
    assert outcome(ask(heart), "parallel") > 20.5


def test_what_ran_together_is_no_benchmark() -> None:
    heart = Heart()
    alone(heart, 1)
    before = heart.bank.digest()
    tell(heart, 2, runs=[run("a", 50.0), run("b", 50.0)], strategy="parallel", waves=[["a", "b"]])
    assert heart.bank.digest() == before
    assert heart.company.contention.seen("box") == 2
    assert heart.digest().endswith(heart.company.digest())


def test_models_never_seen_alone_teach_nothing() -> None:
    heart = Heart()
    tell(heart, 1, runs=[run("a", 50.0), run("b", 50.0)], strategy="parallel", waves=[["a", "b"]])
    assert heart.company.contention.seen("box") == 0


def test_exploring_has_a_budget_over_all_decisions() -> None:
    heart = Heart()
    assert heart.company.allowance(0.0) == 0.0
    assert heart.company.allowance(0.05) == pytest.approx(0.05)
    heart.company.decided({"chosen": {}, "explored": {"predicted_regret": 0.05}})
    assert heart.company.allowance(0.05) == pytest.approx(0.05)
    heart.company.decided({"chosen": {}, "explored": {"predicted_regret": 0.15}})
    assert heart.company.allowance(0.05) == 0.0
    heart.company.decided({"chosen": {}})
    heart.company.decided({"chosen": None})
    assert heart.company.allowance(0.05) == pytest.approx(0.0)
    heart.company.decided({"chosen": {}})
    assert heart.company.allowance(0.05) == pytest.approx(0.05)
