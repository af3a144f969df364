"""By how much set-ups differ on the networks that were measured in both.

The names of two set-ups say little of how alike they are: one device may be another's double for
every network, or for none. A network measured in both says by how much they differ, and a few say
how much that varies, and whether it follows what the law expects of the difference. How related
tasks are is learnt by likelihood in multi-task Gaussian processes (Bonilla, Chai and Williams
2007); here it is a running regression for each pair, so that an event costs the same however many
were learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.rows import Rows, fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MEMORY = 1.0 - 1.0 / 60.0
"""What a pair keeps of its past with every measurement, so that it follows slow change."""

_SLOPE, _SLOPE_FIRMNESS = 0.3, 0.1
"""How much of what the law expects of a difference is believed before measurements say so, and how
firmly, in sums of squares (log units): sheets promise more than devices hold."""

_AFTER_SHIFT = 8.0
"""Measurements that a pair counts for, at most, once one of its set-ups has shifted."""

_SETTLED = 5.0
_CLIP, _CLIP_WIDTHS = 0.05, 3.0
"""How far (log), in itself and in standard deviations, one measurement may surprise a pair that is
settled; what lies beyond is learnt as if it were there."""

_FEW = 128
"""Pairs that are looked up faster one by one than once each."""

_SPREAD = -0x61C8864680B583EB
"""An odd number, 2**64 over the golden ratio: its products are spread evenly (Knuth 1973)."""

_HIGH = 32
_LOW = (1 << _HIGH) - 1


class Differences(NamedTuple):
    """How measurements in one set-up differ from those of the same network in others.

    Attributes:
        seen: `(q,)`, in how many measurements that showed, by weight; 0 where none did.
        base: `(q,)`, the difference (log) where the law expects none.
        slope: `(q,)`, how much of a difference that the law expects is found.
        variance: `(q,)`, of what neither explains.
    """

    seen: Floats
    base: Floats
    slope: Floats
    variance: Floats


class Paired:
    """Learns differences for pairs of rows that stand for set-ups; row 0 stands for none.

    Args:
        capacity: how many pairs are told apart; those unused for longest go first.
    """

    def __init__(self, capacity: int = 32_768) -> None:
        self._rows = Rows(capacity)
        # Weights, and sums of what the law expects, of differences, and of their products.
        self._sums = np.zeros((64, 6))
        self._found = np.zeros((64, 4))

    def __len__(self) -> int:
        return len(self._rows)

    def learn(
        self, here: Integers, there: Integers, values: Floats, expected: Floats, weights: Floats
    ) -> None:
        """Learn how far measurements in set-ups lie from others of the same networks.

        Args:
            here: `(q,)` rows of set-ups.
            there: `(q,)` rows of others; no pair comes twice.
            values: `(q,)`, logs of what was measured here less those there.
            expected: `(q,)`, the same of what the law says.
            weights: `(q,)`, how much each counts.
        """
        place = self._rows.place
        rows = np.array([place(key) for key in _keys(here, there).tolist()])
        fresh = self._rows.fresh
        if fresh:
            self._sums = fitted(self._sums, self._rows.end)
            self._found = fitted(self._found, self._rows.end)
            self._sums[fresh] = self._found[fresh] = 0.0
            fresh.clear()
        sign = np.where(here < there, 1.0, -1.0)
        d, law = values * sign, expected * sign
        seen, base, slope, variance = self._found[rows].T
        usual = base + slope * law
        reach = np.where(seen > _SETTLED, _CLIP + _CLIP_WIDTHS * np.sqrt(variance), np.inf)
        d = usual + np.minimum(np.maximum(d - usual, -reach), reach)
        terms = np.stack((np.ones(len(d)), law, d, law * law, law * d, d * d), axis=1)
        sums = self._sums[rows] * _MEMORY + weights[:, None] * terms
        self._sums[rows], self._found[rows] = sums, _regressed(sums)

    def of(self, here: Integers, there: Integers) -> Differences:
        """Return what is known of differences between set-ups `(q,)` and others `(q,)`."""
        find = self._rows.find
        rows = np.array([find(key, 0) for key in _keys(here, there).tolist()], dtype=np.int64)
        count, base, slope, variance = self._found.take(rows, axis=0).T
        return Differences(count, np.where(here < there, base, -base), slope, variance)

    def shift(self, setups: Integers, size: float) -> None:
        """Move what was measured in set-ups; what is to be learnt of their pairs counts more."""
        keys, rows = self._table()
        first, second = np.isin(keys >> _HIGH, setups), np.isin(keys & _LOW, setups)
        moved = rows[first != second]
        sums = self._sums[moved]
        by = np.where(first, size, -size)[first != second]
        sums[:, 5] += by * (2.0 * sums[:, 2] + by * sums[:, 0])
        sums[:, 4] += by * sums[:, 1]
        sums[:, 2] += by * sums[:, 0]
        sums *= np.minimum(1.0, _AFTER_SHIFT / np.maximum(sums[:, 0], 1e-9))[:, None]
        self._sums[moved], self._found[moved] = sums, _regressed(sums)

    def forget(self, setups: Sequence[int]) -> None:
        """Forget the pairs of set-ups whose rows stand for others now."""
        keys, rows = self._table()
        gone = rows[np.isin(keys >> _HIGH, setups) | np.isin(keys & _LOW, setups)]
        self._sums[gone] = self._found[gone] = 0.0

    def _table(self) -> tuple[Integers, Integers]:
        """Return the keys of all pairs, and their rows."""
        known = self._rows.items()
        keys = np.fromiter((key for key, _ in known), np.int64, len(known))
        return keys, np.fromiter((row for _, row in known), np.int64, len(known))


def distinct(here: Integers, there: Integers) -> tuple[Integers, Integers]:
    """Return places in `(q,)` pairs that stand for all of them, and for each the number of its own.

    Few pairs, and a few of many, are left as they come although they came before.
    """
    keys = here << _HIGH | there
    every = np.arange(len(keys))
    if len(keys) < _FEW:
        return every, every
    # A table in which the last of those that share a place stays, much faster than sorting.
    bits = len(keys).bit_length() + 2
    places = (keys * _SPREAD).view(np.uint64) >> np.uint64(64 - bits)
    table = np.empty(1 << bits, dtype=np.int64)
    table[places] = every
    last = table.take(places.view(np.int64))
    last = np.where(keys.take(last) == keys, last, every)
    chosen = np.flatnonzero(last == every)
    numbers = np.empty_like(every)
    numbers[chosen] = np.arange(len(chosen))
    return chosen, numbers.take(last)


def _keys(here: Integers, there: Integers) -> Integers:
    """Return numbers for pairs of rows, whichever comes first."""
    keys: Integers = np.minimum(here, there) << _HIGH | np.maximum(here, there)
    return keys


def _regressed(sums: Floats) -> Floats:
    """Return `(q, 4)`, the columns of `Differences`, by sums `(q, 6)`."""
    count, law, d, law_law, law_d, d_d = sums.T
    n = np.maximum(count, 1e-9)
    spread = np.maximum(law_law - law * law / n, 0.0)
    shared = law_d - law * d / n
    slope = (shared + _SLOPE_FIRMNESS * _SLOPE) / (spread + _SLOPE_FIRMNESS)
    left = (d_d - d * d / n) - 2.0 * slope * shared + slope * slope * spread
    variance = np.maximum(left, 0.0) / np.maximum(count - 1.0, 0.5)
    return np.stack((count, (d - slope * law) / n, slope, variance), axis=1)
