"""The optimum of a larger problem: a mixed-integer programme, solved by HiGHS.

Source: Q. Huangfu and J. A. J. Hall, Parallelizing the dual revised simplex method, 2018.

A device with n models is worth alpha[n] * sum(a) + beta[n]. Which n it has is a choice like any
other: `level[d, n]` is 1 for exactly one n. Where alpha is 1, `x[i, d]` places a model and the
levels follow from the counts. Where alpha varies (latency), `x[i, d, n]` places a model on a device
that has n models. Both are exact, and no product of unknowns remains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from strategies.placing.problem import NOWHERE, Floats, Ints, Problem

_GAP: Final = 1e-9
_COLUMNS_PER_S: Final = 20_000
"""Larger programmes are not begun: HiGHS looks at its clock only between large steps."""


@dataclass(frozen=True, slots=True)
class Solved:
    """What HiGHS found. `worth_bound` bounds placements of as many models as were asked for."""

    where: Ints | None
    worth_bound: float
    proven: bool


def solve(problem: Problem, place: int, best_known: float | None, time_limit_s: float) -> Solved:
    """Place exactly `place` models for the most worth, within `time_limit_s`.

    Args:
        problem: under a contention by counts.
        place: how many models are to be placed.
        best_known: the worth of a placement of all models, which cuts levels that can't beat it.
        time_limit_s: how long HiGHS may take.
    """
    top = _top_level(problem, best_known)
    if _columns(problem, top, leveled=problem.goal == "latency") > _COLUMNS_PER_S * time_limit_s:
        return Solved(None, math.inf, proven=False)
    if problem.goal == "latency":
        programme = _by_level(problem, top)
    else:
        programme = _by_count(problem, top, problem.a, problem.beta)
    _number_placed(programme, len(problem.items), place)
    return _run(problem, programme, time_limit_s)


def most_models(problem: Problem, time_limit_s: float) -> tuple[int, bool]:
    """Return how many models can be placed at most, and whether that is proven.

    Where it is not, the number is an upper bound.
    """
    top = _top_level(problem, None)
    if _columns(problem, top, leveled=False) > _COLUMNS_PER_S * time_limit_s:
        return len(problem.items), False
    ones = np.where(problem.allowed, 1.0, 0.0)
    programme = _by_count(problem, top, ones, np.zeros_like(problem.beta))
    _number_placed(programme, len(problem.items), None)
    found = _run(problem, programme, time_limit_s)
    if math.isinf(found.worth_bound):
        return len(problem.items), False
    return math.floor(found.worth_bound + 1e-6), found.proven


@dataclass(slots=True)
class _Programme:
    """Columns: each allowed pair of `model` and `device` (and level), then each device's levels."""

    model: Ints
    device: Ints
    worth: Floats
    fleet: int
    top: int
    level_worth: Floats
    level_is_whole: bool
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    rows: int = 0

    @property
    def pairs(self) -> int:
        return len(self.model)

    @property
    def columns(self) -> int:
        return self.pairs + self.fleet * (self.top + 1)

    @property
    def x(self) -> Ints:
        """The columns of the pairs."""
        return np.arange(self.pairs)

    def levels(self) -> tuple[Ints, Ints, Ints]:
        """Return the columns of all levels, with the device and the number that each is for."""
        device, number = np.divmod(np.arange(self.fleet * (self.top + 1)), self.top + 1)
        return self.level(device, number), device, number

    def level(self, device: Ints, number: Ints) -> Ints:
        """Return the columns of the levels `number` of `device`."""
        return self.pairs + device * (self.top + 1) + number

    def require(self, row: Ints, column: Ints, value: Floats, low: Floats, high: Floats) -> None:
        """Append `len(low)` rows; `row` counts from 0 within them."""
        self.entries.append((row + self.rows, column, value))
        self.low.append(low)
        self.high.append(high)
        self.rows += len(low)


def _by_count(problem: Problem, top: int, a: Floats, beta: Floats) -> _Programme:
    """Return the programme for alpha = 1."""
    model, device = np.nonzero(problem.allowed)
    # Where beta is concave, fractional levels gain nothing once the models are whole (but they
    # could blur a limit that differs from level to level).
    concave = bool((np.diff(beta[:, : top + 1], 2, axis=1) <= 1e-12).all())
    free = concave and not _power_binds(problem)
    programme = _Programme(
        model,
        device,
        a[model, device],
        len(problem.devices),
        top,
        beta[:, : top + 1].ravel(),
        level_is_whole=not free,
    )
    columns, on, number = programme.levels()
    zeros = np.zeros(programme.fleet)
    programme.require(
        np.concatenate([device, on]),
        np.concatenate([programme.x, columns]),
        np.concatenate([np.ones(programme.pairs), -number.astype(np.float64)]),
        zeros,
        zeros,
    )
    _limits(problem, programme)
    # A model's latency limit admits only the lower levels of a device.
    tight = np.flatnonzero(problem.most[model, device] < top)
    if tight.size:
        limits = problem.most[model[tight], device[tight]]
        row = np.repeat(np.arange(tight.size), limits)
        numbers = np.concatenate([np.arange(1, n + 1) for n in limits])
        programme.require(
            np.concatenate([np.arange(tight.size), row]),
            np.concatenate([tight, programme.level(device[tight][row], numbers)]),
            np.concatenate([np.ones(tight.size), -np.ones(len(row))]),
            np.full(tight.size, -np.inf),
            np.zeros(tight.size),
        )
    return programme


