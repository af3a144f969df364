"""What an execution came to, beside what was predicted, and how good a recommendation was."""

from __future__ import annotations

import pytest

from agent.executing import compared, judged, measured
from schemas.jobs import JobResult, ModelMeasured, Spread
from schemas.measurement import StrategyName
from schemas.replies import Estimate, ExecuteReply, StrategyOutcome


def spread(value: float) -> Spread:
    return Spread(median=value, low=value, high=value, count=1)


def ran(strategy: StrategyName, *spans: tuple[float, float], memory_mb: float = 10.0) -> JobResult:
    """Return a result of models that each began and lasted so many ms, in batches of two."""
    models = [
        ModelMeasured(
            model=f"m{number}",
            batch_size=2,
            runs=3,
            requested_backend="wasm",
            actual_backend="wasm",
            load_ms=0.0,
            start_ms=start,
            latency_ms=spread(lasted),
        )
        for number, (start, lasted) in enumerate(spans)
    ]
    return JobResult(
        job_id="j",
        worker_id="w",
        outcome="ok",
        strategy=strategy,
        models=models,
        wall_time_ms=spread(max(start + lasted for start, lasted in spans)),
        peak_memory_mb=memory_mb,
    )


SEQUENTIAL = ran("sequential", (0, 100), (100, 300), memory_mb=5.0)
PARALLEL = ran("parallel", (0, 240), (0, 360))
FAILED = JobResult(job_id="j", worker_id="w", outcome="failed", message="no")


def about(value: float) -> Estimate:
    return Estimate(value=value, low=0.9 * value, high=1.1 * value, confidence=0.9)


def reply(result: JobResult) -> ExecuteReply:
    return ExecuteReply(decision_id="d", worker="w", predicted=None, result=result)


def test_an_execution_comes_to_what_strategies_are_predicted_by() -> None:
    found = measured(SEQUENTIAL)
    assert found == {
        "total_latency_ms": 400.0,
        "throughput_per_s": pytest.approx(1_000 * 2 * 2 * 3 / 400),
        "mean_latency_ms": pytest.approx((100 + 400) / 2),
        "memory_mb": 5.0,
    }
    assert measured(FAILED) == {}


def test_predictions_are_held_against_what_came() -> None:
    outcome = StrategyOutcome(
        strategy="sequential",
        waves=[["m0"], ["m1"]],
        timeline=[],
        total_latency_ms=about(380.0),
        throughput_per_s=about(60.0),
        feasible=True,
    )
    total, throughput = compared(outcome, SEQUENTIAL)
    assert (total.metric, total.predicted, total.measured) == ("total_latency_ms", 380.0, 400.0)
    assert total.absolute_percentage_error == pytest.approx(0.05)
    assert total.within_interval
    assert throughput.absolute_percentage_error == pytest.approx(1.0)
    assert not throughput.within_interval
    assert compared(None, SEQUENTIAL) == []
    assert compared(outcome, FAILED) == []


def test_a_recommendation_is_as_good_as_what_it_came_to_over_the_best() -> None:
    executions: dict[StrategyName, ExecuteReply] = {
        "sequential": reply(SEQUENTIAL),
        "parallel": reply(PARALLEL),
        "batched": reply(FAILED),
    }
    assert judged("throughput", "parallel", executions) == ("parallel", 0.0)
    best, regret = judged("throughput", "sequential", executions)
    assert (best, regret) == ("parallel", pytest.approx(400 / 360 - 1))
    assert judged("latency", "sequential", executions) == ("sequential", 0.0)
    assert judged("memory", "parallel", executions) == ("sequential", pytest.approx(1.0))
    assert judged("throughput", None, executions) == ("parallel", None)
    assert judged("throughput", "batched", executions) == ("parallel", None)
    assert judged("energy", "sequential", executions) == (None, None)
