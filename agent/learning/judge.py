"""What no device can do: measurements that physics rules out, with the reason.

Only what was said about a cell counts here, never what was imputed: a guess must not rule out a
measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.learning.catalogue import Catalogue, Sheet
from agent.learning.cell import Cell
from agent.learning.roofline import (
    FEWEST_BYTES,
    TOLERANCE,
    bytes_per_weight,
    flops_per_item,
    most_tflops,
)

_POWER_TOLERANCE = 25.0
"""How far over the devices' own design power a whole system with them may lie."""

_WEIGHTS_TOLERANCE = 0.95

_SPARSE, _VERY_SPARSE = 1.0 / 8.0, 1.0 / 32.0
"""An assumption about mixtures of experts: a token reads at least this share of the weights.

Published ones of up to 20 billion parameters read an eleventh or more, larger ones a
thirty-second or more; measurement error (`TOLERANCE`) and idle bandwidth cover the rest.
"""

_SMALL_M = 20_000.0


def impossible(
    cell: Cell, metrics: Mapping[str, float], units: Mapping[str, str], catalogue: Catalogue
) -> str | None:
    """Return why a measurement is impossible, or None when nothing speaks against it."""
    for metric, value in metrics.items():
        if not 0.0 < value < float("inf"):
            return f"{metric} of {value} is not a positive number"
    sheet = catalogue.find(cell.hardware)
    return (
        _over_roofline(cell, metrics, units, sheet)
        or _over_bandwidth(cell, metrics, units, sheet)
        or _below_weights(cell, metrics)
        or _over_memory(cell, metrics, sheet)
        or _over_power(cell, metrics, sheet)
    )


def _over_roofline(
    cell: Cell, metrics: Mapping[str, float], units: Mapping[str, str], sheet: Sheet | None
) -> str | None:
    if cell.gmacs is None or sheet is None:
        return None
    tflops = most_tflops(sheet, cell.precision)
    if not tflops:
        return None
    work = flops_per_item(cell.gmacs, cell.task) / 1e12 / (cell.device_count or 1.0)
    rates = {}
    # Operations are known per item; how many of them a token takes is another question.
    if "throughput_per_s" in metrics and "token" not in units.get("throughput_per_s", ""):
        rates["throughput_per_s"] = metrics["throughput_per_s"]
    kind = units.get("latency_ms", "")
    if "latency_ms" in metrics and "token" not in kind:
        # Of a batch, all of its items are done within the time; otherwise one, at least.
        items = (cell.batch_size or 1.0) if "batch" in kind else 1.0
        rates["latency_ms"] = items / (metrics["latency_ms"] / 1e3)
    for metric, rate in rates.items():
        needed = rate * work
        if needed > TOLERANCE * tflops:
            return (
                f"{metric} of {metrics[metric]:g} needs {needed:.3g} TFLOP/s, "
                f"{sheet.name} has at most {tflops:.3g}"
            )
    return None


def _over_bandwidth(
    cell: Cell, metrics: Mapping[str, float], units: Mapping[str, str], sheet: Sheet | None
) -> str | None:
    """Each token that is written takes one reading of the weights that it passes through."""
    if sheet is None or sheet.bandwidth_gb_per_s is None or cell.task == "training":
        return None
    seconds = _seconds_of_a_batch(cell, metrics, units)
    if seconds is None or cell.parameters_m is None or cell.sequence_out is None:
        return None
    one = _SPARSE if cell.parameters_m <= _SMALL_M else _VERY_SPARSE
    # Tokens of one batch may pass through different experts.
    share = 1.0 - (1.0 - one) ** (cell.batch_size or 1.0)
    size = bytes_per_weight(cell.precision) or FEWEST_BYTES
    read_gb = cell.sequence_out * cell.parameters_m * size * share / 1e3
    needed = read_gb / seconds / (cell.device_count or 1.0)
    if needed > TOLERANCE * sheet.bandwidth_gb_per_s:
        return (
            f"{cell.sequence_out:g} tokens within {seconds:.3g} s need the weights read at "
            f"{needed:.0f} GB/s, {sheet.name} has at most {sheet.bandwidth_gb_per_s:.0f}"
        )
    return None


def _seconds_of_a_batch(
    cell: Cell, metrics: Mapping[str, float], units: Mapping[str, str]
) -> float | None:
    """Return how long one whole batch took, at most, from the first token to the last, if said."""
    latency_ms, kind = metrics.get("latency_ms"), units.get("latency_ms", "")
    if latency_ms is not None and "end_to_end" in kind.replace("-", "_").replace(" ", "_"):
        return latency_ms / 1e3
    rate = metrics.get("throughput_per_s")
    if rate is not None and cell.batch_size and "token" in units.get("throughput_per_s", ""):
        # Whether tokens that are read count, sources say rarely: then the batch took longer.
        tokens = (cell.sequence_in or 0.0) + (cell.sequence_out or 0.0)
        return cell.batch_size * (cell.concurrency or 1.0) * tokens / rate
    return None


def _below_weights(cell: Cell, metrics: Mapping[str, float]) -> str | None:
    memory_mb, size = metrics.get("memory_mb"), bytes_per_weight(cell.precision)
    if memory_mb is None or cell.parameters_m is None or size is None:
        return None
    weights_mb = cell.parameters_m * size / (cell.device_count or 1.0) * (1e6 / 2**20)
    if memory_mb < _WEIGHTS_TOLERANCE * weights_mb:
        return f"memory_mb of {memory_mb:g} is below the weights alone, {weights_mb:.0f}"
    return None


def _over_memory(cell: Cell, metrics: Mapping[str, float], sheet: Sheet | None) -> str | None:
    """What a run took of a device, that must have. A CPU's memory is no part of its sheet."""
    memory_mb = metrics.get("memory_mb")
    if memory_mb is None or sheet is None or sheet.memory_gb is None:
        return None
    # Some tell what all devices took.
    most_mb = TOLERANCE * sheet.memory_gb * 1e3 * (cell.device_count or 1.0)
    if memory_mb > most_mb:
        return f"memory_mb of {memory_mb:g} is more than {sheet.name} has, {most_mb:.0f}"
    return None


def _over_power(cell: Cell, metrics: Mapping[str, float], sheet: Sheet | None) -> str | None:
    power_w = metrics.get("power_w")
    if power_w is None or sheet is None or sheet.tdp_w is None:
        return None
    most = sheet.tdp_w * (cell.device_count or 1.0) * _POWER_TOLERANCE
    if power_w > most:
        return f"power_w of {power_w:g} is over {_POWER_TOLERANCE:g} times the design power"
    return None
