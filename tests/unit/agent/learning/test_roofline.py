from __future__ import annotations

import math

import pytest

from agent.learning.roofline import bytes_per_weight, log_work


@pytest.mark.parametrize(
    ("precision", "size"),
    [
        ("fp32", 4.0),
        ("amp_bf16", 2.0),
        ("float16", 2.0),
        ("INT8", 1.0),
        ("fp8", 1.0),
        ("q4_0", 0.5),
        ("awq-int4", 0.5),
        ("w4a16", 0.5),
        ("gptq-3bit", 0.375),
        ("q3_k", 0.375),
        ("2-bit", 0.25),
        ("int2", 0.25),
        ("q2_k", 0.25),
        ("uint8", 1.0),
        (None, None),
        ("whatever", None),
    ],
)
def test_bytes_of_a_weight(precision: str | None, size: float | None) -> None:
    assert bytes_per_weight(precision) == size


def test_times_follow_rates() -> None:
    operations, moved = log_work(0.0, math.log(1e9), -50.0, 0.0)

    assert math.exp(operations - math.log(2e12)) == pytest.approx(1e-3)  # 2 Gflop at 2 Tflop/s
    assert math.exp(moved - math.log(1e12)) == pytest.approx(1e-3)  # 1 GB at 1 TB/s
