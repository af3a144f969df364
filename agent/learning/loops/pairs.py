"""Pairs of rows, found by what stands for both, and how what was measured in them differs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agent.learning.loops.compiled import (
    Floats,
    FloatTable,
    Integers,
    IntegerTable,
    Singles,
    compiled,
)
from agent.learning.loops.memory import Kept, Values

HIGH = 32
"""Bits of a key below those of the lesser row."""

SEEN, BASE, SLOPE, VARIANCE = range(4)
"""What is found of a pair; see `paired.Differences`."""

SUMS = 6
"""Weights; of what the law expects, of differences, and of their products."""

_SPREAD, _TOP = np.uint64(0x9E3779B97F4A7C15), np.uint64(40)
"""2**64 over the golden ratio: its products are spread evenly from the top (Knuth 1973)."""


class Pairs(NamedTuple):
    """What is known of pairs, by rows.

    Attributes:
        table: `(size, 2)` keys and rows; some of the rows have been given to other keys since.
        keys: of rows as they are.
        found: of rows.
    """

    table: IntegerTable
    keys: Integers
    found: FloatTable


class Habits(NamedTuple):
    """How pairs are learnt; see the constants of `paired.py`."""

    memory: float
    settled: float
    clip: float
    clip_widths: float
    firmness: float
    slope: float


@compiled
def _place(table: IntegerTable, key: int) -> int:
    """Return where in a table a key is, or would be."""
    mask = len(table) - 1
    at = int((np.uint64(key) * _SPREAD) >> _TOP) & mask
    while table[at, 1] != 0 and table[at, 0] != key:
        at = (at + 1) & mask
    return at


@compiled
def put(table: IntegerTable, key: int, row: int) -> None:
    """Note the row of a key, not 0, in a table that is not full and of a power of two."""
    at = _place(table, key)
    table[at, 0], table[at, 1] = key, row


@compiled
def find(pairs: Pairs, here: int, there: int) -> int:
    """Return the row of a pair; 0 if there is none."""
    key = min(here, there) << HIGH | max(here, there)
    row: int = pairs.table[_place(pairs.table, key), 1]
    return row if pairs.keys[row] == key else 0


@compiled
def _regress(found: Floats, sums: Floats, habits: Habits) -> None:
    """Find what sums of a pair come to."""
    count, law, d, law_law, law_d, d_d = sums
    n = max(count, 1e-9)
    spread = max(law_law - law * law / n, 0.0)
    shared = law_d - law * d / n
    slope = (shared + habits.firmness * habits.slope) / (spread + habits.firmness)
    left = (d_d - d * d / n) - 2.0 * slope * shared + slope * slope * spread
    found[SEEN], found[BASE], found[SLOPE] = count, (d - slope * law) / n, slope
    found[VARIANCE] = max(left, 0.0) / max(count - 1.0, 0.5)


@compiled
def regress(found: FloatTable, sums: FloatTable, rows: Integers, habits: Habits) -> None:
    """Find what sums of pairs in some rows come to."""
    for row in rows:
        _regress(found[row], sums[row], habits)


class Lessons(NamedTuple):
    """What is to be learnt of pairs in `rows`, each from its lesser row; see `Paired.learn`."""

    rows: Integers
    values: Floats
    expected: Floats
    weights: Floats


@compiled
def learn(found: FloatTable, sums: FloatTable, lessons: Lessons, habits: Habits) -> None:
    """Learn how far measurements of pairs lie apart."""
    for at, row in enumerate(lessons.rows):
        own, law, d = found[row], lessons.expected[at], lessons.values[at]
        if own[SEEN] > habits.settled:
            usual = own[BASE] + own[SLOPE] * law
            reach = habits.clip + habits.clip_widths * math.sqrt(own[VARIANCE])
            d = usual + min(max(d - usual, -reach), reach)
        one = sums[row]
        for f, term in enumerate((1.0, law, d, law * law, law * d, d * d)):
            one[f] = one[f] * habits.memory + lessons.weights[at] * term
        _regress(own, one, habits)


class Measured(NamedTuple):
    """A measurement that is to be held against others of its network.

    Attributes:
        kin: their rows of the memory, ascending.
        setup: its own, as the memory numbers them.
        size: its sizes, as the memory keeps them.
        steps: by what the memory multiplies sizes.
        metrics: `(m,)` columns of the memory.
        slots: `(m,)` of its units.
    """

    kin: Integers
    setup: int
    size: Singles
    steps: Singles
    metrics: Integers
    slots: Integers


@compiled
def _far(measured: Measured, kept: Kept) -> Floats:
    """Return how far others are from a measurement in all of their sizes."""
    fars = np.zeros(len(measured.kin))
    for at, row in enumerate(measured.kin):
        for f in range(len(measured.size)):
            fars[at] += abs(kept.sizes[row, f] - measured.size[f]) / measured.steps[f]
    return fars


@compiled
def beside(
    rows: Integers,
    at: Integers,
    weights: Floats,
    measured: Measured,
    kept: Kept,
    values: Values,
    falls: float,
) -> int:
    """Find what to hold a measurement against: of each other set-up the most alike in size.

    Args:
        rows: filled with rows of the memory.
        at: filled with which of the metrics they are held against.
        weights: filled with how much they count.
        measured: the measurement.
        kept: of the memory.
        values: of the memory.
        falls: how fast weights fall with the distance of sizes.

    Returns:
        How many were found; of each set-up and metric one at most.
    """
    kin, fars, count = measured.kin, _far(measured, kept), 0
    for one, row in enumerate(kin):
        setup = kept.setup[row]
        nearest = setup != measured.setup
        for other in range(len(kin)):
            # Of equals the newest.
            nearer = fars[other] < fars[one] or (fars[other] == fars[one] and other > one)
            nearest = nearest and not (nearer and kept.setup[kin[other]] == setup)
        for metric in range(len(measured.metrics)):
            slot = values.slot[row, measured.metrics[metric]]
            if nearest and slot == measured.slots[metric]:
                rows[count], at[count] = row, metric
                weights[count] = math.exp(-falls * fars[one])
                count += 1
    return count
