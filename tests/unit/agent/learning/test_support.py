from __future__ import annotations

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import Keys, frame_of
from agent.learning.support import CELL, HARDWARE, MODEL, SETUP, STEM, Support


def keys(model: str, hardware: str) -> Keys:
    return frame_of([Cell(model, hardware, task="inference")], catalogue()).keys[0]


def test_measurements_are_counted_by_what_they_are_of() -> None:
    support = Support(1000)
    for model, hardware in (("a.x", "h"), ("a.x", "h"), ("a.y", "h"), ("a.x", "g")):
        support.add(1, keys(model, hardware))

    counts = support.of(1, keys("a.x", "h"))
    assert counts[CELL] == 2
    assert counts[MODEL] == 3
    assert counts[STEM] == 4
    assert counts[HARDWARE] == counts[SETUP] == 3
    assert support.unit(1) == support.task(1, keys("a.x", "h").task) == 4


def test_units_are_counted_apart() -> None:
    support = Support(1000)
    support.add(1, keys("a", "h"))

    assert set(support.of(2, keys("a", "h"))) == {0}


def test_the_oldest_are_forgotten() -> None:
    support = Support(50)
    for i in range(100):
        support.add(1, keys(f"m{i}", "h"))

    assert len(support) <= 50
    assert support.of(1, keys("m99", "h"))[MODEL] == 1
    assert support.of(1, keys("m0", "h"))[MODEL] == 0
