from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.importing import ImportedRow, RefusedRow, read_rows
from schemas.errors import BadInput
from schemas.events import BENCHMARK_TYPE, EXECUTION_TYPE, envelope
from tests.unit.agent.importing.files import (
    GOOD,
    Table,
    csv_file,
    imported,
    json_lines,
    parquet,
    refused,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BENCHMARK = {"model": {"name": "m"}, "hardware": {"name": "h"}, "metrics": {"latency_ms": 2.5}}

WRITERS = {"rows.parquet": parquet, "rows.csv": csv_file, "rows.jsonl": json_lines}
FULL: dict[str, Any] = {
    **GOOD,
    "source": "timm",
    "row_id": "r1",
    "time": "2026-03-01T00:00:00Z",
    "task": "inference",
    "batch_size": 256.0,
    "latency_ms": None,
    "latency_kind": None,
    "num_devices": 1.0,
    "hardware_class": "gpu",
    "runtime_config": "nhwc",
    "notes": "gmacs copied",
    "trial": 3,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_row_is_the_same_from_any_kind_of_file(tmp_path: Path, name: str) -> None:
    reader = read_rows(WRITERS[name](tmp_path / name, [FULL]), {})
    (row,) = list(reader)
    assert isinstance(row, ImportedRow)
    assert (row.number, row.source, row.id, row.event_time) == (1, "timm", "r1", NOW)
    assert row.benchmark.model_dump(mode="json", exclude_none=True, exclude_defaults=True) == {
        "model": {"name": "vit_base_patch16_224.augreg_in21k"},
        "hardware": {"name": "nvidia-a100", "class": "gpu", "count": 1},
        "setup": {"task": "inference", "batch_size": 256, "runtime_options": "nhwc"},
        "metrics": {"throughput_per_s": 1234.5, "throughput_unit": "images/s"},
    }
    assert reader.ignored == ["trial"]
    assert reader.total == (1 if name.endswith("parquet") else None)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model_name": ""}, "model.name"),
    ({"hardware": None}, "hardware.name"),
    ({"throughput_items_per_s": None}, "(whole)"),
    ({"throughput_items_per_s": -3.0}, "metrics.throughput_per_s"),
    ({"throughput_items_per_s": 0.0}, "metrics.throughput_per_s"),
    ({"throughput_items_per_s": float("inf")}, "metrics.throughput_per_s"),
    ({"throughput_items_per_s": 1e13}, "metrics.throughput_per_s"),
    ({"batch_size": 2.5}, "setup.batch_size"),
    ({"batch_size": 0}, "setup.batch_size"),
    ({"model_name": "m" * 300}, "model.name"),
    ({"model_name": "a\x07b"}, "model.name"),
    ({"outcome": "meh"}, "outcome"),
    ({"time": "1970-01-01"}, "time"),
    ({"time": "soon"}, "time"),
    ({"source": "s" * 300}, "source"),
    ({"row_id": "r\x00"}, "row_id"),
]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("wrong", "field"), BAD)
def test_a_bad_row_is_named_and_the_next_good_one_read(
    tmp_path: Path, name: str, wrong: dict[str, Any], field: str
) -> None:
    path = WRITERS[name](tmp_path / name, [GOOD, GOOD | wrong, GOOD | {"trial": 2}])
    assert list(refused(path)) == [2]
    ((found, _, expected),) = refused(path)[2]
    assert found == field
    assert expected


@pytest.mark.parametrize("name", WRITERS)
def test_text_where_a_number_belongs(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name, [GOOD | {"latency_ms": "fast"}])
    ((field, problem, _),) = refused(path)[1]
    assert (field, problem) == ("metrics.latency_ms", "got 'fast'")


def test_cells_of_a_csv_row_are_as_many_as_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("model_name,hardware,latency_ms\nm,h,1\nm,h\nm,h,1,2\n\nm,h,3\n")
    assert refused(path) == {
        2: [("(row)", "2 cells", "3 cells")],
        3: [("(row)", "4 cells", "3 cells")],
    }
    assert [row.number for row in read_rows(path, {}) if isinstance(row, ImportedRow)] == [1, 4]


def test_a_byte_order_mark_belongs_to_no_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbfmodel_name,hardware,latency_ms\r\nm,h,1\r\n")
    assert len(imported(path)) == 1


