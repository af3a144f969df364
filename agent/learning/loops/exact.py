"""How alike measurements are, all with all, and which way that is to change."""

from __future__ import annotations

import math

from agent.learning.loops.compiled import Floats, FloatTable, IntTable, summed_in_any_order
from agent.learning.loops.gaussian import CELL_NAMES, CELL_SIZES, apart


@summed_in_any_order
def likeness(
    like: FloatTable,
    sizes: FloatTable,
    names: IntTable,
    other_sizes: FloatTable,
    other_names: IntTable,
    rates: Floats,
) -> None:
    """Find how alike cells are to others, in shares of their variance.

    Args:
        like: `(q, n)`, filled in.
        sizes: `(q, sizes)`.
        names: `(q, names)`.
        other_sizes: `(n, sizes)`.
        other_names: `(n, names)`.
        rates: how fast likeness falls with a step in each size, and with each other name.
    """
    for i in range(like.shape[0]):
        for j in range(like.shape[1]):
            like[i, j] = math.exp(-apart(rates, sizes, names, i, other_sizes, other_names, j))


@summed_in_any_order
def add_likeness(
    whole: FloatTable, sizes: FloatTable, names: IntTable, rates: Floats, variance: float
) -> None:
    """Add to a square, above its diagonal, the covariances of lines with those behind them."""
    for i in range(len(whole)):
        for j in range(i + 1, len(whole)):
            far = apart(rates, sizes, names, i, sizes, names, j)
            whole[i, j] += variance * math.exp(-far)


@summed_in_any_order
def pull_at(
    pulls: Floats,
    pull: FloatTable,
    sizes: FloatTable,
    names: IntTable,
    rates: Floats,
    variance: float,
) -> float:
    """Find how far the likelihood pulls at rates; return how far it pulls at covariances.

    Args:
        pulls: `(rates,)`, filled in.
        pull: `(n, n)`, how far it pulls at each covariance; what lies above the diagonal counts.
        sizes: `(n, sizes)`.
        names: `(n, names)`.
        rates: as of `likeness`.
        variance: what likeness explains.
    """
    pulls[:] = 0.0
    total = 0.0
    for i in range(len(pull)):
        for j in range(i + 1, len(pull)):
            far = apart(rates, sizes, names, i, sizes, names, j)
            pulled = pull[i, j] * variance * math.exp(-far)
            total += pulled
            for f in range(CELL_SIZES):
                pulls[f] += pulled * abs(sizes[i, f] - sizes[j, f])
            for f in range(CELL_NAMES):
                pulls[CELL_SIZES + f] += pulled if names[i, f] != names[j, f] else 0.0
    return total
