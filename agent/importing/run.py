"""Importing a file into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from agent.importing.rows import ImportedRow, RefusedRow, count_rows, read_rows
from agent.journal import record_of_measurement
from agent.store.port import LogRecord, Store

BATCH = 1_000
NAMED_REFUSALS = 1_000


@dataclass(slots=True)
class ImportSummary:
    """What became of a file's rows. `refused` names the first thousand; the count is of all."""

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    refused_count: int = 0
    refused: list[RefusedRow] = field(default_factory=list)


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

    Args:
        path: see `read_rows`.
        store: open.
        mapping: their column to ours.
        received_at: the time of the import, and of rows that have none of their own.
        on_progress: told rows read, and all rows where that is known.
        batch: rows per commit.

    Raises:
        BadInput: the file can't be read at all; nothing of it was stored.
    """
    summary = ImportSummary()
    total = await asyncio.to_thread(count_rows, path)
    rows = read_rows(path, mapping)
    while some := await asyncio.to_thread(lambda: list(islice(rows, batch))):
        records: list[LogRecord] = []
        for row in some:
            if isinstance(row, ImportedRow):
                records.append(_record(row, received_at))
            else:
                summary.refused_count += 1
                if len(summary.refused) < NAMED_REFUSALS:
                    summary.refused.append(row)
        stored = await store.append(records)
        new = sum(record is not None for record in stored)
        summary.read += len(some)
        summary.stored += new
        summary.duplicates += len(stored) - new
        on_progress(summary.read, total)
    return summary


def _record(row: ImportedRow, received_at: datetime) -> LogRecord:
    return record_of_measurement(
        "benchmark",
        row.source,
        row.id,
        row.benchmark,
        row.event_time or received_at,
        received_at,
    )
