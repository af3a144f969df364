"""Intervals that keep their promise, and the chance of being close.

Errors are put on one scale first: a small online regression says how large an error is usual
for a cell (by the doubt that its neighbours leave, above all, and by what is guessed), as in
locally weighted conformal prediction (Lei et al. 2018). What is left is counted in histograms,
one for each set-up, each filled up by the one above it (hardware, domain), so that a new set-up
starts from its relatives. Nothing is filled up from other domains: how much more than usual one is
wrong about vision models says nothing of language models. Old errors fade. Quantiles are read at
a level that follows the misses of the set-up (adaptive conformal inference, Gibbs and Candes 2021).
Errors of predictions that were made without some of what was known are learnt beside those of
predictions that were given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.loops import intervals as loops
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NOMINAL = 0.9
"""The share of measurements that an interval is meant to hold."""

DEVIATIONS = 1.645
"""Standard deviations in the half-width of such an interval, were errors normal."""

_AIM = 0.905
_AIM_STRANGE = 0.915
"""What levels are steered to: what is asked later is a little harder than what was learnt, most of
all among networks never seen, of which a stream meets the rare ones last."""


class Standing(NamedTuple):
    """Where cells stand, each of the two an array of one shape.

    Attributes:
        domains: short numbers of domains.
        kinds: which kind each cell is of, by what is known of the metric.
    """

    domains: Integers
    kinds: Integers


class Intervals:
    """Learns how wrong learners are, one for each metric, and says so for cells.

    Cells are of several kinds (a network known there, known elsewhere, never seen), and for each
    the errors of its like alone count (Vovk's Mondrian conformal prediction, 2003): a network
    that was never seen is not to be judged by how well the known ones are predicted.

    Histograms are found by the rows of scopes that the caller gives out; row 0 stands for none.

    Args:
        priors: `(kinds, k)`, weights to start from, for each kind of cell, of the log of the usual
            error on the reasons for it.
        firmness: `(kinds, k)`, how many errors each prior weight is worth.
    """

    def __init__(self, priors: Floats, firmness: Floats) -> None:
        # Each row has a node for each kind; node 0 is for nothing.
        self._kinds = kinds = len(priors)
        # The last two are strangers.
        self._aims = np.where(np.arange(kinds) < kinds - 2, _AIM, _AIM_STRANGE)
        self._root = np.asarray(priors, dtype=float)
        self._spread = (1.0 / np.asarray(firmness, dtype=float))[:, :, None] * np.eye(
            self._root.shape[1]
        )
        # For each domain and kind a regression of its own.
        self._weights = np.zeros((4 * kinds, self._root.shape[1]))
        self._covariance = np.zeros((4 * kinds, *self._spread.shape[1:]))
        centres = loops.LOWEST + loops.STEP * (np.arange(loops.BINS) - 0.5)
        # Half-normal errors, their log centred: what one expects before the first error is known.
        density = np.exp(centres - 0.63 - 0.5 * np.exp(2 * (centres - 0.63)))
        self._prior = density / density.sum()
        self._bins = np.zeros((kinds, loops.BINS))
        self._count = np.zeros(len(self._bins))
        self._level = np.zeros(len(self._bins))

    def start(self, row: int) -> None:
        """Forget what was learnt in a row."""
        nodes = slice(self._kinds * row, self._kinds * (row + 1))
        if nodes.stop > len(self._count):
            self._bins = fitted(self._bins, nodes.stop)
            self._count = fitted(self._count, nodes.stop)
            self._level = fitted(self._level, nodes.stop)
        self._bins[nodes] = self._count[nodes] = self._level[nodes] = 0.0

    def begin(self, domain: int) -> None:
        """Forget how large errors in a domain are."""
        own = slice(self._kinds * domain, self._kinds * (domain + 1))
        self._weights = fitted(self._weights, own.stop)
        self._covariance = fitted(self._covariance, own.stop)
        self._weights[own], self._covariance[own] = self._root, self._spread

    def learn(
        self, cells: Standing, paths: Integers, reasons: Floats, errors: Floats, shares: Floats
    ) -> Floats:
        """Learn one error (log space) of each of several metrics, predicted before learnt.

        Args:
            cells: of one cell, `(m,)`, whose metrics differ.
            paths: `(m, d)`, rows from the widest to the set-up.
            reasons: `(m, k)`, what the sizes of the errors may depend on.
            errors: `(m,)`, measured minus predicted.
            shares: `(m,)`, for how much of an error each counts.

        Returns:
            `(m,)` half-widths of the intervals that the errors were held against.
        """
        width = np.empty(len(errors))
        loops.learn(width, self._where(cells, paths, reasons), errors, shares, self._state)
        return width

    def pretend(
        self, cells: Standing, paths: Integers, reasons: Floats, errors: Floats, weights: Floats
    ) -> None:
        """Learn errors of predictions that nobody was given.

        They say how wrong one is, but not how often an interval was missed: levels stay.

        Args:
            cells: as of `learn`.
            paths: as of `learn`.
            reasons: as of `learn`.
            errors: as of `learn`.
            weights: `(m,)`, for how much of an error each counts.
        """
        loops.pretend(self._where(cells, paths, reasons), errors, weights, self._state)

    def half_widths(
        self, cells: Standing, paths: Integers, reasons: Floats
    ) -> tuple[Floats, Floats]:
        """Return `(n, m)` half-widths in log space, and `(n, m)` chances of being close.

        Args:
            cells: `(n, m)`.
            paths: `(n, m, d)` rows; 0 for what is unknown, which falls back to what is above.
            reasons: `(n, m, k)`.
        """
        half_width, chance = np.empty((2, cells.kinds.size))
        loops.half_widths(half_width, chance, self._where(cells, paths, reasons), self._state)
        return half_width.reshape(cells.kinds.shape), chance.reshape(cells.kinds.shape)

    @property
    def _state(self) -> loops.State:
        return loops.State(
            self._prior,
            self._aims,
            self._bins,
            self._count,
            self._level,
            self._weights,
            self._covariance,
        )

    def _where(self, cells: Standing, paths: Integers, reasons: Floats) -> loops.Where:
        """Return where errors belong, one for each of what stands in the last axes but one."""
        count = cells.kinds.size
        return loops.Where(
            cells.domains.reshape(-1),
            cells.kinds.reshape(-1),
            paths.reshape(count, -1),
            reasons.reshape(count, -1),
        )
