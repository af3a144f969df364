"""Rows of arrays for keys: a bounded table in which the key unused for longest gives way."""

from __future__ import annotations

from collections.abc import Callable, ItemsView
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Gives each key a row of its own.

    Args:
        capacity: how many keys have rows.
        first: the first row that is given out; those below belong to the caller.

    Attributes:
        fresh: rows that were given to other keys than before; whoever keeps something by row
            forgets what it kept there, and empties the list.
    """

    def __init__(self, capacity: int, first: int = 1) -> None:
        self.capacity = capacity
        self.fresh: list[int] = []
        self._first = first
        self._index: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    @property
    def end(self) -> int:
        """The row after the last one that was given out."""
        return self._first + len(self._index)

    @property
    def find(self) -> Callable[[int, int], int]:
        """What returns the row of a key, or else its second argument."""
        return self._index.get

    def items(self) -> ItemsView[int, int]:
        """Return all keys with their rows, those unused for longest first."""
        return self._index.items()

    def place(self, key: int) -> int:
        """Return the row of a key, giving it one if need be; it counts as used now."""
        row = self._index.pop(key, -1)
        if row < 0:
            if len(self._index) >= self.capacity:
                row = self._index.pop(next(iter(self._index)))
            else:
                row = self.end
            self.fresh.append(row)
        self._index[key] = row
        return row


def fitted(array: NDArray[Any], rows: int, fill: float = 0.0) -> NDArray[Any]:
    """Return an array with at least so many rows, twice as many as before where it grows."""
    if rows <= len(array):
        return array
    shape = max(rows, 2 * len(array)), *array.shape[1:]
    # What is zero, the system gives when it is first used, and not in one go.
    grown = np.full(shape, fill, array.dtype) if fill else np.zeros(shape, array.dtype)
    grown[: len(array)] = array
    return grown
