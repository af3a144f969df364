"""A process of its own for each domain, and how far it counts beside what serves all of them.

How much each size and name counts differs from domain to domain: a vision model's speed hangs on
its operations, a language model's on the runtime. Learners that serve all domains bring along what
was set on public tables; here a domain learns it from its own measurements. While there are a few
hundred, all of them say something of every cell (`exact.py`); of more, the nearest do
(`nearest.py`).

How far it counts, errors decide (stacking, Wolpert 1992): to log odds of the kind of cell, found by
online Newton steps on the squared error of the mixture (as in Hazan, Agarwal and Kale 2007), comes
how much less doubt it leaves than the others.

What shifts in a set-up or on a hardware says nothing of others: processes learn and predict what
would be measured had nothing ever shifted, and shifts are added to what they say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.exact import Cells, Exact
from agent.learning.features import Frame
from agent.learning.memory import Memory
from agent.learning.nearest import Nearest
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DOMAINS = 32
"""Domains that have one at a time; those unused for longest go first."""

_ODDS, _FIRMNESS, _SURE = 2.0, 0.03, 4.0
_MEMORY = 200.0
_CLIP, _STRIDE = 0.7, 0.5
"""Log odds by which a process usually counts, how firmly (a second derivative of squared errors,
log units), and how far they go; over how many errors of late they are learnt; and how much (log)
one of these may say, and how far it may move them."""


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


class Measured(NamedTuple):
    """What was measured: `(m,)` logs, and variances on top of what every measurement has."""

    z: Floats
    doubt: Floats


class Own:
    """Predicts cells by the processes of their domains.

    Domains and set-ups are known by the rows that the caller gives out.

    Args:
        memory: holds the measurements.
        kinds: how many kinds of cells there are. What was learnt of networks that are known says
            little of how far a process counts for those that are not, so each has a share.
    """

    def __init__(self, memory: Memory, kinds: int) -> None:
        self._memory = memory
        self._kinds = kinds
        self._domains: dict[int, _Domain] = {}
        # By rows of hardware and set-ups, how far (log) they have shifted.
        self._shifted = np.zeros(64)
        self._last: tuple[Frame | None, Cells | None] = (None, None)

    def __getstate__(self) -> dict[str, object]:
        """Leave out what saves time within one event only."""
        return vars(self) | {"_last": (None, None)}

    def start(self, domain: int, metric: int, slot: int, roots: Floats) -> None:
        """Begin a domain of which nothing was measured yet.

        Args:
            domain: its row.
            metric: the metric's column in the memory.
            slot: of its unit.
            roots: `(WIDTH,)`, weights of the law by physics.
        """
        self._domains.pop(domain, None)
        if len(self._domains) >= _DOMAINS:
            del self._domains[next(iter(self._domains))]
        self._domains[domain] = _Domain(Exact(roots), Nearest(roots, metric, slot), self._kinds)

    def begin(self, row: int, above: int = 0) -> None:
        """Begin a hardware, or a set-up of the hardware `above`, which has shifted as far."""
        self._shifted = fitted(self._shifted, max(row, above) + 1)
        self._shifted[row] = self._shifted[above]

    def told(self, frame: Frame, paths: Integers, kinds: Integers) -> Told | None:
        """Return what is known of the cells of a frame; None if nothing is.

        Args:
            frame: of `n` cells.
            paths: `(n, m, 3)`, rows of domains, hardware and set-ups.
            kinds: `(n, m)`.
        """
        domains = paths[..., 0]
        mean, spread, odds = np.zeros((3, *domains.shape))
        every: Cells | None = None
        chosen: dict[tuple[int, bytes], Integers] = {}
        for metric, column in enumerate(domains.T):
            rows = set(column.tolist())
            for row in rows:
                domain = self._domains.get(row)
                if domain is None or not domain.known:
                    continue
                every = every or Cells.of(frame)
                # Mostly all cells are of one domain.
                at = np.flatnonzero(column == row) if len(rows) > 1 else np.arange(len(frame))
                asked = every.at(at) if len(rows) > 1 else every
                if domain.exact.grown:
                    key = domain.nearest.mark, at.tobytes()
                    if key not in chosen:
                        first = self._first(domain)
                        chosen[key] = first.nearest.chosen(asked, first.exact.learnt)
                    told = domain.nearest.told(
                        asked, chosen[key], domain.exact.learnt, self._memory, self._shifted
                    )
                else:
                    told = domain.exact.told(asked)
                mean[at, metric], spread[at, metric] = told
                odds[at, metric] = domain.odds[kinds[at, metric]]
        if every is None:
            return None
        if len(frame) == 1:
            self._last = frame, every
        return Told(spread > 0.0, mean + self._shift_of(paths), spread, odds)

    def told_without(
        self, frame: Frame, paths: Integers, kinds: Integers, column: int
    ) -> Told | None:
        """Return what would be known of a frame of one had nothing of one name been measured.

        Args:
            frame: of one cell.
            paths: `(1, m, 3)`.
            kinds: `(1, m)`, of the cell.
            column: of `memory.NAMES`, which of the cell's names.
        """
        mean, spread, odds = np.zeros((3, *kinds.shape))
        cell = Cells.of(frame)
        rows = paths[0, :, 0].tolist()
        for at, (row, kind) in enumerate(zip(rows, kinds[0].tolist(), strict=True)):
            domain = self._domains.get(row)
            told = domain and domain.told_without(cell, self._memory, self._shifted, column)
            if domain and told:
                (mean[0, at], spread[0, at]), odds[0, at] = told, domain.odds[kind]
        if not spread.any():
            return None
        return Told(spread > 0.0, mean + self._shift_of(paths), spread, odds)

    def judge(
        self,
        domains: Integers,
        kinds: Integers,
        errors: Floats,
        apart: Floats,
        less: Floats,
        weights: Floats,
    ) -> None:
        """Learn how far processes are to count.

        Args:
            domains: `(m,)`.
            kinds: `(m,)`, of the cell.
            errors: `(m,)`, log of measured over what other learners predicted.
            apart: `(m,)`, log of what the processes predicted over what they did.
            less: `(m,)`, log of how many times less doubt the processes left.
            weights: `(m,)`, for how much of an error each counts.
        """
        each = (one.tolist() for one in (domains, kinds, errors, apart, less, weights))
        for domain, kind, error, away, surer, weight in zip(*each, strict=True):
            known = self._domains.get(domain)
            if known is not None:
                known.judge(kind, error, away, surer, weight)

    def learn(
        self,
        frame: Frame,
        domains: Sequence[int],
        setups: Sequence[int],
        measured: Measured,
        event: int,
    ) -> None:
        """Learn the first row of a frame.

        Args:
            frame: of the cell.
            domains: of its metrics.
            setups: rows of their set-ups.
            measured: what was measured of them.
            event: number of the measurement.
        """
        known = [self._domains.get(domain) for domain in domains]
        if not any(known):
            return
        told = frame is self._last[0]
        cell = self._last[1] if told and self._last[1] else Cells.of(frame)
        stepped = False
        unshifted = (measured.z - self._shifted[list(setups)]).tolist()
        each = zip(known, domains, setups, unshifted, measured.doubt.tolist(), strict=True)
        for domain, row, setup, value, doubt in each:
            if domain is None:
                continue
            self._domains[row] = self._domains.pop(row)
            domain.nearest.add(cell, event, self._memory)
            domain.exact.add(cell, value, setup, doubt, told=told)
            if not stepped:
                # One step at a time: none is to hold up everything else.
                stepped = domain.exact.step()

    def _first(self, domain: _Domain) -> _Domain:
        """Return the first domain with the same measurements, which chooses for all of them.

        So no answer depends on which metrics are asked for.
        """
        mark = domain.nearest.mark
        return min(
            (one for one in self._domains.values() if one.nearest.mark == mark),
            key=lambda one: one.nearest.metric,
        )

    def shift(self, rows: Integers, size: float) -> None:
        """Note that hardware or set-ups have shifted; the memory has moved what was measured."""
        self._shifted[rows] += size

    def _shift_of(self, paths: Integers) -> Floats:
        """Return how far the set-ups of paths have shifted or, of unknown ones, the hardware."""
        hardware, setup = paths[..., 1], paths[..., 2]
        shifted: Floats = self._shifted[np.where(setup > 0, setup, hardware)]
        return shifted

    def forget(self, setups: Sequence[int]) -> None:
        """Forget what was measured in set-ups whose rows stand for others, as the memory has."""
        for domain in self._domains.values():
            domain.exact.forget(setups)
            domain.nearest.sweep(self._memory)


class _Domain:
    """A domain's own process.

    Attributes:
        exact: over a few hundred measurements, from which it learns what makes cells alike.
        nearest: over all of them.
        odds: `(kinds,)`, log odds by which it counts where doubts are equal.
    """

    def __init__(self, exact: Exact, nearest: Nearest, kinds: int) -> None:
        self.exact, self.nearest = exact, nearest
        self.odds = np.full(kinds, _ODDS)
        self._curved = np.zeros(kinds)

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return (len(self.nearest) if self.exact.grown else self.exact.count) > 0

    def told_without(
        self, cell: Cells, memory: Memory, shifted: Floats, column: int
    ) -> tuple[float, float] | None:
        """Return what would be told of one cell had nothing of one of its names been measured."""
        if not self.exact.grown:
            return self.exact.told_without(cell, column)
        chosen = self.nearest.chosen(cell, self.exact.learnt, without=column)
        mean, spread = self.nearest.told(cell, chosen, self.exact.learnt, memory, shifted)
        return float(mean[0]), float(spread[0])

    def judge(self, kind: int, error: float, apart: float, less: float, weight: float) -> None:
        """Learn how far it is to count; see `Own.judge`."""
        error = min(max(error, -_CLIP), _CLIP)
        apart = min(max(apart, -_CLIP), _CLIP)
        share = 1.0 / (1.0 + math.exp(-float(self.odds[kind]) - less))
        slope = apart * share * (1.0 - share)
        fade = 1.0 - weight / _MEMORY
        self._curved[kind] = fade * self._curved[kind] + weight * slope * slope
        pull = weight * slope * (error - share * apart)
        pull += (1.0 - fade) * _FIRMNESS * (_ODDS - float(self.odds[kind]))
        step = pull / (float(self._curved[kind]) + _FIRMNESS)
        moved = self.odds[kind] + min(max(step, -_STRIDE), _STRIDE)
        self.odds[kind] = min(max(moved, -_SURE), _SURE)
