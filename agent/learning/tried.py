"""With how much of the memory networks were tried, and whether that fitted.

What was tried is surer than any arithmetic: a network that ran with a need will run with a smaller
one, and one that ran out of memory will with a greater one. That is remembered by network,
hardware and way to run; in between, and around it, the chances by arithmetic are moved as far as it
takes to agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


def agreeing(
    chances: Floats, shares: Floats, tried: Shares, chance_at: Callable[[float], float]
) -> Floats:
    """Return the chances that a cell fits at several sizes, agreeing with what was tried.

    They fall with the share, as those by arithmetic do.

    Args:
        chances: `(n,)`, by arithmetic.
        shares: `(n,)`, needs over the memory.
        tried: of the cell.
        chance_at: returns the chance by arithmetic at a share.
    """
    if tried == UNTRIED:
        return chances
    odds = _log_odds(chances)
    has_fitted, has_failed = tried.fitted > 0.0, tried.failed < math.inf
    if has_fitted:
        lift = max(0.0, _SURE - float(_log_odds(np.array(chance_at(tried.fitted)))))
        odds = odds + (0.0 if has_failed else lift)
    if has_failed:
        drop = max(0.0, _SURE + float(_log_odds(np.array(chance_at(tried.failed)))))
        odds = odds - (0.0 if has_fitted else drop)
    if has_fitted and has_failed:
        way = np.log(shares / tried.fitted) / math.log(tried.failed / tried.fitted)
        between = (shares > tried.fitted) & (shares < tried.failed)
        odds = np.where(between, _SURE * (1.0 - 2.0 * way), odds)
    if has_fitted:
        odds = np.where(shares <= tried.fitted, np.maximum(odds, _SURE), odds)
    if has_failed:
        odds = np.where(shares >= tried.failed, np.minimum(odds, -_SURE), odds)
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(odds, -_MOST, _MOST)))
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
