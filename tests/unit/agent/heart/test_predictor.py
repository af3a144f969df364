from __future__ import annotations

import pickle
from typing import Any

import pytest

from agent.heart.cells import cell_of, observation_of
from agent.heart.predictor import REMEMBERED_CELLS, Predictor
from agent.learning.bank import Bank
from agent.learning.cell import Cell
from schemas.measurement import HardwareSpec, ModelRun, ModelSpec, Setup


def run(model: str, hardware: str, **metrics: Any) -> ModelRun:
    return ModelRun.model_validate({"model": model, "hardware": hardware, "metrics": metrics})


def cell(model: str = "m", hardware: str = "h", batch_size: int = 1) -> Cell:
    return cell_of(ModelSpec(name=model), HardwareSpec(name=hardware), Setup(batch_size=batch_size))


class Counting(Bank):
    """A bank that counts how many cells it was asked for."""

    asked = 0

    def predict(self, cells: Any, *arguments: Any) -> Any:
        self.asked += len(cells)
        return super().predict(cells, *arguments)


@pytest.fixture
def bank() -> Counting:
    bank = Counting()
    bank.learn(observation_of(run("m", "h", latency_ms=5.0)))
    return bank


def test_a_cell_is_predicted_once_per_state_of_knowledge(bank: Counting) -> None:
    predictor = Predictor(bank)
    first = predictor.predict([cell(), cell(batch_size=2), cell()])
    assert bank.asked == 2
    assert first[0] == first[2]
    assert predictor.predict([cell()]) == first[:1]
    assert bank.asked == 2
    bank.learn(observation_of(run("m", "h", latency_ms=50.0)))
    assert predictor.predict([cell()]) != first[:1]
    assert bank.asked == 3


def test_what_is_asked_for_is_part_of_what_is_remembered(bank: Counting) -> None:
    predictor = Predictor(bank)
    (everything,) = predictor.predict([cell()])
    (nothing,) = predictor.predict([cell()], ["power_w"])
    assert set(everything) == {"latency_ms"}
    assert set(nothing) == set()


def test_memory_is_bounded(bank: Counting) -> None:
    predictor = Predictor(bank)
    predictor.predict([cell(batch_size=1 + i) for i in range(REMEMBERED_CELLS + 1)])
    predictor.predict([cell()])
    assert len(predictor._remembered) == 1


def test_what_is_remembered_is_no_state(bank: Counting) -> None:
    predictor = Predictor(bank)
    expected = predictor.predict([cell()])
    again = pickle.loads(pickle.dumps(predictor))
    assert not again._remembered
    assert again.predict([cell()]) == expected


def test_cells_are_held_side_by_side_in_one_unit() -> None:
    bank = Bank()
    for _ in range(3):
        bank.learn(observation_of(run("m", "a", latency_ms=5.0, latency_kind="mean")))
    bank.learn(observation_of(run("m", "b", latency_ms=9.0, latency_kind="p95")))
    predictor = Predictor(bank)
    cells = [cell(hardware="a"), cell(hardware="b")]
    assert {one["latency_ms"].unit for one in predictor.predict(cells)} == {"mean", "p95"}
    assert {one["latency_ms"].unit for one in predictor.comparable(cells)} == {"mean"}


def test_capacity_is_that_of_the_data_sheet() -> None:
    predictor = Predictor(Bank())
    assert predictor.capacity_mb("nvidia-rtx-4090") == 24_000
    assert predictor.capacity_mb("nobody-knows-this") is None
