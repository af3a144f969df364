"""The four ways to attack a placement problem, each held against the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.contention import Contention, NoInterference, Speed, TakingTurns, Untaught
from strategies.placing import milp, subsets
from strategies.placing.problem import NOWHERE, TOLERANCE, Ints, Problem, build
from strategies.placing.relax import relaxed, tightened
from strategies.placing.search import search
from tests.unit.strategies.making import fleet

goals = st.sampled_from(["throughput", "latency", "memory", "energy"])


class Cliff(TakingTurns):
    """Two are free, three are a disaster: counts whose worth is not concave."""

    def by_count(self, count: int, device: str) -> Speed:
        value = 1.0 if count < 3 else 0.1 / count
        return Speed(value, value, value)


problems = st.builds(
    lambda models, devices, seed, goal, tight, latency, power, contention: build(
        *fleet(
            models,
            devices,
            seed,
            tight=tight,
            latency_limit=latency,
            goal=goal,
            limits={"power_w": power},
        ),
        {},
        contention,
    ),
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(0, 10**6),
    goals,
    st.none() | st.floats(0.6, 2.0),
    st.none() | st.floats(50, 800),
    st.none() | st.floats(80, 200),
    st.sampled_from([TakingTurns(), Untaught(), NoInterference(), Cliff()]),
)


def placed(where: Ints) -> int:
    return int((where != NOWHERE).sum())


def close(problem: Problem, one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


@settings(deadline=None, max_examples=80)
@given(problems)
def test_highs_finds_what_sets_find(problem: Problem) -> None:
    best = subsets.solve(problem)
    most, proven = milp.most_models(problem, 10)
    assert proven
    assert most == placed(best)
    incumbent = problem.worth(best) if most == len(problem.items) else None
    found = milp.solve(problem, most, incumbent, 10)
    assert found.proven
    if most:
        assert found.where is not None
        assert placed(found.where) == most
        assert close(problem, problem.worth(found.where), problem.worth(best))
        assert found.worth_bound >= problem.worth(best) - TOLERANCE


@settings(deadline=None, max_examples=80)
@given(problems)
def test_search_keeps_the_limits_and_the_bounds_hold(problem: Problem) -> None:
    best = subsets.solve(problem)
    bound, start = relaxed(problem)
    found = search(problem, [start, np.full_like(start, NOWHERE)], math.inf)
    assert math.isfinite(problem.worth(found))
    assert placed(found) <= placed(best)
    if placed(found) == placed(best):
        assert problem.worth(found) <= problem.worth(best) + TOLERANCE
    if placed(best) == int(problem.allowed.any(axis=1).sum()):
        assert problem.worth(best) <= bound + TOLERANCE
        tight, starts = tightened(problem, bound, start, problem.worth(best))
        assert problem.worth(best) - TOLERANCE <= tight <= bound
        assert all(len(other) == len(start) for other in starts)


@settings(deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.sampled_from(["throughput", "memory", "energy"]),
)
def test_without_limits_the_relaxation_is_the_optimum(
    models: int, devices: int, seed: int, goal: str
) -> None:
    problem = build(*fleet(models, devices, seed, goal=goal), {}, TakingTurns())
    bound, where = relaxed(problem)
    assert close(problem, problem.worth(where), bound)
    assert close(problem, problem.worth(subsets.solve(problem)), bound)


def test_search_is_good_where_nothing_is_tight() -> None:
    for seed in range(10):
        problem = build(*fleet(9, 4, seed, tight=1.5), {}, TakingTurns())
        _, start = relaxed(problem)
        found = search(problem, [start, np.full_like(start, NOWHERE)], math.inf)
        best = subsets.solve(problem)
        assert placed(found) == placed(best)
        gap = problem.worth(best) - problem.worth(found)
        assert gap <= math.log(1.05) * len(problem.items)  # within 5 % in the objective


def test_a_programme_too_large_for_its_time_is_not_begun() -> None:
    problem = build(*fleet(30, 30, 1), {}, TakingTurns())
    assert milp.solve(problem, 30, None, 0.001) == milp.Solved(None, math.inf, proven=False)
    assert milp.most_models(problem, 0.001) == (30, False)


def test_nothing_allowed_anywhere() -> None:
    request, cells = fleet(3, 2, 1, limits={"power_w": 1.0})
    problem = build(request, cells, {}, TakingTurns())
    assert placed(subsets.solve(problem)) == 0
    bound, where = relaxed(problem)
    assert (bound, placed(where)) == (0.0, 0)
    assert milp.most_models(problem, 1) == (0, True)


@pytest.mark.parametrize(
    ("models", "devices", "small"), [(8, 8, True), (10, 40, True), (10, 60, False), (11, 2, False)]
)
def test_what_is_small(models: int, devices: int, small: bool) -> None:
    problem = build(*fleet(models, devices, 1), {}, TakingTurns())
    assert subsets.small(problem) is small


def test_worth_by_sums_equals_worth_by_groups() -> None:
    contentions: list[Contention] = [TakingTurns(), Untaught()]
    for contention in contentions:
        for goal in ("throughput", "latency", "memory", "energy"):
            problem = build(*fleet(4, 2, 5, goal=goal), {}, contention)
            for models in ([0], [1, 2], [0, 1, 2, 3]):
                n = len(models)
                by_sums = problem.alpha[1, n] * problem.a[models, 1].sum() + problem.beta[1, n]
                assert problem.group_worth(1, models) == pytest.approx(by_sums)
