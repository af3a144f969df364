"""Rows of a file, each either a benchmark or refused with the reason."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from agent.importing import columns
from schemas.errors import BadInput, ErrorDetail, shown
from schemas.events import EARLIEST, BenchmarkEvent, decode_event
from schemas.measurement import Benchmark

BATCH_ROWS = 2_048


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row that is a benchmark.

    Attributes:
        number: of the row in the file, from 1.
        source: who measured, by the file; else the file's name.
        id: of the row by the file; else a digest of what it says.
        event_time: when it was measured, if the file says so.
    """

    number: int
    source: str
    id: str
    benchmark: Benchmark
    event_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that is none, and why."""

    number: int
    details: tuple[ErrorDetail, ...]


def read_rows(path: Path, mapping: Mapping[str, str]) -> Iterator[ImportedRow | RefusedRow]:
    """Read a file row by row, never all of it at once (but for the columns of one batch).

    Args:
        path: Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`). A JSON line
            is a row in column names, a benchmark event, or the data of one.
        mapping: their column to ours, where names differ.

    Raises:
        BadInput: the file can't be read, or lacks the column of the model or the hardware.
    """
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadInput.of_field("file", f"a file {shown(path.name)}", " or ".join(readers))
    try:
        yield from reader(path, mapping)
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise BadInput.of_field(
            "file", f"{shown(path.name)}: {shown(str(error))}", f"a readable {path.suffix} file"
        ) from None


def count_rows(path: Path) -> int | None:
    """Return how many rows the file has, where that is cheap to know."""
    return int(pq.read_metadata(path).num_rows) if path.suffix.lower() == ".parquet" else None


def _parquet(path: Path, mapping: Mapping[str, str]) -> Iterator[ImportedRow | RefusedRow]:
    with pq.ParquetFile(path) as file:
        names = columns.renamed(list(file.schema_arrow.names), mapping)
        number = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names)):
            for row in batch.to_pylist():
                number += 1
                yield _row(number, {names[key]: value for key, value in row.items()}, path)


def _csv(path: Path, mapping: Mapping[str, str]) -> Iterator[ImportedRow | RefusedRow]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        names = columns.renamed(list(reader.fieldnames or ()), mapping)
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                yield RefusedRow(number, (_wrong("(row)", "more or fewer cells", "one a column"),))
                continue
            yield _row(number, {our: row[theirs] for theirs, our in names.items()}, path)


def _json_lines(path: Path, mapping: Mapping[str, str]) -> Iterator[ImportedRow | RefusedRow]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _json_row(number, line, mapping, path)


def _json_row(
    number: int, line: str, mapping: Mapping[str, str], path: Path
) -> ImportedRow | RefusedRow:
    try:
        body = json.loads(line)
    except ValueError as error:
        return RefusedRow(number, (_wrong("(row)", f"not JSON: {shown(str(error))}", "JSON"),))
    if not isinstance(body, dict):
        return RefusedRow(number, (_wrong("(row)", "not an object", "a JSON object"),))
    if "specversion" in body:
        return _event(number, line)
    if isinstance(body.get("model"), (dict, str)) and "model_name" not in mapping.values():
        return _benchmark(number, body, {}, path)
    try:
        names = columns.renamed(list(body), {k: v for k, v in mapping.items() if k in body})
    except BadInput as error:
        return RefusedRow(number, error.details)
    return _row(number, {our: body[theirs] for theirs, our in names.items()}, path)


def _event(number: int, line: str) -> ImportedRow | RefusedRow:
    try:
        event = decode_event(line)
    except BadInput as error:
        return RefusedRow(number, error.details)
    if not isinstance(event, BenchmarkEvent):
        wrong = _wrong("type", "an execution", "a benchmark: executions come over the bus")
        return RefusedRow(number, (wrong,))
    return ImportedRow(number, event.source, event.id, event.data, event.time)


def _row(number: int, row: Mapping[str, Any], path: Path) -> ImportedRow | RefusedRow:
    return _benchmark(number, columns.benchmark_data(row), row, path)


def _benchmark(
    number: int, data: Mapping[str, Any], row: Mapping[str, Any], path: Path
) -> ImportedRow | RefusedRow:
    try:
        benchmark = Benchmark.model_validate(data)
        event_time = _time(row.get(columns.TIME))
    except ValidationError as error:
        return RefusedRow(number, BadInput.from_validation(error, "row").details)
    except BadInput as error:
        return RefusedRow(number, error.details)
    source = str(row.get(columns.SOURCE) or f"file:{path.name}")
    row_id = str(row.get(columns.ROW_ID) or _digest(data))
    return ImportedRow(number, source[:256], row_id[:256], benchmark, event_time)


def _time(value: object) -> datetime | None:
    """Read a time; one without a zone is taken to be in UTC.

    Raises:
        BadInput: it is no time, or before the year 2000.
    """
    if value is None or value == "":
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise BadInput.of_field("time", f"got {shown(value)!r}", "an ISO 8601 time") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment < EARLIEST:
        raise BadInput.of_field("time", f"got {shown(value)!r}", "a time after the year 2000")
    return moment


def _digest(data: Mapping[str, Any]) -> str:
    """Return a name for what a row says: the same row imported again is a duplicate."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _wrong(field: str, problem: str, expected: str) -> ErrorDetail:
    return ErrorDetail(field=field, problem=problem, expected=expected)
