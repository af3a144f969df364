from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.contention import Contention, TakingTurns, Untaught
from strategies.outcome import Evaluator
from strategies.waves import best_waves, goal_cost, in_order, time_bound_ms
from strategies.workload import Waves, Workload, workload
from tests.unit.strategies.making import Pairwise, predicted, work, workloads

ALIKE: list[Contention] = [
    TakingTurns(),
    Untaught(),
    Pairwise({f"m{i}": 0.3 * i for i in range(9)}),
]
goals = st.sampled_from(["throughput", "latency", "memory", "energy"])


def evaluator_of(names, predictions, contention, own=None, **fields) -> Evaluator:  # type: ignore[no-untyped-def]
    found = workload(work(names, own, **fields), predictions, None, contention)
    assert isinstance(found, Workload)
    return Evaluator(found)


def partitions(names: tuple[str, ...]) -> Iterator[list[tuple[str, ...]]]:
    if not names:
        yield []
        return
    first, rest = names[0], names[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = tuple(name for name in rest if name not in others)
            for more in partitions(left):
                yield [(first, *others), *more]


def in_between(waves: list[tuple[str, ...]]) -> bool:
    return len(waves) > 1


def brute_force(evaluator: Evaluator) -> float | None:
    """The lowest cost of any partition in any order that keeps all limits."""
    limit = evaluator.workload.limits.latency_ms or math.inf
    best = None
    for waves in filter(in_between, partitions(evaluator.workload.names)):
        if not all(evaluator.fits(wave) for wave in waves):
            continue
        for order in itertools.permutations(waves):
            drafts = [evaluator.sketch(wave) for wave in order]
            now, kept = 0.0, True
            for draft in drafts:
                kept = kept and now <= draft.latest_start_ms
                now += draft.duration_ms
            if kept and now <= limit:
                cost = goal_cost(evaluator.workload.goal, drafts)
                best = cost if best is None else min(best, cost)
    return best


def cost_of(evaluator: Evaluator, waves: Waves) -> float:
    return goal_cost(evaluator.workload.goal, [evaluator.sketch(wave) for wave in waves])


@settings(deadline=None, max_examples=80)
@given(
    workloads(least=3, most=5),
    goals,
    st.sampled_from(ALIKE),
    st.none() | st.floats(100, 800),
    st.none() | st.floats(200, 1_500),
    st.dictionaries(st.sampled_from(["m0", "m1", "m2"]), st.floats(50, 1_000)),
)
def test_small_workloads_get_the_best_waves_there_are(  # type: ignore[no-untyped-def]
    drawn, goal, contention, memory, latency, own
) -> None:
    names, predictions = drawn
    evaluator = evaluator_of(
        names,
        predictions,
        contention,
        own,
        goal=goal,
        memory_mb=memory,
        limits={"latency_ms": latency},
    )
    found = best_waves(evaluator)
    best = brute_force(evaluator)
    outcome = evaluator.outcome("batched", found)
    assert in_between(list(found))
    if best is None:
        assert not outcome.feasible
    else:
        assert outcome.feasible, outcome.violations
        assert cost_of(evaluator, found) == pytest.approx(best)


@settings(deadline=None, max_examples=30)
@given(workloads(least=9, most=12), goals, st.none() | st.floats(200, 1_500))
def test_larger_workloads_stay_within_the_bound(drawn, goal, memory) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    evaluator = evaluator_of(names, predictions, Untaught(), goal=goal, memory_mb=memory)
    outcome = evaluator.outcome("batched", best_waves(evaluator))
    assert outcome.total_latency_ms.value >= time_bound_ms(evaluator.workload) * (1 - 1e-9)
    fits = all(evaluator.fits([name]) for name in names)
    assert outcome.feasible == fits or not fits


def test_the_order_is_by_duration_per_model_unless_a_limit_says_otherwise() -> None:
    predictions = {name: predicted(latency=ms) for name, ms in (("a", 10), ("b", 20), ("c", 30))}
    waves = [("c",), ("b",), ("a",)]
    free = evaluator_of(list("abc"), predictions, TakingTurns())
    assert in_order(free, waves) == (("a",), ("b",), ("c",))
    urgent = evaluator_of(list("abc"), predictions, TakingTurns(), {"c": 35.0})
    assert in_order(urgent, waves)[0] == ("c",)


def test_a_contention_is_asked_once_for_each_group() -> None:
    contention = Pairwise({f"m{i}": 0.1 for i in range(6)})
    names = [f"m{i}" for i in range(6)]
    best_waves(
        evaluator_of(names, {n: predicted(latency=5 + i) for i, n in enumerate(names)}, contention)
    )
    assert contention.asked <= 2**6


def test_without_a_contention_by_counts_the_longest_is_the_bound() -> None:
    predictions = {"a": predicted(latency=10), "b": predicted(latency=40)}
    evaluator = evaluator_of(["a", "b"], predictions, Pairwise({"a": 0.1, "b": 0.1}))
    assert time_bound_ms(evaluator.workload) == 40
