"""Intervals that keep their promise, and the chance of being close.

Errors are put on one scale first: a small online regression says how large an error is usual
for a cell (few measurements of its set-up, an unknown model, guessed features: larger), as in
locally weighted conformal prediction (Lei et al. 2018). What is left is counted in histograms,
one for each set-up, each filled up by the one above it (hardware, domain, everything), so that
a new set-up starts from its relatives. Old errors fade. Quantiles are read at a level that
follows the misses of the set-up (adaptive conformal inference, Gibbs and Candes 2021).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

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

_EDGES = np.linspace(-5.0, 5.0, 61)
"""Edges of the histograms: log of error over usual error."""

_BINS = len(_EDGES) + 1
_STEP = float(_EDGES[1] - _EDGES[0])
_FADE = 1.0 - 1.0 / 400.0
_FILL = 15.0
"""Errors of its own that a set-up needs to count as much as everything above it."""

_NARROWEST, _WIDEST = -12.0, float(np.log(np.log(1e4)))
"""Bounds of the log of a half-width: a factor of 10,000 either way says that nothing is known."""

_ADAPT = 0.01
_LEVEL_LOW, _LEVEL_HIGH = 0.80, 0.985


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
        self._index: dict[Hashable, int] = {}
        centres = np.concatenate(([_EDGES[0]], _EDGES[:-1] + _STEP / 2, [_EDGES[-1]]))
        # Half-normal errors, their log centred: what one expects before the first error is known.
        density = np.exp(centres - 0.63 - 0.5 * np.exp(2 * (centres - 0.63)))
        self._start = density / density.sum()
        self._bins = np.zeros((16, _BINS))
        self._bins[0] = 20.0 * self._start
        self._level = np.full(16, NOMINAL)

    def learn(self, path: Sequence[Hashable], reasons: Floats, error: float) -> None:
        """Learn one error (log space) of a cell that was predicted before it was learnt.

        Args:
            path: keys from the widest to the set-up; the same keys always come before a key.
            reasons: `(k,)`, what the size of the error may depend on.
            error: measured minus predicted.
        """
        size = float(np.log(abs(error) + _FLOOR))
        usual = float(self._weights @ reasons)
        score = size - usual
        nodes = np.array([[0, *(self._node(key) for key in path)]])
        level = self._level[nodes[0, -1]]
        missed = score > float(self._quantile(self._mixture(nodes), np.array([level]))[0])
        self._level[nodes[0, -1]] = min(
            max(level + _ADAPT * (float(missed) - (1.0 - NOMINAL)), _LEVEL_LOW), _LEVEL_HIGH
        )
        column = int(np.searchsorted(_EDGES, score))
        for node in nodes[0]:
            self._bins[node] *= _FADE
            self._bins[node, column] += 1.0
        # Recursive least squares with slow forgetting, its step bounded against outliers.
        projected = self._covariance @ reasons
        gain = projected / (1.0 + float(reasons @ projected))
        self._weights += gain * min(max(score, -3.0), 3.0)
        self._covariance -= np.outer(gain, projected)
        trace = float(np.trace(self._covariance))
        if trace < 10.0 * len(reasons):
            self._covariance *= 1.0 + 1.0 / 5000.0

    def half_widths(
        self, paths: Sequence[Sequence[Hashable]], reasons: Floats
    ) -> tuple[Floats, Floats]:
        """Return `(n,)` half-widths in log space, and `(n,)` chances of being close.

        Args:
            paths: `n` paths of equal length; unknown keys fall back to what is above them.
            reasons: `(n, k)`.
        """
        nodes = np.array([[0, *(self._index.get(key, -1) for key in path)] for path in paths])
        mixture = self._mixture(nodes)
        usual = reasons @ self._weights
        levels = np.where(nodes[:, -1] >= 0, self._level[nodes[:, -1]], NOMINAL)
        width = np.exp(np.clip(usual + self._quantile(mixture, levels), _NARROWEST, _WIDEST))
        chance = 0.5 * (
            self._below(mixture, np.log(-np.log1p(-CLOSE) + _FLOOR) - usual)
            + self._below(mixture, np.log(np.log1p(CLOSE) + _FLOOR) - usual)
        )
        return np.maximum(width - _FLOOR, _FLOOR), np.clip(chance, 0.0, 1.0)

    def _mixture(self, nodes: Integers) -> Floats:
        """Return `(n, bins)` chances, each level filled up by those above it."""
        mixture = np.broadcast_to(self._start, (len(nodes), _BINS))
        for column in nodes.T:
            counts = np.where(column[:, None] >= 0, self._bins[column], 0.0)
            mixture = (counts + _FILL * mixture) / (counts.sum(axis=1, keepdims=True) + _FILL)
        return mixture

    @staticmethod
    def _quantile(mixture: Floats, levels: Floats) -> Floats:
        cumulative = np.cumsum(mixture, axis=1)
        column = np.minimum((cumulative < levels[:, None]).sum(axis=1), _BINS - 1)
        rows = np.arange(len(mixture))
        inside = mixture[rows, column]
        before = cumulative[rows, column] - inside
        part = np.clip((levels - before) / np.maximum(inside, 1e-12), 0.0, 1.0)
        scores: Floats = _EDGES[0] + _STEP * (column - 1 + part)
        return scores

    @staticmethod
    def _below(mixture: Floats, scores: Floats) -> Floats:
        position = np.clip((scores - _EDGES[0]) / _STEP + 1.0, 0.0, _BINS - 1e-9)
        column = position.astype(np.int64)
        rows = np.arange(len(mixture))
        before = np.cumsum(mixture, axis=1)[rows, column] - mixture[rows, column]
        result: Floats = before + (position - column) * mixture[rows, column]
        return result

    def _node(self, key: Hashable) -> int:
        node = self._index.get(key)
        if node is None:
            node = len(self._index) + 1
            if node > self.capacity:
                node = self._index.pop(next(iter(self._index)))
            elif node >= len(self._bins):
                self._bins = np.concatenate((self._bins, np.zeros_like(self._bins)))
                self._level = np.concatenate((self._level, np.full_like(self._level, NOMINAL)))
            self._bins[node] = 0.0
            self._level[node] = NOMINAL
        else:
            del self._index[key]
        self._index[key] = node
        return node
