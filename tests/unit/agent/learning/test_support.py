from __future__ import annotations

import numpy as np

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import Keys, frame_of
from agent.learning.support import CELL, HARDWARE, MODEL, SETUP, STEM, TASK, Support


def keys(model: str, hardware: str) -> Keys:
    return frame_of([Cell(model, hardware, task="inference")], catalogue()).keys[0]


def test_measurements_are_counted_by_what_they_are_of() -> None:
    support = Support(1000)
    for model, hardware in (("a.x", "h"), ("a.x", "h"), ("a.y", "h"), ("a.x", "g")):
        support.add(np.array([1]), keys(model, hardware))

    counts = support.of([keys("a.x", "h")])[0, :, 1]
    assert counts[CELL] == 2
    assert counts[MODEL] == 3
    assert counts[STEM] == 4
    assert counts[HARDWARE] == counts[SETUP] == 3
    assert counts[TASK] == 4


def test_slots_are_counted_apart() -> None:
    support = Support(1000)
    support.add(np.array([1, 20]), keys("a", "h"))

    counts = support.of([keys("a", "h"), keys("b", "g")])
    assert (counts[0, :, 1] == 1).all()
    assert (counts[0, :, 20] == 1).all()
    assert counts[0].sum() == 16
    assert counts[1, TASK, 1] == 1
    assert counts[1, MODEL].sum() == 0


def test_a_forgotten_slot_is_counted_anew() -> None:
    support = Support(1000)
    support.add(np.array([1, 2]), keys("a", "h"))
    support.forget(1)
    support.forget(1000)

    counts = support.of([keys("a", "h")])[0]
    assert counts[:, 1].sum() == 0
    assert counts[:, 2].sum() == 8


def test_the_oldest_are_forgotten() -> None:
    support = Support(50)
    for i in range(100):
        support.add(np.array([1]), keys(f"m{i}", "h"))

    assert len(support) <= 50
    newest, oldest = support.of([keys("m99", "h"), keys("m0", "h")])[:, MODEL, 1]
    assert (newest, oldest) == (1, 0)
