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

_ROUNDS: Final = 30
_EFFORT: Final = 24_000_000
"""How often prices are changed at most, and what all assignments together may cost."""

_STARTS: Final = 3
"""How many of the placements met on the way are handed on."""


def relaxed(problem: Problem, prices: Floats | None = None) -> tuple[float, Ints]:
    """Return the bound on placing all models, and the assignment that reaches it.

    Models that may run nowhere are left out of both. `prices`, for each device and MB, make the
    memory of a device a matter of cost (Lagrangian relaxation): any prices from 0 give a bound.
    """
    movable = np.flatnonzero(problem.allowed.any(axis=1))
    where = np.full(len(problem.items), NOWHERE, dtype=np.int64)
    if movable.size == 0:
        return 0.0, where
    count = len(movable)
    fleet = len(problem.devices)
    factor = np.diff(_hull(np.arange(count + 1) * problem.alpha[:, : count + 1]), axis=1)
    extra = np.diff(-_hull(-problem.beta[:, : count + 1]), axis=1)
    fees = np.zeros(problem.shape) if prices is None else prices * problem.memory

    # Few slots suffice mostly; only devices that are full can want more (the slots get worse).
    slots = np.full(fleet, min(count, -(-count // fleet) + 1))
    while True:
        device = np.repeat(np.arange(fleet), slots)
        rank = np.concatenate([np.arange(n) for n in slots])
        pair = np.ix_(movable, device)
        worth = problem.a[pair] * factor[device, rank] + extra[device, rank] - fees[pair]
        cost = np.where(problem.allowed[pair], -worth, np.inf)
        try:
            rows, columns = linear_sum_assignment(cost)
        except ValueError:  # too few slots where models are allowed
            slots = np.minimum(count, 2 * slots)
            continue
        chosen = device[columns]
        full = (np.bincount(chosen, minlength=fleet) >= slots) & (slots < count)
        if not full.any():
            break
        slots[full] = np.minimum(count, 2 * slots[full])
    where[movable[rows]] = chosen
    bound = -float(cost[rows, columns].sum())
    if prices is not None:
        priced = prices > 0
        bound += float((prices[priced] * problem.capacity[priced]).sum())
    return bound, where


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
    count, fleet = problem.shape
    prices = np.zeros(fleet)
    tried: list[tuple[float, Ints]] = []
    best, where = bound, start
    scale, last, stalled = 1.0, bound, 0
    for _ in range(max(1, min(_ROUNDS, _EFFORT // (count**2 * (count + fleet))))):
        placed = np.flatnonzero(where != NOWHERE)
        on = where[placed]
        used = summed(on, problem.memory[placed, on], fleet)
        over = np.where(finite, used - np.where(finite, problem.capacity, 0.0), 0.0)
        tried.append((float(np.maximum(over, 0.0).sum()), where))
        # A device with room and no price is as it should be.
        slope = np.where((over < 0) & (prices == 0), 0.0, over)
        length = float(slope @ slope)
        if length == 0:
            break
        prices = np.maximum(0.0, prices + scale * (last - known) / length * slope)
        last, where = relaxed(problem, prices)
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
