"""Importing tiny files of each form: what is kept, what is refused, and what is said of it."""

from __future__ import annotations

import asyncio
import csv
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.importing import ImportedRow, ImportSummary, RefusedRow, import_file, read_rows
from agent.importing.columns import FIELDS
from agent.store.memory import MemoryStore
from agent.store.port import LogRecord
from schemas.errors import BadInput

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SUFFIXES = (".parquet", ".csv", ".jsonl")
ROW: dict[str, Any] = {"model_name": "resnet50", "hardware": "gpu-a", "latency_ms": 4.5}
FULL: dict[str, Any] = {
    "model_name": "resnet50",
    "model_family": "vision",
    "model_arch_group": "resnet",
    "shares": "clip-vit-b32",
    "param_count_m": 25.6,
    "kv_values_per_token": 8192.0,
    "gmacs": 4.1,
    "mactivations_m": 11.1,
    "hardware": "gpu-a",
    "hardware_class": "gpu",
    "num_devices": 2.0,
    "task": "inference",
    "batch_size": 32.0,
    "precision": "fp16",
    "kv_precision": "int8",
    "framework": "engine-1.2",
    "runtime_config": "layout=nhwc",
    "input_size": 224.0,
    "seq_len_in": 128.0,
    "seq_len_out": 64.0,
    "parallelism": "tp=2",
    "concurrency": 4.0,
    "throughput_items_per_s": 1000.5,
    "throughput_unit": "images/s",
    "latency_ms": 32.25,
    "latency_kind": "batch_step",
    "p95_latency_ms": 40.0,
    "ttft_ms": 12.5,
    "itl_ms": 3.5,
    "memory_mb": 2048.0,
    "power_w": 250.0,
    "energy_j_per_item": 0.25,
}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows in the form that the name asks for."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, **mapping: str) -> list[ImportedRow | RefusedRow]:
    return list(read_rows(path, mapping))


def one(path: Path, **mapping: str) -> ImportedRow:
    (row,) = read(path, **mapping)
    assert isinstance(row, ImportedRow), row
    return row


def refused(path: Path) -> list[tuple[int, str, str, str]]:
    """Return number, field, problem and expectation of every refused row."""
    return [
        (row.number, detail.field, detail.problem, detail.expected)
        for row in read(path)
        if isinstance(row, RefusedRow)
        for detail in row.details
    ]


def imported(
    path: Path, store: MemoryStore | None = None, batch: int = 1_000, **mapping: str
) -> ImportSummary:
    return asyncio.run(
        import_file(path, store or MemoryStore(), mapping=mapping, received_at=NOW, batch=batch)
    )


