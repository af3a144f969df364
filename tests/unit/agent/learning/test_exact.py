from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.learning import features
from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.exact import MOST, Cells, Exact
from agent.learning.features import PARTS, SIZES, WIDTH, frame_of

Floats = NDArray[np.float64]
NO_LAW = np.zeros(WIDTH)
NAMES = len(SIZES) + 3


def cell(chance: random.Random) -> Cell:
    model = chance.randrange(12)
    return Cell(
        f"m{model}",
        chance.choice(["h1", "h2", "h3"]),
        architecture=f"a{model % 4}",
        gmacs=1.0 + model,
        batch_size=chance.choice([1.0, 2.0, 4.0, 8.0, 16.0]),
        runtime=chance.choice(["r1", "r2", "r3"]),
        task="inference",
    )


def some(count: int, seed: int = 1) -> list[Cell]:
    chance = random.Random(seed)
    return [cell(chance) for _ in range(count)]


def cells_of(cells: list[Cell]) -> Cells:
    return Cells.of(frame_of(cells, catalogue()))


def value(one: Cell) -> float:
    """Return a log that depends on hardware and batches, and not at all on the runtime."""
    return {"h1": 0.0, "h2": 1.0, "h3": 2.5}[one.hardware] + 0.3 * np.log(one.batch_size or 1.0)


def taught(cells: list[Cell], *, steps: bool = False) -> Exact:
    process = Exact(NO_LAW)
    for number, one in enumerate(cells):
        process.add(cells_of([one]), value(one), setup=number % 3)
        if steps:
            process.step()
    return process


def covariance(process: Exact, one: Cells, other: Cells) -> Floats:
    """Return what the process should take for the covariance of cells, written out."""
    at = process._at
    apart = [
        *(np.abs(one.sizes[:, None] - other.sizes)).transpose(2, 0, 1),
        *(one.names[:, None] != other.names).transpose(2, 0, 1),
    ]
    far = sum(np.exp(rate) * each for rate, each in zip(at[2:-WIDTH], apart, strict=True))
    law = (one.linear * np.exp(at[-WIDTH:])) @ other.linear.T
    whole: Floats = np.exp(2.0 * at[0] - far) + law
    return whole


def posterior(process: Exact, known: list[Cell], asked: list[Cell]) -> tuple[Floats, Floats]:
    there, here = cells_of(known), cells_of(asked)
    noise = np.exp(2.0 * process._at[1])
    inverse = np.linalg.inv(covariance(process, there, there) + noise * np.eye(len(known)))
    across = covariance(process, here, there)
    left = np.diag(covariance(process, here, here)) - np.diag(across @ inverse @ across.T)
    return across @ inverse @ [value(one) for one in known], np.sqrt(left + noise)


def evidence(process: Exact, known: list[Cell]) -> float:
    """Return the log likelihood of what was measured."""
    there = cells_of(known)
    whole = covariance(process, there, there) + np.exp(2.0 * process._at[1]) * np.eye(len(known))
    z = np.array([value(one) for one in known])
    return float(-0.5 * z @ np.linalg.solve(whole, z) - 0.5 * np.linalg.slogdet(whole)[1])


@pytest.mark.parametrize("steps", [False, True])
def test_it_is_the_process_that_it_says_it_is(steps: bool) -> None:
    known, asked = some(90), some(20, seed=2)
    process = taught(known, steps=steps)

    mean, spread = process.told(cells_of(asked))

    expected = posterior(process, known, asked)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(spread, expected[1], atol=1e-5)


def test_steps_make_what_was_measured_likelier() -> None:
    known = some(150)
    before = taught(known)
    after = taught(known, steps=True)

    assert evidence(after, known) > evidence(before, known) + 50.0


def test_it_learns_which_names_matter() -> None:
    process = taught(some(150), steps=True)

    rates = np.exp(process._at[2:-WIDTH][NAMES:])
    by_part = dict(zip(PARTS, rates.tolist(), strict=True))

    assert by_part["hardware"] > 5.0 * by_part["runtime"]


def test_a_name_that_matters_widens_where_it_is_new() -> None:
    process = taught(some(150), steps=True)
    (one,) = some(1, seed=3)

    spreads = [
        process.told(cells_of([asked]))[1][0]
        for asked in (one._replace(runtime="never"), one._replace(hardware="never"))
    ]

    assert spreads[1] > 1.5 * spreads[0]


def test_slopes_are_those_of_the_posterior() -> None:
    """The step of each rate goes up the likelihood that is written out here."""
    known = some(40)
    process = taught(known)
    at, first = process._at.copy(), evidence(process, known)
    process._next = 0

    process.step()

    moved = process._at - at
    for place in np.argsort(-np.abs(process._slopes))[:6].tolist():
        process._at = at.copy()
        process._at[place] += 1e-4 * np.sign(moved[place])
        assert evidence(process, known) > first


def test_no_answer_depends_on_what_is_asked_beside_it() -> None:
    process, asked = taught(some(100), steps=True), some(40, seed=4)

    together = np.array(process.told(cells_of(asked)))
    alone = np.array([process.told(cells_of([one])) for one in asked])[..., 0].T

    assert np.array_equal(together, alone)


