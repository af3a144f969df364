from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.roofline import bytes_per_weight, log_sum, log_touched, log_work


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


@given(share=st.floats(1e-6, 0.999), batch=st.floats(1.0, 1e9))
def test_what_a_batch_touches_lies_between_an_items_share_and_all(
    share: float, batch: float
) -> None:
    touched = math.exp(log_touched(math.log(share), math.log(batch)))

    assert 1.0 <= touched <= (1.0 + 1e-9) / share
    assert touched <= batch * (1.0 + 1e-9)


def test_two_items_choose_some_of_the_same() -> None:
    assert math.exp(log_touched(math.log(0.25), math.log(2.0))) == pytest.approx(1.75)


@given(st.floats(-600.0, 600.0), st.floats(-600.0, 600.0))
def test_logs_of_sums(one: float, other: float) -> None:
    assert log_sum(one, other) == pytest.approx(float(np.logaddexp(one, other)))
