"""What goes with the metrics of a prediction: energy, whether it fits, how long it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from agent.heart.predictor import Predictor
from agent.learning.bounds import chance_within_20_percent, energy
from agent.learning.capacity import Fitting
from agent.learning.cell import Cell
from agent.learning.sustained import Lasting
from schemas.measurement import MetricName, energy_unit
from schemas.replies import Estimate, Estimates

_SPEEDS: dict[MetricName, float] = {"throughput_per_s": 1.0, "latency_ms": -1.0}


def outlook(
    predictor: Predictor,
    prediction_id: str,
    cell: Cell,
    metrics: Estimates,
    fitting: Fitting | None,
    duration_s: float | None,
) -> dict[str, Any]:
    """Return the fields of a `Prediction`: its metrics, and all that follows from them.

    Args:
        predictor: asked what the duration does.
        prediction_id: of the prediction.
        cell: what is predicted.
        metrics: of the first minute.
        fitting: whether it fits, if that is known.
        duration_s: how long it is to run; the first minute if None.
    """
    lasting = predictor.lasting(cell, duration_s)
    held = metrics if lasting is None else _after(metrics, lasting)
    return {
        "prediction_id": prediction_id,
        "model": cell.model,
        "hardware": cell.hardware,
        "metrics": held,
        "energy_j": energy_per_item(held),
        "fits": None if fitting is None else fitting.chance,
        "holds_for_s": None if lasting is None else lasting.holds_for_s,
        "notes": [
            *_fit_notes(fitting),
            *_duration_notes(lasting, duration_s),
            *_consistency_notes(cell, held),
        ],
    }


def energy_per_item(metrics: Estimates) -> dict[str, Any] | None:
    """Return the fields of the `Estimate` of the energy of one item.

    None where power or throughput is unknown.

    Both are of all devices of a run together, so they belong together.
    """
    power, rate = metrics.get("power_w"), metrics.get("throughput_per_s")
    if power is None or rate is None:
        return None
    return energy(power, rate)._asdict() | {"unit": energy_unit(rate.unit)}


def _after(metrics: Estimates, lasting: Lasting) -> Estimates:
    """Return the metrics of a run that lasts, from those of its first minute."""
    if lasting.log_speed == 0.0 and lasting.half_width == 0.0:
        return metrics
    return {
        metric: _slowed(one, lasting.log_speed * _SPEEDS[metric], lasting.half_width)
        if metric in _SPEEDS
        else one
        for metric, one in metrics.items()
    }


def _slowed(one: Estimate, change: float, half_width: float) -> Estimate:
    """Return an estimate changed by a log, whose own half-width adds to the interval's."""
    below = math.hypot(math.log(one.value / one.low), half_width)
    above = math.hypot(math.log(one.high / one.value), half_width)
    value = one.value * math.exp(change)
    return one.model_copy(
        update={
            "value": value,
            "low": value * math.exp(-below),
            "high": value * math.exp(above),
            "confidence": min(one.confidence, chance_within_20_percent((below + above) / 2.0)),
        }
    )


def _fit_notes(fitting: Fitting | None) -> Iterator[str]:
    if fitting is None:
        yield (
            "whether it fits is unknown: it takes the model's parameters_m, "
            "and hardware with a data sheet"
        )
    elif fitting.need.guessed_mb > 0.0:
        what = "activations_m" if fitting.need.unsaid_mb > 0.0 else "kv_values_per_token"
        yield f"whether it fits rests on a guess, and is less sure: declare the model's {what}"


def _consistency_notes(cell: Cell, metrics: Estimates) -> Iterator[str]:
    """Say where a rate and the time of a batch do not belong together: learnt apart, they may."""
    rate, latency = metrics.get("throughput_per_s"), metrics.get("latency_ms")
    if rate is None or latency is None or not cell.batch_size:
        return
    if latency.unit != "batch_step" or "token" in (rate.unit or ""):
        return  # only of such is known what is done within the time
    items = cell.batch_size * (cell.concurrency or 1.0)
    done = rate.value * latency.value / 1e3
    apart = abs(math.log(done / items))
    if apart > math.log(rate.high / rate.low) / 2.0 + math.log(latency.high / latency.low) / 2.0:
        yield (
            f"throughput x latency comes to {done:.3g} items, the batch is {items:g}: "
            "one of the two is further off than its interval says"
        )


def _duration_notes(lasting: Lasting | None, duration_s: float | None) -> Iterator[str]:
    if duration_s is None:
        return
    if lasting is None:
        yield "no run on this hardware told its duration: whether it slows down is unknown"
    elif lasting.holds_for_s < duration_s:
        yield (
            f"no run on this hardware was longer than {lasting.holds_for_s:g} s: "
            "beyond that it may slow down further"
        )
