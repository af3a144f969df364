from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.paired import Paired, distinct

HERE, THERE = 3, 7


def one(value: float) -> np.ndarray:
    return np.array([value])


def rows(row: int) -> np.ndarray:
    return np.array([row])


def learnt(
    values: list[float], expected: list[float] | None = None, pair: tuple[int, int] = (HERE, THERE)
) -> Paired:
    paired = Paired()
    for value, law in zip(values, expected or [0.0] * len(values), strict=True):
        paired.learn(rows(pair[0]), rows(pair[1]), one(value), one(law), one(1.0))
    return paired


def difference(paired: Paired, law: float = 0.0, pair: tuple[int, int] = (HERE, THERE)) -> float:
    found = paired.of(rows(pair[0]), rows(pair[1]))
    return float(found.base[0] + found.slope[0] * law)


def test_a_pair_that_was_never_measured_says_nothing() -> None:
    found = Paired().of(rows(HERE), rows(THERE))

    assert found.seen[0] == 0.0


def test_the_difference_is_the_mean_of_what_was_seen() -> None:
    paired = learnt([0.4, 0.5, 0.6] * 10)

    assert difference(paired) == pytest.approx(0.5, abs=0.01)
    assert paired.of(rows(HERE), rows(THERE)).variance[0] == pytest.approx(0.1**2 * 2 / 3, rel=0.1)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_a_pair_is_the_same_from_either_side(values: list[float]) -> None:
    law = [0.1 * number for number in range(len(values))]
    paired = learnt(values, law)
    mirrored = learnt([-value for value in values], [-value for value in law], (THERE, HERE))

    assert difference(paired, 0.2) == pytest.approx(
        -difference(paired, -0.2, (THERE, HERE)), abs=1e-9
    )
    assert difference(paired, 0.2) == pytest.approx(difference(mirrored, 0.2), abs=1e-9)


def test_what_the_law_expects_is_believed_as_far_as_it_was_found() -> None:
    law = [0.1 * number for number in range(30)]

    assert difference(learnt(law, law), 1.0) == pytest.approx(1.0, abs=0.05)
    assert difference(learnt([0.0] * 30, law), 1.0) == pytest.approx(0.0, abs=0.05)


def test_one_outlier_moves_a_settled_pair_little() -> None:
    calm = [0.5, 0.52, 0.48] * 7
    before = difference(learnt(calm))

    assert difference(learnt([*calm, 3.0])) == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize("shifted", [HERE, THERE])
def test_a_shift_of_one_moves_the_pair(shifted: int) -> None:
    paired = learnt([0.4, 0.6] * 10)
    before = paired.of(rows(HERE), rows(THERE))
    paired.shift(rows(shifted), -0.3)
    after = paired.of(rows(HERE), rows(THERE))

    moved = -0.3 if shifted == HERE else 0.3
    assert after.base[0] == pytest.approx(before.base[0] + moved, abs=0.02)
    assert after.seen[0] < before.seen[0], "what comes next counts more"


def test_a_shift_of_both_leaves_the_pair() -> None:
    paired = learnt([0.4, 0.6] * 10)
    before = difference(paired)
    paired.shift(np.array([HERE, THERE]), -0.3)

    assert difference(paired) == before


def test_a_set_up_that_is_forgotten_takes_its_pairs_along() -> None:
    paired = learnt([0.4, 0.6])
    paired.learn(rows(1), rows(2), one(0.2), one(0.0), one(1.0))
    paired.forget([THERE])

    assert paired.of(rows(HERE), rows(THERE)).seen[0] == 0.0
    assert paired.of(rows(1), rows(2)).seen[0] > 0.0


def test_the_pair_unused_for_longest_gives_way() -> None:
    paired = Paired(capacity=2)
    for there in (2, 3, 4):
        paired.learn(rows(1), rows(there), one(0.1 * there), one(0.0), one(1.0))

    assert len(paired) == 2
    found = paired.of(np.array([1, 1, 1]), np.array([2, 3, 4]))
    assert (found.seen > 0).tolist() == [False, True, True]
    assert found.base[2] == pytest.approx(0.4)


def test_many_are_found_as_few_are() -> None:
    paired = learnt([0.3, 0.5, 0.4])
    many = paired.of(np.full(500, HERE), np.full(500, THERE))
    few = paired.of(rows(HERE), rows(THERE))

    assert set(many.base.tolist()) == {few.base[0]}


@pytest.mark.parametrize("count", [0, 1, 100, 5_000])
def test_pairs_that_are_looked_up_once_stand_for_all(count: int) -> None:
    chance = np.random.default_rng(count)
    here, there = chance.integers(0, 40, (2, count))

    places, numbers = distinct(here, there)

    assert (here[places][numbers] == here).all()
    assert (there[places][numbers] == there).all()
    assert len(places) <= max(1_700, min(count, 128))
