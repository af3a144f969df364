"""When to try again: exponential back-off with full jitter.

Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015. Chance spreads
the clients of a broker that comes back, so that they do not all knock at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 0.2
MOST_SECONDS = 10.0
GROWTH = 2.0


class Backoff:
    """Gives the pause before each next try; `reset` after a success.

    Args:
        first_seconds: upper bound of the first pause.
        most_seconds: upper bound of any pause.
        uniform: returns a number between its two arguments; given by tests.
    """

    def __init__(
        self,
        first_seconds: float = FIRST_SECONDS,
        most_seconds: float = MOST_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first_seconds
        self._most = most_seconds
        self._uniform = uniform
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often in a row it did not work."""
        return self._failures

    def next_seconds(self) -> float:
        """Note a failure; return how long to wait, at least a tenth of the bound."""
        bound = min(self._most, self._first * GROWTH ** min(self._failures, 32))
        self._failures += 1
        return self._uniform(bound / 10, bound)

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0
