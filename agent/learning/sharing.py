"""How much of its models' time and memory an encoder is, learnt from where it ran once for several.

A group's time is its models' times less the encoder's for all but one of them (see
`strategies.sharing`), so an execution of the group, beside what its models take alone, tells the
encoder's share. The newest of these are kept, and their middle and spread predict the next one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from strategies.sharing import UNKNOWN, Encoder, Portion

KEPT: Final = 50
"""Executions of an encoder that are remembered."""

_PRIOR_SPREAD: Final = 0.15
"""How far the first execution of an encoder may be off: it weighs as one execution."""


@dataclass(slots=True)
class _Seen:
    time: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    memory: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class SharingLearner:
    """Learns encoders' shares, by hardware and key."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    def learn_time(
        self, hardware: str, key: str, alone_ms: Sequence[float], together_ms: float
    ) -> None:
        """Learn that models that take `alone_ms` took `together_ms` with one encoder for all."""
        self._of(hardware, key).time.append(_portion(alone_ms, together_ms))

    def learn_memory(
        self, hardware: str, key: str, alone_mb: Sequence[float], together_mb: float
    ) -> None:
        """Learn the same of memory."""
        self._of(hardware, key).memory.append(_portion(alone_mb, together_mb))

    def encoder(self, hardware: str, key: str) -> Encoder:
        """Return what is known of an encoder there."""
        found = self._seen.get((hardware, key))
        if found is None:
            return Encoder()
        return Encoder(_summary(found.time), _summary(found.memory))

    def digest(self) -> str:
        """Return what was learnt as text: equal if and only if it is."""
        return repr(
            [(key, list(one.time), list(one.memory)) for key, one in sorted(self._seen.items())]
        )

    def _of(self, hardware: str, key: str) -> _Seen:
        return self._seen.setdefault((hardware, key), _Seen())


def _portion(alone: Sequence[float], together: float) -> float:
    """Return the share of each model that is the same for all, as far as it can be one."""
    ordered = sorted(alone)
    rest = math.fsum(ordered[:-1])
    return min(1.0, max(0.0, (math.fsum(ordered) - together) / rest))


def _summary(seen: Sequence[float]) -> Portion:
    """Return middle and spread of what was seen; the interval is nominal 90 %."""
    count = len(seen)
    if not count:
        return UNKNOWN
    mean = math.fsum(seen) / count
    squares = math.fsum((one - mean) ** 2 for one in seen) + _PRIOR_SPREAD**2
    deviation = math.sqrt(squares / count * (1 + 1 / count))
    reach = 1.645 * deviation
    return Portion(mean, max(0.0, mean - reach), min(1.0, mean + reach))
