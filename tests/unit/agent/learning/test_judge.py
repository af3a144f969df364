from __future__ import annotations

import pytest

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.judge import impossible

CELL = Cell(
    "resnet50",
    "nvidia-t4",
    parameters_m=25.6,
    gmacs=4.1,
    device_count=1.0,
    task="inference",
    precision="fp16",
)


def judged(cell: Cell = CELL, unit: str = "images/s", **metrics: float) -> str | None:
    return impossible(cell, metrics, {"throughput_per_s": unit}, catalogue())


def test_what_is_possible_passes() -> None:
    assert judged(throughput_per_s=4000.0, memory_mb=400.0, power_w=70.0, latency_ms=1.0) is None


def test_faster_than_the_roofline() -> None:
    reason = judged(throughput_per_s=20_000.0)

    assert reason is not None
    assert "TFLOP/s" in reason


def test_training_takes_more_work() -> None:
    rate = 6000.0
    assert judged(throughput_per_s=rate) is None
    assert judged(CELL._replace(task="training"), throughput_per_s=rate) is not None


def test_more_devices_do_more() -> None:
    assert judged(CELL._replace(device_count=8.0), throughput_per_s=20_000.0) is None


@pytest.mark.parametrize(
    "cell",
    [
        CELL._replace(gmacs=None),
        CELL._replace(hardware="unheard of"),
    ],
)
def test_a_guess_rules_nothing_out(cell: Cell) -> None:
    assert judged(cell, throughput_per_s=1e9) is None


def test_tokens_are_not_items() -> None:
    assert judged(unit="tokens/s", throughput_per_s=1e6) is None


def test_less_memory_than_the_weights() -> None:
    reason = judged(memory_mb=20.0)

    assert reason is not None
    assert "weights" in reason


def test_more_power_than_any_system_of_such_devices() -> None:
    assert judged(power_w=5000.0) is not None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_no_number_at_all(value: float) -> None:
    assert judged(latency_ms=value) is not None
