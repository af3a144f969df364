"""One linear law per domain, and how far each hardware and set-up stays from it.

A linear mixed model with random intercepts (Laird and Ware 1982): the weights are shared by a
whole domain, the offsets are drawn towards zero, those of a set-up on top of its hardware's. How
firmly, each domain says itself: the variances between its set-ups and hardware are estimated by
expectation maximisation, a step whenever its weights are solved anew.
Everything is kept as sufficient statistics, so that offsets always fit the weights of now and
the weights are freed of the offsets exactly, whatever the order of the events.

What is kept of domains, hardware and set-ups lies in rows that the caller gives out, so that
the metrics of one event are learnt at once, each in its own rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.learning.loops import mixed as loops
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_HARDWARE_FIRMNESS = 0.04
_SETUP_FIRMNESS = 0.16
"""Variance of one event over the variance between hardware, and between set-ups of one, before a
domain says so itself."""

_FIRM_SETUPS = 5.0
"""Set-ups, or hardware, that the above are worth beside those of a domain."""

_OFTEN = 24.0
"""Weights are solved anew when a domain has grown by one part in so many."""

_BY_ROW = ("offset", "events", "_sums", "_shares", "_parts", "_networks", "_hardware", "_is_setup")
_BY_LAW = ("_metric", "_weights", "_gram", "_count", "_unsolved", "_firmness")
"""Arrays that grow with rows, and with laws."""


class MixedModel:
    """Predicts by the law of a domain and the offset of a set-up or, failing that, a hardware.

    An event is kept as its features and its value side by side, `(d + 1,)`; the first feature
    is the constant 1, so that sums of events count them as well. Row 0 stands for nothing.

    Args:
        roots: `(metrics, d)`, the weights to start from: physics.
        precision: `(d,)`: how firmly weights are drawn to the root, in events' information.

    Attributes:
        offset: `(rows,)`, how far a hardware or a set-up stays from the law.
        events: `(rows,)`, how often a set-up was measured.
    """

    def __init__(self, roots: Floats, precision: Floats) -> None:
        self._roots = np.array(roots, dtype=float)
        self._precision = np.array(precision, dtype=float)
        self._width = width = len(self._precision)
        self.offset = np.zeros(16)
        self._sums = np.zeros((16, width + 1))
        self._shares = np.zeros((16, width + 1))
        # Sums of set-ups as they count for their hardware, and of a hardware what they add up to.
        self._parts = np.zeros((16, width + 1))
        self.events = np.zeros(16)
        # How many networks a set-up was measured with.
        self._networks = np.zeros(16)
        self._hardware = np.zeros(16, dtype=np.int64)
        # Where the law of a row lies in the arrays below; of domains and their set-ups.
        self._law = np.full(16, -1, dtype=np.int64)
        self._is_setup = np.zeros(16, dtype=bool)
        self._free: list[int] = []
        self._metric = np.zeros(4, dtype=np.int64)
        self._weights = np.zeros((4, width + 1))
        self._gram = np.zeros((4, width + 1, width + 1))
        self._count = np.zeros(4)
        self._unsolved = np.zeros(4)
        # Of a law's set-ups, and of its hardware.
        self._firmness = np.zeros((4, 2))
        self._laws = 0

    def start(self, row: int, level: int, path: Sequence[int], metric: int) -> None:
        """Forget what a row stood for; it is the domain, hardware or set-up (0, 1, 2) of a path."""
        self._fit(row + 1)
        if self._law[row] >= 0 and not self._is_setup[row]:
            self._free.append(int(self._law[row]))
        if self._is_setup[row]:
            self._parts[self._hardware[row]] -= self._parts[row]
        self._sums[row] = self._shares[row] = self._parts[row] = 0.0
        self.events[row] = self._networks[row] = self.offset[row] = 0.0
        self._hardware[row] = 0
        self._law[row] = -1
        self._is_setup[row] = level == 2
        if level == 0:
            self._law[row] = self._new_law(metric)
        elif level == 2:
            self._law[row] = self._law[path[0]]
            self._hardware[row] = path[1]
            self.offset[row] = self.offset[path[1]]

    def law(self, x: Floats, paths: Integers) -> Floats:
        """Return `(n, m)` values of the laws alone at features `(n, d)`, for paths `(n, m, 3)`."""
        values = np.empty(paths.shape[:2])
        loops.laws(values, x, paths, self._kept)
        return values

    def offset_of(self, paths: Integers) -> Floats:
        """Return the offsets of paths `(n, m, 3)`: of the set-up or, failing that, the hardware."""
        offset = np.empty(paths.shape[:2])
        loops.at_paths(offset, self.offset, paths)
        return offset

    def learn(self, paths: Integers, x: Floats, z: Floats, *, new: bool = True) -> list[int]:
        """Learn one event `x (d,)` with values `z (m,)` in rows of paths `(m, 3)`.

        Args:
            paths: of the values' domains.
            x: features.
            z: values.
            new: whether the set-up was never measured with the event's network before.

        Returns:
            Places in `paths` whose laws were solved anew.
        """
        laws = self._law[paths[:, 0]]
        hardware, setups = paths[:, 1].copy(), paths[:, 2].copy()
        loops.learn(setups, hardware, x, z, float(new), self._kept)
        self._count[laws] += 1.0
        self._unsolved[laws] += 1.0
        late = self._unsolved[laws] * _OFTEN > self._count[laws]
        due = [at for at, is_late in enumerate(late.tolist()) if is_late]
        for at in due:
            self._solve(int(laws[at]))
        return due

    def laws_of(self, setups: Integers) -> Integers:
        """Return where the laws of set-ups lie; -1 for rows that are no set-up."""
        return np.where(self._is_setup[setups], self._law[setups], -1)

    def numbers(self, domains: Integers) -> Integers:
        """Return short numbers for the rows of domains: where their laws lie."""
        numbers: Integers = self._law[domains]
        return numbers

    def law_at(self, x: Floats, domain: int) -> Floats:
        """Return `(n,)` values of one domain's law at features `(n, d)`."""
        values: Floats = x @ self._weights[self._law[domain], :-1]
        return values

    def shift(self, setups: Integers, size: float) -> None:
        """Move what set-ups and their hardware rest on, as if all had been measured so."""
        self._sums[setups, -1] += size * self._sums[setups, 0]
        hardware, laws = self._hardware[setups], self._law[setups]
        part = size * self._shares[setups]
        for law, own in zip(laws.tolist(), part, strict=True):
            # They may all be of one law.
            self._gram[law, :, -1] += own
            self._gram[law, -1, :] += own
        loops.count(setups, hardware, self._kept)
        self._shares[setups, -1] += part[:, 0]
        loops.settle(setups, hardware, self._kept)

    def setups_of(self, path: Sequence[int], *, hardware: bool) -> Integers:
        """Return the row of the set-up of a path, or of all set-ups of its hardware."""
        if not hardware:
            return np.array([path[2]])
        found: Integers = np.flatnonzero((self._hardware == path[1]) & self._is_setup)
        return found

    def _solve(self, law: int) -> None:
        rows = np.flatnonzero(self._is_setup & (self._law == law))
        sums = self._shares[rows]
        spread = 1.0 / (sums[:, 0] + _HARDWARE_FIRMNESS)
        gram = self._gram[law] - (sums * spread[:, None]).T @ sums
        whole = gram.copy()
        gram[:-1, -1] += self._precision * self._roots[self._metric[law]]
        within = gram[:-1, :-1]
        within[np.diag_indices(self._width)] += self._precision
        self._weights[law, :-1] = np.linalg.solve(within, gram[:-1, -1])
        self._unsolved[law] = 0.0
        hardware = self._hardware[rows]
        loops.settle(rows, hardware, self._kept)
        own = self._weights[law]
        noise = float(own @ whole @ own) / max(float(sums[:, 0].sum()), 1.0)
        self._firm(law, rows, noise)
        loops.settle(rows, hardware, self._kept)

    @property
    def _kept(self) -> loops.Sums:
        """All that is kept, for loops over many rows."""
        return loops.Sums(
            self._sums,
            self._shares,
            self._parts,
            self.events,
            self._networks,
            self.offset,
            self._law,
            self._gram,
            self._weights,
            self._firmness,
        )

    def _firm(self, law: int, rows: Integers, noise: float) -> None:
        """Take a step of expectation maximisation for the variances between a law's set-ups.

        Args:
            law: which one.
            rows: its set-ups, whose offsets fit its weights.
            noise: variance of one event within a set-up.
        """
        hardware = self._hardware[rows]
        setup_firm, hardware_firm = self._firmness[law]
        apart = self.offset[rows] - self.offset[hardware]
        kept = self._kept
        worth = [loops.precision(row, kept) for row in rows.tolist()]
        left = 1.0 / (np.array(worth) + setup_firm)
        above = np.unique(hardware)
        out = self.offset[above]
        unsure = 1.0 / (self._parts[above, 0] + hardware_firm)
        variance = max(noise, 1e-6)
        for at, (usual, squares, doubt) in enumerate(
            ((_SETUP_FIRMNESS, apart, left), (_HARDWARE_FIRMNESS, out, unsure))
        ):
            between = (_FIRM_SETUPS / usual + (squares**2 / variance + doubt).sum()) / (
                _FIRM_SETUPS + len(squares)
            )
            self._firmness[law, at] = 1.0 / between
        self._parts[rows] = self._parts[above] = 0.0
        loops.count(rows, hardware, self._kept)

    def _new_law(self, metric: int) -> int:
        if self._free:
            law = self._free.pop()
        else:
            law = self._laws
            self._laws += 1
            for name in _BY_LAW:
                setattr(self, name, fitted(getattr(self, name), law + 1))
        self._metric[law] = metric
        self._weights[law, :-1] = self._roots[metric]
        self._weights[law, -1] = -1.0
        self._gram[law] = 0.0
        self._count[law] = self._unsolved[law] = 0.0
        self._firmness[law] = _SETUP_FIRMNESS, _HARDWARE_FIRMNESS
        return law

    def _fit(self, rows: int) -> None:
        if rows > len(self.offset):
            for name in _BY_ROW:
                setattr(self, name, fitted(getattr(self, name), rows))
            self._law = fitted(self._law, rows, -1)
