"""A limit on what all devices cost that are used: which of them to do without."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from strategies.placing.problem import NOWHERE, Blocked, Ints, Problem

Bools = npt.NDArray[np.bool_]

_FLEETS: Final = 64
"""Sets of devices that are all tried; of more, the dearest device is left out, one by one."""

_DEVICES: Final = 12
"""Devices with a cost, beyond which their sets are not even counted."""


def cost(problem: Problem, where: Ints) -> float:
    """Return the cost per hour of the devices that a placement uses."""
    used = {int(device) for device in where if device != NOWHERE}
    return math.fsum(_price(problem, device) for device in used)


def affordable(problem: Problem, limit: float) -> list[Bools] | None:
    """Return every set of devices within the limit to which no device could be added.

    None if there are too many to solve for each.
    """
    prices = np.array([_price(problem, device) for device in range(len(problem.devices))])
    dear = np.flatnonzero(prices)
    if len(dear) > _DEVICES:
        return None
    bits = (np.arange(1 << len(dear))[:, None] >> np.arange(len(dear)) & 1).astype(np.bool_)
    spent = bits @ prices[dear]
    within = spent <= limit
    fuller = spent[:, None] + np.where(bits, np.inf, prices[dear])
    full = bits[within & (fuller > limit).all(axis=1)]
    if len(full) > _FLEETS:
        return None
    masks = np.ones((len(full), len(prices)), dtype=np.bool_)
    masks[:, dear] = full
    return list(masks)


def dearest_left_out(problem: Problem, where: Ints, kept: Bools) -> Bools:
    """Return the devices less the used one that costs most for each model it carries."""
    used = sorted({int(device) for device in where if device != NOWHERE})
    left = kept.copy()
    left[
        max(
            used,
            key=lambda device: (
                _price(problem, device) / int((where == device).sum()),
                problem.devices[device].name,
            ),
        )
    ] = False
    return left


def without(problem: Problem, kept: Bools, limit: float) -> Problem:
    """Return the problem with nothing allowed on the devices that are not kept.

    Worth stays in relation to what it was: answers for different sets can be compared.
    """
    spent = math.fsum(_price(problem, int(device)) for device in np.flatnonzero(kept))
    gone = dict(_gone(problem, kept, spent, limit))
    return replace(
        problem,
        a=np.where(kept, problem.a, 0.0),
        own=np.where(kept, problem.own, 0.0),
        allowed=problem.allowed & kept,
        blocked={**gone, **problem.blocked},
    )


def _gone(
    problem: Problem, kept: Bools, spent: float, limit: float
) -> Iterator[tuple[tuple[int, int], Blocked]]:
    for device in np.flatnonzero(~kept).tolist():
        needs = Blocked("cost_per_hour", spent + _price(problem, device), limit)
        for model in range(len(problem.items)):
            yield (model, device), needs


def _price(problem: Problem, device: int) -> float:
    return problem.devices[device].cost_per_hour or 0.0
