"""How wide intervals are, by histograms of errors that fill each other up."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agent.learning.loops.compiled import (
    FloatCube,
    Floats,
    FloatTable,
    Integers,
    IntegerTable,
    compiled,
)

LOWEST, STEP, BINS = -5.0, 1.0 / 6.0, 62
"""The histograms count the log of error over usual error; the outer bins take the rest."""

FLOOR = 0.003
"""No measurement repeats better than this (log space), so no scale is smaller."""

_FADE = 1.0 - 1.0 / 400.0
_FILL = 15.0
"""Errors of its own that a set-up needs to count as much as everything above it."""

_ADAPT = 0.01
_ADAPT_ABOVE = 0.004
"""Steps of the level of a set-up, and of the domain above it."""

_LEAST_STEERED, _MOST_STEERED = -0.1, 0.075
_LEVEL_LOW, _LEVEL_HIGH = 0.80, 0.985

_NARROWEST, _WIDEST = -12.0, math.log(math.log(1e4))
"""Bounds of the log of a half-width: a factor of 10,000 either way says that nothing is known."""

CLOSE = 0.2
"""How near a measurement must be, relative to the prediction, to count as close."""

_UNDER = math.log(-math.log1p(-CLOSE) + FLOOR)
_OVER = math.log(math.log1p(CLOSE) + FLOOR)

_CLIP = 3.0
_FORGET, _WIDE = 1.0 + 1.0 / 5000.0, 10.0
"""How fast the regression forgets, as long as its covariance is narrower than so much."""


class State(NamedTuple):
    """What is learnt of errors.

    Attributes:
        prior: `(BINS,)`, what nothing is filled up by.
        aims: by kinds, what share an interval is to hold.
        bins: `(nodes, BINS)`.
        counts: `(nodes,)`, how many errors are in them.
        level: `(nodes,)`, how far they are steered.
        weights: `(regressions, k)`.
        covariance: `(regressions, k, k)`.
    """

    prior: Floats
    aims: Floats
    bins: FloatTable
    counts: Floats
    level: Floats
    weights: FloatTable
    covariance: FloatCube


class Where(NamedTuple):
    """Where each of several errors belongs.

    Attributes:
        domains: short numbers of them.
        kinds: of the cells.
        paths: `(m, d)` rows, from the domain to the set-up; 0 for none.
        reasons: `(m, k)`, for the regressions.
    """

    domains: Integers
    kinds: Integers
    paths: IntegerTable
    reasons: FloatTable


@compiled
def _regression(at: int, where: Where, state: State) -> int:
    """Return which regression tells the usual error: each domain has one for each kind."""
    return where.domains[at] * len(state.aims) + where.kinds[at]


@compiled
def _node(at: int, level: int, where: Where, state: State) -> int:
    """Return the node at a level of the path of an error: each row has one for each kind.

    Row 0 stands for nothing, as its first node does for all kinds.
    """
    row = where.paths[at, level]
    return row * len(state.aims) + where.kinds[at] if row > 0 else 0


@compiled
def _accumulate(cumulative: Floats, at: int, where: Where, state: State) -> None:
    """Find the chances that a score lies below the end of each bin.

    Each node is filled up by those before it; what is above a level counts as much as `_FILL`
    errors of its own.
    """
    cumulative[:] = 0.0
    passed = 1.0
    for level in range(where.paths.shape[1] - 1, -1, -1):
        node = _node(at, level, where, state)
        weight = 1.0 / (state.counts[node] + _FILL)
        own = state.bins[node]
        for column in range(BINS):
            cumulative[column] += passed * weight * own[column]
        passed *= _FILL * weight
    total = 0.0
    for column in range(BINS):
        total += cumulative[column] + passed * state.prior[column]
        cumulative[column] = total


@compiled
def _quantile(cumulative: Floats, level: float) -> float:
    """Return the score below which a share lies."""
    column = 0
    while column < BINS - 1 and cumulative[column] < level:
        column += 1
    below = cumulative[column - 1] if column > 0 else 0.0
    part = (level - below) / max(cumulative[column] - below, 1e-12)
    return LOWEST + STEP * (column - 1 + min(max(part, 0.0), 1.0))


@compiled
def _below(cumulative: Floats, score: float) -> float:
    """Return the chance that a score lies below a given one."""
    position = min(max((score - LOWEST) / STEP + 1.0, 0.0), BINS - 1e-9)
    column = int(position)
    below = cumulative[column - 1] if column > 0 else 0.0
    return below + (position - column) * (cumulative[column] - below)


@compiled
def _usual(reasons: Floats, weights: Floats) -> float:
    """Return the log of the usual error."""
    total = 0.0
    for one in range(len(reasons)):
        total += reasons[one] * weights[one]
    return total


@compiled
def _regress(
    weights: Floats, covariance: FloatTable, reasons: Floats, score: float, share: float
) -> None:
    """Let the usual error follow a score.

    By one step of recursive least squares, bounded against outliers, slowly forgetting.
    """
    width = len(reasons)
    projected = np.zeros(width)
    for i in range(width):
        for j in range(width):
            projected[i] += covariance[i, j] * reasons[j]
    scale = 1.0 / share + _usual(reasons, projected)
    bounded, trace = min(max(score, -_CLIP), _CLIP), 0.0
    for i in range(width):
        gain = projected[i] / scale
        weights[i] += gain * bounded
        for j in range(width):
            covariance[i, j] -= gain * projected[j]
        trace += covariance[i, i]
    if trace < _WIDE * width:
        covariance *= _FORGET


@compiled
def _count_in(at: int, where: Where, score: float, share: float, state: State) -> None:
    """Count a share of a score, and let the usual error follow it."""
    fade = 1.0 - (1.0 - _FADE) * share
    column = int(min(max(math.ceil((score - LOWEST) / STEP), 0), BINS - 1))
    for level in range(where.paths.shape[1]):
        node = _node(at, level, where, state)
        state.bins[node] *= fade
        state.bins[node, column] += share
        state.counts[node] = state.counts[node] * fade + share
    own = _regression(at, where, state)
    _regress(state.weights[own], state.covariance[own], where.reasons[at], score, share)


@compiled
def _steered(at: int, where: Where, state: State) -> float:
    """Return the level at which a quantile is read."""
    first = _node(at, 0, where, state)
    last = _node(at, where.paths.shape[1] - 1, where, state)
    level = state.level[first] + state.level[last] + state.aims[where.kinds[at]]
    return min(max(level, _LEVEL_LOW), _LEVEL_HIGH)


@compiled
def _wide(usual: float, quantile: float) -> float:
    """Return the half-width of an interval (log space)."""
    return math.exp(min(max(usual + quantile, _NARROWEST), _WIDEST))


@compiled
def learn(width: Floats, where: Where, errors: Floats, shares: Floats, state: State) -> None:
    """Learn shares of errors (log space) one by one, of which no two have nodes in common.

    `width` is filled with half-widths of the intervals that they were held against.
    """
    cumulative = np.empty(BINS)
    for at, error in enumerate(errors):
        usual = _usual(where.reasons[at], state.weights[_regression(at, where, state)])
        score = math.log(abs(error) + FLOOR) - usual
        _accumulate(cumulative, at, where, state)
        quantile = _quantile(cumulative, _steered(at, where, state))
        width[at] = _wide(usual, quantile)
        missed = (1.0 if score > quantile else 0.0) - (1.0 - state.aims[where.kinds[at]])
        missed *= shares[at]
        last = where.paths.shape[1] - 1
        state.level[_node(at, 0, where, state)] += _ADAPT_ABOVE * missed
        state.level[_node(at, last, where, state)] += _ADAPT * missed
        for level in range(last + 1):
            # What is steered to its bound goes no farther.
            node = _node(at, level, where, state)
            state.level[node] = min(max(state.level[node], _LEAST_STEERED), _MOST_STEERED)
        _count_in(at, where, score, shares[at], state)


@compiled
def pretend(where: Where, errors: Floats, shares: Floats, state: State) -> None:
    """Learn shares of errors, as `learn` does but for what steers levels."""
    for at, error in enumerate(errors):
        usual = _usual(where.reasons[at], state.weights[_regression(at, where, state)])
        _count_in(at, where, math.log(abs(error) + FLOOR) - usual, shares[at], state)


@compiled
def half_widths(half_width: Floats, chance: Floats, where: Where, state: State) -> None:
    """Fill in half-widths (log space) of intervals, and the chances of being close."""
    cumulative = np.empty(BINS)
    for at in range(len(chance)):
        usual = _usual(where.reasons[at], state.weights[_regression(at, where, state)])
        _accumulate(cumulative, at, where, state)
        width = _wide(usual, _quantile(cumulative, _steered(at, where, state)))
        half_width[at] = max(width - FLOOR, FLOOR)
        close = _below(cumulative, _UNDER - usual) + _below(cumulative, _OVER - usual)
        chance[at] = min(0.5 * close, 1.0)
