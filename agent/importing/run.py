"""Importing a file into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from agent.importing.rows import ImportedRow, RefusedRow, Row, read_rows
from agent.intake import MAX_CLOCK_LEAD
from agent.journal import record_of_measurement
from agent.store.port import LogRecord, Store
from schemas.errors import ErrorDetail

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
        BadInput: the file can't be read, or not to its end; whole batches before that are stored.
        StoreUnavailable: as `Store.append` raises it.
    """
    summary = ImportSummary()
    rows = read_rows(path, mapping)
    try:
        while some := await asyncio.to_thread(lambda: list(islice(rows, batch))):
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
    return summary


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
