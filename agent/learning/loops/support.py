"""Counts of measurements."""

from __future__ import annotations

from agent.learning.loops.compiled import Integers, IntTable, compiled


@compiled
def count(counts: IntTable, rows: Integers, slots: Integers) -> None:
    """Count one measurement in rows and slots, all of which differ."""
    for row in rows:
        for slot in slots:
            counts[row, slot] += 1


@compiled
def look(found: IntTable, counts: IntTable, rows: Integers, slots: Integers) -> None:
    """Fill in `(slots, rows)`, how much was counted."""
    for at, slot in enumerate(slots):
        for column, row in enumerate(rows):
            found[at, column] = counts[row, slot]
