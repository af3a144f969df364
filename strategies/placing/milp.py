"""The optimum of a larger problem: a mixed-integer programme, solved by HiGHS.

Source: Q. Huangfu and J. A. J. Hall, Parallelizing the dual revised simplex method, 2018.

A device with n models is worth alpha[n] * sum(a) + beta[n]. Which n it has is a choice like any
other: `level[d, n]` is 1 for exactly one n. Where alpha is 1, `x[i, d]` places a model and the
levels follow from the counts. Where alpha varies (latency), `x[i, d, n]` places a model on a device
that has n models. Both are exact, and no product of unknowns remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from strategies.placing.problem import NOWHERE, Floats, Ints, Problem

_GAP: Final = 1e-9
_COLUMNS: Final = 30_000
"""Larger programmes are not begun: HiGHS would overrun its time limit before its first answer."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What HiGHS found. `worth_bound` bounds placements of as many models as were asked for."""

    where: Ints | None
    worth_bound: float
    proven: bool


@dataclass(slots=True)
class _Rows:
    """Constraint rows while they grow."""

    entries: list[tuple[Ints, Ints, Floats]]
    low: list[Floats]
    high: list[Floats]
    count: int = 0

    def add(self, row: Ints, column: Ints, value: Floats, low: Floats, high: Floats) -> None:
        """Append `len(low)` rows; `row` counts from 0 within them."""
        self.entries.append((row + self.count, column, value))
        self.low.append(low)
        self.high.append(high)
        self.count += len(low)


def solve(problem: Problem, place: int, best_known: float | None, time_limit_s: float) -> Solved:
    """Place exactly `place` models for the most worth, within `time_limit_s`.

    Args:
        problem: under a contention by counts.
        place: how many models are to be placed.
        best_known: the worth of a placement of as many, which cuts levels that can't beat it.
        time_limit_s: how long HiGHS may take.
    """
    return _solve(problem, place, problem.a, problem.alpha, problem.beta, best_known, time_limit_s)


def most_models(problem: Problem, time_limit_s: float) -> tuple[int, bool]:
    """Return how many models can be placed at most, and whether that is proven.

    Where it is not, the number is an upper bound.
    """
    ones = np.where(problem.allowed, 1.0, 0.0)
    flat = np.ones_like(problem.alpha)
    found = _solve(problem, None, ones, flat, np.zeros_like(flat), None, time_limit_s)
    return math.floor(found.worth_bound + 1e-6), found.proven


def _solve(
    problem: Problem,
    place: int | None,
    a: Floats,
    alpha: Floats,
    beta: Floats,
    best_known: float | None,
    time_limit_s: float,
) -> Solved:
    count, fleet = problem.shape
    top = _levels(problem, best_known)
    leveled = bool((alpha != 1).any())
    model, device = np.nonzero(problem.allowed)
    if leveled:
        repeat = np.minimum(problem.most[model, device], top)
        model, device = np.repeat(model, repeat), np.repeat(device, repeat)
        level = np.concatenate([np.arange(1, n + 1) for n in repeat]) if repeat.size else repeat
        worth = a[model, device] * alpha[device, level]
    else:
        level = np.zeros_like(model)
        worth = a[model, device]
    pairs = len(model)
    columns = pairs + fleet * (top + 1)
    if columns > _COLUMNS or pairs == 0:
        return Solved(None, math.inf if pairs else 0.0, proven=pairs == 0)

    def level_column(d: Ints, n: Ints) -> Ints:
        return pairs + d * (top + 1) + n

    rows = _Rows([], [], [])
    x = np.arange(pairs)
    one = np.ones(pairs)
    # Each model at most once; exactly `place` of them in all.
    each = np.ones(count)
    rows.add(model, x, one, each if place == count else np.zeros(count), each)
    if place is not None and place != count:
        rows.add(np.zeros(pairs, dtype=np.int64), x, one, np.array([place]), np.array([place]))
    # Each device has one level.
    d_all, n_all = np.divmod(np.arange(fleet * (top + 1)), top + 1)
    every = level_column(d_all, n_all)
    rows.add(d_all, every, np.ones(len(every)), np.ones(fleet), np.ones(fleet))
    # As many models as the level says.
    if leveled:
        row = np.concatenate([device * (top + 1) + level, d_all * (top + 1) + n_all])
        size = fleet * (top + 1)
    else:
        row, size = np.concatenate([device, d_all]), fleet
    zeros = np.zeros(size)
    rows.add(
        row,
        np.concatenate([x, every]),
        np.concatenate([one, -n_all.astype(float)]),
        zeros,
        zeros,
    )
    if not leveled:
        # A model's latency limit admits only the lower levels.
        tight = np.flatnonzero(problem.most[model, device] < top)
        if tight.size:
            limits = problem.most[model[tight], device[tight]]
            numbers = np.repeat(np.arange(tight.size), limits)
            levels = np.concatenate([np.arange(1, n + 1) for n in limits])
            rows.add(
                np.concatenate([np.arange(tight.size), numbers]),
                np.concatenate([tight, level_column(device[tight][numbers], levels)]),
                np.concatenate([np.ones(tight.size), -np.ones(len(numbers))]),
                np.full(tight.size, -np.inf),
                np.zeros(tight.size),
            )
    finite = np.isfinite(problem.capacity)
    if finite.any():
        rows.add(
            device,
            x,
            problem.memory[model, device],
            np.full(fleet, -np.inf),
            np.where(finite, problem.capacity, np.inf),
        )
    if math.isfinite(problem.power_limit):
        rows.add(
            np.concatenate([device, d_all]),
            np.concatenate([x, every]),
            np.concatenate([problem.power[model, device], -problem.power_room[d_all, n_all]]),
            np.full(fleet, -np.inf),
            np.zeros(fleet),
        )

    row, column, value = (np.concatenate(parts) for parts in zip(*rows.entries, strict=True))
    matrix = coo_array((value, (row, column)), shape=(rows.count, columns)).tocsr()
    whole = np.ones(columns)
    # Where beta is concave, fractional levels gain nothing once the models are whole.
    if not leveled and (np.diff(beta[:, : top + 1], 2, axis=1) <= 1e-12).all():
        whole[pairs:] = 0
    found = milp(
        -np.concatenate([worth, beta[:, : top + 1].ravel()]),
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, np.concatenate(rows.low), np.concatenate(rows.high)),
        options={"time_limit": time_limit_s, "mip_rel_gap": _GAP},
    )
    bound = found.get("mip_dual_bound")
    if found.x is None:
        infeasible = found.status == 2
        limit = -math.inf if infeasible else math.inf if bound is None else -bound
        return Solved(None, limit, proven=infeasible)
    where = np.full(count, NOWHERE, dtype=np.int64)
    taken = found.x[:pairs] > 0.5
    where[model[taken]] = device[taken]
    return Solved(where, math.inf if bound is None else -float(bound), proven=found.status == 0)


def _levels(problem: Problem, best_known: float | None) -> int:
    """Return the largest number of models that a device can have in a better placement."""
    count = len(problem.items)
    top = int(problem.most.max(initial=1))
    if best_known is None or problem.goal != "latency":
        return min(count, top)
    # Every model costs its slow-down, which is at least 1 wherever it runs.
    counts = np.arange(count + 1)
    least = (counts * problem.alpha).min(axis=0) + (count - counts)
    return max(1, min(top, int(np.flatnonzero(least <= -best_known + 1e-9).max(initial=1))))
