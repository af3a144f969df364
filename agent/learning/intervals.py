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

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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

CLOSE = 0.2
"""How near a measurement must be, relative to the prediction, to count as close."""

_FLOOR = 0.003
"""No measurement repeats better than this (log space), so no scale is smaller."""

_LOWEST, _STEP, _BINS = -5.0, 1.0 / 6.0, 62
"""The histograms count the log of error over usual error; the outer bins take the rest."""

_FADE = 1.0 - 1.0 / 400.0
_FILL = 15.0
"""Errors of its own that a set-up needs to count as much as everything above it."""

_ADAPT = 0.01
_ADAPT_ABOVE = 0.004
"""Steps of the level of a set-up, and of the domain above it."""

_LEVEL_LOW, _LEVEL_HIGH = 0.80, 0.985

_NARROWEST, _WIDEST = -12.0, math.log(math.log(1e4))
"""Bounds of the log of a half-width: a factor of 10,000 either way says that nothing is known."""

_UNDER = math.log(-math.log1p(-CLOSE) + _FLOOR)
_OVER = math.log(math.log1p(CLOSE) + _FLOOR)


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
        # Of four kinds, the last two are strangers.
        self._aims = np.where(np.arange(kinds) < 2, _AIM, _AIM_STRANGE)
        self._root = np.asarray(priors, dtype=float)
        self._spread = (1.0 / np.asarray(firmness, dtype=float))[:, :, None] * np.eye(
            self._root.shape[1]
        )
        # For each domain and kind a regression of its own.
        self._weights = np.zeros((4 * kinds, self._root.shape[1]))
        self._covariance = np.zeros((4 * kinds, *self._spread.shape[1:]))
        centres = _LOWEST + _STEP * (np.arange(_BINS) - 0.5)
        # Half-normal errors, their log centred: what one expects before the first error is known.
        density = np.exp(centres - 0.63 - 0.5 * np.exp(2 * (centres - 0.63)))
        self._prior = density / density.sum()
        self._bins = np.zeros((kinds, _BINS))
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

    def learn(self, cells: Standing, paths: Integers, reasons: Floats, errors: Floats) -> Floats:
        """Learn one error (log space) of each of several metrics, predicted before learnt.

        Args:
            cells: of one cell, `(m,)`, whose metrics differ.
            paths: `(m, d)`, rows from the widest to the set-up.
            reasons: `(m, k)`, what the sizes of the errors may depend on.
            errors: `(m,)`, measured minus predicted.

        Returns:
            `(m,)` half-widths of the intervals that the errors were held against.
        """
        one = cells.domains * self._kinds + cells.kinds
        usual = np.vecdot(reasons, self._weights[one])
        score = np.log(np.abs(errors) + _FLOOR) - usual
        nodes = self._nodes(cells, paths)
        quantile = _quantile(
            np.add.accumulate(self._mixture(nodes), axis=1), self._levels(nodes, cells.kinds)
        )
        missed = (score > quantile) - (1.0 - self._aims[cells.kinds])
        self._level[nodes[:, 0]] += _ADAPT_ABOVE * missed
        self._level[nodes[:, -1]] += _ADAPT * missed
        # What is steered to its bound goes no farther.
        self._level[nodes] = np.minimum(np.maximum(self._level[nodes], -0.1), 0.075)
        self._count_in(one, nodes, reasons, score, np.ones(len(score)))
        width: Floats = np.exp(np.minimum(np.maximum(usual + quantile, _NARROWEST), _WIDEST))
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
        one = cells.domains * self._kinds + cells.kinds
        score = np.log(np.abs(errors) + _FLOOR) - np.vecdot(reasons, self._weights[one])
        self._count_in(one, self._nodes(cells, paths), reasons, score, weights)

    def half_widths(
        self, cells: Standing, paths: Integers, reasons: Floats
    ) -> tuple[Floats, Floats]:
        """Return `(n, m)` half-widths in log space, and `(n, m)` chances of being close.

        Args:
            cells: `(n, m)`.
            paths: `(n, m, d)` rows; 0 for what is unknown, which falls back to what is above.
            reasons: `(n, m, k)`.
        """
        shape = cells.kinds.shape
        nodes = self._nodes(cells, paths).reshape(cells.kinds.size, -1)
        weights = self._weights[cells.domains * self._kinds + cells.kinds]
        usual = np.vecdot(reasons, weights).reshape(-1)
        cumulative = np.add.accumulate(self._mixture(nodes), axis=1)
        quantile = _quantile(cumulative, self._levels(nodes, cells.kinds.reshape(-1)))
        width = np.exp(np.minimum(np.maximum(usual + quantile, _NARROWEST), _WIDEST))
        chance = 0.5 * (_below(cumulative, _UNDER - usual) + _below(cumulative, _OVER - usual))
        half_width = np.maximum(width - _FLOOR, _FLOOR)
        return half_width.reshape(shape), np.minimum(chance, 1.0).reshape(shape)

    def _nodes(self, cells: Standing, paths: Integers) -> Integers:
        """Return `(..., d)` nodes, from the domain to the set-ups of a kind."""
        nodes: Integers = np.where(paths > 0, self._kinds * paths + cells.kinds[..., None], 0)
        return nodes

    def _levels(self, nodes: Integers, kinds: Integers) -> Floats:
        level = self._level[nodes[:, 0]] + self._level[nodes[:, -1]] + self._aims[kinds]
        levels: Floats = np.minimum(np.maximum(level, _LEVEL_LOW), _LEVEL_HIGH)
        return levels

    def _mixture(self, nodes: Integers) -> Floats:
        """Return `(p, bins)` chances by rows `(p, d)`, each filled up by those before it."""
        weight = 1.0 / (self._count[nodes] + _FILL)
        # What is above a level counts as much as `_FILL` errors of its own.
        passed = np.multiply.accumulate(_FILL * weight[:, ::-1], axis=1)[:, ::-1]
        weight[:, :-1] *= passed[:, 1:]
        mixture: Floats = np.matmul(weight[:, None, :], self._bins.take(nodes, axis=0))[:, 0]
        mixture += passed[:, :1] * self._prior
        return mixture

    def _count_in(
        self, one: Integers, nodes: Integers, reasons: Floats, score: Floats, weights: Floats
    ) -> None:
        """Count scores `(m,)` in nodes `(m, d)`, and let the usual error follow them."""
        each = weights[:, None]
        fade = 1.0 - (1.0 - _FADE) * each
        column = np.ceil((score - _LOWEST) * (1.0 / _STEP))
        column = np.minimum(np.maximum(column, 0), _BINS - 1).astype(np.int64)
        self._bins[nodes] *= fade[..., None]
        self._bins[nodes, column[:, None]] += each
        self._count[nodes] = self._count[nodes] * fade + each
        self._regress(one, reasons, score, weights)

    def _regress(self, one: Integers, reasons: Floats, score: Floats, weights: Floats) -> None:
        """Take one step of recursive least squares, bounded against outliers, slowly forgetting."""
        covariance = self._covariance[one]
        projected = np.vecdot(covariance, reasons[:, None])
        gain = projected / (1.0 / weights + np.vecdot(reasons, projected))[:, None]
        self._weights[one] += gain * np.minimum(np.maximum(score, -3.0), 3.0)[:, None]
        covariance -= gain[:, :, None] * projected[:, None, :]
        width = reasons.shape[1]
        small = covariance.reshape(len(one), -1)[:, :: width + 1].sum(axis=1) < 10.0 * width
        covariance *= np.where(small, 1.0 + 1.0 / 5000.0, 1.0)[:, None, None]
        self._covariance[one] = covariance


def _quantile(cumulative: Floats, level: Floats) -> Floats:
    """Return the `(p,)` scores below which shares `(p,)` lie, by cumulative chances `(p, bins)`."""
    column = np.minimum((cumulative < level[:, None]).sum(axis=1), _BINS - 1)
    line = np.arange(len(level))
    above = cumulative[line, column]
    below = np.where(column > 0, cumulative[line, column - 1], 0.0)
    part = (level - below) / np.maximum(above - below, 1e-12)
    score: Floats = _LOWEST + _STEP * (column - 1 + np.minimum(np.maximum(part, 0.0), 1.0))
    return score


def _below(cumulative: Floats, scores: Floats) -> Floats:
    """Return the `(p,)` chances that a score lies below given ones."""
    position = (scores - _LOWEST) * (1.0 / _STEP) + 1.0
    position = np.minimum(np.maximum(position, 0.0), _BINS - 1e-9)
    column = position.astype(np.int64)
    line = np.arange(len(cumulative))
    above = cumulative[line, column]
    below = np.where(column > 0, cumulative[line, column - 1], 0.0)
    chance: Floats = below + (position - column) * (above - below)
    return chance
