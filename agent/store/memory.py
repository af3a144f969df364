"""The store's in-memory double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC

from agent.store.port import LogRecord, Snapshot
from schemas.errors import StoreUnavailable


class MemoryStore:
    """Keeps the log in a list: for tests, and for an agent that shall forget."""

    def __init__(self) -> None:
        self._log: list[LogRecord] = []
        self._known: set[tuple[str, str]] = set()
        self._snapshot: Snapshot | None = None
        self._closed = False

    async def append(self, records: Sequence[LogRecord]) -> list[LogRecord | None]:
        """Keep new records, in order; see the port."""
        self._require_open()
        return [self._keep(record) for record in records]

    async def replay(
        self, after_seq: int = 0, batch: int = 1_000
    ) -> AsyncIterator[list[LogRecord]]:
        """Yield the log in batches; see the port."""
        self._require_open()
        end = len(self._log)
        for start in range(after_seq, end, batch):
            self._require_open()
            yield self._log[start : min(start + batch, end)]

    async def last_seq(self) -> int:
        """Return the newest `seq`."""
        self._require_open()
        return len(self._log)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it instead of earlier ones."""
        self._require_open()
        self._snapshot = snapshot

    async def load_snapshot(self) -> Snapshot | None:
        """Return the kept one."""
        self._require_open()
        return self._snapshot

    async def close(self) -> None:
        """Take no more calls."""
        self._closed = True

    def _keep(self, record: LogRecord) -> LogRecord | None:
        key = (record.source, record.id)
        if key in self._known:
            return None
        self._known.add(key)
        kept = replace(
            record,
            event_time=record.event_time.astimezone(UTC),
            received_at=record.received_at.astimezone(UTC),
            seq=len(self._log) + 1,
        )
        self._log.append(kept)
        return kept

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
