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

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.exact import Cells, Exact, Hyperparameters
from agent.learning.features import Frame
from agent.learning.loops import own as loops
from agent.learning.loops.mixed import at_paths
from agent.learning.loops.tell import Processes
from agent.learning.memory import Memory
from agent.learning.nearest import Nearest, Parts
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DOMAINS = 32
"""Domains that have one at a time; those unused for longest go first."""


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
        self._domains: dict[int, _Domain] = {}
        # By rows of hardware and set-ups, how far (log) they have shifted.
        self._shifted = np.zeros(64)
        # By rows of domains.
        self._learnt = loops.Learnt(np.zeros((64, kinds)), np.zeros((64, kinds)))
        self._last: Frame | None = None
        # Of several domains, and what these had learnt when they were put together.
        self._processes: dict[tuple[int, ...], tuple[list[Hyperparameters], Processes]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave out what saves time only."""
        return vars(self) | {"_last": None, "_processes": {}}

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
        self._domains[domain] = _Domain(roots, metric, slot, Exact(roots), Nearest())
        self._learnt = loops.Learnt(*(fitted(each, domain + 1) for each in self._learnt))
        self._learnt.odds[domain], self._learnt.curved[domain] = loops.USUAL_ODDS, 0.0

    def begin(self, row: int, above: int = 0) -> None:
        """Begin a hardware, or a set-up of the hardware `above`, which has shifted as far."""
        self._shifted = fitted(self._shifted, max(row, above) + 1)
        self._shifted[row] = self._shifted[above]

    def told(
        self, frame: Frame, paths: Integers, kinds: Integers, *, without: int | None = None
    ) -> loops.Told:
        """Return what is known of the cells of a frame.

        Args:
            frame: of `n` cells.
            paths: `(n, m, 3)`, rows of domains, hardware and set-ups.
            kinds: `(n, m)`.
            without: a column of `NAMES`: of a frame of one, what would be known had nothing that
                has that name of the cell been measured.
        """
        domains = paths[..., 0]
        mean, spread = np.zeros((2, *domains.shape))
        cells = Cells.of(frame)
        large: dict[tuple[int, bytes], _Together] = {}
        for metric, column in enumerate(domains.T.tolist()):
            rows = set(column)
            for row in rows:
                domain = self._domains.get(row)
                if domain is None or not domain.known:
                    continue
                # Mostly all cells are of one domain.
                at: Integers | slice = slice(None)
                if len(rows) > 1:
                    at = np.flatnonzero(domains[:, metric] == row)
                if domain.exact.grown:
                    which = id(domain.nearest), b"" if isinstance(at, slice) else at.tobytes()
                    both = large.setdefault(which, _Together(domain.nearest, at, [], []))
                    both.metrics.append(metric)
                    both.domains.append(row)
                elif without is None:
                    mean[at, metric], spread[at, metric] = domain.exact.told(cells.at(at))
                else:
                    told = domain.exact.told_without(cells, without)
                    mean[0, metric], spread[0, metric] = told or (0.0, 0.0)
        for nearest, at, metrics, some in large.values():
            rates, every = self._rates(nearest), self._every(tuple(some))
            means, spreads = nearest.told(
                cells.at(at), rates, every, self._memory, self._shifted, without=without
            )
            for metric, one, left in zip(metrics, means, spreads, strict=True):
                mean[at, metric], spread[at, metric] = one, left
        if without is None:
            self._last = frame
        return loops.Told(mean + self._shift_of(paths), spread, self._learnt.odds[domains, kinds])

    def judge(self, domains: Integers, kinds: Integers, wrong: loops.Wrong) -> None:
        """Learn of metrics of one cell how far processes are to count.

        Args:
            domains: `(m,)`, of which no two are the same.
            kinds: `(m,)`, of the cell.
            wrong: `(m,)` each.
        """
        loops.judge(self._learnt, domains, kinds, wrong)

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
        cell, told, stepped = Cells.of(frame), frame is self._last, False
        parts = Parts.of(cell)
        for nearest in self._holding([one for one in known if one is not None]):
            nearest.add(parts, event, self._memory)
        unshifted = (measured.z - self._shifted[list(setups)]).tolist()
        each = zip(known, domains, setups, unshifted, measured.doubt.tolist(), strict=True)
        for domain, row, setup, value, doubt in each:
            if domain is None:
                continue
            self._domains[row] = self._domains.pop(row)
            domain.exact.add(cell, value, setup, doubt, told=told)
            if not stepped:
                # One step at a time: none is to hold up everything else.
                stepped = domain.exact.step()

    def _holding(self, domains: Sequence[_Domain]) -> list[Nearest]:
        """Return what holds the measurements of domains, and of no others.

        Domains share it as long as the same was measured of them.
        """
        new = [one for one in domains if not len(one.nearest)]
        for one in new:
            one.nearest = new[0].nearest
        found = _each_once(one.nearest for one in domains)
        for at, nearest in enumerate(found):
            own = [one for one in domains if one.nearest is nearest]
            if len(own) < len(self._sharing(nearest)):
                found[at] = nearest.copy()
                for one in own:
                    one.nearest = found[at]
        return found

    def _sharing(self, nearest: Nearest) -> list[_Domain]:
        """Return the domains that hold the same measurements."""
        return [one for one in self._domains.values() if one.nearest is nearest]

    def _rates(self, nearest: Nearest) -> Floats:
        """Return by which rates it is chosen what predicts.

        The first domain chooses for all that hold the same measurements, so that no answer depends
        on which metrics are asked for.
        """
        return min(self._sharing(nearest), key=_metric_of).exact.learnt.rates

    def _every(self, rows: tuple[int, ...]) -> Processes:
        """Return the processes of domains; put together anew when one of them has learnt."""
        some = [self._domains[row] for row in rows]
        learnt = [one.exact.learnt for one in some]
        before, found = self._processes.get(rows, ([], None))
        if found is None or any(map(operator.is_not, before, learnt)):
            variances, noises, rates, laws = zip(*learnt, strict=True)
            found = Processes(
                np.array(variances),
                np.array(noises),
                np.array(rates),
                np.array(laws),
                np.array([one.roots for one in some]),
                np.array([(one.metric, one.slot) for one in some]),
            )
            self._processes[rows] = learnt, found
        return found

    def shift(self, rows: Integers, size: float) -> None:
        """Note that hardware or set-ups have shifted; the memory has moved what was measured."""
        self._shifted[rows] += size

    def _shift_of(self, paths: Integers) -> Floats:
        """Return how far the set-ups of paths have shifted or, of unknown ones, the hardware."""
        shifted = np.empty(paths.shape[:2])
        at_paths(shifted, self._shifted, paths)
        return shifted

    def forget(self, setups: Sequence[int]) -> None:
        """Forget what was measured in set-ups whose rows stand for others, as the memory has."""
        for domain in self._domains.values():
            domain.exact.forget(setups)
        for nearest in _each_once(one.nearest for one in self._domains.values()):
            told = [(one.metric, one.slot) for one in self._sharing(nearest)]
            nearest.sweep(self._memory, told)


@dataclass
class _Domain:
    """A domain's own process.

    Without slots, and no tuple, so that snapshots pickle it by itself; see `agent.pieces`.

    Attributes:
        roots: `(WIDTH,)`, weights of the law by physics.
        metric: the metric's column in the memory.
        slot: of its unit.
        exact: over a few hundred measurements, from which it learns what makes cells alike.
        nearest: over all of them; others for which the same was measured have it, too.
    """

    roots: Floats
    metric: int
    slot: int
    exact: Exact
    nearest: Nearest

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return (len(self.nearest) if self.exact.grown else self.exact.count) > 0


def _metric_of(domain: _Domain) -> int:
    return domain.metric


def _each_once(some: Iterable[Nearest]) -> list[Nearest]:
    """Return different ones, in their order."""
    return list({id(one): one for one in some}.values())


class _Together(NamedTuple):
    """What is predicted at once, since the same measurements tell it: cells, and metrics of them.

    Attributes:
        nearest: the measurements.
        at: which cells.
        metrics: in which columns of the metrics that are asked for.
        domains: rows of their domains.
    """

    nearest: Nearest
    at: Integers | slice
    metrics: list[int]
    domains: list[int]
