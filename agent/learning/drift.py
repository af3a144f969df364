"""Whether a hardware or a set-up has come to behave otherwise than it did.

A two-sided cumulative sum (Page 1954) of errors in units of their usual size: an outlier is cut
and forgotten, a shift adds up. How far it shifted is the median error since the sum last stood at
zero, which is also the best guess of when it began; what is predicted closely says more of it. How
large errors usually are is what it was before the sum began to grow: a shift widens intervals. The
events that come next say what is left, each block of them with less weight than the one before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

_SLACK = 0.75
"""Usual errors by which an event must be off to count as a sign of a shift."""

_ALARM = 14.0
"""Sum at which a shift is announced: about e^(2 * slack * alarm) stationary events apart."""

_WARNED, _WATCHED = 5.0, 100
"""Sum at which a shift is announced on hardware that has shifted for another task, and for how many
events after that: what slows one mostly slows the other."""

_CUT = 3.0
_SETTLED = 30
"""Events before which errors say more about the learner than about what it learns."""

_LONGEST = 200

_FOLLOW, _ALLOWED = 0.2, 0.4
"""How fast a stream follows how large errors usually are beside the doubt that neighbours leave
(log), and by how much more (log) may be usual while a sum grows: in streams of measured rows it
varies by 0.1 to 0.3."""

_OTHERS, _SHARED = 3, 0.5
"""Events of other parts from which on one sees whether they shifted as well, and the share of the
shift that they have to show: half lies as far from all of it as from none."""

_BLOCK = 10
"""Events after a shift that say together what is left of it: enough for outliers not to matter."""

_GUESSED = 0.15
"""Standard deviation (log) of the first guess of a shift: it is of few events, some of them from
before it, and the learner had partly followed the others."""

_KNOWN, _WORTH = 0.008, 0.001
"""Doubt about a shift from which on it is left to the learner, and the least that is worth moving
(log). A learner that remembers what was before does not follow the whole by itself: a fiftieth that
was left is a third of the error of what is predicted well."""

_MOST = 0.5
"""Share of what errors show that has to be moved if sums are to start anew."""

_MEDIAN = math.pi / 2
"""Variance of a median of normal values over that of their mean."""

_VARIES = 0.1
"""Standard deviation (log) by which a shift may vary from cell to cell: a few that were predicted
closely are not to say for all how far it went."""


@dataclass(slots=True)
class _Side:
    total: float = 0.0
    errors: list[tuple[float, float]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    def add(
        self, score: float, error: float, usual: float, event: int, part: int, alarm: float
    ) -> bool:
        self.total = max(0.0, self.total + score - _SLACK)
        if self.total == 0.0 or len(self.errors) >= _LONGEST:
            self.clear()
            return False
        self.errors.append((error, usual))
        self.parts.append(part)
        self.events.append(event)
        return self.total > alarm and not self._of_one_part()

    def clear(self) -> None:
        self.total = 0.0
        self.errors.clear()
        self.parts.clear()
        self.events.clear()

    def _of_one_part(self) -> bool:
        """Return whether the part that shows the shift most is alone in it, as far as one sees."""
        signs: dict[int, float] = {}
        for part, (error, usual) in zip(self.parts, self.errors, strict=True):
            signs[part] = signs.get(part, 0.0) + error / usual
        most = max(signs, key=lambda part: abs(signs[part]))
        rest = [one for part, one in zip(self.parts, self.errors, strict=True) if part != most]
        if len(rest) < _OTHERS:
            return False
        whole, _ = _middle(self.errors)
        others, _ = _middle(rest)
        return others * whole < _SHARED * whole * whole


@dataclass(slots=True)
class _Stream:
    """One stream of errors: two sums, and what came since the last shift was found.

    Attributes:
        count: errors so far.
        shown: events that were measured after the last shift, as long as its size is in doubt.
        left: the newest errors, each with its usual size, that say what is left of it.
        doubt: variance of what is left.
        wide: log of the usual error beside the doubt of neighbours, as it was before the sum that
            leads began to grow.
        watched: events for which it is watched more closely.
    """

    up: _Side
    down: _Side
    count: int = 0
    shown: list[int] = field(default_factory=list)
    left: list[tuple[float, float]] = field(default_factory=list)
    doubt: float = 0.0
    wide: float | None = None
    watched: int = 0

    def usual(self, error: float, usual: float, doubt: float) -> float:
        """Return the usual error as it was before the sum that leads began to grow.

        What shifts widens the intervals of its own set-up, and would hide in them. What neighbours
        leave no error changes, and by it cells differ in how large their errors are. An error that
        points against the sum is no part of a shift: by such, intervals that are wider because
        errors became larger either way are followed.
        """
        wide = math.log(usual / doubt)
        if self.wide is None:
            self.wide = wide
        elif self.count <= _SETTLED or (self.up.total - self.down.total) * error <= 0.0:
            self.wide += _FOLLOW * (wide - self.wide)
        return min(usual, doubt * math.exp(self.wide + _ALLOWED))


@dataclass(frozen=True, slots=True)
class Shift:
    """A lasting change.

    Attributes:
        size: by how much the log of the metric changed.
        events: the numbers of the events that showed it.
        again: whether it is what was left of a shift that is known, rather than a new one.
        most: whether it is most of what errors show now, so that sums of them say nothing more.
    """

    size: float
    events: tuple[int, ...]
    again: bool = False
    most: bool = True


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

    def warn(self, keys: Iterable[int]) -> None:
        """Watch streams more closely, because something else on their hardware has shifted."""
        for key in keys:
            stream = self._streams.get(key)
            if stream is not None and not stream.shown:
                stream.watched = _WATCHED

    def forget(self, key: int) -> None:
        """Forget a stream; another one may have its key."""
        self._streams.pop(key, None)

    def add(
        self, key: int, error: float, usual: float, doubt: float, event: int, part: int = 0
    ) -> Shift | None:
        """Take one error of a stream; return the shift if this event makes it certain.

        What shifts in one part of a stream alone is no shift of the stream.

        Args:
            key: which stream.
            error: log of measured over predicted.
            usual: standard deviation that was expected of the error.
            doubt: standard deviation that neighbours leave, by which cells differ.
            event: number of the event, to say later which ones showed the shift.
            part: which part of the stream it is of, if it has several.
        """
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(_Side(), _Side())
        stream.count += 1
        usual = stream.usual(error, usual, doubt)
        if stream.count <= _SETTLED:
            return None
        if stream.shown:
            correction = self._look_again(stream, error, usual, event)
            if correction is not None:
                return correction
        alarm = _WARNED if stream.watched else _ALARM
        stream.watched -= stream.watched > 0
        score = min(max(error / usual, -_CUT), _CUT)
        for side, signed in ((stream.up, score), (stream.down, -score)):
            # A side at rest stays so by what is no sign of a shift.
            if not side.total and signed <= _SLACK:
                continue
            if side.add(signed, error, usual, event, part, alarm):
                size, _ = _middle(side.errors, _VARIES)
                shift = Shift(size, tuple(side.events))
                stream.up.clear()
                stream.down.clear()
                stream.shown, stream.left, stream.doubt = list(shift.events), [], _GUESSED**2
                stream.watched = 0
                return shift
        return None

    def _look_again(self, stream: _Stream, error: float, usual: float, event: int) -> Shift | None:
        """Return what is left of a shift, as far as the block of events that is full lets believe.

        What is left is a state without motion (Kalman 1960): however unsure a block is, moving by
        its share brings predictions closer, and the shares of later ones become smaller.
        """
        stream.shown.append(event)
        stream.left.append((error, usual))
        if len(stream.left) < _BLOCK:
            return None
        middle, variance = _middle(stream.left)
        gain = stream.doubt / (stream.doubt + variance)
        stream.doubt *= 1.0 - gain
        found = None
        if abs(gain * middle) > _WORTH:
            # Sums that start anew with each block would never show that it shifts once more.
            found = Shift(gain * middle, tuple(stream.shown), again=True, most=gain > _MOST)
            if found.most:
                stream.up.clear()
                stream.down.clear()
        stream.left = []
        if stream.doubt < _KNOWN**2 or len(stream.shown) > _LONGEST:
            stream.shown = []
        return found


def _middle(errors: Sequence[tuple[float, float]], apart: float = 0.0) -> tuple[float, float]:
    """Return the median of errors, each with the weight of its usual size, and its variance.

    Args:
        errors: each with its usual size.
        apart: how much cells differ besides in what is asked.
    """
    sized = [(error, math.hypot(usual, apart)) for error, usual in sorted(errors)]
    below = list(accumulate(1.0 / size for _, size in sized))
    middle, _ = sized[bisect_left(below, 0.5 * below[-1])]
    return middle, _MEDIAN / sum(1.0 / size**2 for _, size in sized)
