"""Small files of measurements, made by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent.importing import ImportedRow, RefusedRow, read_rows

Table = Sequence[Mapping[str, Any]]

GOOD: dict[str, Any] = {
    "model_name": "vit_base_patch16_224.augreg_in21k",
    "hardware": "nvidia-a100",
    "throughput_items_per_s": 1234.5,
    "throughput_unit": "images/s",
}


def parquet(path: Path, rows: Table) -> Path:
    names = dict.fromkeys(name for row in rows for name in row)
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def csv_file(path: Path, rows: Table) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def json_lines(path: Path, rows: Table) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def imported(path: Path, **mapping: str) -> list[ImportedRow]:
    """Return a file's rows, of which none may be refused."""
    rows = list(read_rows(path, mapping))
    assert [row for row in rows if isinstance(row, RefusedRow)] == []
    return [row for row in rows if isinstance(row, ImportedRow)]


def refused(path: Path, **mapping: str) -> dict[int, list[tuple[str, str, str]]]:
    """Return what was wrong with which row."""
    return {
        row.number: [(detail.field, detail.problem, detail.expected) for detail in row.details]
        for row in read_rows(path, mapping)
        if isinstance(row, RefusedRow)
    }
