from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.intervals import apart, confidence, estimate, largest, slowed, sped, total
from tests.unit.strategies.making import about

values = st.floats(1e-3, 1e6)


def test_confidence_is_the_chance_of_twenty_percent() -> None:
    assert confidence(100, 100, 100) == 1.0
    # An interval of exactly ±20 % holds nine tenths of what comes.
    assert confidence(100, 80, 120) == pytest.approx(0.9, abs=1e-6)
    # A factor of ten to either side: hardly any.
    assert 0.0 < confidence(100, 10, 1_000) < 0.15


@given(values, st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_wider_interval_is_never_surer(value: float, one: float, more: float) -> None:
    narrow, wide = sorted((one, more))
    assert confidence(value, value * (1 - wide), value * (1 + wide)) <= confidence(
        value, value * (1 - narrow), value * (1 + narrow)
    )


def test_zero_and_below_have_no_relative_error() -> None:
    assert confidence(0, 0, 0) == 1.0
    assert confidence(0, -1, 1) == 0.0


@given(st.lists(values, min_size=1, max_size=6))
def test_sums_and_maxima_enclose_theirs(numbers: list[float]) -> None:
    parts = [about(number) for number in numbers]
    for combined, exact in ((total(parts), math.fsum(numbers)), (largest(parts), max(numbers))):
        assert combined.low <= combined.value <= combined.high
        assert combined.value == pytest.approx(exact)
        assert combined.low == pytest.approx(0.9 * exact)
        assert combined.high == pytest.approx(1.1 * exact)
    assert total(parts) == total(parts[::-1])


def test_one_part_stays_what_it_was() -> None:
    part = about(5.0, unit="images/s")
    assert total([part]) is part
    assert largest([part]) is part
    assert slowed(part, 1.0, 1.0, 1.0) is part
    assert sped(part, 1.0, 1.0, 1.0) is part


def test_half_the_speed_is_twice_the_time() -> None:
    assert slowed(about(10.0), 0.5, 0.5, 0.5).value == 20.0
    assert sped(about(10.0, unit="tokens/s"), 0.5, 0.25, 1.0) == estimate(
        5.0, 2.25, 11.0, "tokens/s"
    )


def test_ends_hold_the_value() -> None:
    assert (estimate(5, 6, 4).low, estimate(5, 6, 4).high) == (5, 5)


def test_apart() -> None:
    assert apart(about(10), about(20))
    assert apart(about(20), about(10))
    assert not apart(about(10), about(11))
