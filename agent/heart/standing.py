"""How well each metric of each hardware is predicted just now, and what ought to be done about it.

Every error is of a prediction made just before the measurement was learnt (Dawid 1984), so that
nothing is judged on what it learnt from.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

import numpy as np

from schemas.measurement import MetricName
from schemas.refinement import Scope, UpdateMethod

RECENT = 60
"""Errors that count as recent: the median of so many is known to about 15 %."""

KEPT = 240
SETTLED = 180
"""Errors of a scope before which they say more about learning than about the learnt."""

_WORSE = 1.8
"""Recent error over the usual one at which something is done: five times what chance explains."""

_WIDESPREAD = 3
"""Hardware with the same trouble at which it is no longer that hardware's."""

_ONE_SIDED = 0.7
"""Bias as a share of the error at which the errors all point the same way."""

_STEP = 0.004
"""How far (log) an error moves the usual one, which follows the median (Robbins, Monro 1951)."""

_LOOK_EVERY = 10
_ASIDE = 10

_PATIENCE = 300
"""Errors of a scope between two refinements of it."""

_SCOPES = 4_096
SIGNIFICANT = 1.96
"""Standard deviations of chance beyond which a trend is none of chance: 5 %."""

_ORDER: tuple[UpdateMethod, ...] = ("weighted", "window", "rebuild")
"""Methods from the gentlest on: what was not kept is followed by the next."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An update that ought to be tried.

    Attributes:
        newest_from_seq: the first log record that counts in full; for weighted and window.
        keep_one_in: weighted: of older records of the scope, one in so many is learnt.
        version: rollback: the version to return to.
    """

    method: UpdateMethod
    scope: Scope
    reason: str
    newest_from_seq: int = 0
    keep_one_in: int | None = None
    version: int | None = None


@dataclass(slots=True)
class _Errors:
    """The newest errors of one scope."""

    seqs: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0
    usual: float = 0.0
    wait_until: int = SETTLED
    tried: int = 0

    def add(self, seq: int, error: float) -> None:
        self.seqs.append(seq)
        self.errors.append(error)
        self.count += 1
        size = abs(error)
        if self.count <= RECENT:
            self.usual = statistics.median(abs(one) for one in self.errors)
        else:
            self.usual *= math.exp(_STEP if size > self.usual else -_STEP)

    def recent(self) -> list[float]:
        return list(islice(self.errors, max(0, len(self.errors) - RECENT), None))


@dataclass(frozen=True, slots=True)
class Summary:
    """How one metric of one hardware does. Errors are logs of measured over predicted.

    Attributes:
        usual: median size over a long time.
        recent: median size of the newest.
        bias: median of the newest, with its sign.
        trend: whether errors grow or shrink, where a rank test makes it significant.
    """

    metric: MetricName
    hardware: str
    events: int
    usual: float
    recent: float
    bias: float
    trend: Literal["steady", "rising", "falling"]

    @property
    def usual_ape(self) -> float:
        """Return the usual error as a fraction of the measurement."""
        return -math.expm1(-self.usual)

    @property
    def recent_ape(self) -> float:
        """Return the recent error as a fraction of the measurement."""
        return -math.expm1(-self.recent)

    @property
    def relative_bias(self) -> float:
        """Return by what fraction measurements exceed predictions, in the recent median."""
        return math.expm1(self.bias)

    @property
    def one_sided(self) -> bool:
        """Whether recent errors point the same way."""
        return abs(self.bias) > _ONE_SIDED * self.recent


