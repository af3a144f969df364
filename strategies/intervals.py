"""Arithmetic on predictions that carry an interval.

Ends are combined by interval arithmetic (Moore 1966): if every input lies within its interval,
the result lies within its own. Errors on one device are strongly correlated (the same learner,
the same hardware), so nothing is subtracted for errors that might cancel: the result is as wide
as if all of them pointed the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from schemas.replies import Estimate

Z_90 = 1.6448536269514722
"""Half-width of a nominal 90 % interval, in standard deviations of a normal distribution."""

_LOG_UP = math.log(1.2)
_LOG_DOWN = -math.log(0.8)


def estimate(value: float, low: float, high: float, unit: str | None = None) -> Estimate:
    """Return an estimate whose confidence follows from its interval.

    The ends are widened to hold the value, should rounding or an anomaly of scheduling have put
    it outside.
    """
    low, high = min(low, value), max(high, value)
    return Estimate.model_construct(
        value=value,
        low=low,
        high=high,
        confidence=confidence(value, low, high),
        unit=unit,
        basis=None,
    )


def confidence(value: float, low: float, high: float) -> float:
    """Return the chance of a measurement within ±20 % of `value`.

    Predictions err by a factor, so each half of the interval is read as half of a lognormal
    distribution whose 5 % and 95 % points are the ends.
    """
    if value <= 0 or low <= 0:
        return 1.0 if low == value == high else 0.0
    return 0.5 * (
        _within(_LOG_DOWN, math.log(value / low)) + _within(_LOG_UP, math.log(high / value))
    )


def _within(reach: float, half_width: float) -> float:
    """Return the chance that one half of a normal distribution stays within `reach`."""
    if half_width <= 0:
        return 1.0
    return math.erf(reach * Z_90 / half_width / math.sqrt(2))


def total(parts: Sequence[Estimate]) -> Estimate:
    """Return the sum of `parts` (at least one). A single part is returned as it is."""
    if len(parts) == 1:
        return parts[0]
    # fsum is exact: the order of the parts cannot change the last digit.
    return estimate(
        math.fsum(part.value for part in parts),
        math.fsum(part.low for part in parts),
        math.fsum(part.high for part in parts),
        parts[0].unit if len({part.unit for part in parts}) == 1 else None,
    )


def largest(parts: Sequence[Estimate]) -> Estimate:
    """Return the maximum of `parts` (at least one), end by end."""
    if len(parts) == 1:
        return parts[0]
    return estimate(
        max(part.value for part in parts),
        max(part.low for part in parts),
        max(part.high for part in parts),
        parts[0].unit,
    )


def slowed(part: Estimate, value: float, low: float, high: float) -> Estimate:
    """Return a duration under a normalised speed of `value` within `low` to `high`."""
    if value == low == high == 1.0:
        return part
    return estimate(part.value / value, part.low / high, part.high / low, part.unit)


def sped(part: Estimate, value: float, low: float, high: float) -> Estimate:
    """Return a rate under a normalised speed of `value` within `low` to `high`."""
    if value == low == high == 1.0:
        return part
    return estimate(part.value * value, part.low * low, part.high * high, part.unit)


def apart(one: Estimate, other: Estimate) -> bool:
    """Return whether the two intervals have no point in common."""
    return one.low > other.high or other.low > one.high
