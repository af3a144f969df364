from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from agent.importing.columns import (
    FIELDS,
    OUR_NAMES,
    benchmark_data,
    checked,
    outcome_of,
    resolve,
    time_of,
)
from schemas.errors import BadInput
from schemas.measurement import Benchmark

_TEXTS = {"name", "family", "architecture", "shares", "kv_precision", "class", "task", "precision"}
MINIMUM = ("model_name", "hardware")


def test_every_column_is_a_field_of_the_contract() -> None:
    made: dict[str, dict[str, Any]] = {}
    for part, field in FIELDS.values():
        number = field not in _TEXTS
        text = field.startswith(("runtime", "parallelism")) or field.endswith(("unit", "kind"))
        made.setdefault(part, {})[field] = 4 if number and not text else "x"
    assert Benchmark.model_validate(made).model_dump(exclude_unset=True, by_alias=True) == made


def test_every_field_of_the_contract_has_a_column() -> None:
    """A field added to the contract must be importable, or this test told why it is not."""
    fields = {
        f"{part}.{info.alias or name}"
        for part in ("model", "hardware", "setup", "metrics")
        for name, info in _parts()[part].model_fields.items()
    }
    assert fields <= OUR_NAMES.keys()


def _parts() -> dict[str, Any]:
    row = Benchmark.model_validate({"model": "m", "hardware": "h", "outcome": "ok"})
    return {name: type(getattr(row, name)) for name in ("model", "hardware", "setup", "metrics")}


def test_what_is_not_measured_is_left_out() -> None:
    row = {
        "model_name": "m",
        "hardware": "h",
        "latency_ms": math.nan,
        "power_w": None,
        "precision": "  ",
        "memory_mb": " NaN ",
        "throughput_items_per_s": "12.5",
        "task": "None",
    }
    assert benchmark_data(row) == {
        "model": {"name": "m"},
        "hardware": {"name": "h"},
        "setup": {"task": "None"},  # a text is taken at its word
        "metrics": {"throughput_per_s": 12.5},
    }


def test_a_unit_without_its_metric_measures_nothing() -> None:
    row = {"latency_kind": "p50", "latency_ms": "n/a", "throughput_unit": "images/s"}
    assert benchmark_data(row)["metrics"] == {}


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (4, 4),
        (4.0, 4),
        ("4", 4),
        (" 4.0 ", 4),
        (Decimal(4), 4),
        (637.71484375, 638),  # a mean over requests
        (7.985, 8),
        (2.5, 2.5),  # no count, and no mean that is near to one
        (-3.0, -3),
        ("1_000", "1_000"),
        ("many", "many"),
        (True, True),
        (math.inf, math.inf),
        ("1e999", math.inf),
    ],
)
def test_how_counts_are_read(value: object, read: object) -> None:
    assert benchmark_data({"batch_size": value})["setup"]["batch_size"] == read


@pytest.mark.parametrize(
    ("notes", "outcome"),
    [
        ("status=ok", "ok"),
        ("status=CUDA out of memory", "out_of_memory"),
        ("try=1; status = OOM killed ; x=2", "out_of_memory"),
        ("status=OutOfMemoryError", "out_of_memory"),
        ("status=killed-noInfo", "failed"),
        ("status=CUDA error", "failed"),
        ("status=", None),
        ("laststatus=failed", None),
        ("submitter=Krai; valid=True", None),
        (None, None),
        (math.nan, None),
    ],
)
def test_the_outcome_is_read_out_of_the_notes(notes: object, outcome: str | None) -> None:
    assert outcome_of({"notes": notes}) == outcome


def test_a_column_of_outcomes_wins_over_the_notes() -> None:
    assert outcome_of({"notes": "status=ok", "outcome": "failed"}) == "failed"
    assert outcome_of({"notes": "status=ok", "outcome": ""}) == "ok"


def test_zeros_of_a_failed_run_are_placeholders() -> None:
    row = {"outcome": "out_of_memory", "latency_ms": 0.0, "power_w": -1, "memory_mb": 81_000.0}
    assert benchmark_data(row)["metrics"] == {"memory_mb": 81_000.0}


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (None, None),
        ("", None),
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01 12:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        (
            datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 2, 28, 23, tzinfo=UTC),
        ),
    ],
)
def test_times(value: object, moment: datetime | None) -> None:
    assert time_of({"time": value}) == moment


@pytest.mark.parametrize("value", ["yesterday", 1_700_000_000, "1970-01-01T00:00:00Z", True])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match=r"^time: got"):
        time_of({"time": value})


def test_mapping_takes_columns_and_the_contracts_fields() -> None:
    assert checked({"gpu": "hardware", "ips": "metrics.throughput_per_s"}) == {
        "gpu": "hardware",
        "ips": "throughput_items_per_s",
    }


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"gpu": "hardwear"}, "'hardwear' is none of ours"),
        ({"a": "hardware", "b": "hardware.name"}, "two columns for hardware"),
    ],
)
def test_a_mapping_that_is_wrong(mapping: dict[str, str], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        checked(mapping)


def test_resolving_says_what_is_ignored() -> None:
    columns = resolve([*MINIMUM, "hardware_raw", "latency_ms", "trial"], {})
    assert columns.ours == {name: name for name in (*MINIMUM, "latency_ms")}
    assert columns.ignored == ["hardware_raw", "trial"]


def test_a_mapped_column_wins_over_one_that_has_our_name() -> None:
    columns = resolve([*MINIMUM, "gpu"], {"gpu": "hardware"})
    assert columns.ours == {"model_name": "model_name", "gpu": "hardware"}
    assert columns.ignored == ["hardware"]


@pytest.mark.parametrize("missing", MINIMUM)
def test_a_table_without_model_or_hardware(missing: str) -> None:
    names = [name for name in MINIMUM if name != missing]
    with pytest.raises(BadInput, match=f"{missing}: no such column among") as caught:
        resolve(names, {})
    assert f"--map THEIR_COLUMN={missing}" in caught.value.details[0].expected


def test_a_mapping_of_a_column_that_is_not_there() -> None:
    with pytest.raises(BadInput, match="no column 'gpu'"):
        resolve(MINIMUM, {"gpu": "hardware"})


def test_how_long_a_run_lasted_is_read() -> None:
    row = {"model_name": "m", "hardware": "h", "latency_ms": 1.0, "duration_s": "600"}
    assert Benchmark.model_validate(benchmark_data(row)).duration_s == 600.0
