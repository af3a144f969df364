"""When an update is advised, and which."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.heart.standing import SETTLED, Proposal, Standings, change_point, median_ape, trend
from schemas.refinement import Scope


def fed(
    standings: Standings, errors: list[float], hardware: str = "a", start: int = 1
) -> list[Proposal]:
    proposals = [
        standings.add("latency_ms", hardware, start + i, error) for i, error in enumerate(errors)
    ]
    return [one for one in proposals if one is not None]


def noise(count: int, size: float = 0.05, bias: float = 0.0, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(bias, size) for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_advised_while_errors_stay_as_they_are(seed: int) -> None:
    assert fed(Standings(), noise(3_000, seed=seed)) == []


def test_errors_on_one_side_advise_a_window() -> None:
    standings = Standings()
    assert fed(standings, noise(300)) == []
    (first, *_) = fed(standings, noise(100, bias=0.3), start=301)
    assert (first.method, first.scope) == ("window", Scope(metric="latency_ms", hardware="a"))
    assert 295 <= first.newest_from_seq <= 305
    assert "usually" in first.reason


def test_larger_errors_on_both_sides_advise_to_weigh_the_new_more() -> None:
    standings = Standings()
    fed(standings, noise(300))
    (first, *_) = fed(standings, noise(100, size=0.3), start=301)
    assert (first.method, first.keep_one_in) == ("weighted", 4)


def test_what_did_not_help_is_followed_by_the_next_method() -> None:
    standings = Standings()
    fed(standings, noise(300))
    methods = []
    for size in (0.3, 1.2, 5.0):
        methods += [one.method for one in fed(standings, noise(300, size=size), start=301)[:1]]
    assert methods == ["weighted", "window", "rebuild"]


def test_trouble_everywhere_advises_to_rebuild() -> None:
    standings = Standings()
    for hardware in "abcd":
        fed(standings, noise(300), hardware)
    proposals = [
        one for hardware in "abcd" for one in fed(standings, noise(100, bias=0.4), hardware, 301)
    ]
    assert "rebuild" in {one.method for one in proposals}


def test_young_scopes_are_left_alone() -> None:
    assert fed(Standings(), [*noise(30, 0.01), *noise(SETTLED - 40, 1.0)]) == []


def test_a_scope_that_was_refined_is_given_time() -> None:
    standings = Standings()
    fed(standings, noise(300))
    standings.kept(Scope())
    assert fed(standings, noise(200, bias=0.5), start=301) == []


def test_errors_are_found_by_scope_and_record() -> None:
    standings = Standings()
    fed(standings, [0.1, 0.2], "a")
    fed(standings, [0.3], "b", start=3)
    assert standings.errors(Scope(hardware="a")) == {
        ("latency_ms", "a", 1): 0.1,
        ("latency_ms", "a", 2): 0.2,
    }
    assert list(standings.errors(Scope(), after_seq=2)) == [("latency_ms", "b", 3)]
    assert standings.newest_from(Scope(), 2) == 2
    assert standings.newest_from(Scope(hardware="never"), 2) == 0


@given(st.integers(20, 200), st.integers(20, 200), st.integers(0, 100))
def test_the_change_is_found_where_it_was(before: int, after: int, seed: int) -> None:
    errors = [*noise(before, seed=seed), *noise(after, bias=0.6, seed=seed + 1)]
    assert abs(change_point(errors) - before) <= 10


@pytest.mark.parametrize(("factor", "told"), [(1.0, "steady"), (3.0, "rising"), (1 / 3, "falling")])
def test_a_trend_is_told_where_it_is_significant(factor: float, told: str) -> None:
    chance = random.Random(4)
    errors = [chance.gauss(0, 0.1 * factor ** (i / 60)) for i in range(60)]
    assert trend(errors) == told


@settings(max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30))
def test_the_error_in_percent_is_of_the_measurement(errors: list[float]) -> None:
    # measured = predicted * e^error, so predicted / measured - 1 = e^-error - 1
    assert 0.0 <= median_ape(errors) <= max(abs(2.718281828459045**-e - 1) for e in errors) + 1e-9
