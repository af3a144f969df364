from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.importing import ImportSummary, import_file, run
from agent.store.memory import MemoryStore
from agent.store.port import LogRecord
from schemas.errors import BadInput
from tests.unit.agent.importing.files import GOOD, csv_file, parquet

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Importing:
    """Imports into one store in memory, and notes the progress told."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.progress: list[tuple[int, int | None]] = []

    def run(self, path: Path, batch: int = 1_000, **mapping: str) -> ImportSummary:
        return asyncio.run(
            import_file(
                path,
                self.store,
                mapping=mapping,
                received_at=NOW,
                on_progress=lambda done, total: self.progress.append((done, total)),
                batch=batch,
            )
        )

    def log(self) -> list[LogRecord]:
        async def all_of_it() -> list[LogRecord]:
            return [record async for some in self.store.replay() for record in some]

        return asyncio.run(all_of_it())


def test_an_import_counts_every_row_once(tmp_path: Path) -> None:
    rows = [GOOD | {"trial": trial, "batch_size": 4} for trial in (1, 2, 2, 3)]
    rows[3]["batch_size"] = -4
    path = parquet(tmp_path / "rows.parquet", rows)
    importing = Importing()
    summary = importing.run(path)
    assert (summary.read, summary.stored, summary.duplicates) == (4, 2, 1)
    assert summary.refused_count == 1
    assert [row.number for row in summary.refused] == [4]
    assert summary.ignored == ["trial"]
    assert importing.run(path).stored == 0
    assert importing.run(path).duplicates == 3


def test_what_is_logged(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path / "rows.csv",
        [GOOD | {"source": "lab", "row_id": "r1", "time": "2025-01-01"}, GOOD | {"row_id": "r2"}],
    )
    importing = Importing()
    importing.run(path)
    first, second = importing.log()
    assert (first.kind, first.source, first.id) == ("benchmark", "lab", "r1")
    assert first.event_time == datetime(2025, 1, 1, tzinfo=UTC)
    assert (second.source, second.id) == ("file:rows.csv", "r2")
    assert second.event_time == second.received_at == first.received_at == NOW
    assert first.body == (
        '{"model":{"name":"vit_base_patch16_224.augreg_in21k"},"hardware":{"name":"nvidia-a100"},'
        '"metrics":{"throughput_per_s":1234.5,"throughput_unit":"images/s"}}'
    )


def test_progress_is_told_batch_by_batch(tmp_path: Path) -> None:
    rows = [GOOD | {"trial": trial} for trial in range(5)]
    importing = Importing()
    importing.run(parquet(tmp_path / "rows.parquet", rows), batch=2)
    importing.run(csv_file(tmp_path / "rows.csv", rows), batch=3)
    assert importing.progress == [(2, 5), (4, 5), (5, 5), (3, None), (5, None)]


def test_a_row_from_the_future_is_refused(tmp_path: Path) -> None:
    times = ["3000-01-01", "2026-03-01T23:00:00Z"]
    path = csv_file(tmp_path / "rows.csv", [GOOD | {"time": time} for time in times])
    summary = Importing().run(path)
    assert summary.stored == 1
    assert summary.refused[0].number == 1
    assert "in the future" in summary.refused[0].details[0].problem


def test_the_refused_rows_named_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "NAMED_REFUSALS", 3)
    path = csv_file(tmp_path / "rows.csv", [GOOD | {"batch_size": "x"}] * 10)
    summary = Importing().run(path)
    assert summary.refused_count == 10
    assert [row.number for row in summary.refused] == [1, 2, 3]


def test_a_file_that_ends_badly_keeps_the_batches_before(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"model_name,hardware,latency_ms\n" + b"m,h,1\n" * 20_000 + b"m,h,\xff\n")
    importing = Importing()
    with pytest.raises(BadInput, match=r"rows\.csv"):
        importing.run(path)
    assert len(importing.log()) == 1  # twenty thousand times the same row


def test_nothing_is_stored_of_a_file_that_is_none(tmp_path: Path) -> None:
    importing = Importing()
    with pytest.raises(BadInput):
        importing.run(csv_file(tmp_path / "rows.csv", [{"a": 1}]))
    assert importing.log() == []
