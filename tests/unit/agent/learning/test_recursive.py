from __future__ import annotations

import numpy as np
import pytest

from agent.learning.recursive import HeadTree


def tree(width: int = 3, capacity: int = 16) -> HeadTree:
    return HeadTree(np.zeros(width), [np.full(width, 0.01), np.full(width, 1.0)], capacity=capacity)


def test_a_line_is_found() -> None:
    chance = np.random.default_rng(0)
    heads, truth = tree(), np.array([1.0, -2.0, 0.5])
    for _ in range(200):
        x = chance.normal(size=3)
        heads.learn(("a", "b"), x, float(truth @ x))

    node = np.array([heads.find(("a", "b"))])
    assert heads.predict(node, np.eye(3)[:1])[0] == pytest.approx(1.0, abs=0.05)


def test_a_new_head_starts_from_its_parent() -> None:
    heads = tree()
    for _ in range(50):
        heads.learn(("a", "b"), np.array([1.0, 0.0, 0.0]), 4.0)

    assert heads.find(("a", "new")) == heads.find(("a",))
    assert heads.predict(np.array([heads.find(("a", "new"))]), np.eye(3)[:1])[0] > 3.9


def test_an_unknown_path_ends_at_the_root() -> None:
    assert tree().find(("x", "y")) == 0


def test_one_large_child_does_not_drown_a_small_one() -> None:
    heads = tree(1)
    x = np.ones(1)
    for _ in range(5000):
        heads.learn(("a", "large"), x, 0.0)
    for _ in range(200):
        heads.learn(("a", "small"), x, 1.0)

    middle = heads.predict(np.array([heads.find(("a",))]), x[None])[0]
    assert 0.1 < middle < 0.6


def test_memory_is_bounded() -> None:
    heads = tree(2, capacity=10)
    for i in range(100):
        heads.learn(("a", f"b{i}"), np.ones(2), 1.0)

    assert len(heads) <= 10
    assert heads.count("b99") == 1
    assert heads.count("b0") == 0
    assert heads.count("a") > 0


def test_forgetting_lets_new_events_win() -> None:
    heads = tree(1)
    x = np.ones(1)
    for _ in range(1000):
        heads.learn(("a", "b"), x, 0.0)
    for key in ("a", "b"):
        heads.forget(key, 0.01)
    for _ in range(30):
        heads.learn(("a", "b"), x, 1.0)

    assert heads.predict(np.array([heads.find(("a", "b"))]), x[None])[0] > 0.6
