"""What Gaussian processes over measurements have in common."""

from __future__ import annotations

import math

from agent.learning.features import NAMES, PARTS, SIZES
from agent.learning.loops.compiled import FloatTable, compiled

CELL_SIZES, CELL_NAMES, NETWORK_NAMES = len(SIZES), len(NAMES) + len(PARTS), len(NAMES)
"""Of a cell, and of these the names of its network. Loops are faster for knowing beforehand how
many."""


@compiled
def whiten(matrix: FloatTable, count: int, width: int, least: float) -> None:
    """Factor a square by Cholesky, and whiten the columns behind it, all in their place.

    What lies on the diagonal and above becomes the factor; what lies below is not read. No pivot is
    less than `least`, whatever is rounded.

    Args:
        matrix: its first `count` lines and columns are the square.
        count: of them.
        width: where the columns behind it end.
        least: the least that a pivot can be.
    """
    # Two lines at a time: each of those below is fetched and stored half as often.
    for i in range(0, count, 2):
        line = matrix[i]
        line[i] = max(line[i], least)
        scale = 1.0 / math.sqrt(line[i])
        for column in range(i, width):
            line[column] *= scale
        if i + 1 == count:
            break
        other, one = matrix[i + 1], line[i + 1]
        for column in range(i + 1, width):
            other[column] -= one * line[column]
        other[i + 1] = max(other[i + 1], least)
        scale = 1.0 / math.sqrt(other[i + 1])
        for column in range(i + 1, width):
            other[column] *= scale
        for j in range(i + 2, count):
            below, one, two = matrix[j], line[j], other[j]
            for column in range(j, width):
                below[column] = (below[column] - one * line[column]) - two * other[column]
