"""The optimum of a small problem: dynamic programming over sets of models.

Device by device, the best worth of every set of models that can be placed so far (3^M steps for
each device). Each device is asked what it is worth with each set, so any contention will do.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from strategies.placing.problem import NOWHERE, Floats, Ints, Problem

_STEPS: Final = 3_000_000
"""Set pairs at most over all devices: some tens of milliseconds."""

_MODELS: Final = 10


def small(problem: Problem) -> bool:
    """Return whether a problem is small enough for `solve`."""
    count, fleet = problem.shape
    return count <= _MODELS and 3**count * fleet <= _STEPS


def solve(problem: Problem) -> Ints:
    """Return the best placement: the most models, then the most worth."""
    count, fleet = problem.shape
    whole, part, starts = _pairs(count)
    best = np.full((fleet + 1, 1 << count), -np.inf)
    best[0, 0] = 0.0
    worths = [_worths(problem, device) for device in range(fleet)]
    for device in range(fleet):
        sums = best[device][whole ^ part] + worths[device][part]
        best[device + 1] = np.maximum.reduceat(sums, starts)

    sizes = _bits(count).sum(axis=1)
    reached = np.isfinite(best[fleet])
    most = sizes[reached].max()
    left = int(np.argmax(np.where(reached & (sizes == most), best[fleet], -np.inf)))
    where = np.full(count, NOWHERE, dtype=np.int64)
    ends = np.append(starts[1:], len(whole))
    for device in reversed(range(fleet)):
        parts = part[starts[left] : ends[left]]
        chosen = int(parts[np.argmax(best[device][left ^ parts] + worths[device][parts])])
        where[_bits(count)[chosen]] = device
        left ^= chosen
    return where


def _worths(problem: Problem, device: int) -> Floats:
    """Return what a device is worth with each set of models; minus infinity where it can't be."""
    count = len(problem.items)
    bits = _bits(count)
    if problem.speed is None:
        found = problem.worths(device, np.arange(count), bits)
        if found is not None:
            return found
        return np.array([problem.group_worth(device, np.flatnonzero(row).tolist()) for row in bits])
    sizes = bits.sum(axis=1)
    most = np.where(bits, problem.most[:, device], count).min(axis=1)
    fits = (
        ~(bits & ~problem.allowed[:, device]).any(axis=1)
        & (bits @ problem.memory[:, device] <= problem.room[device])
        & (sizes <= most)
        & (bits @ problem.power[:, device] <= problem.power_room[device, sizes])
    )
    worth = (
        problem.alpha[device, sizes] * (bits @ problem.a[:, device]) + problem.beta[device, sizes]
    )
    return np.where(fits, worth, -np.inf)


@cache
def _bits(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return which models each set holds, [set, model]."""
    sets = np.arange(1 << count)
    return (sets[:, None] >> np.arange(count) & 1).astype(np.bool_)


@cache
def _pairs(count: int) -> tuple[Ints, Ints, Ints]:
    """Return all pairs (set, its subset) ordered by set, and where each set starts."""
    parts = [[0]]
    for new in range(count):
        # A set with the new model has each subset of the set without it, with and without it.
        parts += [[p for part in old for p in (part, part | 1 << new)] for old in parts]
    whole = np.repeat(np.arange(1 << count), [len(part) for part in parts])
    part = np.array([p for old in parts for p in old], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum([len(old) for old in parts])[:-1]])
    return whole, part, starts
