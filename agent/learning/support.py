"""What a prediction rests on: how often something like it was measured."""

from __future__ import annotations

from collections.abc import Hashable


class Support:
    """Counts measurements by key, and forgets the keys that were unused for longest.

    Args:
        capacity: how many keys are kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: Hashable) -> None:
        """Count one measurement of a key."""
        self._counts[key] = self._counts.pop(key, 0) + 1
        if len(self._counts) > self.capacity:
            del self._counts[next(iter(self._counts))]

    def of(self, key: Hashable) -> int:
        """Return how many measurements of a key were counted."""
        return self._counts.get(key, 0)
