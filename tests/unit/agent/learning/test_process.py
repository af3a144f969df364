from __future__ import annotations

import numpy as np
import pytest

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import PARTS, SIZES, Frame, frame_of
from agent.learning.memory import Memory, Near
from agent.learning.process import Chosen, Kernel, Likeness, choose, solved, to_cells

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
LIKENESS = Likeness(KERNEL, KERNEL.sizes)
NEAREST = 8


def cell(batch: float, model: str = "a", hardware: str = "h") -> Cell:
    return Cell(model, hardware, architecture=model, gmacs=1.0, batch_size=batch)


def filled() -> Memory:
    store = Memory(2, KERNEL.sizes, KERNEL.parts, 100, 16)
    for batch in range(1, 21):
        one = frame_of([cell(float(batch))], catalogue())
        store.add(one, [1, 2 * (batch % 2)], *np.zeros((2, 2)), np.array([0, 0]))
    return store


def likenesses(store: Memory, frame: Frame) -> tuple[Near, np.ndarray]:
    near = store.near(frame.keys)
    return near, LIKENESS.of(to_cells(store, frame, near))[: len(near.rows)]


def chosen(store: Memory, frame: Frame, slots: list[list[int]]) -> tuple[Near, Chosen]:
    near, likes = likenesses(store, frame)
    metrics = np.arange(len(slots[0]))
    return near, choose(store, near, likes, metrics, np.array(slots), NEAREST)


def test_likeness_falls_with_everything_that_differs() -> None:
    store = filled()
    asked = [cell(7.0), cell(60.0), cell(60.0, "b"), cell(60.0, "b", "g")]
    most = []
    for one in asked:
        frame = frame_of([one], catalogue())
        # Rows that no ring of the cell holds are none to it.
        near = Near(np.arange(20), np.zeros(20, dtype=np.int64), np.arange(20))
        most.append(LIKENESS.of(to_cells(store, frame, near))[:20].max())

    assert most == sorted(most, reverse=True)
    assert most[0] == pytest.approx(LIKENESS.variance)
    assert most[-1] < most[0] / 3.0


def test_the_nearest_are_chosen() -> None:
    store = filled()
    near, found = chosen(store, frame_of([cell(7.0)], catalogue()), [[1]])

    rows = sorted(found.of(near.rows)[0].tolist())
    likes = likenesses(store, frame_of([cell(7.0)], catalogue()))[1]
    assert rows == sorted(np.argsort(likes)[-NEAREST:].tolist())
    assert 6 in rows  # batch 7


def test_an_empty_memory_has_none() -> None:
    store = Memory(2, KERNEL.sizes, KERNEL.parts)
    near, found = chosen(store, frame_of([cell(1.0)], catalogue()), [[1]])

    assert (found.pairs == -1).all()
    assert (found.of(near.rows) == 0).all()


def test_among_equals_the_later_counts() -> None:
    store = Memory(1, KERNEL.sizes, KERNEL.parts, 100, 16)
    for _ in range(30):
        store.add(frame_of([cell(1.0)], catalogue()), [1], *np.zeros((2, 1)), np.array([0]))

    near, found = chosen(store, frame_of([cell(1.0)], catalogue()), [[1]])

    assert sorted(found.of(near.rows)[0].tolist()) == [*range(22, 30)]


def test_a_metric_that_other_rows_have_gets_neighbours_of_its_own() -> None:
    store = filled()
    near, found = chosen(store, frame_of([cell(7.0), cell(8.0)], catalogue()), [[1, 2]] * 2)

    rows = found.of(near.rows)
    assert (store.slot[rows[found.which[:, 0]], 0] == 1).all()
    assert (store.slot[rows[found.which[:, 1]], 1] == 2).all()
    assert (found.which[:, 0] != found.which[:, 1]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_what_is_chosen_never_depends_on_the_cells_beside_it(count: int) -> None:
    store = filled()
    cells = [cell(0.5 + at, "a" if at % 2 else "b", "h" if at % 3 else "g") for at in range(count)]
    near, likes = likenesses(store, frame_of(cells, catalogue()))
    found = choose(store, near, likes, np.array([0]), np.array([[1]] * count), NEAREST)

    for at, one in enumerate(cells):
        own, alone = likenesses(store, frame_of([one], catalogue()))
        single = choose(store, own, alone, np.array([0]), np.array([[1]]), NEAREST)
        assert (single.of(own.rows)[0] == found.of(near.rows)[at]).all()
        assert (single.of(alone)[0] == found.of(likes)[at]).all()


def test_what_is_solved_is_solved_even_where_it_is_hardly_definite() -> None:
    chance = np.random.default_rng(0)
    roots = chance.normal(size=(3, 4, 4))
    roots[1, :, 2] = roots[1, :, 3]
    matrices = roots.transpose(0, 2, 1) @ roots + 1e-9 * np.eye(4)
    matrices[2] = np.diag([1.0, 2.0, -1e-6, 3.0])
    right = np.ones((3, 4))

    solutions = solved(matrices, right)

    np.testing.assert_allclose(solutions[0], np.linalg.solve(matrices[0], right[0]))
    np.testing.assert_allclose((matrices[2] @ solutions[2]), right[2])
    assert np.isfinite(solutions).all()
