from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.bank import Bank, BankConfig, Observation
from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.tried import UNTRIED, Bounds, Shares, Tried, agreeing

CELL = Cell(
    "net", "box", task="inference", precision="fp16", parameters_m=100.0, activations_m=30.0
)
BANK = BankConfig(sheets=(Sheet("box", "gpu", memory_gb=24.0),))

shares = st.floats(min_value=1e-3, max_value=10.0)


def falling(share: float) -> float:
    """Return a chance by arithmetic."""
    return 1.0 / (1.0 + math.exp(8.0 * math.log(share)))


def chances(at: Sequence[float], tried: Shares) -> list[float]:
    each = np.array(at)
    by_arithmetic = np.array([falling(share) for share in at])
    at_fitted = falling(tried.fitted) if tried.fitted else 0.5
    at_failed = falling(tried.failed) if tried.failed < math.inf else 0.5
    count = len(at)
    bounds = Bounds.of([tried] * count, np.full(count, at_fitted), np.full(count, at_failed))
    found: list[float] = agreeing(by_arithmetic, each, bounds).tolist()
    return found


@given(st.lists(shares, min_size=2, max_size=20), shares, shares, st.booleans(), st.booleans())
def test_chances_agree_with_what_was_tried_and_fall_with_the_need(
    at: list[float], one: float, other: float, has_fitted: bool, has_failed: bool
) -> None:
    fitted, failed = min(one, other), max(one, other) + 1e-3
    tried = Shares(fitted if has_fitted else 0.0, failed if has_failed else math.inf)
    found = chances(sorted(at), tried)

    assert all(0.0 <= chance <= 1.0 for chance in found)
    assert found == sorted(found, reverse=True) or found == pytest.approx(
        sorted(found, reverse=True), abs=1e-9
    )
    for share, chance in zip(sorted(at), found, strict=True):
        assert not (has_fitted and share <= fitted) or chance >= 0.98 - 1e-9
        assert not (has_failed and share >= failed) or chance <= 0.02 + 1e-9


def test_of_what_was_never_tried_arithmetic_stands() -> None:
    assert chances([0.5, 1.5], UNTRIED) == [falling(0.5), falling(1.5)]


def test_the_newest_outcome_takes_back_what_contradicts_it() -> None:
    tried = Tried(8)
    assert tried.learn(CELL, 0.5, fitted=False)
    assert tried.learn(CELL, 0.6, fitted=True)
    assert tried.of(CELL) == Shares(0.6, math.inf)
    assert tried.learn(CELL, 0.4, fitted=False)
    assert tried.of(CELL) == Shares(0.0, 0.4)


def test_what_was_to_be_expected_is_no_news() -> None:
    tried = Tried(8)
    assert tried.learn(CELL, 0.5, fitted=True)
    assert not tried.learn(CELL, 0.3, fitted=True)
    assert tried.learn(CELL, 0.9, fitted=False)
    assert not tried.learn(CELL, 2.0, fitted=False)


def test_it_remembers_so_many() -> None:
    tried = Tried(2)
    for number in range(3):
        tried.learn(CELL._replace(model=f"m{number}"), 0.5, fitted=True)
    assert tried.of(CELL._replace(model="m0")) == UNTRIED
    assert tried.of(CELL._replace(model="m2")) == Shares(0.5, math.inf)


def run(batch: float, outcome: str) -> Observation:
    return Observation(CELL._replace(batch_size=batch), {}, {}, outcome)


def fits(bank: Bank, batch: float, **changes: float | str) -> float:
    (found,) = bank.fittings([CELL._replace(batch_size=batch, **changes)])  # type: ignore[arg-type]
    assert found is not None
    return found.chance


def test_what_ran_out_of_memory_is_not_expected_to_fit_again() -> None:
    bank = Bank(BANK)
    stranger = {"model": "other", "parameters_m": 1.0, "activations_m": 1.0}
    before = fits(bank, 1.0, **stranger)
    for _ in range(10):
        for batch, outcome in ((32.0, "ok"), (64.0, "ok"), (128.0, "out_of_memory")):
            bank.learn(run(batch, outcome))

    assert fits(bank, 16.0) >= fits(bank, 64.0) >= 0.979
    assert fits(bank, 128.0) <= 0.021
    assert fits(bank, 256.0) <= 0.021
    assert fits(bank, 128.0, precision="int4") >= fits(bank, 128.0)
    assert fits(bank, 1.0, **stranger) == pytest.approx(before, abs=0.02)
    (most,) = bank.largest([CELL], "batch_size", 0.9)
    assert most is not None
    assert most.size is not None
    assert 64 <= most.size < 128
