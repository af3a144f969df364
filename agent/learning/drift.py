"""Whether a hardware or a set-up has come to behave otherwise than it did.

A two-sided cumulative sum (Page 1954) of errors in units of their usual size: an outlier is cut
and forgotten, a shift adds up. How far it shifted is the mean error since the sum last stood at
zero, which is also the best guess of when it began.
"""

from __future__ import annotations

import math
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
_LOOKS = (10, 20, 40)
"""Events after a shift at which it is looked at again: its first guess is of few events, which the
learner had partly followed already."""

_SURE = 2.5
"""What is left of a shift counts from so many of its own standard errors on."""

_MEDIAN_ERROR = 1.858
"""Standard error of a median of normal values, in median absolute deviations over the root of n."""


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


@dataclass(slots=True)
class _Stream:
    """One stream of errors: two sums, and what came since the last shift was found."""

    up: _Side
    down: _Side
    count: int = 0
    shown: list[int] = field(default_factory=list)
    left: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shift:
    """A lasting change.

    Attributes:
        size: by how much the log of the metric changed.
        events: the numbers of the events that showed it.
        again: whether it is what was left of a shift that is known, rather than a new one.
    """

    size: float
    events: tuple[int, ...]
    again: bool = False


class Drift:
    """Watches many streams of errors, each by a key of the caller's."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def calm(self, keys: Iterable[int]) -> None:
        """Let the sums of streams start anew, because what moved them is dealt with."""
        for key in keys:
            stream = self._streams.get(key)
            if stream is not None:
                stream.up.clear()
                stream.down.clear()

    def forget(self, key: int) -> None:
        """Forget a stream; another one may have its key."""
        self._streams.pop(key, None)

    def add(self, key: int, error: float, usual: float, event: int) -> Shift | None:
        """Take one error of a stream; return the shift if this event makes it certain.

        Args:
            key: which stream.
            error: log of measured over predicted.
            usual: standard deviation that was expected of the error.
            event: number of the event, to say later which ones showed the shift.
        """
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(_Side(), _Side())
        stream.count += 1
        if stream.count <= _SETTLED:
            return None
        if stream.shown:
            correction = self._look_again(stream, error, event)
            if correction is not None:
                return correction
        score = min(max(error / usual, -_CUT), _CUT)
        for side, signed in ((stream.up, score), (stream.down, -score)):
            # A side at rest stays so by what is no sign of a shift.
            if (side.total or signed > _SLACK) and side.add(signed, error, event):
                ordered = sorted(side.errors)
                shift = Shift(ordered[len(ordered) // 2], tuple(side.events))
                stream.up.clear()
                stream.down.clear()
                stream.shown, stream.left = list(shift.events), []
                return shift
        return None

    def _look_again(self, stream: _Stream, error: float, event: int) -> Shift | None:
        """Return what is left of a shift, once enough events say so for sure."""
        stream.shown.append(event)
        stream.left.append(error)
        if len(stream.left) not in _LOOKS:
            return None
        ordered = sorted(stream.left)
        middle = ordered[len(ordered) // 2]
        apart = sorted(abs(one - middle) for one in ordered)[len(ordered) // 2]
        sure = abs(middle) > _SURE * _MEDIAN_ERROR * apart / math.sqrt(len(ordered))
        found = Shift(middle, tuple(stream.shown), again=True) if sure else None
        if found is not None:
            stream.left = []
            stream.up.clear()
            stream.down.clear()
        if len(stream.shown) > _LONGEST or len(stream.left) >= _LOOKS[-1]:
            stream.shown, stream.left = [], []
        return found
