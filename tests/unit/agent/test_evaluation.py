from __future__ import annotations

import random
from typing import Any

import pytest

from agent.evaluation import Row, prequential, split
from agent.learning.bank import Bank
from schemas.measurement import Benchmark

RATE = "throughput_per_s"
FIGURES = {
    *("rows", "median_ape", "mean_ape", "p90_ape", "spearman", "coverage_90"),
    *("coverage_90_worst", "coverage_90_first20", "half_width", "learn_us", "predict_us"),
}


def row(
    model: int, hardware: str = "nvidia-l4", source: str = "lab", speed: float = 1.0, **body: Any
) -> Row:
    """Networks of one to eighty billion operations: the rate is inverse to them."""
    gmacs = 1.0 + model
    return Row(
        source,
        Benchmark.model_validate(
            {
                "model": {"name": f"net{model}", "gmacs": gmacs, "parameters_m": 5.0 * gmacs},
                "hardware": {"name": hardware, "class": "gpu"},
                "setup": {"batch_size": 8, "precision": "fp16", "task": "inference"},
                "metrics": {RATE: speed * 900.0 / gmacs, "throughput_unit": "images/s"},
                **body,
            }
        ),
    )


TRAIN = [row(model) for model in range(80)]


def test_a_split_learns_one_part_and_judges_the_other() -> None:
    report = split(Bank(), TRAIN[::2], TRAIN[1::2], seed=3)

    every = report[RATE]["all"]
    assert set(every) >= FIGURES
    assert every["rows"] == 40
    assert every["median_ape"] < 0.1
    assert every["spearman"] > 0.95
    assert report[RATE]["sources"]["lab"] == every
    assert set(report) == {RATE}


def test_the_same_seed_gives_the_same_figures_and_another_order_others() -> None:
    def figure(seed: int) -> float:
        found: float = split(Bank(), TRAIN[::2], TRAIN[1::2], seed=seed)[RATE]["all"]["mean_ape"]
        return found

    assert figure(1) == figure(1)
    assert figure(1) != figure(2)


def test_a_few_rows_of_each_new_setup_are_learnt_and_not_judged() -> None:
    new = [row(model, "nvidia-t4", speed=0.3) for model in range(60)]

    without = split(Bank(), TRAIN, new, seed=0)[RATE]["all"]
    few = split(Bank(), TRAIN, new, few_shot=20, seed=0)[RATE]["all"]

    assert (without["rows"], few["rows"]) == (60, 40)
    assert few["median_ape"] < 0.5 * without["median_ape"]


def test_rows_of_known_setups_are_judged_whatever_the_few() -> None:
    report = split(Bank(), TRAIN[:60], TRAIN[60:], few_shot=20, seed=0)

    assert report[RATE]["all"]["rows"] == 20


def test_sources_are_told_apart() -> None:
    other = [row(model, source="shed", speed=chance) for model, chance in enumerate(noise(40))]

    report = split(Bank(), [*TRAIN[::2], *other[::2]], [*TRAIN[1::2], *other[1::2]])[RATE]

    assert {name: one["rows"] for name, one in report["sources"].items()} == {
        "lab": 40,
        "shed": 20,
    }
    assert report["sources"]["shed"]["median_ape"] > report["sources"]["lab"]["median_ape"]
    assert report["all"]["rows"] == 60


def noise(count: int) -> list[float]:
    chance = random.Random(7)
    return [chance.choice((0.5, 2.0)) for _ in range(count)]


def test_a_stream_is_judged_before_each_row_is_learnt() -> None:
    every = prequential(Bank(), TRAIN)[RATE]["all"]

    assert every["rows"] == 79, "of the first nothing was known"
    assert every["coverage_90_first20"] is not None


def test_what_is_impossible_is_not_learnt_and_counted() -> None:
    wrong = [row(model, speed=1e6) for model in range(80, 90)]

    report = split(Bank(), [*TRAIN[::2], *wrong], TRAIN[1::2], seed=3)

    clean = split(Bank(), TRAIN[::2], TRAIN[1::2], seed=3)
    every = report[RATE]["all"]
    assert (every["quarantined"], clean[RATE]["all"]["quarantined"]) == (10, 0)
    assert every["median_ape"] == pytest.approx(clean[RATE]["all"]["median_ape"], rel=0.5)


def test_failed_runs_are_not_judged() -> None:
    failed = row(3, outcome="failed", metrics={})

    assert split(Bank(), TRAIN, [failed, TRAIN[5]])[RATE]["all"]["rows"] == 1
