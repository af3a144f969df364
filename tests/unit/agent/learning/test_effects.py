from __future__ import annotations

import pytest

from agent.learning.effects import Effects


def test_an_effect_is_shrunk_by_how_little_it_saw() -> None:
    effects = Effects([1.0])
    effects.learn(["m"], 1.0)
    assert effects.explain(["m"]) == pytest.approx(0.5)
    for _ in range(50):
        effects.learn(["m"], 1.0)
    assert effects.explain(["m"]) == pytest.approx(1.0, abs=0.03)


def test_what_one_level_explains_the_next_does_not() -> None:
    effects = Effects([1.0, 1.0])
    for _ in range(100):
        effects.learn(["group", "model"], 1.0)

    assert effects.explain(["group", "model"]) == pytest.approx(1.0, abs=0.05)
    assert effects.explain(["group", "other"]) > 0.9


def test_the_unknown_has_no_effect() -> None:
    assert Effects([1.0, 2.0]).explain(["a", "b"]) == 0.0
    assert Effects([1.0, 2.0]).each(["a", "b"]) == [0.0, 0.0]


def test_memory_is_bounded() -> None:
    effects = Effects([1.0], capacity=10)
    for i in range(100):
        effects.learn([i], 1.0)

    assert effects.count(0, 99) == 1
    assert effects.count(0, 0) == 0
