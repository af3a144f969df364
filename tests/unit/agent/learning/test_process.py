from __future__ import annotations

import numpy as np
import pytest

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import PARTS, SIZES, frame_of
from agent.learning.memory import Memory
from agent.learning.process import Kernel, Neighbours, Process

KERNEL = Kernel(
    sizes=(1.0,) * len(SIZES),
    parts=(1.0,) * len(PARTS),
    noise=0.01,
    amplitude=(0.5, 0.2, 0.1),
    network=(1.0, 1.0, 2.0),
    group=(1.0, 1.0, 1.0),
    stem=(0.1, 0.1, 1.0),
    model=(0.01, 0.01, 0.1),
    shape=(0.5, 0.5, 1.0),
    setup=(1.0, 0.5, 1.0),
)


def cell(batch: float, model: str = "a", hardware: str = "h") -> Cell:
    return Cell(model, hardware, architecture=model, gmacs=1.0, batch_size=batch)


def weigh(store: Memory, asked: Cell) -> Neighbours:
    frame = frame_of([asked], catalogue())
    near = store.near(frame.keys)
    return Process(KERNEL, nearest=8).weigh(store, frame, near, (near >= 0)[None])


def filled() -> Memory:
    store = Memory(1, KERNEL.sizes, KERNEL.parts, 100, 16)
    for batch in range(1, 21):
        store.add(
            frame_of([cell(float(batch))], catalogue()),
            [1],
            np.array([np.log(batch)]),
            np.array([np.log(batch)]),
            np.array([0]),
        )
    return store


def expected(store: Memory, found: Neighbours) -> float:
    return float((store.rest[found.rows, 0] * found.weights).sum())


def test_what_was_measured_is_recalled() -> None:
    store = filled()
    found = weigh(store, cell(7.0))

    assert expected(store, found) == pytest.approx(np.log(7.0), abs=0.01)
    assert found.spread[0] < 0.05


def test_what_lies_between_is_interpolated() -> None:
    store = filled()

    assert expected(store, weigh(store, cell(7.5))) == pytest.approx(np.log(7.5), abs=0.05)


def test_uncertainty_grows_with_distance() -> None:
    store = filled()
    asked = [cell(7.0), cell(60.0), cell(60.0, "b"), cell(60.0, "b", "g")]
    spreads = [weigh(store, one).spread[0] for one in asked]

    assert spreads == sorted(spreads)
    assert spreads[-1] == pytest.approx(np.sqrt(0.3), abs=0.01)


def test_an_empty_memory_weighs_nothing() -> None:
    found = weigh(Memory(1, KERNEL.sizes, KERNEL.parts), cell(1.0))

    assert (found.weights == 0).all()
    assert found.spread[0] == pytest.approx(np.sqrt(0.3))


def test_identical_measurements_do_not_break_it() -> None:
    store = Memory(1, KERNEL.sizes, KERNEL.parts, 100, 16)
    for _ in range(30):
        store.add(frame_of([cell(1.0)], catalogue()), [1], *np.full((2, 1), 2.0), np.array([0]))
    found = weigh(store, cell(1.0))

    assert np.isfinite(found.weights).all()
    assert expected(store, found) == pytest.approx(2.0, abs=0.01)