def test_other_names_by_mapping(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "rows.csv", [{"net": "m", "gpu": "h", "ips": "3"}])
    (row,) = imported(path, net="model_name", gpu="hardware.name", ips="metrics.throughput_per_s")
    assert row.benchmark.metrics.throughput_per_s == 3.0


def test_a_line_may_be_an_event_or_the_data_of_one(tmp_path: Path) -> None:
    event = envelope(BENCHMARK_TYPE, "e1", "lab", NOW, BENCHMARK)
    path = json_lines(tmp_path / "rows.jsonl", [event, BENCHMARK, {**BENCHMARK, "model": "m"}])
    first, second, third = imported(path)
    assert (first.source, first.id, first.event_time) == ("lab", "e1", NOW)
    assert (second.source, second.event_time) == ("file:rows.jsonl", None)
    assert first.benchmark == second.benchmark == third.benchmark


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    execution = {"runs": [BENCHMARK], "strategy": "sequential"}
    lines = [
        "nonsense",
        "[1]",
        json.dumps(envelope(EXECUTION_TYPE, "e1", "lab", NOW, execution)),
        json.dumps(envelope("placewise.benchmark.v9", "e1", "lab", NOW, BENCHMARK)),
        json.dumps({**BENCHMARK, "metrics": {"latency": 1.0}}),
        json.dumps({"hardware": "h", "latency_ms": 1.0}),
        "",
        json.dumps({"latency_ms": [1.0], "model_name": "m", "hardware": "h"}),
        "[" * 100_000,
    ]
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join(lines))
    wrong = {number: details[0][0] for number, details in refused(path).items()}
    assert wrong == {
        1: "(row)",
        2: "(row)",
        3: "type",
        4: "type",
        5: "metrics.latency",
        6: "model.name",
        8: "metrics.latency_ms",
        9: "(row)",
    }


def test_a_mapping_that_no_line_answers_is_an_error(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl", [GOOD])
    with pytest.raises(BadInput, match="no row has 'latency'"):
        list(read_rows(path, {"latency": "latency_ms"}))


def test_ids_do_not_depend_on_where_a_row_stands(tmp_path: Path) -> None:
    rows: Table = [GOOD, GOOD | {"trial": 1}, GOOD | {"trial": 2}]
    there = imported(json_lines(tmp_path / "a.jsonl", rows))
    back = imported(json_lines(tmp_path / "b.jsonl", rows[::-1]))
    ids = [row.id for row in there]
    assert ids == [row.id for row in back][::-1]
    assert len(set(ids)) == 3  # a column that we ignore still tells two runs apart


def test_times_of_any_precision_and_dictionaries(tmp_path: Path) -> None:
    times = pa.array([1_772_323_200_000_000_001], pa.timestamp("ns", "UTC"))
    table = pa.table(
        {
            "model_name": pa.array(["m"]).dictionary_encode(),
            "hardware": ["h"],
            "latency_ms": pa.array([2.5], pa.float32()),
            "batch_size": pa.array([4], pa.uint8()),
            "time": times,
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    (row,) = imported(tmp_path / "rows.parquet")
    assert row.event_time == NOW


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.txt", b"", "none that can be imported"),
        ("rows", b"", "none that can be imported"),
        ("rows.parquet", b"no parquet", "rows.parquet: "),
        ("rows.parquet", b"", "rows.parquet: "),
        ("rows.csv", b"", "model_name: no such column"),
        ("rows.csv", b"model_name,hardware,latency_ms\nm,h,\xff\n", "rows.csv: 'utf-8'"),
        ("rows.csv", b'model_name,hardware,latency_ms\n"m,h,1\n', "rows.csv: unexpected end"),
        ("rows.jsonl", b"\xff\n", "rows.jsonl: 'utf-8'"),
    ],
)
def test_files_that_can_not_be_read(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=problem):
        list(read_rows(path, {}))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in (*WRITERS, "folder.csv"):
        with pytest.raises(BadInput, match=r"no file .*/"):
            list(read_rows(tmp_path / name, {}))


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
)


@given(
    row=st.dictionaries(
        st.sampled_from([*FULL, "itl_ms", "outcome", "model", "specversion"]), CELLS
    )
)
def test_no_row_of_a_json_file_stops_the_import(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]
) -> None:
    path = json_lines(tmp_path_factory.getbasetemp() / "any.jsonl", [row, GOOD])
    first, second = read_rows(path, {})
    assert isinstance(second, ImportedRow)
    assert isinstance(first, ImportedRow) or first.details
    assert isinstance(first, (ImportedRow, RefusedRow))