def log_of(store: MemoryStore) -> list[LogRecord]:
    async def main() -> list[LogRecord]:
        return [record async for some in store.replay() for record in some]

    return asyncio.run(main())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_column_arrives_at_its_field(tmp_path: Path, suffix: str) -> None:
    assert set(FULL) == set(FIELDS)
    about = {"source": "lab", "row_id": "r-1", "time": "2026-02-03T04:05:06Z", "notes": "fan on"}
    row = one(write(tmp_path / f"t{suffix}", [{**FULL, **about}]))
    said = row.benchmark.model_dump(exclude_none=True)
    for column, (part, field) in FIELDS.items():
        field = {"class": "hardware_class"}.get(field, field)
        assert said[part].get(field, said[part].get("class")) == FULL[column], column
    assert isinstance(row.benchmark.setup.batch_size, int)
    assert (row.number, row.source, row.id) == (1, "lab", "r-1")
    assert row.event_time == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_names_through_a_mapping(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", [{"net": "vgg", "dev": "cpu-b", "ms": 9.5}])
    row = one(path, net="model_name", dev="hardware", ms="metrics.latency_ms")
    assert row.benchmark.model.name == "vgg"
    assert row.benchmark.hardware.name == "cpu-b"
    assert row.benchmark.metrics.latency_ms == 9.5


def test_the_mapping_wins_over_a_column_of_our_name(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{**ROW, "better_ms": 7.5}])
    assert one(path, better_ms="latency_ms").benchmark.metrics.latency_ms == 7.5
    assert imported(path, better_ms="latency_ms").ignored == ["latency_ms"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"nowhere": "latency_ms"}, "nowhere"),
        ({"latency_ms": "lateness"}, "lateness"),
        ({"latency_ms": "power_w", "hardware": "power_w"}, "two columns for power_w"),
    ],
)
def test_a_mapping_that_can_not_be_meant(
    tmp_path: Path, suffix: str, mapping: dict[str, str], words: str
) -> None:
    path = write(tmp_path / f"t{suffix}", [ROW])
    with pytest.raises(BadInput, match=words) as caught:
        imported(path, **mapping)
    assert caught.value.details[0].field == "--map"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_that_say_nothing_to_us_are_listed_once(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", [{**ROW, "colour": f"c{n}", "weight": n} for n in (1, 2)])
    summary = imported(path)
    assert summary.ignored == ["colour", "weight"]
    assert summary.stored == 2


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("needed", ["model_name", "hardware"])
def test_a_table_without_model_or_hardware(tmp_path: Path, suffix: str, needed: str) -> None:
    path = write(tmp_path / f"t{suffix}", [{k: v for k, v in ROW.items() if k != needed}])
    with pytest.raises(BadInput, match=needed) as caught:
        imported(path)
    assert "--map" in caught.value.details[0].expected


def test_null_nan_and_blank_were_not_measured(tmp_path: Path) -> None:
    """And a unit without its metric says nothing either."""
    empty = {"batch_size": None, "throughput_unit": "images/s", "precision": " ", "notes": None}
    for cell, suffix in (
        (math.nan, ".parquet"), (None, ".parquet"), ("", ".csv"), ("nan", ".csv"),
        ("NULL", ".csv"), ("N/A", ".csv"), (None, ".jsonl"), (math.nan, ".jsonl"),
    ):  # fmt: skip
        row = {**ROW, **empty, "throughput_items_per_s": cell, "power_w": cell}
        metrics = one(write(tmp_path / f"t{suffix}", [row])).benchmark.metrics
        assert metrics.model_dump(exclude_none=True) == {"latency_ms": 4.5}, (cell, suffix)


def test_numbers_of_parquet_that_are_not_floats(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [{**ROW, "latency_ms": Decimal("4.25"), "batch_size": 8}])
    benchmark = one(path).benchmark
    assert (benchmark.metrics.latency_ms, benchmark.setup.batch_size) == (4.25, 8)


def test_times_of_parquet_even_in_nanoseconds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "model_name": ["a"], "hardware": ["b"], "latency_ms": [1.5],
            "time": pa.array([1_780_000_000_123_456_789], pa.timestamp("ns", "UTC")),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    at = one(tmp_path / "t.parquet").event_time
    assert at is not None
    assert at.microsecond == 123_456


@pytest.mark.parametrize(
    ("notes", "outcome"),
    [
        ("status=ok", "ok"),
        ("status=CUDA out of memory", "out_of_memory"),
        ("rerun=2; status=OOM", "out_of_memory"),
        ("status=CUDA error", "failed"),
        ("status=killed-noInfo; arch=MoE", "failed"),
        ("limited by MPS; whole batch", None),
        ("arch=None", None),
        ("status=", None),
        ("exit_status=1", None),
    ],
)
def test_status_in_the_notes_is_the_outcome(
    tmp_path: Path, notes: str, outcome: str | None
) -> None:
    assert one(write(tmp_path / "t.csv", [{**ROW, "notes": notes}])).benchmark.outcome == outcome


def test_a_run_that_failed_needs_no_metric_and_its_zeros_are_none(tmp_path: Path) -> None:
    row = {**ROW, "latency_ms": 0.0, "power_w": -1.0, "notes": "status=CUDA out of memory"}
    benchmark = one(write(tmp_path / "t.parquet", [row])).benchmark
    assert benchmark.outcome == "out_of_memory"
    assert not benchmark.metrics.any_measured()


def test_the_outcomes_own_column_wins_over_the_notes(tmp_path: Path) -> None:
    row = {**ROW, "outcome": "failed", "notes": "status=ok"}
    assert one(write(tmp_path / "t.csv", [row])).benchmark.outcome == "failed"


PLANTED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model_name": ""}, "model.name", "missing", "a value"),
    ({"hardware": ""}, "hardware.name", "missing", "a value"),
    ({"latency_ms": ""}, "(whole)", "", "an outcome or at least one metric"),
    ({"latency_ms": "fast"}, "metrics.latency_ms", "'fast'", "number"),
    ({"latency_ms": "-3"}, "metrics.latency_ms", "-3", "greater than"),
    ({"latency_ms": "inf"}, "metrics.latency_ms", "inf", ""),
    ({"latency_ms": "1e999"}, "metrics.latency_ms", "inf", ""),
    ({"batch_size": "2.5"}, "setup.batch_size", "2.5", "whole number"),
    ({"batch_size": "0"}, "setup.batch_size", "0", "greater than"),
    ({"outcome": "exploded"}, "outcome", "exploded", "out_of_memory"),
    ({"time": "yesterday"}, "time", "yesterday", "ISO 8601"),
    ({"time": "1970-01-01"}, "time", "1970", "after the year 2000"),
    ({"model_name": "x" * 300}, "model.name", "xxx", "256"),
    ({"source": "a\x01b"}, "source", "got", "printable"),
]