def _by_level(problem: Problem, top: int) -> _Programme:
    """Return the programme for an alpha that varies: a pair for each level it may have."""
    model, device = np.nonzero(problem.allowed)
    repeat = np.minimum(problem.most[model, device], top)
    model, device = np.repeat(model, repeat), np.repeat(device, repeat)
    number = np.concatenate([np.arange(1, n + 1) for n in repeat] or [np.zeros(0, dtype=np.int64)])
    programme = _Programme(
        model,
        device,
        problem.a[model, device] * problem.alpha[device, number],
        len(problem.devices),
        top,
        problem.beta[:, : top + 1].ravel(),
        level_is_whole=True,
    )
    columns, on, numbers = programme.levels()
    zeros = np.zeros(programme.fleet * (top + 1))
    programme.require(
        np.concatenate([device * (top + 1) + number, on * (top + 1) + numbers]),
        np.concatenate([programme.x, columns]),
        np.concatenate([np.ones(programme.pairs), -numbers.astype(np.float64)]),
        zeros,
        zeros,
    )
    _limits(problem, programme)
    return programme


def _limits(problem: Problem, programme: _Programme) -> None:
    """Require one level of each device, and its limits on memory and power."""
    columns, on, number = programme.levels()
    ones = np.ones(programme.fleet)
    below = np.full(programme.fleet, -np.inf)
    pair = (programme.model, programme.device)
    programme.require(on, columns, np.ones(len(columns)), ones, ones)
    if np.isfinite(problem.capacity).any():
        programme.require(programme.device, programme.x, problem.memory[pair], below, problem.room)
    if _power_binds(problem):
        programme.require(
            np.concatenate([programme.device, on]),
            np.concatenate([programme.x, columns]),
            np.concatenate([problem.power[pair], -problem.power_room[on, number]]),
            below,
            np.zeros(programme.fleet),
        )


def _power_binds(problem: Problem) -> bool:
    """Return whether models that each keep the limit on power may break it together.

    They can't where they take turns: then the device draws what one of them does.
    """
    if math.isinf(problem.power_limit):
        return False
    counts = np.arange(problem.power_room.shape[1])
    return bool((problem.power_room < counts * problem.power_limit).any())


def _number_placed(programme: _Programme, count: int, place: int | None) -> None:
    """Require each model at most once, and exactly `place` in all (any number if None)."""
    ones, each = np.ones(programme.pairs), np.ones(count)
    everyone = place == count
    programme.require(
        programme.model, programme.x, ones, each if everyone else np.zeros(count), each
    )
    if place is not None and not everyone:
        exactly = np.array([float(place)])
        programme.require(np.zeros_like(programme.x), programme.x, ones, exactly, exactly)


def _run(problem: Problem, programme: _Programme, time_limit_s: float) -> Solved:
    if programme.pairs == 0:
        return Solved(None, 0.0, proven=True)
    row, column, value = (np.concatenate(part) for part in zip(*programme.entries, strict=True))
    matrix = coo_array((value, (row, column)), shape=(programme.rows, programme.columns)).tocsr()
    whole = np.ones(programme.columns)
    whole[programme.pairs :] = programme.level_is_whole
    found = milp(
        -np.concatenate([programme.worth, programme.level_worth]),
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            matrix, np.concatenate(programme.low), np.concatenate(programme.high)
        ),
        options={"time_limit": time_limit_s, "mip_rel_gap": _GAP},
    )
    bound = found.get("mip_dual_bound")
    worth_bound = math.inf if bound is None else -float(bound)
    if found.x is None:
        infeasible = found.status == 2
        return Solved(None, -math.inf if infeasible else worth_bound, proven=infeasible)
    where = np.full(len(problem.items), NOWHERE, dtype=np.int64)
    taken = found.x[: programme.pairs] > 0.5
    where[programme.model[taken]] = programme.device[taken]
    return Solved(where, worth_bound, proven=found.status == 0)


def _columns(problem: Problem, top: int, *, leveled: bool) -> int:
    """Return how many columns a programme would have."""
    levels = np.minimum(problem.most, top) if leveled else np.ones_like(problem.most)
    return int(levels[problem.allowed].sum()) + len(problem.devices) * (top + 1)


def _top_level(problem: Problem, best_known: float | None) -> int:
    """Return the largest number of models that a device can have in a better placement."""
    count = len(problem.items)
    top = min(count, int(problem.most.max(initial=1)))
    if best_known is None or problem.goal != "latency":
        return top
    # Every model costs its slow-down, which is at least 1 wherever it runs.
    counts = np.arange(count + 1)
    least = (counts * problem.alpha).min(axis=0) + (count - counts)
    return max(1, min(top, int(np.flatnonzero(least <= -best_known + 1e-9).max(initial=1))))
