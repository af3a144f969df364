from __future__ import annotations

import pickle
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.paired import Paired

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


Pair = tuple[int, int]


def value_of(pair: Pair) -> float:
    """Return a difference that no other pair of few rows has."""
    return min(pair) - max(pair) / 1_000.0 if pair[0] < pair[1] else -value_of(pair[::-1])


def learn_all(paired: Paired, pairs: Sequence[Pair]) -> None:
    here, there = np.array(pairs).T
    values = np.array([value_of(pair) for pair in pairs])
    paired.learn(here, there, values, np.zeros(len(pairs)), np.ones(len(pairs)))


def assert_known(paired: Paired, times: dict[Pair, int], among: Sequence[Pair]) -> None:
    """See that of some pairs those are known that were learnt so often, and no others."""
    found = paired.of(*np.array(among).T)
    for at, pair in enumerate(among):
        count = times.get((min(pair), max(pair)), 0)
        assert found.seen[at] == pytest.approx(sum((1 - 1 / 60) ** age for age in range(count)))
        assert found.base[at] == pytest.approx(value_of(pair) if count else 0.0)


def assert_like_a_dict(capacity: int, batches: Sequence[Sequence[Pair]]) -> None:
    """See that a table of pairs knows what a dict of those used last would."""
    paired, times = Paired(capacity), dict[Pair, int]()
    for pairs in batches:
        learn_all(paired, pairs)
        for pair in pairs:
            key = min(pair), max(pair)
            times[key] = times.pop(key, 0) + 1
            if len(times) > capacity:
                del times[next(iter(times))]
        assert len(paired) == len(times)
    ever = [pair for pairs in batches for pair in pairs]
    assert_known(paired, times, ever)
    assert_known(paired, times, [pair[::-1] for pair in ever])


@pytest.mark.parametrize("capacity", [10, 50, 300])
def test_of_thousands_of_pairs_those_used_last_are_known(capacity: int) -> None:
    chance = random.Random(capacity)
    batches = []
    for _ in range(1_000):
        # Some come again and again, most once in a long time.
        rows_used = chance.choice([6, 20, 120])
        pairs = {tuple(sorted(chance.sample(range(1, rows_used), 2))) for _ in range(8)}
        batches.append([pair[:: chance.choice([1, -1])] for pair in pairs])

    assert len({tuple(sorted(pair)) for pairs in batches for pair in pairs}) > 2_000
    assert_like_a_dict(capacity, batches)


@given(
    capacity=st.integers(1, 5),
    pairs=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5)).filter(lambda pair: pair[0] != pair[1]),
        min_size=1,
        max_size=60,
    ),
)
def test_a_pair_that_was_given_up_begins_anew(capacity: int, pairs: list[Pair]) -> None:
    assert_like_a_dict(capacity, [[pair] for pair in pairs])


def test_all_of_many_pairs_are_found() -> None:
    every = [(row, other) for other in range(2, 102) for row in range(1, other)][:5_000]
    random.Random(1).shuffle(every)
    paired = Paired()
    for at in range(0, len(every), 100):
        learn_all(paired, every[at : at + 100])

    assert len(paired) == len(every) == 5_000
    assert_known(paired, dict.fromkeys(every, 1), every)
    strangers = [(row, other) for row in range(102, 200) for other in range(1, 202, 3)]
    assert not paired.of(*np.array(strangers).T).seen.any()


def test_a_pickled_copy_knows_and_learns_the_same() -> None:
    every = [(row, other) for other in range(2, 40) for row in range(1, other)]
    paired = Paired(capacity=300)
    for pair in every[:500]:
        learn_all(paired, [pair])
    copy = pickle.loads(pickle.dumps(paired))
    times = dict.fromkeys(every[200:500], 1)
    assert_known(copy, times, every)

    learn_all(copy, every[450:550])

    assert_known(paired, times, every)
    assert len(copy) == len(paired) == 300
    later = {pair: 1 + (pair in times) for pair in every[450:550]}
    assert_known(copy, dict.fromkeys(every[250:450], 1) | later, every)
