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


def test_an_unsaid_precision_may_have_been_the_fastest() -> None:
    bare = CELL._replace(precision=None)

    assert judged(bare, throughput_per_s=30_000.0) is None
    assert judged(bare, throughput_per_s=60_000.0) is not None


LLM = Cell(
    "qwen",
    "nvidia-h100",
    parameters_m=7000.0,
    device_count=1.0,
    task="inference",
    batch_size=1.0,
    sequence_in=2048.0,
    sequence_out=2048.0,
)


@pytest.mark.parametrize(
    ("cell", "latency_ms", "possible"),
    [
        (LLM, 82.6, False),
        (LLM, 10_000.0, True),
        (LLM._replace(batch_size=16.0), 848.0, False),
        (LLM._replace(sequence_out=None), 82.6, True),
        (LLM._replace(parameters_m=None), 82.6, True),
        (LLM._replace(task="training"), 82.6, True),
        (LLM._replace(hardware="unheard of"), 82.6, True),
        # A sparse model reads few of its weights: 17 of 400 billion parameters in fp8.
        (LLM._replace(parameters_m=400_000.0, precision="fp8", device_count=8.0), 3000.0, True),
    ],
)
def test_tokens_faster_than_the_weights_can_be_read(
    cell: Cell, latency_ms: float, *, possible: bool
) -> None:
    units = {"latency_ms": "end_to_end_batch"}
    reason = impossible(cell, {"latency_ms": latency_ms}, units, catalogue())

    assert (reason is None) == possible
    if reason is not None:
        assert "GB/s" in reason
    assert impossible(cell, {"latency_ms": latency_ms}, {}, catalogue()) is None, "another kind"


@pytest.mark.parametrize(
    ("cell", "tokens_per_s", "possible"),
    [
        (LLM, 49_586.0, False),
        (LLM, 480.0, True),
        # Many requests share a reading of the weights.
        (LLM._replace(batch_size=256.0), 49_586.0, True),
        (LLM._replace(concurrency=256.0), 49_586.0, True),
        (LLM._replace(batch_size=None), 49_586.0, True),
        (LLM._replace(sequence_out=None), 49_586.0, True),
    ],
)
def test_more_tokens_than_readings_of_the_weights_give(
    cell: Cell, tokens_per_s: float, *, possible: bool
) -> None:
    units = {"throughput_per_s": "tokens/s"}
    reason = impossible(cell, {"throughput_per_s": tokens_per_s}, units, catalogue())

    assert (reason is None) == possible
    assert impossible(cell, {"throughput_per_s": tokens_per_s}, {}, catalogue()) is None


def test_less_memory_than_the_weights() -> None:
    reason = judged(memory_mb=20.0)

    assert reason is not None
    assert "weights" in reason


def test_more_power_than_any_system_of_such_devices() -> None:
    assert judged(power_w=5000.0) is not None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_no_number_at_all(value: float) -> None:
    assert judged(latency_ms=value) is not None


def test_faster_than_the_roofline_by_its_latency() -> None:
    batch = CELL._replace(batch_size=8.0)
    units = {"latency_ms": "batch_step"}
    assert impossible(batch, {"latency_ms": 1e-6}, units, catalogue()) is not None
    assert impossible(batch, {"latency_ms": 5.0}, units, catalogue()) is None
    # Of a batch all items are done; of anything else, one is.
    assert impossible(batch, {"latency_ms": 0.3}, units, catalogue()) is not None
    assert impossible(batch, {"latency_ms": 0.3}, {}, catalogue()) is None


def test_more_power_than_one_device_draws_where_no_count_is_said() -> None:
    assert judged(CELL._replace(device_count=None), power_w=1e6) is not None


def test_more_memory_than_there_is() -> None:
    reason = judged(memory_mb=9e6)
    assert reason is not None
    assert "more than" in reason
    assert judged(memory_mb=15_000.0) is None
