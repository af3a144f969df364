"""Which column says what, and how its cells are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from schemas.errors import BadInput, shown
from schemas.events import EARLIEST

FIELDS: dict[str, tuple[str, str]] = {
    "model_name": ("model", "name"),
    "model_family": ("model", "family"),
    "model_arch_group": ("model", "architecture"),
    "shares": ("model", "shares"),
    "param_count_m": ("model", "parameters_m"),
    "kv_values_per_token": ("model", "kv_values_per_token"),
    "gmacs": ("model", "gmacs"),
    "mactivations_m": ("model", "activations_m"),
    "hardware": ("hardware", "name"),
    "hardware_class": ("hardware", "class"),
    "num_devices": ("hardware", "count"),
    "task": ("setup", "task"),
    "batch_size": ("setup", "batch_size"),
    "precision": ("setup", "precision"),
    "kv_precision": ("setup", "kv_precision"),
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

SOURCE, ROW_ID, TIME, NOTES, OUTCOME = "source", "row_id", "time", "notes", "outcome"
DURATION = "duration_s"
ABOUT_THE_ROW = (SOURCE, ROW_ID, TIME, NOTES, OUTCOME, DURATION)
NEEDED = ("model_name", "hardware")
OUR_NAMES: dict[str, str] = {
    **{f"{part}.{field}": column for column, (part, field) in FIELDS.items()},
    **{column: column for column in (*FIELDS, *ABOUT_THE_ROW)},
}
"""What `--map` may name on its right: our columns, or the contract's own fields."""

_TEXTS = frozenset(
    {
        *("model_name", "model_family", "model_arch_group", "shares"),
        *("hardware", "hardware_class"),
        *("task", "precision", "kv_precision", "framework", "runtime_config", "parallelism"),
        *("throughput_unit", "latency_kind"),
    }
)
_COUNTS = frozenset({"num_devices", "batch_size", "seq_len_in", "seq_len_out", "concurrency"})
_NO_NUMBER = frozenset({"", "nan", "null", "none", "na", "n/a"})
"""How tables write "not measured" where a number would stand."""

_UNIT_OF = {"throughput_unit": "throughput_items_per_s", "latency_kind": "latency_ms"}
_WENT_WELL = frozenset({"ok", "success", "succeeded", "completed", "done", "passed"})
_OUT_OF_MEMORY = ("oom", "out of memory", "out-of-memory", "out_of_memory", "outofmemory")
_MEAN_OF_COUNTS = 0.1
"""A count may be a mean over requests (637.7 tokens, a batch of 7.66): rounded where that moves it
by so little."""

_SHOWN_NAMES = 40


@dataclass(frozen=True, slots=True)
class Columns:
    """How a table's columns are to be read.

    Attributes:
        ours: their column to ours.
        ignored: columns that say nothing to us, in the table's order.
    """

    ours: Mapping[str, str]
    ignored: Sequence[str]


