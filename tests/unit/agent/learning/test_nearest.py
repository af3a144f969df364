from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.exact import Cells, Exact, Hyperparameters
from agent.learning.features import NAMES, SIZES, WIDTH, frame_of
from agent.learning.loops import nearest as loops
from agent.learning.loops.tell import Processes
from agent.learning.memory import Memory
from agent.learning.nearest import Nearest, Parts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NO_LAW = np.zeros(WIDTH)
SLOT = 3


def some(count: int, seed: int = 1, hardware: Sequence[str] = ("h1", "h2", "h3")) -> list[Cell]:
    chance = random.Random(seed)
    return [
        Cell(
            f"m{chance.randrange(12)}",
            chance.choice(hardware),
            gmacs=1.0 + chance.randrange(6),
            batch_size=chance.choice([1.0, 2.0, 4.0, 8.0, 16.0]),
            runtime=chance.choice(["r1", "r2", "r3"]),
            task="inference",
        )
        for _ in range(count)
    ]


def told(
    nearest: Nearest, cells: Cells, learnt: Hyperparameters, memory: Memory
) -> tuple[Floats, Floats]:
    variance, noise, rates, laws = learnt
    process = Processes(
        np.array([variance]),
        np.array([noise]),
        rates[None],
        laws[None],
        NO_LAW[None],
        np.array([(0, SLOT)]),
    )
    mean, spread = nearest.told(cells, rates, process, memory, np.zeros(2))
    return mean[0], spread[0]


def chosen(
    taught: tuple[Nearest, Memory], cells: Cells, learnt: Hyperparameters, without: int = -1
) -> Integers:
    nearest, memory = taught
    places = np.empty((len(cells.sizes), loops.NEAREST), dtype=np.int64)
    loops.search(places, cells, learnt.rates, without, nearest.held(memory))
    return places


def value(one: Cell) -> float:
    of_hardware = {"h1": 0.0, "h2": 1.0, "h3": 2.5}.get(one.hardware, 3.0)
    return of_hardware + 0.3 * np.log(one.batch_size or 1.0)


def cells_of(cells: Sequence[Cell]) -> Cells:
    return Cells.of(frame_of(cells, catalogue()))


def taught(
    known: Sequence[Cell], rows: int = 4_096, doubts: Sequence[float] = ()
) -> tuple[Nearest, Memory]:
    nearest = Nearest()
    memory = Memory(1, [1.0] * len(SIZES), [1.0] * 9, rows=rows)
    for one, doubt in zip_longest(known, doubts, fillvalue=0.0):
        frame = frame_of([one], catalogue())
        nearest.add(Parts.of(Cells.of(frame)), memory.next_event, memory)
        z = np.array([value(one) + doubt])
        memory.add(frame, [SLOT], z, z, np.array([1]), doubt)
    return nearest, memory


@pytest.fixture(scope="module")
def learnt() -> Hyperparameters:
    process = Exact(NO_LAW)
    for one in some(150):
        process.add(cells_of([one]), value(one), 0)
        process.step()
    return process.learnt


def test_all_of_a_few_measurements_tell_what_an_exact_process_does() -> None:
    known, asked = some(32), cells_of(some(15, seed=2))
    process = Exact(NO_LAW)
    for one in known:
        process.add(cells_of([one]), value(one), 0)
    nearest, memory = taught(known)

    found = told(nearest, asked, process.learnt, memory)

    np.testing.assert_allclose(found, process.told(asked), rtol=1e-6, atol=1e-8)


def test_what_is_doubted_tells_what_it_does_an_exact_process() -> None:
    known, asked = some(30), cells_of(some(15, seed=2))
    doubts = [0.0, 0.3, 2.0] * 10
    process = Exact(NO_LAW)
    for one, doubt in zip(known, doubts, strict=True):
        process.add(cells_of([one]), value(one) + doubt, 0, doubt)
    nearest, memory = taught(known, doubts=doubts)

    found = told(nearest, asked, process.learnt, memory)

    np.testing.assert_allclose(found, process.told(asked), rtol=1e-6, atol=1e-8)


def test_many_measurements_are_predicted_by_those_nearest(learnt: Hyperparameters) -> None:
    nearest, memory = taught(some(3_000))
    asked = some(50, seed=2)

    mean, spread = told(nearest, cells_of(asked), learnt, memory)

    np.testing.assert_allclose(mean, [value(one) for one in asked], atol=0.05)
    assert spread.max() < 0.2


def test_some_of_its_own_hardware_are_among_those_that_predict(learnt: Hyperparameters) -> None:
    """Else a network measured often elsewhere would say nothing of hardware just met."""
    elsewhere = [one._replace(model="a", gmacs=1.0) for one in some(400, hardware=("h1", "h2"))]
    here = [one._replace(model="b", gmacs=6.0) for one in some(20, hardware=("h3",))]
    asked = cells_of([here[0]._replace(model="a", gmacs=1.0)])

    (before, _), (after, _) = (
        told(nearest, asked, learnt, memory)
        for nearest, memory in (taught(elsewhere), taught([*elsewhere, *here]))
    )

    # What was measured of it is at least 1.5 (log) slower.
    assert after[0] > before[0] + 0.4


def test_no_answer_depends_on_what_is_asked_beside_it(learnt: Hyperparameters) -> None:
    nearest, memory = taught(some(2_500))
    asked = some(40, seed=4)

    together = np.array(told(nearest, cells_of(asked), learnt, memory))
    alone = np.array([told(nearest, cells_of([one]), learnt, memory) for one in asked])

    assert np.array_equal(together, alone[..., 0].T)


