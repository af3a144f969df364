from __future__ import annotations

import pytest

from strategies.words import listed, number, percent, quantity, spread
from tests.unit.strategies.making import about


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.66666, "0.667"),
        (1.5, "1.5"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (-2048.0, "-2,048"),
        (3.2e9, "3.2e+09"),
        (0.00001234, "1.23e-05"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


def test_units_stand_behind() -> None:
    assert quantity("power_w", 120) == "120 W"
    assert quantity("throughput_per_s", 1200, "images/s") == "1,200 images/s"
    assert quantity("throughput_per_s", 12) == "12/s"
    assert spread("memory_mb", about(1000)) == "1,000 MB (900 to 1,100)"
    assert percent(0.125) == "12.5 %"


def test_lists_stay_short() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b"], "or") == "a or b"
    assert listed("abcdefgh") == "a, b, c, d, e, f and 2 more"
