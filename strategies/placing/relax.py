"""A bound that no placement can exceed: models assigned to slots of devices.

Every device offers a first slot, a second one, and so on, each worth less than the one before:
the k-th slot takes `k * alpha[k] - (k-1) * alpha[k-1]` times the model's worth (which is zero or
below), and adds `beta[k] - beta[k-1]`. Where these sequences are not monotone they are replaced by
their hulls. With the models of a device sorted so that the worst sits in the cheapest slot, the
slots' sum is at least what the device is worth (Chebyshev's sum inequality), and exactly that
where alpha is 1. So the best assignment to slots is an upper bound; it is the optimum itself for
every goal but latency when no limit binds. Memory and latency limits are left out.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from strategies.placing.problem import NOWHERE, Floats, Ints, Problem


def relaxed(problem: Problem) -> tuple[float, Ints]:
    """Return the bound and the assignment that reaches it in the relaxation.

    Models that may run nowhere are left out of both.
    """
    movable = np.flatnonzero(problem.allowed.any(axis=1))
    where = np.full(len(problem.items), NOWHERE, dtype=np.int64)
    if movable.size == 0:
        return 0.0, where
    count = len(movable)
    fleet = len(problem.devices)
    factor = np.diff(_hull(np.arange(count + 1) * problem.alpha[:, : count + 1]), axis=1)
    extra = np.diff(-_hull(-problem.beta[:, : count + 1]), axis=1)

    # Few slots suffice mostly; only devices that are full can want more (the slots get worse).
    slots = np.full(fleet, min(count, -(-count // fleet) + 1))
    while True:
        device = np.repeat(np.arange(fleet), slots)
        rank = np.concatenate([np.arange(n) for n in slots])
        worth = problem.a[np.ix_(movable, device)] * factor[device, rank] + extra[device, rank]
        cost = np.where(problem.allowed[np.ix_(movable, device)], -worth, np.inf)
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
    return -float(cost[rows, columns].sum()), where


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
