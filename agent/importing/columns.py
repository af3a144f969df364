"""Which column says what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from schemas.errors import BadInput

FIELDS: dict[str, tuple[str, str]] = {
    "model_name": ("model", "name"),
    "model_family": ("model", "family"),
    "model_arch_group": ("model", "architecture"),
    "param_count_m": ("model", "parameters_m"),
    "gmacs": ("model", "gmacs"),
    "mactivations_m": ("model", "activations_m"),
    "hardware": ("hardware", "name"),
    "hardware_class": ("hardware", "class"),
    "num_devices": ("hardware", "count"),
    "task": ("setup", "task"),
    "batch_size": ("setup", "batch_size"),
    "precision": ("setup", "precision"),
    "framework": ("setup", "runtime"),
    "runtime_config": ("setup", "runtime_options"),
    "input_size": ("setup", "input_size"),
    "seq_len_in": ("setup", "sequence_in"),
    "seq_len_out": ("setup", "sequence_out"),
    "parallelism": ("setup", "parallelism"),
    "concurrency": ("setup", "concurrency"),
    "throughput_items_per_s": ("metrics", "throughput_per_s"),
    "throughput_unit": ("metrics", "throughput_unit"),
    "latency_ms": ("metrics", "latency_ms"),
    "latency_kind": ("metrics", "latency_kind"),
    "p95_latency_ms": ("metrics", "latency_p95_ms"),
    "ttft_ms": ("metrics", "time_to_first_token_ms"),
    "itl_ms": ("metrics", "inter_token_latency_ms"),
    "memory_mb": ("metrics", "memory_mb"),
    "power_w": ("metrics", "power_w"),
    "energy_j_per_item": ("metrics", "energy_j_per_item"),
}
"""Column to the part and field of a benchmark."""

NEEDED = ("model_name", "hardware")
SOURCE, ROW_ID, TIME, NOTES = "source", "row_id", "time", "notes"
KNOWN = frozenset({*FIELDS, SOURCE, ROW_ID, TIME, NOTES, "outcome"})

_NUMBERS = frozenset(
    column
    for column, (_, field) in FIELDS.items()
    if field.endswith(("_m", "_ms", "_s", "_mb", "_w", "_item", "_size"))
    or field in {"gmacs", "count", "concurrency", "sequence_in", "sequence_out"}
)
_UNITS = {"throughput_unit": "throughput_items_per_s", "latency_kind": "latency_ms"}
_OUT_OF_MEMORY = ("oom", "out of memory", "out_of_memory", "outofmemory")


def renamed(columns: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return their column to ours, for the columns that say something to us.

    Raises:
        BadInput: the mapping names a column that is not there or not ours, or the model's or
            the hardware's column is missing.
    """
    for theirs, our in mapping.items():
        if theirs not in columns:
            raise BadInput.of_field("--map", f"no column {theirs!r}", f"one of {_some(columns)}")
        if our not in KNOWN:
            raise BadInput.of_field(
                "--map", f"{our!r} is none of ours", f"one of {_some(sorted(KNOWN))}"
            )
    names = {column: mapping.get(column, column) for column in columns}
    found = {theirs: our for theirs, our in names.items() if our in KNOWN}
    for needed in NEEDED:
        if needed not in found.values():
            raise BadInput.of_field(
                needed, "no such column", f"a column {needed}, or --map THEIR_COLUMN={needed}"
            )
    return found


def benchmark_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a benchmark event from a row in our column names.

    What is null, NaN or empty was not measured, and is left out.
    """
    data: dict[str, Any] = {"model": {}, "hardware": {}, "setup": {}, "metrics": {}}
    for column, value in row.items():
        if column not in FIELDS or _empty(value):
            continue
        if column in _UNITS and _empty(row.get(_UNITS[column])):
            continue
        part, field = FIELDS[column]
        data[part][field] = _number(value) if column in _NUMBERS else value
    outcome = row.get("outcome")
    outcome = _outcome(row.get(NOTES)) if _empty(outcome) else outcome
    if outcome is not None:
        data["outcome"] = outcome
        if outcome != "ok":
            data["metrics"] = {}
    return data


def _outcome(notes: object) -> str | None:
    """Read `status=…` out of a row's notes, as the public tables have it."""
    if not isinstance(notes, str):
        return None
    for part in notes.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "status" and value.strip():
            status = value.strip().lower()
            if status in {"ok", "success", "completed"}:
                return "ok"
            failed = "failed"
            return "out_of_memory" if any(w in status for w in _OUT_OF_MEMORY) else failed
    return None


def _number(value: Any) -> Any:
    """Return a whole number where a column of floats holds one, and a number for CSV's text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _empty(value: object) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:40])