def test_of_more_than_it_predicts_by_it_keeps_some_of_all_times() -> None:
    process = Exact(NO_LAW)
    for number, one in enumerate(some(8 * MOST)):
        process.add(cells_of([one]), value(one), setup=number)

    assert process.grown
    assert process.met == 8 * MOST
    assert MOST // 2 < process.count <= MOST
    kept = process._setups[: process.count]
    assert kept[0] < MOST
    assert kept[-1] > 7 * MOST
    # Of the later half, neither hardly any nor nearly all.
    assert 0.3 < np.mean(kept > 4 * MOST) < 0.8


def test_it_goes_on_to_learn_what_makes_cells_alike() -> None:
    """After long enough the runtime matters and the hardware does not."""
    known = some(5 * MOST)
    process = Exact(NO_LAW)
    for number, one in enumerate(known):
        turned = number > MOST // 2
        by = one.runtime if turned else one.hardware
        process.add(cells_of([one]), float(str(by)[1:]), setup=0)
        process.step()
        if number == MOST // 2:
            before = process.learnt.rates[-len(PARTS) :]

    parts = dict(zip(PARTS, (process.learnt.rates[-len(PARTS) :] / before).tolist(), strict=True))
    assert parts["runtime"] > 2.0 * parts["hardware"]


def test_what_is_forgotten_is_as_if_never_measured() -> None:
    known = some(60)
    process = taught(known)

    process.forget([0])

    rest = [one for number, one in enumerate(known) if number % 3]
    mean, _ = process.told(cells_of(some(5, seed=5)))
    np.testing.assert_allclose(mean, posterior(process, rest, some(5, seed=5))[0], atol=1e-6)


def test_all_of_it_can_be_forgotten() -> None:
    process = taught(some(30))

    process.forget([0, 1, 2])
    assert process.count == 0

    process.add(cells_of(some(1)), 1.0, setup=0)
    assert process.told(cells_of(some(1)))[0][0] == pytest.approx(1.0, abs=0.05)


def test_the_same_again_and_again_stays_finite() -> None:
    (one,) = some(1)
    process = taught([one] * 300, steps=True)

    mean, spread = process.told(cells_of([one]))

    assert mean[0] == pytest.approx(value(one), abs=0.01)
    assert 0.0 < spread[0] < 0.1


def test_a_copy_answers_bit_for_bit() -> None:
    process, asked = taught(some(70), steps=True), cells_of(some(10, seed=6))

    copy = pickle.loads(pickle.dumps(process))

    for one in some(30, seed=7):
        for each in (process, copy):
            each.add(cells_of([one]), value(one), setup=0)
            each.step()
    assert np.array_equal(process.told(asked), copy.told(asked))


@pytest.mark.parametrize("column", [features.NAMES.index("stem"), features.NAMES.index("group")])
def test_what_is_left_out_counts_as_if_it_had_never_been_measured(column: int) -> None:
    measured = some(40)
    one = cells_of(some(1, seed=3))
    names = cells_of(measured).names[:, column]
    others = [
        each for each, name in zip(measured, names, strict=True) if name != one.names[0, column]
    ]

    mean, spread = taught(others).told(one)

    assert 0 < len(others) < len(measured)
    assert taught(measured).told_without(one, column) == pytest.approx((mean[0], spread[0]))


def test_leaving_out_changes_nothing() -> None:
    process, one = taught(some(40)), cells_of(some(1, seed=3))
    before = process.told(one)

    process.told_without(one, 0)

    assert process.told(one) == before


def test_nothing_is_told_without_all_that_was_measured() -> None:
    measured = some(40)
    same = [each._replace(model="m1", architecture="a1", gmacs=2.0) for each in measured]

    assert taught(same).told_without(cells_of(same[:1]), 0) is None


def test_so_much_is_not_left_out_that_learning_would_wait() -> None:
    measured = some(200)
    same = [each._replace(model="m1", architecture="a1", gmacs=2.0) for each in measured]
    process = taught([*same, measured[0]._replace(model="m2", architecture="a2")])

    assert process.told_without(cells_of(same[:1]), 0) is None


@pytest.mark.parametrize("anew", [False, True])
def test_what_is_doubted_tells_as_much_less(anew: bool) -> None:
    """As by one noise for each, written out."""
    known, asked = some(30), cells_of(some(10, seed=2))
    doubts = np.array([0.0, 0.3, 2.0] * 10)
    process = Exact(NO_LAW)
    for one, doubt in zip(known, doubts, strict=True):
        process.add(cells_of([one]), value(one) + doubt, 0, doubt)
    if anew:
        process._keep(np.ones(30, dtype=bool))

    mean, spread = process.told(asked)

    every = cells_of(known)
    noise = np.diag(process.learnt.noise + doubts)
    among = covariance(process, every, every) + noise
    to_cells = covariance(process, asked, every)
    measured = np.array([value(one) for one in known]) + doubts
    np.testing.assert_allclose(mean, to_cells @ np.linalg.solve(among, measured), rtol=1e-6)
    own = np.diag(covariance(process, asked, asked)) + process.learnt.noise
    left = own - np.vecdot(to_cells, np.linalg.solve(among, to_cells.T).T)
    np.testing.assert_allclose(spread, np.sqrt(left), rtol=1e-6)
