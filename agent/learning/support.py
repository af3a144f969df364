"""What a prediction rests on: how often something like it was measured."""

from __future__ import annotations

from agent.learning.features import Keys

CELL, MODEL, HARDWARE, SETUP, STEM, STEM_HARDWARE = range(6)
"""The columns of `Support.of`."""

_ALL = -2
"""Stands for all measurements of a unit."""

_NOTHING = (0,) * 6


class Support:
    """Counts the measurements of one metric by unit and by what was measured.

    Args:
        capacity: how many counts are kept; the ones unused for longest go first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._units: dict[int, dict[int, int]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, unit: int, keys: Keys) -> None:
        """Count one measurement, in a unit, of what keys identify."""
        counts = self._units.pop(unit, {})
        self._units[unit] = counts
        self._size -= len(counts)
        for key in (*_columns(keys), keys.task, _ALL):
            counts[key] = counts.pop(key, 0) + 1
        self._size += len(counts)
        while self._size > self.capacity:
            idle = next(iter(self._units.values()))
            del idle[next(iter(idle))]
            self._size -= 1
            if not idle:
                del self._units[next(iter(self._units))]

    def of(self, unit: int, keys: Keys) -> tuple[int, ...]:
        """Return the measurements of the cell, model, hardware, set-up, stem, stem there."""
        counts = self._units.get(unit)
        if counts is None:
            return _NOTHING
        get = counts.get
        return (
            get(keys.cell, 0),
            get(keys.model, 0),
            get(keys.hardware, 0),
            get(keys.setup, 0),
            get(keys.stem, 0),
            get(keys.stem ^ keys.hardware, 0),
        )

    def task(self, unit: int, task: int) -> int:
        """Return how many measurements in a unit had a task."""
        return self._units.get(unit, {}).get(task, 0)

    def unit(self, unit: int) -> int:
        """Return how many measurements were in a unit."""
        return self._units.get(unit, {}).get(_ALL, 0)


def _columns(keys: Keys) -> tuple[int, ...]:
    return (
        keys.cell,
        keys.model,
        keys.hardware,
        keys.setup,
        keys.stem,
        keys.stem ^ keys.hardware,
    )
