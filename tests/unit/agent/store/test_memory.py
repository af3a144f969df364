"""The double alone: what it has in common with the file is in the contract suite."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from agent.store.memory import MemoryStore
from agent.store.port import LogRecord, Snapshot
from schemas.errors import StoreUnavailable

EAST = timezone(timedelta(hours=8))
NOON = datetime(2026, 1, 1, 12, tzinfo=EAST)
RECORD = LogRecord("benchmark", "s", "1", NOON, NOON, "{}")


def test_times_come_back_in_utc_as_from_a_file() -> None:
    (kept,) = asyncio.run(MemoryStore().append([RECORD]))
    assert kept is not None
    assert kept.event_time.tzinfo is kept.received_at.tzinfo is UTC
    assert kept.event_time == NOON


def test_a_closed_one_takes_no_more_calls() -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.close()
        for call in (
            store.append([RECORD]),
            anext(store.replay()),
            store.last_seq(),
            store.save_snapshot(Snapshot(0, "", ())),
            store.load_snapshot(),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call

    asyncio.run(main())
