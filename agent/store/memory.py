"""The store's in-memory double."""

from __future__ import annotations

import re
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.store.port import RECENT, GroupRow, LogRecord, Snapshot
from schemas.errors import StoreUnavailable
from schemas.measurement import PromisedMetric
from schemas.published import Validation
from schemas.validation import GroupedBy, ValidationQuestion


class MemoryStore:
    """Keeps the log in a list: for tests, and for an agent that shall forget."""

    def __init__(self) -> None:
        self._log: list[LogRecord] = []
        self._known: set[tuple[str, str]] = set()
        self._snapshot: Snapshot | None = None
        self._validations: list[Validation] = []
        self._noted = 0
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

    async def note(self, validations: Sequence[Validation], through_seq: int) -> None:
        """Keep what is new of them; see the port."""
        self._require_open()
        self._validations += [one for one in validations if one.seq > self._noted]
        self._noted = max(self._noted, through_seq)

    async def noted_through(self) -> int:
        """Return up to which record validations are kept."""
        self._require_open()
        return self._noted

    async def validated(self, question: ValidationQuestion, now: datetime) -> list[GroupRow]:
        """Return what is kept of each group; see the port."""
        self._require_open()
        groups: dict[tuple[str | None, PromisedMetric], list[Validation]] = {}
        for one in self._validations:
            if _asked_for(one, question, now):
                groups.setdefault((_name(one, question.by), one.metric), []).append(one)
        rows = [_row(name, metric, held) for (name, metric), held in groups.items()]
        return sorted(rows, key=lambda row: (-row.validations, row.name or "", row.metric))

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


_BROWSER = re.compile(r"(?:onnxruntime-web|wllama)\S* \S+ (\S+)")
_FIELDS = ("metric", "hardware", "model", "batch_size", "precision", "runtime", "strategy")


def _asked_for(one: Validation, question: ValidationQuestion, now: datetime) -> bool:
    browser = _name(one, "browser") or ""
    return (
        all(getattr(question, name) in {None, getattr(one, name)} for name in _FIELDS)
        and question.browser in {None, browser, browser.rpartition("-")[0]}
        and (question.last_s is None or one.time >= now - timedelta(seconds=question.last_s))
    )


def _name(one: Validation, by: GroupedBy) -> str | None:
    if by == "browser":
        found = _BROWSER.fullmatch(one.runtime or "")
        return found[1] if found else None
    value = getattr(one, by)
    return None if value is None else str(value)


def _row(name: str | None, metric: PromisedMetric, held: list[Validation]) -> GroupRow:
    errors = [abs(one.relative_error) for one in held]
    newest = held[: -RECENT - 1 : -1]
    return GroupRow(
        name=name,
        metric=metric,
        validations=len(held),
        newest=max(one.time for one in held),
        median_ape=statistics.median(errors),
        mean_ape=statistics.fmean(errors),
        bias=statistics.median(one.relative_error for one in held),
        coverage_90=statistics.fmean(one.within_interval for one in held),
        recent_errors=[abs(one.relative_error) for one in newest],
        recent_hits=[one.within_interval for one in newest],
    )
