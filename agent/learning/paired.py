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

from agent.learning.loops import pairs as loops
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

_LOW = (1 << loops.HIGH) - 1

_HABITS = loops.Habits(_MEMORY, _SETTLED, _CLIP, _CLIP_WIDTHS, _SLOPE_FIRMNESS, _SLOPE)


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
        self._sums = np.zeros((64, loops.SUMS))
        self._found = np.zeros((64, 4))
        # Keys of rows, and a table of all that were put in, where others find them.
        self._keys = np.zeros(64, dtype=np.int64)
        self._table = np.zeros((256, 2), dtype=np.int64)
        self._noted = 0

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
        keys = _keys(here, there).tolist()
        place = self._rows.place
        rows = [place(key) for key in keys]
        if self._rows.fresh:
            self._note(self._rows.fresh, dict(zip(rows, keys, strict=True)))
        sign = np.where(here < there, 1.0, -1.0)
        lessons = loops.Lessons(np.array(rows), values * sign, expected * sign, weights)
        loops.learn(self._found, self._sums, lessons, _HABITS)

    @property
    def pairs(self) -> loops.Pairs:
        """What is known of pairs, for loops over many of them."""
        return loops.Pairs(self._table, self._keys, self._found)

    def of(self, here: Integers, there: Integers) -> Differences:
        """Return what is known of differences between set-ups `(q,)` and others `(q,)`."""
        each = zip(here.tolist(), there.tolist(), strict=True)
        rows = [loops.find(self.pairs, *one) for one in each]
        count, base, slope, variance = self._found[rows].T
        return Differences(count, np.where(here < there, base, -base), slope, variance)

    def shift(self, setups: Integers, size: float) -> None:
        """Move what was measured in set-ups; what is to be learnt of their pairs counts more."""
        keys = self._keys[: self._rows.end]
        first, second = np.isin(keys >> loops.HIGH, setups), np.isin(keys & _LOW, setups)
        moved = np.flatnonzero(first != second)
        sums = self._sums[moved]
        by = np.where(first[moved], size, -size)
        sums[:, 5] += by * (2.0 * sums[:, 2] + by * sums[:, 0])
        sums[:, 4] += by * sums[:, 1]
        sums[:, 2] += by * sums[:, 0]
        sums *= np.minimum(1.0, _AFTER_SHIFT / np.maximum(sums[:, 0], 1e-9))[:, None]
        self._sums[moved] = sums
        loops.regress(self._found, self._sums, moved, _HABITS)

    def forget(self, setups: Sequence[int]) -> None:
        """Forget the pairs of set-ups whose rows stand for others now."""
        keys = self._keys[: self._rows.end]
        known = np.isin(keys >> loops.HIGH, setups) | np.isin(keys & _LOW, setups)
        gone = np.flatnonzero(known)
        self._sums[gone] = self._found[gone] = 0.0

    def _note(self, fresh: list[int], keys: dict[int, int]) -> None:
        """Note the keys of rows that were given to new pairs; of none of them anything is known."""
        self._sums = fitted(self._sums, self._rows.end)
        self._found = fitted(self._found, self._rows.end)
        self._keys = fitted(self._keys, self._rows.end)
        self._sums[fresh] = self._found[fresh] = 0.0
        self._noted += len(fresh)
        if 2 * self._noted > len(self._table):
            # What has given way goes, too.
            every = self._rows.items()
            self._noted = len(every)
            size = max(len(self._table), 1 << (4 * len(every)).bit_length())
            self._table = np.zeros((size, 2), dtype=np.int64)
            for key, row in every:
                loops.put(self._table, key, row)
        for row in fresh:
            self._keys[row] = keys[row]
            loops.put(self._table, keys[row], row)
        fresh.clear()


def _keys(here: Integers, there: Integers) -> Integers:
    """Return numbers for pairs of rows, whichever comes first."""
    keys: Integers = np.minimum(here, there) << loops.HIGH | np.maximum(here, there)
    return keys
