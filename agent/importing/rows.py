"""Rows of a file, each either a benchmark or refused with the reason."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from agent.importing import columns
from agent.importing.columns import Columns
from schemas.base import Name
from schemas.errors import BadInput, ErrorDetail, shown
from schemas.events import BENCHMARK_TYPE, BenchmarkEvent, decode_event, envelope
from schemas.measurement import Benchmark

BATCH_ROWS = 2_048

_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """A row that is a benchmark.

    Attributes:
        number: of the row in the file, from 1 and without the header; of JSON lines, the line.
        source: who measured, by the file; else `file:` and the file's name.
        id: of the row by the file; else a digest of all that it says, wherever it stands.
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


Row = ImportedRow | RefusedRow


class RowReader(Iterator[Row]):
    """Reads a file row by row, never all of it at once; made by `read_rows`.

    Attributes:
        total: how many rows the file has, where that is known without reading it all.
        ignored: columns that say nothing to us, as far as they were met.

    The file is opened by the first row that is asked for. That and every later one raises
    `BadInput` if the file can't be read (on), or lacks the column of the model or the hardware.
    """

    def __init__(self, path: Path, mapping: Mapping[str, str]) -> None:
        self.total: int | None = None
        self.ignored: list[str] = []
        self._path = path
        self._mapping = mapping
        self._rows = self._read()

    def __next__(self) -> Row:
        return next(self._rows)

    def close(self) -> None:
        """Close the file before its end."""
        self._rows.close()

    def _read(self) -> Generator[Row, None, None]:
        readers: dict[str, Callable[[Mapping[str, str]], Iterator[Row]]] = {
            ".parquet": self._parquet,
            ".csv": self._csv,
            ".jsonl": self._json_lines,
            ".ndjson": self._json_lines,
        }
        suffix = self._path.suffix.lower()
        if suffix not in readers:
            raise BadInput.of_field(
                "file",
                f"{shown(self._path.name)} is none that can be imported",
                " or ".join(readers),
            )
        if not self._path.is_file():
            raise BadInput.of_field("file", f"no file {shown(str(self._path))}", f"a {suffix} file")
        mapping = columns.checked(self._mapping)
        try:
            yield from readers[suffix](mapping)
        except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise BadInput.of_field(
                "file",
                f"{shown(self._path.name)}: {shown(str(error))}",
                f"a readable {suffix} file",
            ) from None

    def _parquet(self, mapping: Mapping[str, str]) -> Iterator[Row]:
        with pq.ParquetFile(self._path) as file:
            found = columns.resolve(list(file.schema_arrow.names), mapping)
            self._note(found)
            self.total = file.metadata.num_rows
            number = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in _in_microseconds(batch).to_pylist():
                    number += 1
                    yield self._row(number, row, found)

    def _csv(self, mapping: Mapping[str, str]) -> Iterator[Row]:
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            cells_of_rows = csv.reader(file, strict=True)
            names = next(cells_of_rows, [])
            found = columns.resolve(names, mapping)
            self._note(found)
            number = 0
            for cells in cells_of_rows:
                if not cells:  # an empty line is no row
                    continue
                number += 1
                if len(cells) == len(names):
                    yield self._row(number, dict(zip(names, cells, strict=True)), found)
                else:
                    yield _refused(number, "(row)", f"{len(cells)} cells", f"{len(names)} cells")

    def _json_lines(self, mapping: Mapping[str, str]) -> Iterator[Row]:
        unmet = set(mapping)
        with self._path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                body = _object(line)
                if isinstance(body, str):
                    yield _refused(number, "(row)", body, "a JSON object")
                elif "specversion" in body:
                    yield _event(number, line)
                elif not unmet.isdisjoint(body) or not _is_benchmark(body, mapping):
                    unmet -= body.keys()
                    found = columns.among(body, mapping)
                    self._note(found)
                    yield self._row(number, body, found)
                else:
                    yield self._benchmark(number, body, {}, body)
        if unmet:
            raise BadInput.of_field("--map", f"no row has {shown(min(unmet))!r}", "a name in a row")

    def _row(self, number: int, row: Mapping[str, Any], found: Columns) -> Row:
        ours = {our: row[theirs] for theirs, our in found.ours.items()}
        return self._benchmark(number, columns.benchmark_data(ours), ours, row)

    def _benchmark(
        self,
        number: int,
        data: Mapping[str, Any],
        about: Mapping[str, Any],
        everything: Mapping[str, Any],
    ) -> Row:
        """Return the row whose benchmark is `data`.

        Args:
            number: of the row.
            data: of a benchmark event.
            about: source, id and time, if the file has them.
            everything: all that the row says, for its digest.
        """
        try:
            benchmark = Benchmark.model_validate(data)
            event_time = columns.time_of(about)
            source = columns.text_of(about, columns.SOURCE) or f"file:{self._path.name}"
            row_id = columns.text_of(about, columns.ROW_ID) or _digest(everything)
            return ImportedRow(
                number, _name("source", source), _name("row_id", row_id), benchmark, event_time
            )
        except ValidationError as error:
            return RefusedRow(number, BadInput.from_validation(error, "row").details)
        except BadInput as error:
            return RefusedRow(number, error.details)

    def _note(self, found: Columns) -> None:
        self.ignored += [name for name in found.ignored if name not in self.ignored]


def read_rows(path: Path, mapping: Mapping[str, str]) -> RowReader:
    """Return an iterator over the rows of a file.

    Args:
        path: Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`). A JSON line
            is a row in column names, a benchmark event, or the data of one.
        mapping: their column to ours, where names differ; ours may be a column
            (`throughput_items_per_s`) or a field of the contract (`metrics.throughput_per_s`).
    """
    return RowReader(path, mapping)


def event_of(row: ImportedRow) -> dict[str, Any]:
    """Return the benchmark event of an imported row."""
    data = row.benchmark.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    time_of_event = row.event_time or datetime.now(UTC)
    return envelope(BENCHMARK_TYPE, row.id, row.source, time_of_event, data)


def _is_benchmark(body: Mapping[str, Any], mapping: Mapping[str, str]) -> bool:
    """Tell the data of a benchmark event from a row in column names."""
    return "model" in body and "model" not in mapping and "model_name" not in body


def _object(line: str) -> dict[str, Any] | str:
    """Return a line's JSON object, or what else it is."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {shown(str(error))}"
    return body if isinstance(body, dict) else f"a JSON {type(body).__name__}"


def _event(number: int, line: str) -> Row:
    try:
        event = decode_event(line)
    except BadInput as error:
        return RefusedRow(number, error.details)
    if not isinstance(event, BenchmarkEvent):
        return _refused(number, "type", "an execution", "a benchmark: executions come over the bus")
    return ImportedRow(number, event.source, event.id, event.data, event.time)


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with times as Python has them, which knows no nanoseconds."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type)
        else field
        for field in batch.schema
    ]
    return batch.cast(pa.schema(fields), safe=False)


def _digest(row: Mapping[str, Any]) -> str:
    """Return a name for all that a row says: the same row imported again is a duplicate."""
    said = {name: value for name, value in row.items() if value is not None and value != ""}
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _name(field: str, text: str) -> str:
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        raise BadInput.of_field(
            field, f"got {shown(text)}", "printable text of at most 256 characters"
        ) from None


def _refused(number: int, field: str, problem: str, expected: str) -> RefusedRow:
    return RefusedRow(number, (ErrorDetail(field=field, problem=problem, expected=expected),))
