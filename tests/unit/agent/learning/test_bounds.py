from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning import bounds
from agent.learning.bank import Bank, Observation
from agent.learning.bounds import Interval, Range, Usual
from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell

CELL = Cell("net", "box", parameters_m=1000.0, precision="fp16")
SHEET = Sheet("box", "gpu", tdp_w=400.0, memory_gb=40.0)

sizes = st.floats(min_value=1e-6, max_value=1e9)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    value = draw(sizes)
    low, high = (math.exp(draw(st.floats(0.0, 20.0))) for _ in range(2))
    return Range(value, value / low, value * high, draw(st.floats(0.0, 1.0)))


def is_sensible(one: Interval) -> bool:
    return 0 < one.low <= one.value <= one.high < math.inf and 0 <= one.confidence <= 1


@given(ranges(), st.sampled_from(["fp32", "fp16", "int4", None]), st.none() | st.integers(1, 8))
def test_memory_is_never_below_the_weights(
    predicted: Range, precision: str | None, count: int | None
) -> None:
    cell = CELL._replace(precision=precision, device_count=None if count is None else float(count))
    bounded = bounds.memory(predicted, cell)
    least = bounds.least_memory_mb(cell)

    assert least is not None
    assert is_sensible(bounded)
    assert bounded.low >= least * (1 - 1e-12)
    assert bounds.memory(predicted, cell._replace(parameters_m=None)) == predicted


@given(ranges(), sizes)
def test_memory_that_learners_do_not_know_is_what_is_usual(predicted: Range, usual: float) -> None:
    bounded = bounds.memory(predicted, CELL._replace(parameters_m=None), Usual(usual, 0.5))

    assert is_sensible(bounded)
    theirs = math.log(predicted.high / predicted.low) / 2.0
    if theirs <= 0.5:
        assert bounded == predicted
    elif theirs > 20.0:
        assert bounded.value == pytest.approx(usual, rel=0.05)


@given(ranges(), st.sampled_from(["images/s", "tokens/s", None]), st.sampled_from([SHEET, None]))
def test_no_rate_is_over_the_roofline(
    predicted: Range, unit: str | None, sheet: Sheet | None
) -> None:
    fast = None if sheet is None else replace(sheet, fp16_tflops=100.0)
    bounded = bounds.throughput(predicted, CELL._replace(gmacs=10.0), fast, unit)

    assert is_sensible(bounded)
    if fast is None or unit == "tokens/s":
        assert bounded == predicted
    else:
        assert bounded.high <= 1.2 * 100e12 / 20e9


@given(ranges(), st.booleans(), st.sampled_from([SHEET, None]), st.sampled_from(["cpu", None]))
def test_power_is_what_hardware_can_draw(
    predicted: Range, measured: bool, sheet: Sheet | None, kind: str | None
) -> None:
    bounded = bounds.power(predicted, CELL._replace(hardware_class=kind), sheet, measured=measured)

    assert is_sensible(bounded)
    if sheet is not None and not measured:
        assert 80.0 <= bounded.low <= bounded.high <= 460.0


def test_what_learners_are_sure_of_is_left_alone() -> None:
    sure = Range(612.0, 550.0, 680.0, 0.9)

    assert bounds.power(sure, CELL, SHEET, measured=True) == sure, "a system draws more"
    assert bounds.power(sure, CELL, SHEET, measured=False).high <= 460.0


def test_what_they_guess_is_pulled_towards_the_data_sheet_and_stays_wide() -> None:
    wild = Range(14.0, 0.4, 490.0, 0.1)
    bounded = bounds.power(wild, CELL, SHEET, measured=False)

    assert 100.0 < bounded.value < 300.0
    assert bounded.high / bounded.low > 4.0
    assert bounded.confidence < 0.3
    two = bounds.power(wild, CELL._replace(device_count=2.0), SHEET, measured=False)
    assert two.value > 1.5 * bounded.value


def test_energy_is_power_over_rate() -> None:
    found = bounds.energy(Range(300.0, 270.0, 330.0, 0.9), Range(100.0, 80.0, 120.0, 0.8))

    assert found.value == 3.0
    assert 300 / 120 > found.low > 270 / 120
    assert 300 / 80 < found.high < 330 / 80
    exact = bounds.energy(Range(300.0, 300.0, 300.0, 1.0), Range(100.0, 100.0, 100.0, 1.0))
    assert exact == Range(3.0, 3.0, 3.0, 1.0)


@settings(max_examples=200)
@given(ranges(), ranges())
def test_energy_is_never_surer_than_its_parts(drawn: Range, rate: Range) -> None:
    found = bounds.energy(drawn, rate)

    assert is_sensible(found)
    assert found.high / found.low >= (1 - 1e-9) * max(drawn.high / drawn.low, rate.high / rate.low)


def test_the_bank_keeps_to_the_bounds() -> None:
    bank = Bank()
    for size in (1.0, 2.0, 4.0):
        cell = Cell(f"net{size:g}", "arm-soc", gmacs=size, parameters_m=10 * size, task="inference")
        bank.learn(Observation(cell, {"power_w": 4.0 + size, "memory_mb": 100.0 * size}))
    large = Cell("llm", "nvidia-rtx-4090", parameters_m=8000.0, precision="fp16", task="inference")
    (answer,) = bank.predict([large])

    assert 90.0 <= answer["power_w"].low <= answer["power_w"].value <= 450.0 * 1.15
    assert answer["memory_mb"].low >= 16_000.0
    assert answer["power_w"].basis.hardware == 0
    assert answer["power_w"].confidence < 0.4, "a guess from another kind of hardware"
