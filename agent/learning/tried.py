"""With how much of the memory networks were tried, and whether that fitted.

What was tried is surer than any arithmetic: a network that ran with a need will run with a smaller
one, and one that ran out of memory will with a greater one. That is remembered by network,
hardware and way to run; in between, and around it, the chances by arithmetic are moved as far as it
takes to agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.cell import Cell

Floats = NDArray[np.float64]

_SURE = math.log(0.98 / 0.02)
"""Log odds that what was tried comes out the same again."""

_MOST = 30.0


class Shares(NamedTuple):
    """Needs over memory, by arithmetic.

    Attributes:
        fitted: the greatest that fitted; 0 if none.
        failed: the least that did not; infinite if none.
    """

    fitted: float = 0.0
    failed: float = math.inf


UNTRIED = Shares()


class Tried:
    """Remembers what was tried.

    Args:
        capacity: networks, each on its hardware and in its way, that are told apart; those tried
            longest ago go first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._shares: dict[tuple[str | None, ...], Shares] = {}

    def learn(self, cell: Cell, share: float, *, fitted: bool) -> bool:
        """Remember an outcome; return whether it was not to be expected by what was tried before.

        The newest counts: what ran with more than once failed takes that failure back.

        Args:
            cell: which was tried.
            share: its need over the memory.
            fitted: whether it did.
        """
        key = _key(cell)
        known = self._shares.pop(key, UNTRIED)
        news = share > known.fitted if fitted else share < known.failed
        if fitted:
            failed = known.failed if share < known.failed else math.inf
            known = Shares(max(known.fitted, share), failed)
        else:
            least = known.fitted if share > known.fitted else 0.0
            known = Shares(least, min(known.failed, share))
        self._shares[key] = known
        if len(self._shares) > self._capacity:
            del self._shares[next(iter(self._shares))]
        return news

    def of(self, cell: Cell) -> Shares:
        """Return what was tried of a cell, in other sizes and precisions."""
        return self._shares.get(_key(cell), UNTRIED)


class Bounds(NamedTuple):
    """What was tried of `n` cells, each an array `(n,)`.

    Attributes:
        fitted: the greatest shares that fitted; 0 where none did.
        failed: the least that did not; infinite where none did.
        lift: by how much (log odds) chances by arithmetic are raised, for those to fit.
        drop: by how much they are lowered, for these not to.
    """

    fitted: Floats
    failed: Floats
    lift: Floats
    drop: Floats

    @classmethod
    def of(cls, tried: Sequence[Shares], at_fitted: Floats, at_failed: Floats) -> Bounds:
        """Return it by what was tried of cells, and the chances by arithmetic at these shares.

        Where nothing fitted, or failed, any chance will do.
        """
        fitted, failed = np.array(tried).T
        lift = np.maximum(0.0, _SURE - _log_odds(at_fitted))
        drop = np.maximum(0.0, _SURE + _log_odds(at_failed))
        # Between the two, chances go from one to the other.
        only_fitted, only_failed = np.isinf(failed), fitted == 0.0
        return cls(
            fitted,
            failed,
            np.where(only_fitted & ~only_failed, lift, 0.0),
            np.where(only_failed & ~only_fitted, drop, 0.0),
        )


def agreeing(chances: Floats, shares: Floats, tried: Bounds) -> Floats:
    """Return the chances that `n` cells fit, agreeing with what was tried of them.

    They fall with the share, as those by arithmetic do.

    Args:
        chances: `(n,)`, by arithmetic.
        shares: `(n,)`, needs over the memory.
        tried: of the cells.
    """
    fitted, failed = tried.fitted, tried.failed
    known = (fitted > 0.0) | np.isfinite(failed)
    odds = _log_odds(chances) + tried.lift - tried.drop
    between = (shares > fitted) & (shares < failed) & (fitted > 0.0) & np.isfinite(failed)
    if between.any():
        low, high = fitted[between], failed[between]
        way = np.log(shares[between] / low) / np.log(high / low)
        odds[between] = _SURE * (1.0 - 2.0 * way)
    odds = np.where(shares <= fitted, np.maximum(odds, _SURE), odds)
    odds = np.where(shares >= failed, np.minimum(odds, -_SURE), odds)
    found: Floats = np.where(known, 1.0 / (1.0 + np.exp(-np.clip(odds, -_MOST, _MOST))), chances)
    return found


def _key(cell: Cell) -> tuple[str | None, ...]:
    return (
        cell.model,
        cell.hardware,
        cell.task,
        cell.runtime,
        cell.runtime_options,
        cell.parallelism,
    )


def _log_odds(chances: Floats) -> Floats:
    kept = np.clip(chances, 1e-12, 1.0 - 1e-12)
    found: Floats = np.log(kept / (1.0 - kept))
    return found
