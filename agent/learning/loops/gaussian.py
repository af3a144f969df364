"""What Gaussian processes over measurements have in common."""

from __future__ import annotations

import math

from agent.learning.features import NAMES, PARTS, SIZES
from agent.learning.loops.compiled import Floats, FloatTable, IntTable, compiled, written_out

CELL_SIZES, CELL_NAMES, NETWORK_NAMES = len(SIZES), len(NAMES) + len(PARTS), len(NAMES)
"""Of a cell, and of these the names of its network. Loops are faster for knowing beforehand how
many."""


@written_out
def apart(
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
def measure_on(far: Floats, rates: Floats, sizes: FloatTable, names: IntTable, i: int) -> None:
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


@compiled
def whiten(matrix: FloatTable, count: int, least: float) -> None:
    """Factor a square by Cholesky, and whiten the columns behind it, all in their place.

    What lies on the diagonal and above becomes the factor; what lies below is not read. No pivot is
    less than `least`, whatever is rounded.

    Args:
        matrix: `(k, k + columns)`, of which the first lines are filled in.
        count: how many lines, and columns of the square.
        least: the least that a pivot can be.
    """
    k, width = matrix.shape
    for i in range(count):
        line = matrix[i]
        line[i] = max(line[i], least)
        scale = 1.0 / math.sqrt(line[i])
        for j in range(i, count):
            line[j] *= scale
        for column in range(k, width):
            line[column] *= scale
        for j in range(i + 1, count):
            below, weight = matrix[j], line[j]
            for other in range(j, count):
                below[other] -= weight * line[other]
            for column in range(k, width):
                below[column] -= weight * line[column]
