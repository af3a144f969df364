"""What a prediction rests on: how often something like it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.learning.features import Keys
from agent.learning.loops import support as loops
from agent.learning.rows import Rows, fitted

Counts = NDArray[np.int32]
Integers = NDArray[np.int64]

CELL, MODEL, HARDWARE, SETUP, STEM, STEM_HARDWARE, TASK, GROUP = range(8)
"""What measurements are counted by; the first axis but one of `Support.of`."""


class Support:
    """Counts measurements by what was measured and by slot: a metric in one of its units.

    Args:
        capacity: how many things are told apart; the ones unused for longest go first.
    """

    def __init__(self, capacity: int) -> None:
        self._rows = Rows(capacity)
        self._counts = np.zeros((64, 8), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, slots: Integers, keys: Keys) -> None:
        """Count one measurement of what keys identify, in slots that differ."""
        place = self._rows.place
        rows = [place(key) for key in _columns(keys)]
        if self._rows.fresh:
            self._counts = fitted(self._counts, self._rows.end)
            self._counts[self._rows.fresh] = 0
            self._rows.fresh.clear()
        most = max(slots.tolist())
        if most >= self._counts.shape[1]:
            self._counts = fitted(self._counts.T, most + 1).T.copy()
        loops.count(self._counts, np.array(rows), slots)

    def of_one(self, keys: Keys, slots: Integers) -> Counts:
        """Return `(slots, 8)`, how often what keys identify was measured in some slots."""
        find = self._rows.find
        counts = np.empty((len(slots), 8), dtype=np.int32)
        loops.look(counts, self._counts, np.array([find(key, 0) for key in _columns(keys)]), slots)
        return counts

    def of(self, keys: Sequence[Keys]) -> Counts:
        """Return `(n, 8, slots)`, how often what keys identify was measured in each slot."""
        find = self._rows.find
        rows = np.array([find(key, 0) for one in keys for key in _columns(one)])
        counts: Counts = self._counts.take(rows, axis=0).reshape(len(keys), 8, -1)
        return counts

    def met(self, key: int) -> bool:
        """Return whether what a key identifies was measured in any slot."""
        return bool(self._counts[self._rows.find(key, 0)].any())

    def forget(self, slot: int) -> None:
        """Begin to count a slot anew."""
        if slot < self._counts.shape[1]:
            self._counts[:, slot] = 0


def _columns(keys: Keys) -> tuple[int, ...]:
    return (
        keys.cell,
        keys.model,
        keys.hardware,
        keys.setup,
        keys.stem,
        keys.stem ^ keys.hardware,
        keys.task,
        keys.group,
    )
