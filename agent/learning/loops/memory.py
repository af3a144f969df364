"""Which of the measurements that are remembered may be like cells."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from agent.learning.loops.compiled import (
    FloatColumns,
    FloatTable,
    IntColumns,
    IntegerColumn,
    IntegerColumns,
    Integers,
    IntegerTable,
    Ints,
    ShortColumns,
    SingleColumns,
    SingleTable,
    compiled,
)


class Kept(NamedTuple):
    """What `Memory` keeps of cells, by the names that the arrays have there."""

    sizes: SingleColumns
    names: IntColumns
    setup: IntegerColumn
    apart: SingleTable


class Values(NamedTuple):
    """What `Memory` keeps of what was measured, by the names that the arrays have there."""

    linear: FloatTable
    slot: ShortColumns
    z: FloatColumns
    rest: FloatColumns
    doubt: FloatColumns
    path: IntegerColumns


REPEATS = 4
"""Measurements of one cell that a ring keeps, the newest of them."""

Rings = Annotated[tuple[NDArray[np.int32], ...], types.UniTuple(types.int32[:, ::1], 10)]
"""Tables of rows of the memory, in the order of `memory.RINGS`; -1 where there is none."""


@compiled
def _oldest_again(line: Ints, cells: IntegerColumn, place: int) -> int:
    """Return where in a ring the oldest measurement of a cell is; -1 where it has few of it."""
    many, oldest, oldest_age = 0, -1, -1
    for at, other in enumerate(line):
        if other >= 0 and cells[other] == cells[place]:
            many += 1
            age = (place - other) % len(cells)
            if age > oldest_age:
                oldest, oldest_age = at, age
    return oldest if many >= REPEATS else -1


@compiled
def put(
    rings: Rings,
    ends: IntegerTable,
    rows: Integers,
    place: int,
    cells: IntegerColumn,
    again: bool,
) -> None:
    """Put a row of the memory where the oldest is in rings.

    Args:
        rings: tables of rows.
        ends: `(room, rings)`, how many were put into each ring.
        rows: `(rings,)`, into which line of each table.
        place: the row of the memory.
        cells: of rows of the memory.
        again: whether its cell was measured before. Of that, rings keep a few: more would tell no
            more, and push others out.
    """
    for ring in range(len(rings)):
        row = rows[ring]
        at = _oldest_again(rings[ring][row], cells, place) if again else -1
        if at < 0:
            at = ends[row, ring] % rings[ring].shape[1]
            ends[row, ring] += 1
        rings[ring][row, at] = place


@compiled
def gather(rows: Integers, cells: Integers, rings: Rings, lines: IntegerTable) -> int:
    """Fill in what rings hold, and the cells for which they do; return how much that is.

    Args:
        rows: filled with rows of the memory, each once for a cell, ascending.
        cells: filled with their cells, ascending.
        rings: tables of rows.
        lines: `(n, rings)`, in which line of each the rows near a cell are.
    """
    count = 0
    every = np.empty(len(rows) // max(len(lines), 1), dtype=np.int64)
    for cell in range(len(lines)):
        found = 0
        for ring in range(len(rings)):
            for row in rings[ring][lines[cell, ring]]:
                if row >= 0:
                    every[found] = row
                    found += 1
        every[:found].sort()
        for at in range(found):
            if at == 0 or every[at] != every[at - 1]:
                rows[count], cells[count] = every[at], cell
                count += 1
    return count
