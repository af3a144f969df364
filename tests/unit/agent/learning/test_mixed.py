from __future__ import annotations

import numpy as np
import pytest

from agent.learning.mixed import MixedModel

ONE = np.array([1.0, 0.0])


def model(capacity: int = 64) -> MixedModel:
    return MixedModel(np.zeros(2), np.array([0.004, 0.1]), capacity)


def value(law: MixedModel, hardware: int, setup: int, x: np.ndarray) -> float:
    return float(law.predict(np.array([law.find((1, hardware, setup))]), x[None])[0])


def taught(rows: int = 400) -> MixedModel:
    """Slope 2 everywhere; hardware 10 stands at 0, hardware 11 at 3, its set-up 111 at 3.5."""
    chance, law = np.random.default_rng(0), model()
    at = {(10, 100): 0.0, (11, 110): 3.0, (11, 111): 3.5}
    for i in range(rows):
        (hardware, setup), offset = list(at.items())[i % 3]
        x = np.array([1.0, chance.normal()])
        law.learn((1, hardware, setup), x, 2.0 * x[1] + offset)
    return law


def test_slopes_are_shared_and_offsets_are_not() -> None:
    law = taught()

    assert value(law, 10, 100, ONE) == pytest.approx(0.0, abs=0.1)
    assert value(law, 11, 110, ONE) == pytest.approx(3.0, abs=0.1)
    assert value(law, 11, 111, ONE) == pytest.approx(3.5, abs=0.1)
    for hardware, setup in ((10, 100), (11, 111)):
        step = value(law, hardware, setup, np.array([1.0, 1.0])) - value(law, hardware, setup, ONE)
        assert step == pytest.approx(2.0, abs=0.05)


def test_a_new_setup_starts_from_its_hardware() -> None:
    assert 3.0 < value(taught(), 11, 999, ONE) < 3.5


def test_one_event_of_a_new_hardware_places_it() -> None:
    law = taught()
    law.learn((1, 12, 120), np.array([1.0, 1.0]), 12.0)

    assert value(law, 12, 120, ONE) == pytest.approx(10.0, abs=1.0)
    assert value(law, 12, 121, ONE) == pytest.approx(10.0, abs=1.0)


def test_confounded_offsets_do_not_bend_the_slope() -> None:
    """One hardware measured only small things, the other only large ones."""
    chance, law = np.random.default_rng(1), model()
    for i in range(600):
        hardware = 10 + i % 2
        x = np.array([1.0, chance.normal(4.0 * (i % 2), 0.5)])
        law.learn((1, hardware, hardware * 10), x, x[1] + (-8.0 if i % 2 else 0.0))

    step = value(law, 10, 100, np.array([1.0, 1.0])) - value(law, 10, 100, ONE)
    assert step == pytest.approx(1.0, abs=0.1)


def test_an_offset_follows_slow_change() -> None:
    law = model()
    for i in range(3000):
        law.learn((1, 10, 100), ONE, 0.0 if i < 1500 else 1.0)

    assert value(law, 10, 100, ONE) > 0.8


def test_memory_is_bounded() -> None:
    law = model(capacity=8)
    for i in range(100):
        law.learn((1, i, i), ONE, 1.0)

    assert len(law) == 8
    assert law.find((1, 99, 99))[2] >= 0
    assert law.find((1, 0, 0))[2] == -1
