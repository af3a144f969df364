"""Texts of options: what they become, and how what they do not become is refused."""

from __future__ import annotations

import pytest

from agent.cli import options as opt
from agent.cli.exploring import _preferred
from schemas.errors import BadInput


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "", "²", "9" * 5_000])
def test_a_whole_number_is_none_below_zero(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        opt.whole("--limit", text)
    assert refused.value.details[0].expected == "a whole number, 0 or more"
    assert len(refused.value.message) < 250


def test_whole_numbers() -> None:
    assert [opt.whole("--limit", text) for text in ("0", "7", "1000000")] == [0, 7, 1_000_000]


@pytest.mark.parametrize("text", ["m@", "@1", "m@x", "m@²", "m@" + "9" * 5_000])
def test_a_batch_is_a_whole_number(text: str) -> None:
    with pytest.raises(BadInput):
        opt.work_item(text, {})


def test_gain_for_its_cost_needs_prices() -> None:
    with pytest.raises(BadInput) as refused:
        _preferred("gain_per_cost", None, thompson=False, seed=0)
    assert refused.value.details[0].field == "--cost-per-hour"
    assert len(refused.value.message) < 120
    found = _preferred("gain_per_cost", ["gpu=1.5"], thompson=False, seed=0)
    assert found["cost_per_hour"] == {"gpu": 1.5}
