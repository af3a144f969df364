from __future__ import annotations

import numpy as np
import pytest

from agent.learning.intervals import Intervals, Standing
from agent.learning.loops.intervals import CLOSE


class Learnt:
    """Intervals of one metric and two kinds of cells, whose rows 1 to 9 are in use."""

    def __init__(self) -> None:
        self.intervals = Intervals(np.tile([-1.0, 0.0], (2, 1)), np.ones((2, 2)))
        self.intervals.begin(0)
        for row in range(1, 10):
            self.intervals.start(row)

    def learn(
        self, path: tuple[int, int], reasons: np.ndarray, error: float, kind: int = 0
    ) -> float:
        widths = self.intervals.learn(
            Standing(np.array([0]), np.array([kind])),
            np.array([path]),
            reasons[None],
            np.array([error]),
            np.ones(1),
        )
        return float(widths[0])

    def pretend(
        self,
        path: tuple[int, int],
        reasons: np.ndarray,
        error: float,
        kind: int = 0,
        weight: float = 1.0,
    ) -> None:
        self.intervals.pretend(
            Standing(np.array([0]), np.array([kind])),
            np.array([path]),
            reasons[None],
            np.array([error]),
            np.array([weight]),
        )

    def half_widths(
        self, paths: list[tuple[int, int]], reasons: np.ndarray, kind: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        kinds = np.full((len(paths), 1), kind)
        standing = Standing(np.zeros_like(kinds), kinds)
        width, close = self.intervals.half_widths(
            standing, np.array(paths)[:, None], reasons[:, None]
        )
        return width[:, 0], close[:, 0]


def intervals() -> Learnt:
    return Learnt()


def test_intervals_hold_nine_of_ten() -> None:
    chance = np.random.default_rng(1)
    learnt = intervals()
    held = []
    for i in range(4000):
        noisy = float(i % 2)
        reasons = np.array([1.0, noisy])
        error = float(chance.normal(0, 0.05 if noisy else 0.2))
        if i > 500:
            width, _ = learnt.half_widths([(2, 3)], reasons[None])
            held.append(abs(error) <= width[0])
        learnt.learn((2, 3), reasons, error)

    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_the_reason_for_noise_is_learnt() -> None:
    chance = np.random.default_rng(1)
    learnt = intervals()
    for i in range(2000):
        noisy = float(i % 2)
        learnt.learn((2, 3), np.array([1.0, noisy]), float(chance.normal(0, 0.02 + noisy)))

    width, close = learnt.half_widths([(2, 3), (2, 3)], np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert width[0] < width[1] / 5
    assert close[0] > 0.95
    assert close[1] < 0.4


def test_confidence_is_the_chance_of_being_close() -> None:
    chance = np.random.default_rng(2)
    learnt = intervals()
    errors = chance.normal(0, 0.25, 6000)
    for error in errors:
        learnt.learn((2, 3), np.array([1.0, 0.0]), float(error))

    _, close = learnt.half_widths([(2, 3)], np.array([[1.0, 0.0]]))
    assert close[0] == pytest.approx(np.mean(np.abs(np.expm1(errors)) <= CLOSE), abs=0.04)


def test_a_new_setup_starts_from_its_relatives() -> None:
    learnt = intervals()
    for _ in range(500):
        learnt.learn((2, 3), np.array([1.0, 0.0]), 1.0)

    width, _ = learnt.half_widths([(2, 0)], np.array([[1.0, 0.0]]))
    assert width[0] > 0.8


def test_nothing_learnt_is_wide_and_not_confident() -> None:
    width, close = intervals().half_widths([(0, 0)], np.array([[1.0, 0.0]]))

    assert width[0] > 0.3
    assert close[0] < 0.6


def test_no_error_at_all_stays_finite() -> None:
    learnt = intervals()
    for _ in range(10_000):
        learnt.learn((2, 3), np.array([1.0, 0.0]), 0.0)

    width, close = learnt.half_widths([(2, 3)], np.array([[1.0, 0.0]]))
    assert 0 < width[0] < 0.05
    assert close[0] > 0.95


def test_kinds_of_cells_are_judged_by_their_own_errors() -> None:
    chance = np.random.default_rng(3)
    learnt, held = intervals(), []
    one = np.array([1.0, 0.0])
    for i in range(3000):
        strange = i % 10 == 0
        error = float(chance.normal(0, 1.0 if strange else 0.02))
        width = learnt.learn((2, 3), one, error, int(strange))
        if strange and i > 1000:
            held.append(abs(error) <= width)

    assert np.mean(held) == pytest.approx(0.9, abs=0.05)


def test_a_row_can_start_anew() -> None:
    learnt = intervals()
    for _ in range(100):
        learnt.learn((2, 3), np.array([1.0, 0.0]), 1.0)
    learnt.intervals.start(2)
    learnt.intervals.start(3)

    known, strange = (
        learnt.half_widths([path], np.array([[1.0, 0.0]]))[0] for path in ((2, 3), (0, 0))
    )
    assert known == strange


def test_metrics_are_learnt_apart() -> None:
    learnt = Intervals(np.array([[-1.0]]), np.array([[1.0]]))
    for row in (1, 2):
        learnt.start(row)
        learnt.begin(row)
    both, paths = np.array([0, 1]), np.array([[1], [2]])
    standing = Standing(both + 1, np.array([0, 0]))
    for _ in range(300):
        learnt.learn(standing, paths, np.ones((2, 1)), np.array([0.01, 1.0]), np.ones(2))

    standing = Standing(both[None] + 1, np.zeros((1, 2), dtype=np.int64))
    width, close = learnt.half_widths(standing, paths[None], np.ones((1, 2, 1)))
    assert width[0, 0] < 0.05
    assert width[0, 1] > 0.5
    assert close[0, 0] > 0.9
    assert close[0, 1] < 0.1


def test_pretended_errors_widen_intervals_of_their_kind_alone() -> None:
    learnt, one = intervals(), np.array([1.0, 0.0])
    for _ in range(100):
        for kind in (0, 1):
            learnt.learn((2, 3), one, 0.05, kind)
    before = [learnt.half_widths([(2, 3)], one[None], kind)[0][0] for kind in (0, 1)]

    for _ in range(100):
        learnt.pretend((2, 3), one, 0.5, 1)

    after = [learnt.half_widths([(2, 3)], one[None], kind)[0][0] for kind in (0, 1)]
    assert after[0] == before[0]
    assert after[1] > 4 * before[1]


def test_pretended_errors_count_by_their_weight() -> None:
    one = np.array([1.0, 0.0])
    widths = []
    for count, weight in ((0, 1.0), (10, 1.0), (100, 0.1), (100, 1.0)):
        learnt = intervals()
        for _ in range(20):
            learnt.learn((2, 3), one, 0.05)
        for _ in range(count):
            learnt.pretend((2, 3), one, 0.5, weight=weight)
        widths.append(learnt.half_widths([(2, 3)], one[None])[0][0])

    assert widths[2] == pytest.approx(widths[1], rel=0.2)
    assert widths[3] > widths[2] > 2 * widths[0]


def test_pretended_errors_are_no_misses() -> None:
    """Nobody was given those intervals, so how often they held is not steered by them."""
    learnt, one = intervals(), np.array([1.0, 0.0])
    levels = learnt.intervals._level.copy()

    for _ in range(100):
        learnt.pretend((2, 3), one, 3.0)

    assert (learnt.intervals._level == levels).all()
