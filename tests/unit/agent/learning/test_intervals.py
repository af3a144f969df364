from __future__ import annotations

import numpy as np
import pytest

from agent.learning.intervals import CLOSE, Intervals


def intervals() -> Intervals:
    return Intervals(np.array([-1.0, 0.0]), np.array([1.0, 1.0]))


def test_intervals_hold_nine_of_ten() -> None:
    chance = np.random.default_rng(1)
    learnt = intervals()
    held = []
    for i in range(4000):
        noisy = float(i % 2)
        reasons = np.array([1.0, noisy])
        error = float(chance.normal(0, 0.05 if noisy else 0.2))
        if i > 500:
            width, _ = learnt.half_widths([(1, 2)], reasons[None])
            held.append(abs(error) <= width[0])
        learnt.learn((1, 2), reasons, error)

    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_the_reason_for_noise_is_learnt() -> None:
    chance = np.random.default_rng(1)
    learnt = intervals()
    for i in range(2000):
        noisy = float(i % 2)
        learnt.learn((1, 2), np.array([1.0, noisy]), float(chance.normal(0, 0.02 + noisy)))

    width, close = learnt.half_widths([(1, 2), (1, 2)], np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert width[0] < width[1] / 5
    assert close[0] > 0.95
    assert close[1] < 0.4


def test_confidence_is_the_chance_of_being_close() -> None:
    chance = np.random.default_rng(2)
    learnt = intervals()
    errors = chance.normal(0, 0.25, 6000)
    for error in errors:
        learnt.learn((1, 2), np.array([1.0, 0.0]), float(error))

    _, close = learnt.half_widths([(1, 2)], np.array([[1.0, 0.0]]))
    assert close[0] == pytest.approx(np.mean(np.abs(np.expm1(errors)) <= CLOSE), abs=0.04)


def test_a_new_setup_starts_from_its_relatives() -> None:
    learnt = intervals()
    for _ in range(500):
        learnt.learn((1, 2), np.array([1.0, 0.0]), 1.0)

    width, _ = learnt.half_widths([(1, 9)], np.array([[1.0, 0.0]]))
    assert width[0] > 0.8


def test_nothing_learnt_is_wide_and_not_confident() -> None:
    width, close = intervals().half_widths([(1,)], np.array([[1.0, 0.0]]))

    assert width[0] > 0.3
    assert close[0] < 0.6


def test_no_error_at_all_stays_finite() -> None:
    learnt = intervals()
    for _ in range(10_000):
        learnt.learn((1, 2), np.array([1.0, 0.0]), 0.0)

    width, close = learnt.half_widths([(1, 2)], np.array([[1.0, 0.0]]))
    assert 0 < width[0] < 0.05
    assert close[0] > 0.95


def test_memory_is_bounded() -> None:
    learnt = Intervals(np.array([-1.0]), np.array([1.0]), capacity=8)
    for i in range(50):
        learnt.learn((1, 10 + i), np.array([1.0]), 0.1)

    assert len(learnt._index) <= 8
