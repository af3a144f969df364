"""Running means of what features cannot explain, each drawn towards zero by how little it saw.

The best linear unbiased predictor of a random effect from its own events is their mean, shrunk
by n / (n + k) with k the ratio of the variances within and between (Robinson 1991).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MEMORY = 200.0
"""Events after which a mean starts to forget the oldest."""


class Effects:
    """Shrunk means on levels that refine one another: each explains what those before it leave.

    Args:
        shrinkage: `k` of each level.
        capacity: how many means a level keeps; the ones unused for longest go first.
    """

    def __init__(self, shrinkage: Sequence[float], capacity: int = 8192) -> None:
        self.capacity = capacity
        self._shrinkage = tuple(shrinkage)
        self._means: list[dict[Hashable, tuple[float, float]]] = [{} for _ in shrinkage]

    def explain(self, keys: Sequence[Hashable]) -> float:
        """Return the sum of the effects of keys, one for each level."""
        total = 0.0
        for k, known, key in zip(self._shrinkage, self._means, keys, strict=True):
            found = known.get(key)
            if found is not None:
                total += found[0] * found[1] / (found[1] + k)
        return total

    def each(self, keys: Sequence[Hashable]) -> list[float]:
        """Return the effect of each key, zero for those not known."""
        effects = []
        for k, known, key in zip(self._shrinkage, self._means, keys, strict=True):
            mean, count = known.get(key, (0.0, 0.0))
            effects.append(mean * count / (count + k))
        return effects

    def count(self, level: int, key: Hashable) -> float:
        """Return how many events (up to the memory's length) a mean stands on."""
        found = self._means[level].get(key)
        return 0.0 if found is None else found[1]

    def learn(self, keys: Sequence[Hashable], residual: float) -> None:
        """Learn what was left over for keys, coarsest level first."""
        for k, known, key in zip(self._shrinkage, self._means, keys, strict=True):
            mean, count = known.pop(key, (0.0, 0.0))
            count = min(count + 1.0, _MEMORY)
            mean += (residual - mean) / count
            known[key] = (mean, count)
            if len(known) > self.capacity:
                del known[next(iter(known))]
            residual -= mean * count / (count + k)
