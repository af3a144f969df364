"""Intervals that keep their promise, and the chance of being close.

Errors are put on one scale first: a small online regression says how large an error is usual
for a cell (few measurements of its set-up, an unknown model, guessed features: larger), as in
locally weighted conformal prediction (Lei et al. 2018). What is left is counted in histograms,
one for each set-up, each filled up by the one above it (hardware, domain, everything), so that
a new set-up starts from its relatives. Old errors fade. Quantiles are read at a level that
follows the misses of the set-up (adaptive conformal inference, Gibbs and Candes 2021).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NOMINAL = 0.9
"""The share of measurements that an interval is meant to hold."""

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
_LEVEL_LOW, _LEVEL_HIGH = 0.80, 0.985

_NARROWEST, _WIDEST = -12.0, math.log(math.log(1e4))
"""Bounds of the log of a half-width: a factor of 10,000 either way says that nothing is known."""

_UNDER = math.log(-math.log1p(-CLOSE) + _FLOOR)
_OVER = math.log(math.log1p(CLOSE) + _FLOOR)


class Intervals:
    """Learns how wrong one learner is, and says so for cells.

    Args:
        prior: `(k,)`, weights to start from of the log of the usual error on the reasons for it.
        firmness: `(k,)`, how many errors each prior weight is worth.
        capacity: how many histograms are kept; the ones unused for longest go first.
    """

    def __init__(self, prior: Floats, firmness: Floats, capacity: int = 1024) -> None:
        self.capacity = capacity
        self._weights = np.array(prior, dtype=float)
        self._covariance = np.diag(1.0 / np.asarray(firmness, dtype=float))
        self._index: dict[int, int] = {}
        centres = _LOWEST + _STEP * (np.arange(_BINS) - 0.5)
        # Half-normal errors, their log centred: what one expects before the first error is known.
        density = np.exp(centres - 0.63 - 0.5 * np.exp(2 * (centres - 0.63)))
        # Row 0 is what one expects, row 1 everything, the others as `_index` says.
        self._bins = np.zeros((16, _BINS))
        self._bins[0] = density / density.sum()
        self._count = np.zeros(16)
        self._level = np.full(16, NOMINAL)

    def learn(self, path: Sequence[int], reasons: Floats, error: float) -> float:
        """Learn one error (log space) of a cell that was predicted before it was learnt.

        Args:
            path: keys from the widest to the set-up; the same keys always come before a key.
            reasons: `(k,)`, what the size of the error may depend on.
            error: measured minus predicted.

        Returns:
            The half-width of the interval that the error was held against.
        """
        usual = float(self._weights @ reasons)
        score = math.log(abs(error) + _FLOOR) - usual
        nodes = [1, *(self._node(key) for key in path)]
        level = float(self._level[nodes[-1]])
        quantile = self._quantile(self._mix(nodes), level)
        miss = float(score > quantile)
        level += _ADAPT * (miss - (1.0 - NOMINAL))
        self._level[nodes[-1]] = min(max(level, _LEVEL_LOW), _LEVEL_HIGH)
        column = min(max(math.ceil((score - _LOWEST) / _STEP), 0), _BINS - 1)
        self._bins[nodes] *= _FADE
        self._bins[nodes, column] += 1.0
        self._count[nodes] = self._count[nodes] * _FADE + 1.0
        self._regress(reasons, score)
        return math.exp(min(max(usual + quantile, _NARROWEST), _WIDEST))

    def half_widths(self, paths: Sequence[Sequence[int]], reasons: Floats) -> tuple[Floats, Floats]:
        """Return `(n,)` half-widths in log space, and `(n,)` chances of being close.

        Args:
            paths: `n` paths of equal length; unknown keys fall back to what is above them.
            reasons: `(n, k)`.
        """
        find = self._index.get
        nodes = np.array([[1, *(find(key, -1) for key in path)] for path in paths])
        cumulative = np.cumsum(self._mixture(nodes), axis=1)
        usual = reasons @ self._weights
        levels = np.where(nodes[:, -1] >= 0, self._level[nodes[:, -1]], NOMINAL)
        column = np.minimum((cumulative < levels[:, None]).sum(axis=1), _BINS - 1)
        line = np.arange(len(nodes))
        above = cumulative[line, column]
        below = np.where(column > 0, cumulative[line, column - 1], 0.0)
        part = np.clip((levels - below) / np.maximum(above - below, 1e-12), 0.0, 1.0)
        quantile = _LOWEST + _STEP * (column - 1 + part)
        width = np.exp(np.clip(usual + quantile, _NARROWEST, _WIDEST))
        chance = 0.5 * (_below(cumulative, _UNDER - usual) + _below(cumulative, _OVER - usual))
        return np.maximum(width - _FLOOR, _FLOOR), np.clip(chance, 0.0, 1.0)

    def _mixture(self, nodes: Integers) -> Floats:
        """Return `(n, bins)` chances, each level filled up by those above it."""
        known = nodes >= 0
        weight = 1.0 / (np.where(known, self._count[nodes], 0.0) + _FILL)
        # What is above a level counts as much as `_FILL` errors of its own.
        passed = np.cumprod((_FILL * weight)[:, ::-1], axis=1)[:, ::-1]
        share = np.empty((len(nodes), nodes.shape[1] + 1))
        share[:, 0] = passed[:, 0]
        share[:, 1:-1] = passed[:, 1:] * weight[:, :-1]
        share[:, -1] = weight[:, -1]
        share[:, 1:] *= known
        rows = np.concatenate((np.zeros((len(nodes), 1), dtype=np.int64), nodes), axis=1)
        mixture: Floats = np.matmul(share[:, None, :], self._bins[rows])[:, 0]
        return mixture

    def _mix(self, nodes: list[int]) -> Floats:
        """Return the `(bins,)` chances of one path of known nodes; see `_mixture`."""
        shares, left = [], 1.0
        for count in self._count[nodes][::-1].tolist():
            shares.append(left / (count + _FILL))
            left *= _FILL / (count + _FILL)
        shares.append(left)
        mixture: Floats = np.array(shares[::-1]) @ self._bins[[0, *nodes]]
        return mixture

    @staticmethod
    def _quantile(mixture: Floats, level: float) -> float:
        cumulative = np.cumsum(mixture)
        column = min(int(np.searchsorted(cumulative, level)), _BINS - 1)
        inside = float(mixture[column])
        part = (level - float(cumulative[column]) + inside) / max(inside, 1e-12)
        return _LOWEST + _STEP * (column - 1 + min(max(part, 0.0), 1.0))

    def _regress(self, reasons: Floats, score: float) -> None:
        """Take one step of recursive least squares, bounded against outliers, slowly forgetting."""
        projected = self._covariance @ reasons
        gain = projected / (1.0 + float(reasons @ projected))
        self._weights += gain * min(max(score, -3.0), 3.0)
        self._covariance -= np.outer(gain, projected)
        if float(self._covariance.trace()) < 10.0 * len(reasons):
            self._covariance *= 1.0 + 1.0 / 5000.0

    def _node(self, key: int) -> int:
        node = self._index.pop(key, -1)
        if node < 0:
            node = len(self._index) + 2
            if node > self.capacity + 1:
                node = self._index.pop(next(iter(self._index)))
            elif node >= len(self._bins):
                self._bins = np.concatenate((self._bins, np.zeros_like(self._bins)))
                self._count = np.concatenate((self._count, np.zeros_like(self._count)))
                self._level = np.concatenate((self._level, np.full_like(self._level, NOMINAL)))
            self._bins[node] = 0.0
            self._count[node] = 0.0
            self._level[node] = NOMINAL
        self._index[key] = node
        return node


def _below(cumulative: Floats, scores: Floats) -> Floats:
    """Return the `(n,)` chances that a score lies below given ones."""
    position = np.clip((scores - _LOWEST) / _STEP + 1.0, 0.0, _BINS - 1e-9)
    column = position.astype(np.int64)
    line = np.arange(len(cumulative))
    above = cumulative[line, column]
    below = np.where(column > 0, cumulative[line, column - 1], 0.0)
    chance: Floats = below + (position - column) * (above - below)
    return chance
