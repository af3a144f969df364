from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import LINEAR, frame_of
from agent.learning.names import hints


@pytest.mark.parametrize(
    ("name", "parameters_m", "active"),
    [
        ("Qwen/Qwen1.5-7B", 7000.0, 1.0),
        ("facebook/opt-6.7b", 6700.0, 1.0),
        ("SmolLM2-135M-Instruct", 135.0, 1.0),
        ("mistralai/Mixtral-8x7B-v0.1", 56000.0, 0.25),
        ("Mixtral-8x22B", 176000.0, 0.25),
        ("Qwen3-30B-A3B", 30000.0, 0.1),
        ("resnet50", None, 1.0),
        ("vit_base_patch16_clip_224.laion2b_ft_in12k", None, 1.0),
        ("beitv2_large_patch16_224.in1k_ft_in22k_in1k", None, 1.0),
    ],
)
def test_sizes_are_read(name: str, parameters_m: float | None, active: float) -> None:
    said = hints(name)

    assert said.parameters_m == parameters_m
    assert said.active == pytest.approx(active)


def test_width_and_input_are_read_and_leave_the_family() -> None:
    small, large = hints("mobilenet-v2-0.5-160-quantized"), hints("mobilenet-v2-1.0-224-quantized")

    assert (small.input_size, large.input_size) == (160.0, 224.0)
    assert small.family == large.family != hints("mobilenet-v2-1.0-224-non-quantized").family
    assert large.log_work == 0.0
    assert small.log_work == pytest.approx(2 * math.log(0.5 * 160 / 224))


def test_numbers_that_are_not_understood_stay_in_the_family() -> None:
    assert hints("resnet50").family != hints("resnet152").family
    assert hints("bert-99").family != hints("bert-99.9").family


@given(st.text(max_size=30))
def test_any_name_will_do(name: str) -> None:
    said = hints(name)

    assert said.parameters_m is None or said.parameters_m > 0.0
    assert 0.0 < said.active <= 1.0
    assert math.isfinite(said.log_work)


def test_what_runs_counts_for_time_and_the_rest_is_kept_beside() -> None:
    dense, sparse = frame_of(
        [Cell("a", "h", parameters_m=14000.0), Cell("b-8x7b", "h", parameters_m=56000.0)],
        catalogue(),
    ).linear

    params, idle = LINEAR.index("params"), LINEAR.index("idle")
    assert sparse[params] == pytest.approx(dense[params])
    assert dense[idle] == 0.0
    assert sparse[idle] == pytest.approx(math.log(4.0) / 2)
