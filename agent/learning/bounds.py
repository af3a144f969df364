"""What physics says of predictions: memory for the weights at least, power of the device at most.

Where learners know little, an extrapolation may come to anything. Here it meets what is known
without any measurement; what learners are surer of than that passes untouched.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.roofline import (
    FEWEST_BYTES,
    TOLERANCE,
    bytes_per_weight,
    flops_per_item,
    most_tflops,
)

_IDLE, _BOOST = 0.2, 1.15
"""A device at work draws between these shares of its design power: an assumption."""

_SYSTEM = 25.0
"""How far over the devices' design power a measurement of a whole system with them may lie."""

_DRAWS_W = {"cpu": (5.0, 500.0), "gpu": (5.0, 1500.0), "npu": (0.5, 500.0)}
_ANY_DRAWS_W = (0.5, 1500.0)
"""What one device at work draws where there is no data sheet: an assumption, by class."""

_NINETY = 1.6449
"""Standard deviations to either side that hold 90 % of a normal distribution."""

_CLOSE = math.log(1.2)


class Interval(Protocol):
    """Whatever has a value, its nominal 90 % interval, and the chance that it is within 20 %."""

    @property
    def value(self) -> float:
        """The middle of it."""

    @property
    def low(self) -> float:
        """The lower end."""

    @property
    def high(self) -> float:
        """The upper end."""

    @property
    def confidence(self) -> float:
        """The chance."""


class Usual(NamedTuple):
    """What is usual, and within which half-width (log) nine of ten lie."""

    value: float
    half_width: float


class Range(NamedTuple):
    """A value with its nominal 90 % interval, and the chance that it is within 20 %."""

    value: float
    low: float
    high: float
    confidence: float


def chance_within_20_percent(half_width: float) -> float:
    """Return the chance of an error of at most 20 %, by the half-width in log space."""
    return math.erf(_CLOSE * _NINETY / max(half_width, 1e-6) / math.sqrt(2.0))


def least_memory_mb(cell: Cell) -> float | None:
    """Return what the weights take on each device, or None where their number is unknown."""
    if cell.parameters_m is None or not 0.0 < cell.parameters_m < 1e15:
        return None
    # A guess must not forbid what is possible.
    size = bytes_per_weight(cell.precision) or FEWEST_BYTES
    return cell.parameters_m * size / (cell.device_count or 1.0)


def memory(predicted: Interval, cell: Cell, usual: Usual | None = None) -> Interval:
    """Return predicted memory, no less than the weights; itself where it is so already.

    Args:
        predicted: by the learners.
        cell: what it is predicted for.
        usual: what arithmetic says, to which it is drawn where learners are less sure.
    """
    if usual is not None:
        predicted = _towards(predicted, usual.value, usual.half_width)
    least = least_memory_mb(cell)
    if least is None or predicted.low >= least:
        return predicted
    value = max(predicted.value, least)
    return Range(value, least, max(predicted.high, value), predicted.confidence)


def throughput(predicted: Interval, cell: Cell, sheet: Sheet | None, unit: str | None) -> Interval:
    """Return a predicted rate, no faster than its roofline; itself where it is so already."""
    if cell.gmacs is None or not 0.0 < cell.gmacs < 1e15 or sheet is None:
        return predicted
    if "token" in (unit or ""):
        return predicted  # how many operations a token takes is another question
    tflops = most_tflops(sheet, cell.precision)
    work = flops_per_item(cell.gmacs, cell.task)
    if not tflops:
        return predicted
    return _within(predicted, 0.0, TOLERANCE * tflops * 1e12 * (cell.device_count or 1.0) / work)


def power(predicted: Interval, cell: Cell, sheet: Sheet | None, *, measured: bool) -> Interval:
    """Return predicted power, within what the hardware can draw; itself where it is so already.

    Args:
        predicted: by the learners.
        cell: what it is predicted for.
        sheet: of the hardware, if there is one.
        measured: whether the power of this hardware was ever measured. What was measured may be
            the power of a whole system, of which a data sheet of the device says little.
    """
    count = cell.device_count or 1.0
    if sheet is not None and sheet.tdp_w is not None:
        least, most = _IDLE * sheet.tdp_w * count, _BOOST * sheet.tdp_w * count
    else:
        known = cell.hardware_class or (sheet.hardware_class if sheet else None) or ""
        least, most = (watts * count for watts in _DRAWS_W.get(known, _ANY_DRAWS_W))
    drawn = _towards(predicted, math.sqrt(least * most), math.log(most / least) / 2.0)
    if not measured:
        return _within(drawn, least, most)
    return _within(drawn, 0.0, _SYSTEM * most)


def energy(drawn: Interval, rate: Interval) -> Range:
    """Return the energy per item of a power (W) and a rate (items/s), in joules.

    Their errors are taken as independent, in log space.
    """
    value = drawn.value / rate.value
    below = math.hypot(math.log(drawn.value / drawn.low), math.log(rate.high / rate.value))
    above = math.hypot(math.log(drawn.high / drawn.value), math.log(rate.value / rate.low))
    return Range(
        value,
        value * math.exp(-below),
        value * math.exp(above),
        chance_within_20_percent((below + above) / 2.0),
    )


def _towards(predicted: Interval, usual: float, half_width: float) -> Interval:
    """Pull what learners are less sure of than of `usual` towards it, the more the less sure."""
    theirs = math.log(predicted.high / predicted.low) / 2.0
    if theirs <= half_width:
        return predicted
    pull = 1.0 - (half_width / theirs) ** 2
    value = predicted.value * (usual / predicted.value) ** pull
    width = half_width * pull + theirs * (1.0 - pull)
    confidence = (1.0 - pull) * predicted.confidence + pull * chance_within_20_percent(width)
    return Range(value, value * math.exp(-width), value * math.exp(width), confidence)


def _within(one: Interval, least: float, most: float) -> Interval:
    if least <= one.low and one.high <= most:
        return one
    value = min(max(one.value, least), most)
    return Range(
        value, min(max(one.low, least), value), max(min(one.high, most), value), one.confidence
    )
