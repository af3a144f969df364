from __future__ import annotations

import numpy as np
import pytest

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import PARTS, SIZES, Frame, frame_of
from agent.learning.memory import Memory, Near
from agent.learning.process import Apart, Kernel, Neighbours, Process, to_cells

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


def near(store: Memory, frame: Frame) -> tuple[Near, Apart]:
    """Return the rows that may be like the cells of a frame, and what they differ in."""
    found = store.near(frame.keys)
    return found, to_cells(store, frame, found)[0]


def weigh(store: Memory, asked: Cell) -> Neighbours:
    frame = frame_of([asked], catalogue())
    return Process(KERNEL, nearest=8).weigh(
        store, *near(store, frame), np.array([0]), np.array([[1]])
    )


def filled() -> Memory:
    store = Memory(1, KERNEL.sizes, [KERNEL.parts], 100, 16)
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
    found = weigh(Memory(1, KERNEL.sizes, [KERNEL.parts]), cell(1.0))

    assert (found.weights == 0).all()
    assert found.spread[0] == pytest.approx(np.sqrt(0.3))


def test_identical_measurements_do_not_break_it() -> None:
    store = Memory(1, KERNEL.sizes, [KERNEL.parts], 100, 16)
    for _ in range(30):
        store.add(frame_of([cell(1.0)], catalogue()), [1], *np.full((2, 1), 2.0), np.array([0]))
    found = weigh(store, cell(1.0))

    assert np.isfinite(found.weights).all()
    assert expected(store, found) == pytest.approx(2.0, abs=0.01)


def test_among_equals_the_later_counts() -> None:
    store = Memory(1, KERNEL.sizes, [KERNEL.parts], 100, 16)
    for _ in range(30):
        store.add(frame_of([cell(1.0)], catalogue()), [1], *np.zeros((2, 1)), np.array([0]))

    assert weigh(store, cell(1.0)).rows.tolist() == [[*range(22, 30)]]


def test_a_metric_that_other_rows_have_gets_neighbours_of_its_own() -> None:
    store = Memory(2, KERNEL.sizes, [KERNEL.parts], 100, 16)
    for batch in range(1, 21):
        one = frame_of([cell(float(batch))], catalogue())
        store.add(one, [1, 2 * (batch % 2)], *np.zeros((2, 2)), np.array([0, 0]))
    frame = frame_of([cell(7.0), cell(8.0)], catalogue())

    found = Process(KERNEL, nearest=8).weigh(
        store, *near(store, frame), np.array([0, 1]), np.array([[1, 2]] * 2)
    )

    assert (store.slot[found.rows[found.which[:, 0]], 0] == 1).all()
    assert (store.slot[found.rows[found.which[:, 1]], 1] == 2).all()
    assert (found.which[:, 0] != found.which[:, 1]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_what_weighs_never_depends_on_the_cells_beside_it(count: int) -> None:
    store = filled()
    cells = [cell(0.5 + at, "a" if at % 2 else "b", "h" if at % 3 else "g") for at in range(count)]
    frame = frame_of(cells, catalogue())
    slots = np.ones((count, 1), dtype=np.int64)

    found = Process(KERNEL, nearest=8).weigh(store, *near(store, frame), np.array([0]), slots)

    for at, one in enumerate(cells):
        alone = weigh(store, one)
        assert (alone.rows == found.rows[at]).all()
        assert (alone.weights == found.weights[at]).all()
        assert alone.spread == found.spread[at]
