"""Measurements that nothing can have shown: kept aside, until somebody says that they are right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from agent.heart.cells import observation_of
from agent.learning.bank import Bank, Observation
from schemas.errors import BadInput
from schemas.measurement import Benchmark, Execution, ModelRun
from schemas.published import Alert
from schemas.quarantine import HeldRun, Quarantined, QuarantineReply, Release

DEFAULT_CAPACITY = 1_000
"""Runs that are held; beyond them the oldest events can no longer be released."""


DISTRUSTED = "its source was far off of late where others were not"


class Usable(NamedTuple):
    """A run that may be used.

    Attributes:
        run: as it was measured.
        alone: whether nothing ran beside it.
        observation: what it teaches.
    """

    run: ModelRun
    alone: bool
    observation: Observation


@dataclass(frozen=True, slots=True)
class Judged:
    """A measurement, taken apart.

    Attributes:
        good: runs that may be used.
        held: runs that are impossible.
    """

    good: list[Usable]
    held: list[HeldRun]


def judge(bank: Bank, data: Benchmark | Execution, *, distrusted: bool = False) -> Judged:
    """Tell the impossible runs of a measurement from the others, by what is known before it.

    What comes from a distrusted source is impossible as a whole.
    """
    runs = list(data.runs) if isinstance(data, Execution) else [data]
    alone = data.alone() if isinstance(data, Execution) else runs
    judged = Judged([], [])
    for run in runs:
        by_itself = any(run is one for one in alone)
        observation = observation_of(run)
        reason = bank.judge(observation) or (DISTRUSTED if distrusted else None)
        if reason is None:
            judged.good.append(Usable(run, by_itself, observation))
        else:
            judged.held.append(HeldRun(run=run, alone=by_itself, reason=reason))
    return judged


class Quarantine:
    """Events with impossible runs, by source and id; bounded.

    Attributes:
        set_aside: runs that were ever set aside.
        released: runs that were released.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.set_aside = 0
        self.released = 0
        self._capacity = capacity
        self._events: dict[tuple[str, str], tuple[datetime, list[HeldRun]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def hold(self, source: str, event_id: str, time: datetime, runs: list[HeldRun]) -> list[Alert]:
        """Set the impossible runs of an event aside; return what is to be said of each."""
        if not runs:
            return []
        self._events[source, event_id] = (time, runs)
        self.set_aside += len(runs)
        self._size += len(runs)
        while self._size > self._capacity and len(self._events) > 1:
            oldest = next(iter(self._events))
            self._size -= len(self._events.pop(oldest)[1])
        return [_alert(source, event_id, one) for one in runs]

    def release_of(self, source: str, event_id: str) -> Release:
        """Return what has to be logged so that an event's held runs are learnt.

        Raises:
            BadInput: no run of that event is held.
        """
        _, runs = self._found(source, event_id)
        return Release(source=source, id=event_id, runs=runs)

    def drop(self, release: Release) -> None:
        """Hold the runs of a logged release no longer."""
        _, runs = self._events.pop((release.source, release.id), (None, []))
        self._size -= len(runs)
        self.released += len(release.runs)

    def told(self, limit: int) -> QuarantineReply:
        """Return what is held, the newest `limit` runs first."""
        newest = [
            one
            for source, event_id in reversed(self._events)
            for one in reversed(self.told_of(source, event_id))
        ]
        return QuarantineReply(
            held=len(self),
            set_aside=self.set_aside,
            released=self.released,
            measurements=newest[:limit],
        )

    def told_of(self, source: str, event_id: str) -> list[Quarantined]:
        """Return the held runs of one event, in its order.

        Raises:
            BadInput: no run of that event is held.
        """
        time, runs = self._found(source, event_id)
        return [
            Quarantined(
                source=source,
                id=event_id,
                time=time,
                model=one.run.model.name,
                hardware=one.run.hardware.name,
                reason=one.reason,
            )
            for one in runs
        ]

    def _found(self, source: str, event_id: str) -> tuple[datetime, list[HeldRun]]:
        if (source, event_id) not in self._events:
            raise BadInput.of_field(
                "id",
                f"no measurement {event_id!r} of {source!r} is set aside",
                "source and id of one that the quarantine lists",
            )
        return self._events[source, event_id]


def _alert(source: str, event_id: str, held: HeldRun) -> Alert:
    model, hardware = held.run.model.name, held.run.hardware.name
    return Alert(
        kind="quarantine",
        message=f"{model} on {hardware} is set aside and not learnt: {held.reason}",
        scope={"source": source, "id": event_id, "model": model, "hardware": hardware},
    )
