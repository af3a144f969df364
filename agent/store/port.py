"""The port through which the agent keeps things."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from schemas.measurement import PromisedMetric
from schemas.published import Validation
from schemas.validation import ValidationQuestion

RECENT = 60
"""The newest errors of a group of validations, of which its recent error and its trend are."""

RecordKind = Literal["benchmark", "execution", "answer", "refinement", "release"]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of the append-only log.

    `source` and `id` identify it: a second record with the same pair changes nothing.
    `body` is the event's `data`, or the logged answer, as JSON. `event_time` and `received_at`
    carry a time zone; they come back in UTC, to the microsecond. `seq` is given by the store,
    gapless and rising in the order of the log; 0 before that.
    """

    kind: RecordKind
    source: str
    id: str
    event_time: datetime
    received_at: datetime
    body: str
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Learned state as of `seq`, stamped with the versions it was made by.

    It comes in parts of about a megabyte, so that nobody has to hold or copy it in one piece.
    """

    seq: int
    stamp: str
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """What is counted of one metric of one group of validations.

    The newest errors, without their sign, and whether the newest lay in their interval: the
    newest first, `RECENT` at most.
    """

    name: str | None
    metric: PromisedMetric
    validations: int
    newest: datetime
    median_ape: float
    mean_ape: float
    bias: float
    coverage_90: float
    recent_errors: Sequence[float]
    recent_hits: Sequence[bool]


class Store(Protocol):
    """The event log, which is the truth; snapshots, and a ledger of validations, made from it.

    Calls may overlap: each takes effect as a whole, appends in the order in which they were
    called. After `close`, everything but `close` raises `StoreUnavailable`.
    """

    async def append(self, records: Sequence[LogRecord]) -> list[LogRecord | None]:
        """Commit records in their order, durably, in one transaction.

        Return, for each one, the record with its `seq`, or None for a duplicate (of an
        earlier record or within this batch).

        Raises:
            StoreUnavailable: nothing was committed.
        """
        ...

    def replay(self, after_seq: int = 0, batch: int = 1_000) -> AsyncIterator[list[LogRecord]]:
        """Yield the log in order, in batches of at most `batch`, beginning after `after_seq`.

        It ends where the log ended when the first batch was asked for: what is appended
        meanwhile is left to whoever appends it.

        Raises:
            StoreUnavailable: the log can't be read.
            Corrupt: records are missing from it.
        """
        ...

    async def last_seq(self) -> int:
        """Return the newest `seq`, 0 for an empty log."""
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot instead of earlier ones. If that fails, the earlier one stays."""
        ...

    async def load_snapshot(self) -> Snapshot | None:
        """Return the kept snapshot, if any."""
        ...

    async def note(self, validations: Sequence[Validation], through_seq: int) -> None:
        """Keep what the log's records, up to one, validated; in one transaction.

        What came of records that an earlier call covered is left out: it is there already.
        """
        ...

    async def noted_through(self) -> int:
        """Return up to which log record validations are kept."""
        ...

    async def validated(self, question: ValidationQuestion, now: datetime) -> list[GroupRow]:
        """Return what is kept of each group and metric, those with the most validations first."""
        ...

    async def close(self) -> None:
        """Finish what was asked for, flush, and release the file. Once is enough, twice is fine."""
        ...
