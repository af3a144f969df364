"""Budgets for exploration: what is one, and what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.budget import MOST, parse_budget
from schemas.errors import BadInput


@pytest.mark.parametrize(
    ("text", "unit", "limit"),
    [
        ("50", "runs", 50),
        ("90s", "s", 90),
        ("10min", "s", 600),
        ("1.5h", "s", 5_400),
        ("500J", "J", 500),
        ("2 kJ", "J", 2_000),
        ("1Wh", "J", 3_600),
        ("1000000000", "runs", 1e9),
    ],
)
def test_runs_time_and_energy(text: str, unit: str, limit: float) -> None:
    budget = parse_budget(text)
    assert (budget.text, budget.unit, budget.limit) == (text, unit, limit)


@pytest.mark.parametrize(
    "text",
    [
        *("0", "0.0min", "0kJ", "-5", "", "min", "1.5", "7days", "1e400", "ten"),
        *("9" * 400, "9" * 26, "1000000001", "300000h", "1000001kJ"),
    ],
)
def test_what_is_none_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_budget(text)
    assert refused.value.details[0].field == "explore"
    assert "10min" in refused.value.details[0].expected


@given(st.text(max_size=12))
def test_any_text_is_a_budget_above_zero_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert 0 < parse_budget(text).limit <= MOST
