"""An exact Gaussian process over a few hundred measurements, that learns what makes cells alike.

On what physics leaves: a linear law, whose weights are integrated out, and a likeness that falls
off by a rate for each size and each name (automatic relevance determination; MacKay 1992, Neal
1996). Rates and variances are those of the greatest posterior: the likelihood of all measurements
(Rasmussen and Williams 2006, section 5.4.1) times a prior around what is usual, climbed by one
step of resilient propagation (Riedmiller and Braun 1993) every few measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsymm, dsymv, dtrsm, dtrsv
from scipy.linalg.lapack import dpotrf, dpotri

from agent.learning.features import LINEAR, NAMES, PARTS, SIZES, WIDTH, Frame
from agent.learning.loops import exact as loops
from agent.learning.loops.compiled import Floats, FloatTable, IntTable

Integers = NDArray[np.int64]

MOST = 384
"""Measurements that a process keeps, and up to which it predicts."""

_RATES = np.concatenate(
    (
        [0.08, 0.02, 0.03, 0.06, 0.12, 0.03, 0.03, 0.08, 0.08],
        [0.13, 0.04, 0.04],
        [0.14, 0.20, 0.04, 0.10, 0.08, 0.03, 0.12, 0.08, 0.20],
    )
)
"""How fast likeness usually falls with a step in each of `SIZES`, with another of each of `NAMES`
and of each of `PARTS`."""

_AMPLITUDE, _NOISE = 0.8, 0.02
_LAW = np.full(WIDTH, 0.03)
_LAW[[LINEAR.index("touched"), LINEAR.index("cached")]] = 1.0
_LAW[:13] = (25.0, 0.06, 0.07, 0.2, 0.07, 0.2, 0.15, 0.18, 0.1, 0.08, 0.13, 0.9, 0.08)
"""Usual standard deviations (log) of what likeness explains and of a measurement, and variances of
the weights of the law. All of these are the middle of what was fitted to a few hundred rows of
public vision and of language benchmarks."""

_MIDDLE = np.log(np.concatenate(([_AMPLITUDE, _NOISE], _RATES, _LAW)))
_SPREAD = np.concatenate(([1.5, 1.0], np.full(len(_RATES), 1.0), np.full(WIDTH, 2.0)))
_LEAST, _GREATEST = _MIDDLE - 4.0 * _SPREAD, _MIDDLE + 4.0 * _SPREAD
_LEAST[1] = np.log(0.003)
"""Of the logs of all these: where they are usually, how far from there, and at most."""

_FIRST, _OFTEN = 8, 10
"""Steps are taken from so many measurements on, one whenever they have grown by one part in so
many."""

_STEP, _STEP_LEAST, _STEP_MOST = 0.1, 1e-3, 0.5
_FASTER, _SLOWER = 1.2, 0.5
"""Of resilient propagation: how far it goes in a direction (log), and how that changes."""

_LEFT_OUT = MOST // 2
"""Measurements of one name that can be left out, in about 2 ms: more would hold up learning."""

_EMPTY = np.zeros((0, 0), order="F")
_BY_MEASUREMENT = ("_sizes", "_names", "_linear", "_rest", "_doubt", "_setups")
_RESERVED, _THINNED = 32, 4
"""Arrays of a line for each measurement. There is room for so many at first; once there is no
more, one in so many of those that are kept gives way."""


class Cells(NamedTuple):
    """Features of `q` cells.

    Attributes:
        sizes: `(q, sizes)`.
        names: `(q, names + parts)`, short numbers of `NAMES`, then of `PARTS`.
        linear: `(q, WIDTH)`.
    """

    sizes: FloatTable
    names: IntTable
    linear: FloatTable

    @classmethod
    def of(cls, frame: Frame) -> Cells:
        """Return the features of a frame."""
        return cls(frame.sizes.astype(float), frame.names, frame.linear)

    def at(self, places: Integers | slice) -> Cells:
        """Return some of them."""
        return Cells(self.sizes[places], self.names[places], self.linear[places])


class Hyperparameters(NamedTuple):
    """What is learnt of a domain: variances, and by how much (log) likeness falls with what."""

    variance: float
    noise: float
    rates: Floats
    laws: Floats

    @classmethod
    def of(cls, logs: Floats) -> Hyperparameters:
        """Return it by its logs, in the order of `_MIDDLE`."""
        variance, noise = np.exp(2.0 * logs[:2]).tolist()
        return cls(variance, noise, np.exp(logs[2:-WIDTH]), np.exp(logs[-WIDTH:]))


class Exact:
    """Predicts logs of what one metric comes to, in one unit and task.

    Args:
        roots: `(WIDTH,)`, weights of the law by physics.

    Attributes:
        count: how many measurements it keeps.
        met: how many were learnt. Once that are more than `MOST`, it goes on to learn what makes
            cells alike, from some of all that is measured, and predicts no more.
        learnt: what makes cells alike.
    """

    def __init__(self, roots: Floats) -> None:
        self.count = self.met = 0
        self._roots = roots
        # Of measurements, a line each.
        self._sizes = np.zeros((0, len(SIZES)))
        self._names = np.zeros((0, len(NAMES) + len(PARTS)), dtype=np.int32)
        self._linear = np.zeros((0, WIDTH))
        self._rest = np.zeros(0)
        self._doubt = np.zeros(0)
        self._setups = np.zeros(0, dtype=np.int64)
        # Logs of all that is learnt.
        self._at = _MIDDLE.copy()
        self.learnt = Hyperparameters.of(self._at)
        self._steps = np.full(len(_MIDDLE), _STEP)
        self._slopes = np.zeros(len(_MIDDLE))
        self._next = _FIRST
        # Of the covariance, below the diagonal; ones on it where there is no measurement.
        self._root = np.eye(0, order="F")
        self._solved: Floats | None = None
        self._line: Floats | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave out what is found again in the same way."""
        return vars(self) | {"_solved": None, "_line": None}

    @property
    def grown(self) -> bool:
        """Whether more was learnt than it predicts by."""
        return self.met > MOST

    def told(self, cells: Cells) -> tuple[Floats, Floats]:
        """Return means `(q,)` and standard deviations `(q,)` for cells."""
        known = np.zeros((len(cells.sizes), len(self._root)))
        known[:, : self.count] = self._likeness(cells)
        for line in known:
            # One by one, so that no answer depends on what is asked beside it.
            dtrsv(self._root, line, lower=True, overwrite_x=True)
        self._line = known[0] if len(known) == 1 else None
        mean = np.vecdot(known, self._whitened()) + np.vecdot(cells.linear, self._roots)
        left = self._own(cells.linear) - np.vecdot(known, known)
        return mean, np.sqrt(np.maximum(left, 0.0) + self.learnt.noise)

    def told_without(self, cell: Cells, column: int) -> tuple[float, float] | None:
        """Return mean and standard deviation for one cell, had nothing of one name been measured.

        By the inverse of the covariance, of which only what belongs to that name is needed
        (Rasmussen and Williams 2006, section 5.4.2).

        Args:
            cell: one.
            column: of `NAMES`, the name that it has in common with what is left out.

        Returns:
            None where that would take too long, or leaves nothing.
        """
        n = self.count
        out = np.flatnonzero(self._names[:n, column] == cell.names[0, column])
        if len(out) > _LEFT_OUT or len(out) == n:
            return None
        known = self._whitened_of(cell)
        mean = known @ self._whitened() + cell.linear[0] @ self._roots
        left = self._own(cell.linear)[0] - known @ known
        if len(out):
            places = np.zeros((len(self._root), len(out)), order="F")
            places[out, np.arange(len(out))] = 1.0
            dtrsm(1.0, self._root, places, lower=True, overwrite_b=True)
            sides = np.stack((known, self._whitened()), axis=1)
            own, rest = (places.T @ sides).T
            solved = np.linalg.solve(places.T @ places, own)
            mean -= solved @ rest
            left += solved @ own
        return float(mean), float(np.sqrt(max(left, 0.0) + self.learnt.noise))

    def add(
        self, cell: Cells, z: float, setup: int, doubt: float = 0.0, *, told: bool = False
    ) -> None:
        """Add a measurement.

        Args:
            cell: one.
            z: log of what was measured.
            setup: row of its set-up.
            doubt: its variance on top of what every measurement has.
            told: whether this cell, and nothing since, was the last that was told.
        """
        self.met += 1
        if self.grown:
            self._sample(cell, z, setup, doubt)
            return
        line = self._line if told else None
        n = self.count
        self._reserve(n + 1)
        line = (self._whitened_of(cell) if line is None else line)[:n]
        left = self._own(cell.linear)[0] - line @ line
        own = np.sqrt(max(left, 0.0) + self.learnt.noise + doubt)
        self._root[n, :n], self._root[n, n] = line, own
        self._put(cell, z, setup, doubt)
        self._solved = self._line = None

    def step(self) -> bool:
        """Take a step towards the greatest posterior when it is time; return whether it was."""
        n = self.count
        if self.met < self._next or n < _FIRST:
            return False
        self._next = self.met + max(1, self.met // _OFTEN)
        linear, like = self._linear[:n], self._likeness_among()
        if self.grown:
            self._root = np.eye(n, order="F")
            self._factor(like)
        now = self.learnt
        inverse = dpotri(self._root[:n, :n], lower=True)[0]
        solved = dsymv(1.0, inverse, self._rest[:n], lower=True)
        # The likelihood pulls at each covariance by the product of what is solved there, less the
        # inverse; what lies below its diagonal in columns lies above it in lines.
        own = float(solved @ solved - np.trace(inverse))
        slopes = np.empty_like(self._at)
        pulls = slopes[2:-WIDTH]
        pulled = loops.pull_at(pulls, like, inverse.T, solved, *self._beside())
        slopes[0] = -now.variance * (2.0 * pulled + own)
        slopes[1] = -now.noise * own
        pulls *= now.variance * now.rates
        spread = np.vecdot(dsymm(1.0, inverse, linear, lower=True).T, linear.T)
        slopes[-WIDTH:] = -0.5 * now.laws * (np.square(solved @ linear) - spread)
        slopes += (self._at - _MIDDLE) / np.square(_SPREAD)
        self._climb(slopes)
        if self.grown:
            self._root, self._solved = _EMPTY, None
        else:
            self._factor(self._likeness_among())
        return True

    def forget(self, setups: Sequence[int]) -> None:
        """Forget what was measured in set-ups."""
        kept = ~np.isin(self._setups[: self.count], setups)
        if not kept.all():
            self._keep(kept)

    def _own(self, linear: Floats) -> Floats:
        """Return `(q,)` variances of cells by features `(q, WIDTH)`, before any measurement."""
        own: Floats = np.vecdot(np.square(linear), self.learnt.laws)
        own += self.learnt.variance
        return own

    def _whitened(self) -> Floats:
        """Return what was measured, as if all of it were independent."""
        if self._solved is None:
            rest = np.zeros(len(self._root))
            rest[: self.count] = self._rest[: self.count]
            self._solved = dtrsv(self._root, rest, lower=True)
        solved: Floats = self._solved
        return solved

    def _whitened_of(self, cell: Cells) -> Floats:
        """Return the covariances of one cell with what was measured, whitened like that."""
        known = np.zeros(len(self._root))
        known[: self.count] = self._likeness(cell)[0]
        whitened: Floats = dtrsv(self._root, known, lower=True, overwrite_x=True)
        return whitened

    def _likeness(self, cells: Cells) -> Floats:
        """Return `(q, count)` covariances of cells with what was measured."""
        n, now = self.count, self.learnt
        likeness = np.empty((len(cells.sizes), n))
        known = self._sizes[:n], self._names[:n]
        loops.likeness(likeness, cells.sizes, cells.names, *known, now.rates)
        likeness *= now.variance
        weighted = cells.linear * now.laws
        # One by one, so that no answer depends on what is asked beside it.
        likeness += np.matmul(self._linear[:n], weighted[..., None])[..., 0]
        return likeness

    def _beside(self) -> tuple[FloatTable, IntTable]:
        """Return sizes and names of what was measured, a column for each."""
        n = self.count
        return np.ascontiguousarray(self._sizes[:n].T), np.ascontiguousarray(self._names[:n].T)

    def _likeness_among(self) -> FloatTable:
        """Return `(n, n)`, above the diagonal, how alike measurements are to each other."""
        like = np.zeros((self.count, self.count))
        loops.likeness_among(like, *self._beside(), self.learnt.rates)
        return like

    def _climb(self, slopes: Floats) -> None:
        """Move against slopes: farther where they stay of one sign, less far where they turn."""
        turned = slopes * self._slopes
        self._steps *= np.where(turned > 0.0, _FASTER, np.where(turned < 0.0, _SLOWER, 1.0))
        self._steps = np.minimum(np.maximum(self._steps, _STEP_LEAST), _STEP_MOST)
        slopes[turned < 0.0] = 0.0
        self._slopes = slopes
        moved = self._at - self._steps * np.sign(slopes)
        self._at = np.minimum(np.maximum(moved, _LEAST), _GREATEST)
        self.learnt = Hyperparameters.of(self._at)

    def _factor(self, like: FloatTable) -> None:
        """Find the root of the covariance anew, by how alike measurements are."""
        n, now = self.count, self.learnt
        linear = self._linear[:n]
        whole = (linear * now.laws) @ linear.T
        whole += now.variance * like
        own = np.diag(whole).copy()
        while True:
            np.fill_diagonal(whole, own + self._doubt[:n] + self.learnt.noise)
            # What lies above the diagonal in lines lies below it in columns.
            root, failed = dpotrf(whole.T, lower=True, clean=True)
            if not failed:
                break
            # Measurements so alike that their rounding errors count: noise tells them apart.
            self._at[1] += 0.5
            self.learnt = Hyperparameters.of(self._at)
        self._root[:n, :n] = root
        self._solved = self._line = None

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        """Keep some of the measurements."""
        n = int(kept.sum())
        for name in _BY_MEASUREMENT:
            array = getattr(self, name)
            array[:n] = array[: len(kept)][kept]
        self.count = n
        if not self.grown:
            self._root = np.asfortranarray(np.eye(len(self._root)))
            self._factor(self._likeness_among())

    def _put(self, cell: Cells, z: float, setup: int, doubt: float) -> None:
        """Put a measurement behind the others."""
        n = self.count
        self._sizes[n], self._names[n], self._linear[n] = (
            cell.sizes[0],
            cell.names[0],
            cell.linear[0],
        )
        self._rest[n] = z - cell.linear[0] @ self._roots
        self._setups[n], self._doubt[n] = setup, doubt
        self.count += 1

    def _sample(self, cell: Cells, z: float, setup: int, doubt: float) -> None:
        """Keep one measurement of so many, so that those that are kept are of all times."""
        self._root, self._solved, self._line = _EMPTY, None, None
        if self.met % (self.met // MOST):
            return
        if self.count == MOST:
            kept = np.ones(MOST, dtype=bool)
            kept[::_THINNED] = False
            self._keep(kept)
        self._reserve(self.count + 1)
        self._put(cell, z, setup, doubt)

    def _reserve(self, rows: int) -> None:
        """Make room for so many measurements."""
        n = self.count
        if rows <= len(self._rest):
            return
        rows = min(max(_RESERVED, 2 * n), MOST)
        for name in _BY_MEASUREMENT:
            array = getattr(self, name)
            grown = np.zeros((rows, *array.shape[1:]), array.dtype)
            grown[:n] = array[:n]
            setattr(self, name, grown)
        if not self.grown:
            root = np.asfortranarray(np.eye(rows))
            root[:n, :n] = self._root[:n, :n]
            self._root, self._solved, self._line = root, None, None