def checked(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return their column to ours, as `--map` says.

    Raises:
        BadInput: a name on the right is none of ours, or stands there twice.
    """
    found: dict[str, str] = {}
    for theirs, name in mapping.items():
        our = OUR_NAMES.get(name)
        if our is None:
            raise BadInput.of_field(
                "--map", f"{shown(name)!r} is none of ours", f"one of {_some(OUR_NAMES)}"
            )
        if our in found.values():
            raise BadInput.of_field("--map", f"two columns for {our}", "one")
        found[theirs] = our
    return found


def resolve(names: Sequence[str], mapping: Mapping[str, str]) -> Columns:
    """Return how a table with these column names is to be read.

    Args:
        names: of the table's columns.
        mapping: as `checked` returns it; it wins over a column that has our name already.

    Raises:
        BadInput: the mapping names a column that is not there, or the column of the model or of
            the hardware is missing.
    """
    for theirs in mapping:
        if theirs not in names:
            raise BadInput.of_field(
                "--map", f"no column {shown(theirs)!r}", f"one of {_some(names)}"
            )
    columns = among(names, mapping)
    for needed in NEEDED:
        if needed not in columns.ours.values():
            raise BadInput.of_field(
                needed,
                f"no such column among {_some(names)}",
                f"a column {needed}, or --map THEIR_COLUMN={needed}",
            )
    return columns


def among(names: Iterable[str], mapping: Mapping[str, str]) -> Columns:
    """Return how columns of these names are to be read, whichever are there."""
    names = list(names)
    ours = {name: mapping[name] for name in names if name in mapping}
    taken = set(ours.values())
    for name in names:
        if name not in mapping and name in OUR_NAMES and OUR_NAMES[name] not in taken:
            ours[name] = OUR_NAMES[name]
            taken.add(ours[name])
    return Columns(ours, [name for name in names if name not in ours])


def benchmark_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a benchmark event from a row in our column names.

    What is null, NaN or empty was not measured, and is left out.
    """
    data: dict[str, Any] = {"model": {}, "hardware": {}, "setup": {}, "metrics": {}}
    cells = {column: _cell(column, row[column]) for column in row if column in FIELDS}
    for column, value in cells.items():
        if value is None or (column in _UNIT_OF and cells.get(_UNIT_OF[column]) is None):
            continue
        part, field = FIELDS[column]
        data[part][field] = value
    duration = _cell(DURATION, row.get(DURATION))
    if duration is not None:
        data[DURATION] = duration
    outcome = outcome_of(row)
    if outcome is not None:
        data["outcome"] = outcome
        if outcome != "ok":
            # Tables put 0 or -1 where a run that failed has nothing to show.
            data["metrics"] = {
                field: value
                for field, value in data["metrics"].items()
                if not isinstance(value, (int, float)) or value > 0
            }
    return data


def outcome_of(row: Mapping[str, Any]) -> Any:
    """Return the outcome: of its own column, else out of `status=…` in the notes, else None."""
    outcome = row.get(OUTCOME)
    if not _empty(outcome):
        return outcome
    notes = row.get(NOTES)
    if not isinstance(notes, str):
        return None
    for part in notes.split(";"):
        name, _, value = part.strip().partition("=")
        status = value.strip().casefold()
        if name.strip() == "status" and status:
            if status in _WENT_WELL:
                return "ok"
            lacked_memory = any(word in status for word in _OUT_OF_MEMORY)
            return "out_of_memory" if lacked_memory else "failed"
    return None


def time_of(row: Mapping[str, Any]) -> datetime | None:
    """Return when the row was measured, if it says so; a time without a zone is in UTC.

    Raises:
        BadInput: it is no time, or one before the year 2000.
    """
    value = row.get(TIME)
    if _empty(value):
        return None
    try:
        moment = value if isinstance(value, datetime) else _parsed(value)
    except (ValueError, TypeError):
        raise BadInput.of_field(TIME, f"got {shown(value)}", "an ISO 8601 time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment < EARLIEST:
        raise BadInput.of_field(TIME, f"got {shown(value)}", "a time after the year 2000")
    return moment


def text_of(row: Mapping[str, Any], column: str) -> str | None:
    """Return a cell about the row as text, None if it is empty."""
    value = row.get(column)
    return None if _empty(value) else str(value).strip()


def _parsed(value: object) -> datetime:
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, str):
        raise TypeError
    return datetime.fromisoformat(value.strip())


def _cell(column: str, value: Any) -> Any:
    """Return what a cell says, None for what was not measured."""
    if _empty(value):
        return None
    if column in _TEXTS:
        return value
    number = _number(value)
    if column in _COUNTS and isinstance(number, float) and math.isfinite(number):
        whole = round(number)
        return whole if abs(whole - number) <= _MEAN_OF_COUNTS * number else number
    return number


def _number(value: Any) -> Any:
    """Return the number that a cell holds; what holds none is left for the contract to refuse."""
    if isinstance(value, Decimal):
        return float(value)
    # Python alone reads 1_000 as a number.
    if not isinstance(value, str) or "_" in value:
        return value
    text = value.strip()
    if text.casefold() in _NO_NUMBER:
        return None
    try:
        return float(text)
    except ValueError:
        return value


def _empty(value: object) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def _some(names: Iterable[str]) -> str:
    listed = [shown(name) for name in names]
    more = ", …" if len(listed) > _SHOWN_NAMES else ""
    return ", ".join(listed[:_SHOWN_NAMES]) + more
