"""Whether a hardware or a set-up has come to behave otherwise than it did.

A two-sided cumulative sum (Page 1954) of errors in units of their usual size: an outlier is cut
and forgotten, a shift adds up. How far it shifted is the mean error since the sum last stood at
zero, which is also the best guess of when it began.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_SLACK = 0.75
"""Usual errors by which an event must be off to count as a sign of a shift."""

_ALARM = 14.0
"""Sum at which a shift is announced: about e^(2 * slack * alarm) stationary events apart."""

_CUT = 3.0
_SETTLED = 30
"""Events before which errors say more about the learner than about what it learns."""

_LONGEST = 200


@dataclass(slots=True)
class _Side:
    total: float = 0.0
    errors: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    def add(self, score: float, error: float, event: int) -> bool:
        self.total = max(0.0, self.total + score - _SLACK)
        if self.total == 0.0 or len(self.errors) >= _LONGEST:
            self.clear()
            return False
        self.errors.append(error)
        self.events.append(event)
        return self.total > _ALARM

    def clear(self) -> None:
        self.total = 0.0
        self.errors.clear()
        self.events.clear()


@dataclass(frozen=True, slots=True)
class Shift:
    """A lasting change.

    Attributes:
        size: by how much the log of the metric changed.
        events: the numbers of the events that showed it.
    """

    size: float
    events: tuple[int, ...]


class Drift:
    """Watches many streams of errors.

    Args:
        capacity: how many streams are watched; the ones idle for longest go first.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.capacity = capacity
        self._streams: dict[int, tuple[int, _Side, _Side]] = {}

    def calm(self, keys: Iterable[int]) -> None:
        """Let the sums of streams start anew, because what moved them is dealt with."""
        for key in keys:
            stream = self._streams.get(key)
            if stream is not None:
                stream[1].clear()
                stream[2].clear()

    def add(self, key: int, error: float, usual: float, event: int) -> Shift | None:
        """Take one error of a stream; return the shift if this event makes it certain.

        Args:
            key: which stream.
            error: log of measured over predicted.
            usual: standard deviation that was expected of the error.
            event: number of the event, to say later which ones showed the shift.
        """
        count, up, down = self._streams.pop(key, (0, _Side(), _Side()))
        self._streams[key] = (count + 1, up, down)
        if len(self._streams) > self.capacity:
            del self._streams[next(iter(self._streams))]
        if count < _SETTLED:
            return None
        score = min(max(error / usual, -_CUT), _CUT)
        for side, signed in ((up, score), (down, -score)):
            if side.add(signed, error, event):
                ordered = sorted(side.errors)
                shift = Shift(ordered[len(ordered) // 2], tuple(side.events))
                up.clear()
                down.clear()
                return shift
        return None
