"""Numbers in sentences: three significant figures, with their unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.measurement import MetricName
from schemas.replies import Estimate

NAMES: Final[dict[str, str]] = {
    "throughput_per_s": "throughput",
    "latency_ms": "latency",
    "memory_mb": "memory",
    "power_w": "power",
    "cost_per_hour": "cost",
    "energy_j": "energy",
}

_UNITS: Final[dict[str, str]] = {
    "throughput_per_s": "/s",
    "latency_ms": " ms",
    "memory_mb": " MB",
    "power_w": " W",
    "cost_per_hour": " per hour",
    "energy_j": " J",
}

HIGHER_IS_BETTER: Final[dict[MetricName, bool]] = {
    "throughput_per_s": True,
    "latency_ms": False,
    "memory_mb": False,
    "power_w": False,
}

_SHOWN = 6


def number(value: float) -> str:
    """Return `value` in three significant figures, without an exponent where it can be read."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e7 or size < 1e-3:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def quantity(metric: str, value: float, unit: str | None = None) -> str:
    """Return a value of a metric with its unit. `unit` names what a throughput counts."""
    if unit and metric == "throughput_per_s":
        return f"{number(value)} {unit}"
    return number(value) + _UNITS.get(metric, "")


def spread(metric: str, value: Estimate) -> str:
    """Return an estimate with its interval: `120 W (100 to 140)`."""
    return (
        f"{quantity(metric, value.value, value.unit)} ({number(value.low)} to {number(value.high)})"
    )


def percent(ratio: float) -> str:
    """Return a share or a change as a percentage."""
    return f"{number(100 * ratio)} %"


def listed(names: Iterable[str], word: str = "and") -> str:
    """Return names as a sentence lists them, and how many more there are beyond the first few."""
    names = list(names)
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} {word} {len(names) - _SHOWN} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"