class Standings:
    """Keeps the newest errors of each metric and hardware, and proposes updates.

    Bounded: beyond a few thousand scopes the ones idle for longest are forgotten.
    """

    def __init__(self) -> None:
        self._scopes: dict[tuple[MetricName, str], _Errors] = {}

    def add(self, metric: MetricName, hardware: str, seq: int, error: float) -> Proposal | None:
        """Take an error; return the update that it makes advisable, if any."""
        key = (metric, hardware)
        one = self._scopes.pop(key, None) or _Errors()
        self._scopes[key] = one
        if len(self._scopes) > _SCOPES:
            del self._scopes[next(iter(self._scopes))]
        one.add(seq, error)
        if one.count < one.wait_until or one.count % _LOOK_EVERY or not _in_trouble(one):
            return None
        proposal = self._propose(metric, hardware, one)
        one.wait_until = one.count + _PATIENCE
        one.tried += 1
        return proposal

    def kept(self, scope: Scope) -> None:
        """Note that an update of a scope was kept: its errors start anew."""
        for _, one in self._of(scope):
            one.wait_until = one.count + _PATIENCE
            one.tried = 0

    def errors(self, scope: Scope, after_seq: int = 0) -> dict[tuple[str, str, int], float]:
        """Return the kept errors of a scope, by metric, hardware and log record."""
        found: dict[tuple[str, str, int], float] = {}
        for (metric, hardware), one in self._of(scope):
            # They ascend: of many scopes, hardly any errors are newer than a record.
            for seq, error in zip(reversed(one.seqs), reversed(one.errors), strict=True):
                if seq <= after_seq:
                    break
                found.setdefault((metric, hardware, seq), error)
        return found

    def newest_from(self, scope: Scope, count: int) -> int:
        """Return the log record from which on a scope has its newest `count` errors."""
        seqs: set[int] = set().union(*(one.seqs for _, one in self._of(scope)))
        return min(heapq.nlargest(count, seqs), default=0)

    def summaries(self) -> Iterator[Summary]:
        """Yield how each scope does."""
        for (metric, hardware), one in self._scopes.items():
            yield _summary(metric, hardware, one)

    def _of(self, scope: Scope) -> Iterator[tuple[tuple[MetricName, str], _Errors]]:
        """Yield what is kept of each metric and hardware in a scope."""
        for (metric, hardware), one in self._scopes.items():
            if scope.metric in (None, metric) and scope.hardware in (None, hardware):
                yield (metric, hardware), one

    def _propose(self, metric: MetricName, hardware: str, one: _Errors) -> Proposal:
        now = _summary(metric, hardware, one)
        scope = Scope(metric=metric, hardware=hardware)
        troubled = [
            other
            for (name, _), other in self._scopes.items()
            if name == metric and other.count >= SETTLED and _in_trouble(other)
        ]
        settled = sum(
            name == metric and other.count >= SETTLED for (name, _), other in self._scopes.items()
        )
        reason = (
            f"the median error of {metric} on {hardware} is {now.recent_ape:.1%}, "
            f"usually {now.usual_ape:.1%}"
        )
        if len(troubled) >= _WIDESPREAD and 2 * len(troubled) >= settled:
            return Proposal("rebuild", Scope(), f"{reason}; so on {len(troubled)} of {settled}")
        first = _ORDER.index("window" if now.one_sided else "weighted")
        method = _ORDER[min(first + one.tried, len(_ORDER) - 1)]
        if method == "rebuild":
            return Proposal("rebuild", Scope(), f"{reason}; gentler updates did not help")
        newest = one.seqs[change_point(one.errors)]
        return Proposal(method, scope, reason, newest, 4 if method == "weighted" else None)


def median_ape(errors: Sequence[float]) -> float:
    """Return the median absolute percentage error of logs of measured over predicted."""
    return statistics.median(abs(math.expm1(-error)) for error in errors)


def change_point(errors: Sequence[float]) -> int:
    """Return where sizes of errors changed most: the two means that fit them best.

    At least a few errors lie on each side; sizes are cut where they would outweigh all others.
    """
    sizes = np.abs(np.asarray(errors, dtype=np.float64))
    sizes = np.minimum(sizes, 3.0 * np.median(sizes))
    count = len(sizes)
    if count < 2 * _ASIDE:
        return 0
    before = np.arange(_ASIDE, count - _ASIDE + 1)
    sums = np.concatenate([[0.0], np.cumsum(sizes)])
    left, right = sums[before] / before, (sums[-1] - sums[before]) / (count - before)
    gain = before * (count - before) * (left - right) ** 2
    return int(before[np.argmax(gain)])


def trend(errors: Sequence[float]) -> Literal["steady", "rising", "falling"]:
    """Return whether sizes of errors grow along their order; steady before there are enough."""
    score = rank_score(errors) if len(errors) >= RECENT else 0.0
    if abs(score) < SIGNIFICANT:
        return "steady"
    return "rising" if score > 0 else "falling"


def rank_score(errors: Sequence[float]) -> float:
    """Return how much sizes of errors grow along their order, in standard deviations of chance.

    Source: the rank test of Mann (1945); without correction for ties.
    """
    sizes = np.abs(np.asarray(errors, dtype=np.float64))
    count = len(sizes)
    if count < 2:
        return 0.0
    score = float(np.triu(np.sign(sizes[None, :] - sizes[:, None]), 1).sum())
    return score / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def _in_trouble(one: _Errors) -> bool:
    # The usual error follows slowly; it is compared with what came after it.
    return statistics.median(abs(error) for error in one.recent()) > _WORSE * one.usual


def _summary(metric: MetricName, hardware: str, one: _Errors) -> Summary:
    recent = one.recent()
    return Summary(
        metric,
        hardware,
        one.count,
        one.usual,
        statistics.median(abs(error) for error in recent),
        statistics.median(recent),
        trend(list(one.errors)[-RECENT:]),
    )


assert set(_ORDER) < set(get_args(UpdateMethod)), "a rollback is never proposed by itself"
