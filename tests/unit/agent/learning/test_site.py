"""What is measured here outweighs what shipped, and tells what to make of the rest of it."""

from __future__ import annotations

import math
import random

import pytest

from agent.learning.bank import Bank, Observation
from agent.learning.cell import Cell
from agent.learning.site import Site


def run(number: int, factor: float = 1.0, hardware: str = "card-a", seed: int = 0) -> Observation:
    chance = random.Random(1_000 * seed + number)
    size = 5.0 * 1.1**number
    rate = factor * 20_000.0 / size * chance.lognormvariate(0.0, 0.02)
    cell = Cell(
        model=f"net{number}",
        hardware=hardware,
        parameters_m=size,
        gmacs=size / 5,
        batch_size=32,
        precision="fp16",
        runtime="engine-1",
        task="inference",
    )
    return Observation(cell, {"throughput_per_s": rate}, {"throughput_per_s": "items"})


def knowing(hardware: tuple[str, ...] = ("card-a",)) -> Bank:
    bank = Bank()
    order = [(name, number) for name in hardware for number in range(40)]
    random.Random(3).shuffle(order)
    for name, number in order:
        bank.learn(run(number, hardware=name), shipped=True)
    return bank


def speed(bank: Bank, number: int, hardware: str = "card-a") -> float:
    return bank.predict([run(number, hardware=hardware).cell])[0]["throughput_per_s"].value


def here(number: int, factor: float) -> float:
    return factor * 20_000.0 / (5.0 * 1.1**number)


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_three_measurements_here_move_what_shipped(factor: float) -> None:
    bank = knowing()
    for number in (5, 15, 25):
        bank.learn(run(number, factor, seed=1))
    for number in (10, 20, 30):
        assert speed(bank, number) == pytest.approx(here(number, factor), rel=0.1)


def test_without_a_difference_nothing_moves_much() -> None:
    bank = knowing()
    for number in (5, 15, 25):
        bank.learn(run(number, seed=1))
    for number in (10, 20, 30):
        assert speed(bank, number) == pytest.approx(here(number, 1.0), rel=0.06)


def test_a_cell_measured_here_outweighs_the_same_cell_that_shipped() -> None:
    bank = knowing()
    bank.learn(run(20, 0.6, seed=1))
    assert speed(bank, 20) == pytest.approx(here(20, 0.6), rel=0.12)


def test_other_hardware_stays_as_it_was() -> None:
    bank = knowing(("card-a", "card-b"))
    before = speed(bank, 10, "card-b")
    for number in (5, 15, 25):
        bank.learn(run(number, 0.6, seed=1))
    assert speed(bank, 10, "card-b") == pytest.approx(before, rel=0.15)


def test_what_is_measured_here_announces_no_drift() -> None:
    bank = knowing()
    for number in range(40):
        bank.learn(run(number, 0.6, seed=1))
    assert bank.take_drifts() == []


def test_the_factor_is_settled_by_enough_measurements() -> None:
    site = Site()
    site.ship(1)
    sizes = []
    for event in range(60):
        shift = site.add(1, 0.4 if not sizes else 0.0, 0.1, event)
        if shift is None:
            break
        sizes.append(shift.size)
        assert shift.events == tuple(range(event + 1))
    assert sizes[0] == pytest.approx(0.36)
    assert len(sizes) < 40
    assert site.add(1, 1.0, 0.1, 99) is None
    assert site.add(2, 1.0, 0.1, 99) is None, "nothing of it shipped"
    assert math.isfinite(sum(sizes))
