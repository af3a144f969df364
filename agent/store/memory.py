"""The store's in-memory double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from agent.store.port import LogRecord, Snapshot


class MemoryStore:
    """Keeps the log in a list: for tests, and for an agent that shall forget."""

    def __init__(self) -> None:
        self._log: list[LogRecord] = []
        self._known: set[tuple[str, str]] = set()
        self._snapshot: Snapshot | None = None

    async def append(self, records: Sequence[LogRecord]) -> list[LogRecord | None]:
        """Keep new records, in order; see the port."""
        kept: list[LogRecord | None] = []
        for record in records:
            key = (record.source, record.id)
            if key in self._known:
                kept.append(None)
                continue
            self._known.add(key)
            self._log.append(replace(record, seq=len(self._log) + 1))
            kept.append(self._log[-1])
        return kept

    async def replay(
        self, after_seq: int = 0, batch: int = 1_000
    ) -> AsyncIterator[list[LogRecord]]:
        """Yield the log in batches; see the port."""
        for start in range(after_seq, len(self._log), batch):
            yield self._log[start : start + batch]

    async def last_seq(self) -> int:
        """Return the newest `seq`."""
        return len(self._log)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it instead of earlier ones."""
        self._snapshot = snapshot

    async def load_snapshot(self) -> Snapshot | None:
        """Return the kept one."""
        return self._snapshot

    async def close(self) -> None:
        """Nothing to release."""
