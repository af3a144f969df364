from __future__ import annotations

import numpy as np
import pytest

from agent.learning.mixed import MixedModel
from agent.learning.rows import Rows

ONE = np.array([1.0, 0.0])


def predicted(model: MixedModel, x: np.ndarray, paths: np.ndarray) -> np.ndarray:
    return model.law(x, paths) + model.offset_of(paths)


class Law:
    """A mixed model of one metric, with keys in place of rows."""

    def __init__(self, capacity: int = 64) -> None:
        self.model = MixedModel(np.zeros((1, 2)), np.array([0.004, 0.1]))
        self.rows = Rows(capacity)

    def learn(
        self,
        domain: int,
        hardware: int,
        setup: int,
        x: np.ndarray,
        z: float,
        *,
        new: bool = True,
    ) -> None:
        place = self.rows.place
        lower = place(setup), place(hardware)
        path = (place(domain), lower[1], lower[0])
        for level, row in enumerate(path):
            if row in self.rows.fresh:
                self.model.start(row, level, path, 0)
        self.rows.fresh.clear()
        self.model.learn(np.array([path]), x, np.array([z]), new=new)

    def value(self, hardware: int, setup: int, x: np.ndarray) -> float:
        path = [self.rows.find(key, 0) for key in (1, hardware, setup)]
        return float(predicted(self.model, x[None], np.array([[path]]))[0, 0])


def value(law: Law, hardware: int, setup: int, x: np.ndarray) -> float:
    return law.value(hardware, setup, x)


def taught(rows: int = 400) -> Law:
    """Slope 2 everywhere; hardware 10 stands at 0, hardware 11 at 3, its set-up 111 at 3.5."""
    chance, law = np.random.default_rng(0), Law()
    at = {(10, 100): 0.0, (11, 110): 3.0, (11, 111): 3.5}
    for i in range(rows):
        (hardware, setup), offset = list(at.items())[i % 3]
        x = np.array([1.0, chance.normal()])
        law.learn(1, hardware, setup, x, 2.0 * x[1] + offset)
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
    law.learn(1, 12, 120, np.array([1.0, 1.0]), 12.0)

    assert value(law, 12, 120, ONE) == pytest.approx(10.0, abs=1.0)
    assert value(law, 12, 121, ONE) == pytest.approx(10.0, abs=1.0)


def test_confounded_offsets_do_not_bend_the_slope() -> None:
    """One hardware measured only small things, the other only large ones."""
    chance, law = np.random.default_rng(1), Law()
    for i in range(600):
        hardware = 10 + i % 2
        x = np.array([1.0, chance.normal(4.0 * (i % 2), 0.5)])
        law.learn(1, hardware, hardware * 10, x, x[1] + (-8.0 if i % 2 else 0.0))

    step = value(law, 10, 100, np.array([1.0, 1.0])) - value(law, 10, 100, ONE)
    assert step == pytest.approx(1.0, abs=0.1)


def test_an_offset_follows_slow_change() -> None:
    law = Law()
    for i in range(3000):
        law.learn(1, 10, 100, ONE, 0.0 if i < 1500 else 1.0)

    assert value(law, 10, 100, ONE) > 0.8


def test_several_metrics_are_learnt_at_once_as_each_alone() -> None:
    chance = np.random.default_rng(3)
    both = MixedModel(np.zeros((2, 2)), np.array([0.004, 0.1]))
    alone = [MixedModel(np.zeros((2, 2)), np.array([0.004, 0.1])) for _ in range(2)]
    paths = np.array([[1, 3, 5], [2, 4, 6]])
    for metric, path in enumerate(paths.tolist()):
        for level, row in enumerate(path):
            both.start(row, level, path, metric)
            alone[metric].start(row, level, path, metric)
    for _ in range(100):
        x, z = np.array([1.0, chance.normal()]), chance.normal(size=2)
        both.learn(paths, x, z)
        for metric, law in enumerate(alone):
            law.learn(paths[metric : metric + 1], x, z[metric : metric + 1])

    x = np.array([[1.0, 0.5]])
    together = predicted(both, x, paths[None])[0]
    assert together == pytest.approx(
        [predicted(alone[m], x, paths[None, m : m + 1])[0, 0] for m in (0, 1)]
    )


def test_a_shift_moves_what_was_learnt() -> None:
    law = taught()
    before = value(law, 11, 111, ONE)
    law.model.shift(np.array([law.rows.find(key, 0) for key in (110, 111)]), 1.0)

    assert value(law, 11, 111, ONE) == pytest.approx(before + 1.0, abs=0.05)
    assert value(law, 11, 999, ONE) > 3.5
    assert value(law, 10, 100, ONE) == pytest.approx(0.0, abs=0.1)


def test_rows_that_are_given_away_start_anew() -> None:
    law = Law(capacity=9)
    for i in range(100):
        law.learn(i % 7, 1000 + i, 2000 + i, ONE, float(i % 5))

    assert law.rows.find(1000, 0) == law.rows.find(2000, 0) == 0
    assert law.rows.find(2099, 0) > 0
    assert law.model._laws <= 9
    assert len(law.model.offset) <= 16


def test_a_setup_measured_most_does_not_speak_for_its_hardware() -> None:
    law = Law()
    for _ in range(300):
        law.learn(1, 10, 100, ONE, 0.0)
    for _ in range(10):
        law.learn(1, 10, 101, ONE, 3.0)

    assert 1.0 < value(law, 10, 999, ONE) < 2.0


def scattered(spread: float) -> Law:
    """Twelve set-ups on two hardware, as far apart as said; events scatter by a half."""
    chance, law = np.random.default_rng(2), Law()
    at = chance.normal(0.0, spread, 12)
    for _ in range(40):
        for setup, where in enumerate(at.tolist()):
            x = np.array([1.0, chance.normal()])
            law.learn(1, 10 + setup % 2, 100 + setup, x, where + chance.normal(0.0, 0.5))
    return law


def test_many_events_of_one_network_tell_little_of_the_setup() -> None:
    def offset(*, new: bool) -> float:
        law = scattered(0.0)
        for number in range(20):
            law.learn(1, 10, 999, ONE, 4.0, new=new or number == 0)
        return value(law, 10, 999, ONE)

    assert offset(new=False) < offset(new=True) - 0.5
    assert offset(new=True) == pytest.approx(4.0, abs=0.3)


def test_how_far_setups_differ_is_learnt() -> None:
    def offset(spread: float) -> float:
        """Return where one event far off puts a new set-up."""
        law = scattered(spread)
        law.learn(1, 10, 999, ONE, 4.0)
        return value(law, 10, 999, ONE)

    assert offset(0.0) < offset(3.0) - 0.8
    assert offset(3.0) > 3.4
