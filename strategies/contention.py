"""How much models that run at the same time on one device slow each other down.

The *normalised speed* of a model is its speed beside others divided by its speed alone on the same
device. Physics bounds the sum over the models that share a device: it is at most their number (no
interference at all), and 1 when they merely take turns. It can fall below 1 when they evict each
other's data; half is taken as the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FLOOR: Final = 0.5
"""The smallest sum of normalised speeds that is thought possible."""


class Speed(NamedTuple):
    """A normalised speed in (0, 1], with its interval."""

    value: float
    low: float
    high: float


ALONE: Final = Speed(1.0, 1.0, 1.0)
"""What runs alone runs at its own speed, whatever the contention."""


K = TypeVar("K", bound=Hashable)


def finish(
    alone: Mapping[K, float], speeds: Callable[[tuple[K, ...]], Sequence[float]], held: float
) -> dict[K, float]:
    """Return when each model of a wave is done that all begin at once.

    Args:
        alone: how long each takes alone.
        speeds: returns the normalised speeds of models at once.
        held: how much of the contention at the start stays to the end (see `Contention.held`).
    """
    left = dict(alone)
    first = dict(zip(left, speeds(tuple(left)), strict=True))
    now, done = 0.0, dict[K, float]()
    while left:
        names = tuple(left)
        values: Sequence[float] = [first[name] for name in names]
        if len(names) < len(alone) and held < 1:
            free = speeds(names)
            values = [held * one + (1 - held) * two for one, two in zip(values, free, strict=True)]
        at = min(range(len(names)), key=lambda index: (left[names[index]] / values[index], index))
        step = left[names[at]] / values[at]
        now += step
        for name, speed in zip(names, values, strict=True):
            left[name] = max(0.0, left[name] - step * speed)
        del left[names[at]]
        done[names[at]] = now
    return done


class Contention(Protocol):
    """What slows models down that share a device.

    An implementation may look at what the models are (a learnt one does), or at nothing but how
    many there are. The latter also answers `by_count`, which lets searches treat a whole device
    as a count and so be fast and exact.

    Laws: one model alone has speed 1; every speed is in (0, 1]; `low <= value <= high`; the order
    of the models does not matter; the same question has the same answer.
    """

    def speeds(self, models: Sequence[str], device: str) -> Sequence[Speed]:
        """Return the normalised speed of each of `models`, running at once on `device`."""
        ...

    def held(self, device: str) -> float:
        """Return how much of a wave's contention stays when some of its models have ended.

        0: those that are left run as if they had begun among themselves (a device that shares its
        time freely). 1: they stay as slow as they were (each was given its part for the wave).
        """
        ...

    def by_count(self, count: int, device: str) -> Speed | None:
        """Return the speed of each of any `count` models; None if it depends on which they are."""
        ...

    def many(self, models: Sequence[str], device: str, sets: Flags) -> Floats | None:
        """Return the predicted speeds in many sets of models at once; None if it can't.

        Args:
            models: in the order of the columns of `sets`.
            device: where.
            sets: `(n, m)`, which models each set holds.

        Returns:
            `(n, m)` the values of `speeds`; of models that a set does not hold, anything.
        """
        ...


class _ByCount:
    """A contention that depends on nothing but the count."""

    def by_count(self, count: int, device: str) -> Speed:
        raise NotImplementedError

    def speeds(self, models: Sequence[str], device: str) -> Sequence[Speed]:
        """Return the same speed for every model."""
        return [self.by_count(len(models), device)] * len(models)

    def many(self, models: Sequence[str], device: str, sets: Flags) -> Floats | None:
        """Return the speed by count."""
        by_count = [1.0, *(self.by_count(n, device).value for n in range(1, len(models) + 1))]
        each = np.array(by_count)[sets.sum(axis=1)]
        return np.repeat(each[:, None], len(models), axis=1)

    def held(self, device: str) -> float:
        """Return 0: time that is not used by one is there for the others."""
        return 0.0


@dataclass(frozen=True, slots=True)
class TakingTurns(_ByCount):
    """The device's time is shared equally: each of n models has 1/n of its speed alone."""

    def by_count(self, count: int, device: str) -> Speed:
        """Return 1/count, exactly."""
        return Speed(1 / count, 1 / count, 1 / count)


@dataclass(frozen=True, slots=True)
class NoInterference(_ByCount):
    """Every model runs as if it were alone: the upper bound."""

    def by_count(self, count: int, device: str) -> Speed:
        """Return 1."""
        return ALONE


@dataclass(frozen=True, slots=True)
class Untaught(_ByCount):
    """What can be said before any execution was seen: physics, and no more.

    The sum of the speeds of n models lies between taking turns (1) and no interference (n). The
    value is the geometric middle of those bounds, the square root of n (speeds are ratios: what
    lies in the middle between half and double is one). The interval spans everything that is
    possible, from `FLOOR` to n.
    """

    def by_count(self, count: int, device: str) -> Speed:
        """Return 1/sqrt(count), somewhere between FLOOR/count and 1."""
        if count == 1:
            return ALONE
        return Speed(1 / math.sqrt(count), FLOOR / count, 1.0)