def test_each_bad_row_is_named_with_field_problem_and_expectation(tmp_path: Path) -> None:
    """The good rows between them are taken."""
    blank = {"batch_size": "", "outcome": "", "time": "", "source": ""}
    rows: list[dict[str, Any]] = []
    for bad, *_ in PLANTED:
        rows += [{**ROW, **blank, "row_id": f"good-{len(rows)}"}, {**ROW, **blank, **bad}]
    path = write(tmp_path / "t.csv", rows)
    found = refused(path)
    assert [number for number, *_ in found] == list(range(2, 2 * len(PLANTED) + 1, 2))
    for (_, field, problem, expected), (_, at, got, should) in zip(found, PLANTED, strict=True):
        assert field == at
        assert got in problem
        assert should in expected, expected
    summary = imported(path)
    assert (summary.read, summary.stored) == (len(rows), len(PLANTED))
    assert summary.refused_count == len(summary.refused) == len(PLANTED)


def test_rows_with_too_few_or_too_many_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("model_name,hardware,latency_ms\na,b,1\na,b\n\na,b,1,2\nc,d,2\n")
    assert [(number, problem) for number, _, problem, _ in refused(path)] == [
        (2, "2 cells"), (3, "4 cells"),
    ]  # fmt: skip


def test_what_the_bus_would_refuse_for_its_time_is_refused_here_too(tmp_path: Path) -> None:
    (row,) = imported(write(tmp_path / "t.csv", [{**ROW, "time": "3000-01-01"}])).refused
    assert row.details[0].field == "time"
    assert "future" in row.details[0].problem


