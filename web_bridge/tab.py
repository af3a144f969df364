"""What the pool knows of one tab."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.browser import Capabilities, Circumstances, Hello

REMEMBERED_LEASES = 64


class TabState(StrEnum):
    """What a tab is at."""

    IDLE = "idle"
    BUSY = "busy"
    ASLEEP = "asleep"
    RECYCLING = "recycling"


@dataclass(slots=True)
class Tab:
    """One connected tab.

    Attributes:
        id: outlives a reload of the page and a lost connection.
        host: where it connected from.
        state: set by the pool alone.
        heard_at: when it last said anything.
        recycled_at: when it was told to begin anew, if it was.
        busy_seconds: how long it worked, over all connections: the measure of fairness.
        loaded: hashes of the models of its last job, still loaded.
        leases: the jobs and attempts that it was given, newest last.
    """

    id: str
    page: str
    label: str | None
    capabilities: Capabilities
    joined_at: float
    heard_at: float
    host: str = ""
    state: TabState = TabState.IDLE
    recycled_at: float | None = None
    busy_since: float | None = None
    busy_seconds: float = 0.0
    jobs_done: int = 0
    jobs_failed: int = 0
    circumstances: Circumstances = field(default_factory=Circumstances)
    loaded: frozenset[str] = frozenset()
    leases: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_LEASES))

    @classmethod
    def of(cls, hello: Hello, now: float, host: str) -> Tab:
        """Return the tab that a hello describes."""
        return cls(hello.tab, hello.page, hello.label, hello.capabilities, now, now, host)


@dataclass(slots=True)
class History:
    """What is remembered of a tab between its connections."""

    busy_seconds: float = 0.0
    jobs_done: int = 0
    jobs_failed: int = 0
    offences: int = 0
