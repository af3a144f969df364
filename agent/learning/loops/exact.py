"""How alike measurements are, all with all, and which way that is to change."""

from __future__ import annotations

import math

import numpy as np

from agent.learning.loops.compiled import (
    Floats,
    FloatTable,
    IntTable,
    summed_in_any_order,
    written_out,
)
from agent.learning.loops.gaussian import CELL_NAMES, CELL_SIZES


@written_out
def _apart(
    rates: Floats,
    sizes: FloatTable,
    names: IntTable,
    i: int,
    other_sizes: FloatTable,
    other_names: IntTable,
    j: int,
) -> float:
    """Return how far two cells are apart, by what steps in sizes and other names cost."""
    far = 0.0
    for f in range(CELL_SIZES):
        far += rates[f] * abs(sizes[i, f] - other_sizes[j, f])
    for f in range(CELL_NAMES):
        far += rates[CELL_SIZES + f] if names[i, f] != other_names[j, f] else 0.0
    return far


@written_out
def _measure_on(far: Floats, rates: Floats, sizes: FloatTable, names: IntTable, i: int) -> None:
    """Find how far a cell, and those behind it, are from it.

    Sizes and names have a line for each and a column for each cell, so that several cells are
    worked on at once: the compiler does so where a loop begins at the beginning of an array, since
    no place can then be one that is counted from the end.

    Args:
        far: filled in from the first on.
        rates: what a step in each size and what other names cost.
        sizes: `(sizes, n)`.
        names: `(names, n)`.
        i: which cell.
    """
    for at in range(len(far)):
        far[at] = 0.0
    for f in range(CELL_SIZES):
        size, rate = sizes[f, i:], rates[f]
        own = size[0]
        for at in range(len(far)):
            far[at] += rate * abs(own - size[at])
    for f in range(CELL_NAMES):
        name, rate = names[f, i:], rates[CELL_SIZES + f]
        first = name[0]
        for at in range(len(far)):
            far[at] += rate if name[at] != first else 0.0


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
            like[i, j] = math.exp(-_apart(rates, sizes, names, i, other_sizes, other_names, j))


@summed_in_any_order
def likeness_among(like: FloatTable, sizes: FloatTable, names: IntTable, rates: Floats) -> None:
    """Find how alike measurements are among each other, in shares of their variance.

    Args:
        like: `(n, n)`, filled in on the diagonal and above.
        sizes: `(sizes, n)`.
        names: `(names, n)`.
        rates: as of `likeness`.
    """
    for i in range(len(like)):
        line = like[i, i:]
        _measure_on(line, rates, sizes, names, i)
        for at in range(len(line)):
            line[at] = math.exp(-line[at])


@summed_in_any_order
def pull_at(
    pulls: Floats,
    like: FloatTable,
    inverse: FloatTable,
    solved: Floats,
    sizes: FloatTable,
    names: IntTable,
) -> float:
    """Find how far the likelihood pulls at rates and, in all, at covariances off the diagonal.

    Either for a variance of one. At a covariance it pulls by the product of what is solved there,
    less the inverse.

    Args:
        pulls: `(rates,)`, filled in.
        like: as of `likeness_among`.
        inverse: `(n, n)`, of the covariance; what lies above the diagonal counts.
        solved: `(n,)`, the inverse times what was measured.
        sizes: `(sizes, n)`.
        names: `(names, n)`.
    """
    n = len(like)
    pulls[:] = 0.0
    total, room = 0.0, np.empty(n)
    for i in range(n):
        pulled, beside, line, other = room[i:], solved[i:], like[i, i:], inverse[i, i:]
        for at in range(len(pulled)):
            pulled[at] = (solved[i] * beside[at] - other[at]) * line[at]
        pulled[0] = 0.0
        for at in range(len(pulled)):
            total += pulled[at]
        for f in range(CELL_SIZES):
            size, pull = sizes[f, i:], 0.0
            own = size[0]
            for at in range(len(pulled)):
                pull += pulled[at] * abs(own - size[at])
            pulls[f] += pull
        for f in range(CELL_NAMES):
            name, pull = names[f, i:], 0.0
            first = name[0]
            for at in range(len(pulled)):
                pull += pulled[at] if name[at] != first else 0.0
            pulls[CELL_SIZES + f] += pull
    return total
