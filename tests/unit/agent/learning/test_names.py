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
        ("resnet50", 25.56, 1.0),
        ("somebodys_own_net_224", None, 1.0),
        ("beitv2_large_patch16_224.in1k_ft_in22k_in1k", None, 1.0),
    ],
)
def test_sizes_are_read(name: str, parameters_m: float | None, active: float) -> None:
    said = hints(name)

    assert said.parameters_m == parameters_m
    assert said.active == pytest.approx(active)


def test_width_and_input_are_read_and_leave_the_family() -> None:
    small, large = hints("own-net-0.5-160-quantized"), hints("own-net-1.0-224-quantized")

    assert (small.input_size, large.input_size) == (160.0, 224.0)
    assert small.family == large.family != hints("own-net-1.0-224-non-quantized").family
    assert large.log_work == 0.0
    assert small.log_work == pytest.approx(2 * math.log(0.5 * 160 / 224))


def test_a_network_that_was_published_is_known_at_the_width_and_input_of_its_name() -> None:
    small, large = (
        hints("shufflenet-v2-0.5-112-quantized"),
        hints("shufflenet-v2-1.0-224-quantized"),
    )

    assert (large.parameters_m, large.gmacs, large.input_size) == (2.28, 0.14, 224.0)
    assert small.parameters_m == pytest.approx(2.28 / 4)
    assert small.gmacs == pytest.approx(0.14 / 16)
    assert small.family == large.family
    assert small.log_work == large.log_work == 0.0


def test_a_width_that_was_published_is_not_reckoned() -> None:
    narrow = hints("mobilenet-v2-0.35-112-quantized")

    assert narrow.parameters_m == 1.66
    assert narrow.gmacs == pytest.approx(0.059 / 4)
    assert narrow.activations_m == pytest.approx(2.86 / 4)
    assert narrow.family == hints("mobilenet-v2-1.0-224-quantized").family


def test_what_a_name_says_of_its_size_goes_before_what_was_published() -> None:
    assert hints("whisper-small-39M").parameters_m == 39.0


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


def test_a_published_network_runs_as_one_that_was_described() -> None:
    def row(**said: float) -> list[float]:
        return frame_of([Cell("resnet50", "h", **said)], catalogue()).linear[0].tolist()

    described = row(parameters_m=25.56, gmacs=4.11, activations_m=11.11, input_size=224.0)

    assert row() == pytest.approx(described)
    # Four times the area is four times the work, and the weights stay.
    assert row(input_size=448.0)[LINEAR.index("gmacs")] == pytest.approx(
        described[LINEAR.index("gmacs")] + math.log(4.0) / 2
    )
    assert row(input_size=448.0)[LINEAR.index("params")] == described[LINEAR.index("params")]
    # What is said goes before what was published.
    assert row(gmacs=2.0)[LINEAR.index("gmacs")] < described[LINEAR.index("gmacs")]
