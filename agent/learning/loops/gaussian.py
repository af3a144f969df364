"""What Gaussian processes over measurements have in common."""

from __future__ import annotations

import math

from agent.learning.features import NAMES, PARTS, SIZES
from agent.learning.loops.compiled import FloatTable, compiled

CELL_SIZES, CELL_NAMES, NETWORK_NAMES = len(SIZES), len(NAMES) + len(PARTS), len(NAMES)
"""Of a cell, and of these the names of its network. Loops are faster for knowing beforehand how
many."""


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
