from __future__ import annotations

import pytest

from agent.heart.outlook import outlook
from agent.heart.predictor import Predictor
from agent.learning.bank import Bank
from agent.learning.cell import Cell
from schemas.replies import Estimate, Estimates

CELL = Cell("m", "box", task="inference", batch_size=8.0)


def estimate(value: float, unit: str, width: float = 1.1) -> Estimate:
    return Estimate(value=value, low=value / width, high=value * width, confidence=0.9, unit=unit)


@pytest.mark.parametrize(
    ("rate", "unit", "kind", "cell", "said"),
    [
        (100.0, "images/s", "batch_step", CELL, False),
        (300.0, "images/s", "batch_step", CELL, True),
        (300.0, "tokens/s", "batch_step", CELL, False),
        (300.0, "images/s", "offline mean latency", CELL, False),
        (300.0, "images/s", "batch_step", CELL._replace(batch_size=None), False),
        (800.0, "images/s", "batch_step", CELL._replace(concurrency=8.0), False),
    ],
)
def test_a_rate_and_the_time_of_a_batch_belong_together(
    rate: float, unit: str, kind: str, cell: Cell, said: bool
) -> None:
    metrics: Estimates = {
        "throughput_per_s": estimate(rate, unit),
        "latency_ms": estimate(80.0, kind),
    }
    told = outlook(Predictor(Bank()), "p", cell, metrics, None, None)

    assert any("throughput x latency" in note for note in told["notes"]) == said
