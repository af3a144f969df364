"""Domains of which little is measured: processes of their own, and how far those count.

While a few hundred measurements are all there are, each says something of every cell, and how
much each size and name counts is best learnt from them: a vision model's speed hangs on its
operations, a language model's on the runtime. What learners of any size bring along was set on
tables of thousands. So a small domain has an exact process beside them, until it has grown.

How far it counts, errors decide: by the share of it that would have made them least (stacking,
Wolpert 1992), over those of late. It fades as more is measured than it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.exact import MOST, Cells, Exact
from agent.learning.features import Frame

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_GROWN, _DISPENSABLE, _LARGE = 1_024, -1.4, 4_096
"""Measurements of a domain after which it has no process of its own any more once the log odds of
that are less than this; and after which it has none in any case, for it takes time."""

_DOMAINS = 32
"""Domains that have one at a time; those unused for longest go first."""

_SHARE, _FIRMNESS, _SURE = 0.9, 5.0, 0.02
_MEMORY = 1.0 - 1.0 / 200.0
_CLIP = 0.7
"""How far a process counts at first, how firmly (sum of squares, log units), and how far from none
and from all of it that stays; what is kept of what errors say with every further one, and how much
(log) one may say."""

_AT_ONCE = 32
"""Cells that are looked at together, so that what they differ in stays near the processor."""


class Told(NamedTuple):
    """What processes say of the `m` metrics of `n` cells.

    Attributes:
        known: `(n, m)`, whether the domain has a process; where it has none, nothing is said.
        mean: `(n, m)` logs.
        spread: `(n, m)`, the standard deviation that remains.
        odds: `(n, m)`, log odds by which they count beside other learners in their domains.
    """

    known: NDArray[np.bool_]
    mean: Floats
    spread: Floats
    odds: Floats


class Early:
    """Predicts the domains of which little is measured.

    Domains and set-ups are known by the rows that the caller gives out.
    """

    def __init__(self) -> None:
        self._small: dict[int, _Small] = {}
        self._last: tuple[Frame | None, Cells | None] = (None, None)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what saves time within one event only."""
        return vars(self) | {"_last": (None, None)}

    def start(self, domain: int, roots: Floats) -> None:
        """Begin a domain of which nothing was measured yet.

        Args:
            domain: its row.
            roots: `(WIDTH,)`, weights of the law by physics.
        """
        self._small.pop(domain, None)
        if len(self._small) >= _DOMAINS:
            del self._small[next(iter(self._small))]
        self._small[domain] = _Small(Exact(roots))

    def told(self, frame: Frame, domains: Integers) -> Told | None:
        """Return what is known of the cells of a frame in domains `(n, m)`; None if nothing."""
        known = {
            domain: small
            for domain in set(domains.ravel().tolist())
            if (small := self._small.get(domain)) is not None and small.process.count
        }
        if not known:
            return None
        mean, spread, odds = np.zeros((3, *domains.shape))
        every = Cells.of(frame)
        if len(frame) == 1:
            self._last = frame, every
        for domain, small in known.items():
            cells, metric = np.nonzero(domains == domain)
            odds[cells, metric] = small.odds
            for start in range(0, len(cells), _AT_ONCE):
                some = slice(start, start + _AT_ONCE)
                at = cells[some]
                mean[at, metric[some]], spread[at, metric[some]] = small.process.told(every.at(at))
        return Told(spread > 0.0, mean, spread, odds)

    def judge(self, domains: Integers, errors: Floats, apart: Floats) -> None:
        """Learn how far processes are to count.

        Args:
            domains: `(m,)`.
            errors: `(m,)`, log of measured over what other learners predicted.
            apart: `(m,)`, log of what the processes predicted over what they did.
        """
        for domain, error, away in zip(
            domains.tolist(), errors.tolist(), apart.tolist(), strict=True
        ):
            small = self._small.get(domain)
            if small is not None:
                small.judge(error, away)

    def learn(
        self, frame: Frame, domains: Sequence[int], setups: Sequence[int], z: Floats, event: int
    ) -> None:
        """Learn the first row of a frame.

        Args:
            frame: of the cell.
            domains: of its metrics.
            setups: rows of their set-ups.
            z: logs of what was measured.
            event: number of the measurement.
        """
        known = [self._small.get(domain) for domain in domains]
        if not any(known):
            return
        told = frame is self._last[0]
        cell = self._last[1] if told and self._last[1] else Cells.of(frame)
        stepped = False
        for small, domain, setup, value in zip(known, domains, setups, z.tolist(), strict=True):
            if small is None:
                continue
            self._small[domain] = self._small.pop(domain)
            small.process.add(cell, value, setup, event, told=told)
            if small.process.met > _LARGE or (
                small.process.met > _GROWN and small.odds < _DISPENSABLE
            ):
                del self._small[domain]
            elif not stepped:
                # One step at a time: none is to hold up everything else.
                stepped = small.process.step()

    def shift(self, setups: Integers, size: float, but: Sequence[int]) -> None:
        """Move what was measured in set-ups, but for some events."""
        for small in self._small.values():
            small.process.shift(setups, size, but)

    def forget(self, setups: Sequence[int]) -> None:
        """Forget what was measured in set-ups whose rows stand for others now."""
        for small in self._small.values():
            small.process.forget(setups)


class _Small:
    """A domain with a process of its own.

    Attributes:
        process: of the domain.
    """

    def __init__(self, process: Exact) -> None:
        self.process = process
        self._sums = np.array((_SHARE * _FIRMNESS, _FIRMNESS))

    @property
    def share(self) -> float:
        """How far it counts, between 0 and 1: that which would have made errors least."""
        return min(max(float(self._sums[0] / self._sums[1]), _SURE), 1.0 - _SURE)

    @property
    def odds(self) -> float:
        """The log odds of its share, less by how many times more was measured than it keeps."""
        more = max(self.process.met / MOST, 1.0)
        return math.log(self.share / (1.0 - self.share)) - math.log(more)

    def judge(self, error: float, apart: float) -> None:
        """Learn how far it is to count; see `Early.judge`."""
        error = min(max(error, -_CLIP), _CLIP)
        apart = min(max(apart, -_CLIP), _CLIP)
        self._sums *= _MEMORY
        self._sums += (error * apart, apart * apart)