def test_lines_of_every_kind_in_one_file(tmp_path: Path) -> None:
    data = {"model": {"name": "vgg"}, "hardware": "cpu-b", "metrics": {"power_w": 12.5}}
    event = {
        "specversion": "1.0", "type": "placewise.benchmark.v1", "source": "probe", "id": "7",
        "time": "2026-02-03T04:05:06Z", "data": data,
    }  # fmt: skip
    run = {"runs": [data], "strategy": "sequential"}
    lines = [
        json.dumps(ROW), json.dumps(data), json.dumps(event), "", "{broken", "[1, 2]", "[" * 50_000,
        json.dumps({**event, "type": "placewise.execution.v1", "data": run}),
        json.dumps({**event, "specversion": "9"}), json.dumps({**event, "type": "other"}),
        json.dumps({"latency_ms": 3}), json.dumps({**data, "extra": 1}), "null",
    ]  # fmt: skip
    path = tmp_path / "t.jsonl"
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    rows = read(path)
    good = [row for row in rows if isinstance(row, ImportedRow)]
    assert [row.number for row in good] == [1, 2, 3]
    assert (good[2].source, good[2].id) == ("probe", "7")
    assert good[2].event_time is not None
    assert good[1].benchmark == good[2].benchmark
    named = {number: (field, problem) for number, field, problem, _ in refused(path)}
    assert sorted(named) == [5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert "not JSON" in named[5][1]
    assert named[8][0] == "type"
    assert named[9][0] == "specversion"
    assert named[10][0] == "type"
    assert named[12] == ("extra", "unknown field")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_imported_again_changes_nothing(tmp_path: Path, suffix: str) -> None:
    rows = [{**ROW, "latency_ms": float(n)} for n in (1, 2, 2, 3)]
    path = write(tmp_path / f"t{suffix}", rows)
    store = MemoryStore()
    first, second = imported(path, store), imported(path, store)
    assert (first.read, first.stored, first.duplicates) == (4, 3, 1)
    assert (second.read, second.stored, second.duplicates) == (4, 0, 4)


def test_the_id_is_of_what_a_row_says_not_of_where_it_stands(tmp_path: Path) -> None:
    other = {**ROW, "latency_ms": 9.5}
    turned = dict(reversed(list(ROW.items())))
    before = read(write(tmp_path / "t.csv", [ROW, other]))
    after = read(write(tmp_path / "t.csv", [other, turned]))
    assert [row.id for row in before if isinstance(row, ImportedRow)] == [
        row.id for row in reversed(after) if isinstance(row, ImportedRow)
    ]


def test_a_row_without_source_or_time_gets_the_files_name_and_the_imports_time(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    imported(write(tmp_path / "mine.csv", [ROW]), store)
    (record,) = log_of(store)
    assert record.source == "file:mine.csv"
    assert record.event_time == record.received_at == NOW
    assert json.loads(record.body) == {
        "model": {"name": "resnet50"},
        "hardware": {"name": "gpu-a"},
        "metrics": {"latency_ms": 4.5},
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"PAR1 but not really PAR1"),
        ("t.parquet", b""),
        ("t.csv", b"model_name,hardware\n\xff\xfe\n"),
        ("t.csv", b'model_name,hardware,latency_ms\na,b,"1\n'),
        ("t.csv", b""),
        ("t.jsonl", b"\xff\xfe{}"),
        ("t.xlsx", b"PK"),
        ("noending", b""),
    ],
)
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput):
        imported(path)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(BadInput, match="gone"):
            imported(tmp_path / f"gone{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(BadInput, match="folder"):
            imported(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("batch", [2, 1_000])
def test_what_came_before_a_break_in_the_file_stays_and_the_place_is_named(
    tmp_path: Path, batch: int
) -> None:
    """Five rows, then one whose quotes never end; and none of the five is lost to its batch."""
    good = "".join(f"a,b,{n}\n" for n in range(1, 6))
    path = tmp_path / "t.csv"
    path.write_text(f'model_name,hardware,latency_ms\n{good}a,b,"9\n')
    store = MemoryStore()
    with pytest.raises(BadInput, match="after row 5"):
        imported(path, store, batch)
    assert len(log_of(store)) == 5
    path.write_text(f"model_name,hardware,latency_ms\n{good}a,b,9\n")
    summary = imported(path, store, batch)
    assert (summary.stored, summary.duplicates) == (1, 5)


def test_progress_is_told_with_the_total_where_it_is_known(tmp_path: Path) -> None:
    rows = [{**ROW, "latency_ms": float(n)} for n in range(1, 6)]
    for suffix, total in ((".parquet", 5), (".csv", None)):
        told: list[tuple[int, int | None]] = []
        asyncio.run(
            import_file(
                write(tmp_path / f"t{suffix}", rows), MemoryStore(), mapping={}, received_at=NOW,
                on_progress=lambda done, of, told=told: told.append((done, of)), batch=2,
            )
        )  # fmt: skip
        assert told == [(2, total), (4, total), (5, total)]


def test_only_the_first_thousand_refused_rows_are_named(tmp_path: Path) -> None:
    summary = imported(write(tmp_path / "t.csv", [{**ROW, "latency_ms": "no"}] * 1_200))
    assert (summary.refused_count, len(summary.refused)) == (1_200, 1_000)
