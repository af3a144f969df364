"""What a prediction rests on: how often something like it was measured."""

from __future__ import annotations

from agent.learning.features import Keys

CELL, MODEL, HARDWARE, SETUP, STEM, STEM_HARDWARE = range(6)
"""The columns of `Support.of`."""


class Support:
    """Counts the measurements of one metric by unit and by what was measured.

    Args:
        capacity: how many counts are kept; the ones unused for longest go first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, unit: int, keys: Keys) -> None:
        """Count one measurement, in a unit, of what keys identify."""
        counts = self._counts
        for key in (*_columns(unit, keys), hash((unit, keys.task)), unit):
            counts[key] = counts.pop(key, 0) + 1
        while len(counts) > self.capacity:
            del counts[next(iter(counts))]

    def of(self, unit: int, keys: Keys) -> tuple[int, ...]:
        """Return the measurements of the cell, model, hardware, set-up, stem, stem there."""
        get = self._counts.get
        return tuple([get(key, 0) for key in _columns(unit, keys)])

    def task(self, unit: int, task: int) -> int:
        """Return how many measurements in a unit had a task."""
        return self._counts.get(hash((unit, task)), 0)

    def unit(self, unit: int) -> int:
        """Return how many measurements were in a unit."""
        return self._counts.get(unit, 0)


def _columns(unit: int, keys: Keys) -> tuple[int, ...]:
    return (
        hash((unit, keys.cell)),
        hash((unit, keys.model)),
        hash((unit, keys.hardware)),
        hash((unit, keys.setup)),
        hash((unit, keys.stem)),
        hash((unit, keys.stem, keys.hardware)),
    )
