"""A bound that no placement can exceed: models assigned to slots of devices.

Every device offers a first slot, a second one, and so on, each worth less than the one before:
the k-th slot takes `k * alpha[k] - (k-1) * alpha[k-1]` times the model's worth (which is zero or
below), and adds `beta[k] - beta[k-1]`. Where these sequences are not monotone they are replaced by
their hulls. With the models of a device sorted so that the worst sits in the cheapest slot, the
slots' sum is at least what the device is worth (Chebyshev's sum inequality), and exactly that
where alpha is 1. So the best assignment to slots is an upper bound; it is the optimum itself for
every goal but latency when no limit binds. Limits are left out, but memory can be given a price.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from strategies.placing.problem import NOWHERE, Floats, Ints, Problem, summed

_ROUNDS: Final = 20
_EFFORT: Final = 16_000_000
"""How often prices are changed at most, and what all assignments together may cost."""

_STARTS: Final = 3
"""How many of the placements met on the way are handed on."""


def relaxed(problem: Problem) -> tuple[float, Ints]:
    """Return the bound on placing all models, and the assignment that reaches it.

    Models that may run nowhere are left out of both.
    """
    return _Slots(problem).assigned(np.zeros(len(problem.devices)))


class _Slots:
    """The assignment of models to slots. It remembers how many slots were wanted so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.movable = np.flatnonzero(problem.allowed.any(axis=1))
        count, fleet = len(self.movable), len(problem.devices)
        self.factor = np.diff(_hull(np.arange(count + 1) * problem.alpha[:, : count + 1]), axis=1)
        self.extra = np.diff(-_hull(-problem.beta[:, : count + 1]), axis=1)
        # Few slots suffice mostly; only devices that are full can want more (the slots get worse).
        self.slots = np.full(fleet, min(count, -(-count // fleet) + 1))
        self.effort = 0

    def assigned(self, prices: Floats) -> tuple[float, Ints]:
        """Return the bound and its assignment, with a MB of each device at its price.

        Any prices from 0 give a bound (Lagrangian relaxation of the limits on memory).
        """
        problem = self.problem
        where = np.full(len(problem.items), NOWHERE, dtype=np.int64)
        if self.movable.size == 0:
            return 0.0, where
        worth, chosen = self._assign(prices)
        while self._grow(chosen):
            worth, chosen = self._assign(prices)
        where[self.movable] = chosen
        priced = prices > 0
        return worth + float((prices[priced] * problem.room[priced]).sum()), where

    def _assign(self, prices: Floats) -> tuple[float, Ints]:
        """Assign all models; none if there are too few slots where they are allowed."""
        problem = self.problem
        device = np.repeat(np.arange(len(self.slots)), self.slots)
        rank = np.concatenate([np.arange(n) for n in self.slots])
        pair = np.ix_(self.movable, device)
        worth = problem.a[pair] * self.factor[device, rank] + self.extra[device, rank]
        worth -= prices[device] * problem.memory[pair]
        self.effort += len(self.movable) ** 2 * len(device)
        try:
            rows, columns = linear_sum_assignment(
                np.where(problem.allowed[pair], worth, -np.inf), maximize=True
            )
        except ValueError:
            return 0.0, np.zeros(0, dtype=np.int64)
        return float(worth[rows, columns].sum()), device[columns]

    def _grow(self, chosen: Ints) -> bool:
        """Offer more slots where they ran out. Return whether there are more now."""
        most = len(self.movable)
        used = np.bincount(chosen, minlength=len(self.slots))
        short = (used >= self.slots) | (chosen.size == 0)
        grown = np.where(short, np.minimum(most, 2 * self.slots), self.slots)
        changed = bool((grown > self.slots).any())
        self.slots = grown
        return changed


def tightened(
    problem: Problem, bound: float, start: Ints, known: float
) -> tuple[float, list[Ints]]:
    """Return a bound that takes memory into account, and placements that nearly fit.

    Subgradient descent on the prices of memory (Held, Wolfe and Crowder 1974), with Polyak's
    step towards `known`, the worth of a placement that is there already.
    """
    finite = np.isfinite(problem.capacity)
    if not finite.any():
        return bound, []
    fleet = len(problem.devices)
    slots = _Slots(problem)
    prices = np.zeros(fleet)
    tried: list[tuple[float, Ints]] = []
    best, where = bound, start
    scale, last, stalled = 1.0, bound, 0
    for _ in range(_ROUNDS):
        if slots.effort > _EFFORT:
            break
        placed = np.flatnonzero(where != NOWHERE)
        on = where[placed]
        used = summed(on, problem.memory[placed, on], fleet)
        over = np.where(finite, used - np.where(finite, problem.room, 0.0), 0.0)
        tried.append((float(np.maximum(over, 0.0).sum()), where))
        # A device with room and no price is as it should be.
        slope = np.where((over < 0) & (prices == 0), 0.0, over)
        length = float(slope @ slope)
        if length == 0:
            break
        prices = np.maximum(0.0, prices + scale * (last - known) / length * slope)
        last, where = slots.assigned(prices)
        stalled = 0 if last < best - 1e-9 else stalled + 1
        best = min(best, last)
        if stalled >= 3:
            scale, stalled = scale / 2, 0
    tried.sort(key=lambda entry: entry[0])
    return best, [found for _, found in tried[:_STARTS]]


def _hull(values: Floats) -> Floats:
    """Return the lower convex hull of each row, at each of its points."""
    steps = np.diff(values, axis=1)
    if (np.diff(steps, axis=1) >= -1e-12).all():
        return values
    return np.array([_lower(row) for row in values])


def _lower(row: Floats) -> Floats:
    kept: list[int] = []
    for k in range(len(row)):
        while len(kept) > 1 and (row[kept[-1]] - row[kept[-2]]) * (k - kept[-1]) >= (
            row[k] - row[kept[-1]]
        ) * (kept[-1] - kept[-2]):
            kept.pop()
        kept.append(k)
    hull: Floats = np.interp(np.arange(len(row)), kept, row[kept])
    return hull
