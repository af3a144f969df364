"""Importing a file into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from agent.importing.rows import ImportedRow, RefusedRow, Row, read_rows
from agent.intake import MAX_CLOCK_LEAD
from agent.journal import record_of_measurement
from agent.store.port import LogRecord, Store
from schemas.errors import BadInput, ErrorDetail

BATCH = 1_000
NAMED_REFUSALS = 1_000


@dataclass(slots=True)
class ImportSummary:
    """What became of a file's rows.

    Attributes:
        read: rows in the file.
        stored: rows that are in the log now and were not before.
        duplicates: rows that were there already, or twice in the file.
        refused_count: rows that are no benchmark.
        refused: the first thousand of those, with the reasons.
        ignored: columns that say nothing to us.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


async def import_file(
    path: Path,
    store: Store,
    *,
    mapping: Mapping[str, str],
    received_at: datetime,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    batch: int = BATCH,
) -> ImportSummary:
    """Append every usable row of a file to the log, in batches; refuse the others by name.

    To import a file again is harmless: rows that are in the log change nothing.

    Args:
        path: see `read_rows`.
        store: open.
        mapping: their column to ours; see `read_rows`.
        received_at: the time of the import, and of rows that have none of their own.
        on_progress: told rows read, and all rows where that is known.
        batch: rows per commit.

    Raises:
        BadInput: the file can't be read, or not to its end. The rows before that place are
            stored, and the message says how many there were.
        StoreUnavailable: as `Store.append` raises it.
    """
    summary = ImportSummary()
    rows = read_rows(path, mapping)
    broken: BadInput | None = None
    try:
        while broken is None:
            some, broken = await asyncio.to_thread(_take, rows, batch)
            if not some:
                break
            records: list[LogRecord] = []
            for row in (_not_from_the_future(row, received_at) for row in some):
                if isinstance(row, ImportedRow):
                    records.append(_record(row, received_at))
                    continue
                summary.refused_count += 1
                if len(summary.refused) < NAMED_REFUSALS:
                    summary.refused.append(row)
            kept = await store.append(records)
            new = sum(record is not None for record in kept)
            summary.read += len(some)
            summary.stored += new
            summary.duplicates += len(kept) - new
            on_progress(summary.read, rows.total)
    finally:
        rows.close()
    summary.ignored = rows.ignored
    if broken is not None:
        raise _after(summary, broken)
    return summary


def _take(rows: Iterator[Row], count: int) -> tuple[list[Row], BadInput | None]:
    """Return the next rows, and the error that ended the reading after them, if any."""
    taken: list[Row] = []
    try:
        for row in islice(rows, count):
            taken.append(row)  # noqa: PERF402 - list(…) would lose the rows before an error
    except BadInput as error:
        return taken, error
    return taken, None


def _after(summary: ImportSummary, error: BadInput) -> BadInput:
    """Return the error with the place where it came up, unless that is the beginning."""
    if summary.read == 0:
        return error
    return BadInput(
        f"after row {summary.read}: {error.message} (of the rows before, {summary.stored} were "
        f"stored, {summary.duplicates} were there already, {summary.refused_count} were refused)",
        error.details,
    )


def _not_from_the_future(row: Row, received_at: datetime) -> Row:
    """Refuse what the bus would refuse: a time of which the sender's clock can't be right."""
    if (
        isinstance(row, RefusedRow)
        or row.event_time is None
        or row.event_time <= received_at + MAX_CLOCK_LEAD
    ):
        return row
    detail = ErrorDetail(
        field="time",
        problem=f"{row.event_time.isoformat()} is in the future",
        expected=f"at most a day after {received_at.isoformat(timespec='seconds')}",
    )
    return RefusedRow(row.number, (detail,))


def _record(row: ImportedRow, received_at: datetime) -> LogRecord:
    return record_of_measurement(
        "benchmark",
        row.source,
        row.id,
        row.benchmark,
        row.event_time or received_at,
        received_at,
    )