def test_what_the_memory_forgot_counts_no_more(learnt: Hyperparameters) -> None:
    known = some(600)
    nearest, memory = taught(known)
    (asked,) = some(1, seed=5)
    before, _ = told(nearest, cells_of([asked]), learnt, memory)

    memory.slot[:300] = 0
    marked = told(nearest, cells_of([asked]), learnt, memory)[0]
    nearest.sweep(memory, [(0, SLOT)])
    swept = told(nearest, cells_of([asked]), learnt, memory)[0]

    assert len(nearest) == 300
    assert marked != before
    fresh, anew = taught(known[300:])
    np.testing.assert_allclose(swept, told(fresh, cells_of([asked]), learnt, anew)[0], rtol=1e-9)


def test_it_keeps_as_many_as_the_memory(learnt: Hyperparameters) -> None:
    known = some(1_000)
    nearest, memory = taught(known, rows=300)

    assert len(nearest) == 300
    fresh, anew = taught(known[-300:])
    asked = cells_of(some(20, seed=6))
    np.testing.assert_allclose(
        told(nearest, asked, learnt, memory), told(fresh, asked, learnt, anew), rtol=1e-9
    )


def test_without_a_measurement_the_law_is_told(learnt: Hyperparameters) -> None:
    nearest, memory = taught(some(40))
    memory.slot[:] = 0
    nearest.sweep(memory, [(0, SLOT)])

    mean, spread = told(nearest, cells_of(some(2)), learnt, memory)

    assert mean.tolist() == [0.0, 0.0]
    assert (spread > 0.5).all()


def test_the_same_again_and_again_stays_finite(learnt: Hyperparameters) -> None:
    (one,) = some(1)
    nearest, memory = taught([one] * 3_000)

    mean, spread = told(nearest, cells_of([one]), learnt, memory)

    assert mean[0] == pytest.approx(value(one), abs=0.01)
    assert 0.0 < spread[0] < 0.2


def distances(asked: Cells, known: Cells, learnt: Hyperparameters) -> Floats:
    rates = np.split(learnt.rates, [len(SIZES)])
    far = np.abs(asked.sizes[:, None] - known.sizes) @ rates[0]
    far += (asked.names[:, None] != known.names) @ rates[1]
    return far


def expected(
    far: Floats, here: NDArray[np.bool_], half: int, same: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return how far what is to be chosen is: on the hardware, and elsewhere.

    Of the cell itself all measurements count, of others, which `same` numbers, the newest two.
    """
    order = np.lexsort((-np.arange(len(far)), far))
    seen: Counter[int] = Counter()
    kept = []
    for place in order.tolist():
        seen[int(same[place])] += 1
        kept.append(far[place] == 0.0 or seen[int(same[place])] <= 2)
    order = order[kept]
    first, rest = order[:half], order[half:]
    own = rest[here[rest]][:half]
    more = rest[:half][~here[rest[:half]]][: half - len(own)]
    every = np.concatenate((first, own, more))
    return np.sort(far[every[here[every]]]), np.sort(far[every[~here[every]]])


@pytest.mark.parametrize("count", [5, 40, 300, 3_000])
@pytest.mark.parametrize(
    "hardware", [("h1",), ("h1", "h2", "h3"), tuple(f"h{n}" for n in range(60))]
)
def test_the_nearest_and_those_of_the_hardware_are_chosen(
    count: int, hardware: tuple[str, ...], learnt: Hyperparameters
) -> None:
    known = some(count, hardware=hardware)
    held = taught(known)
    # Cells that were measured, that were not, and of hardware that nobody knows.
    asked = [*known[:10], *some(20, seed=7, hardware=(*hardware, "strange"))]

    lines = chosen(held, cells_of(asked), learnt)

    far = distances(cells_of(asked), cells_of(known), learnt)
    features = cells_of(known)
    every = np.hstack((features.sizes, features.names))
    same = np.unique(every, axis=0, return_inverse=True)[1].reshape(-1)
    for line, own, one in zip(lines, far, asked, strict=True):
        places = line[line >= 0]
        here = np.array([other.hardware == one.hardware for other in known])
        on, elsewhere = expected(own, here, len(line) // 2, same)
        assert len(set(places.tolist())) == len(places) == min(len(line), count)
        np.testing.assert_allclose(np.sort(own[places[here[places]]]), on, atol=1e-5)
        np.testing.assert_allclose(np.sort(own[places[~here[places]]]), elsewhere, atol=1e-5)


def test_of_the_same_cells_the_later_are_chosen(learnt: Hyperparameters) -> None:
    (one,) = some(1)
    places = chosen(taught([one] * 100), cells_of([one]), learnt)[0]

    assert places.tolist() == [*range(100 - len(places), 100)]


@pytest.mark.parametrize("column", range(len(NAMES)))
def test_what_is_to_be_left_out_is_not_chosen(column: int, learnt: Hyperparameters) -> None:
    known = some(500)
    asked = cells_of(known[:1])

    places = chosen(taught(known), asked, learnt, column)[0]

    others = cells_of(known).names[:, column] != asked.names[0, column]
    assert others[places[places >= 0]].all()
    assert np.count_nonzero(places >= 0) == min(len(places), others.sum())
