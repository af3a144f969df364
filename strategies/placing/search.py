"""A good feasible placement in bounded time: greedy, then single moves and swaps.

Nothing here depends on a clock or on chance. Every step takes the best change of all (of equal
ones the first by name), so a step costs O(models * (models + devices)), and their number is
bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from strategies.placing.problem import NOWHERE, Bools, Floats, Ints, Problem

_STEPS: Final = 300
"""Changes at most, in one descent."""

_WORTH_IT: Final = 1e-12
"""What a change must gain: less is rounding, and could go round in circles."""

_GROUPS: Final = 6_000
"""Groups that are priced at most, under a contention that must be asked for each."""


class _State:
    """A placement under a contention by counts, with the sums from which changes are priced."""

    def __init__(self, problem: Problem, where: Ints) -> None:
        self.problem = problem
        self.where = where.copy()
        self.refresh()

    def refresh(self) -> None:
        """Recompute the sums from `where`."""
        problem, fleet = self.problem, len(self.problem.devices)
        self.placed = np.flatnonzero(self.where != NOWHERE)
        on = self.where[self.placed]
        self.count = np.bincount(on, minlength=fleet)
        own = (self.placed, on)
        self.sum = np.bincount(on, problem.a[own], minlength=fleet)
        self.memory = np.bincount(on, problem.memory[own], minlength=fleet)
        self.power = np.bincount(on, problem.power[own], minlength=fleet)
        self.most = np.full(fleet, len(problem.items))
        np.minimum.at(self.most, on, problem.most[own])
        self.worth = self._at(self.count, self.sum)

    def _at(self, count: Ints, total: Floats) -> Floats:
        device = np.arange(len(self.problem.devices))
        worth: Floats = self.problem.alpha[device, count] * total + self.problem.beta[device, count]
        return worth

    def insertions(self) -> Floats:
        """Return what each model would add on each device; minus infinity where it can't go."""
        problem = self.problem
        more = np.minimum(self.count + 1, len(problem.items))
        device = np.arange(len(problem.devices))
        worth = problem.alpha[device, more] * (self.sum + problem.a) + problem.beta[device, more]
        fits: Bools = (
            problem.allowed
            & (self.memory + problem.memory <= problem.capacity)
            & (more <= np.minimum(self.most, problem.most))
            & (self.power + problem.power <= problem.power_room[device, more])
        )
        fits[self.placed, self.where[self.placed]] = False
        return np.where(fits, worth - self.worth, -np.inf)

    def removals(self) -> Floats:
        """Return what taking each placed model away adds (mostly less than nothing)."""
        problem, on = self.problem, self.where[self.placed]
        left = self.count[on] - 1
        worth: Floats = (
            problem.alpha[on, left] * (self.sum[on] - problem.a[self.placed, on])
            + problem.beta[on, left]
            - self.worth[on]
        )
        return worth

    def swaps(self) -> Floats:
        """Return what exchanging two placed models would add, for each pair of them."""
        problem, placed = self.problem, self.placed
        on = self.where[placed]
        here = (placed, on)
        # [i, j]: model j comes to where model i is.
        there = np.ix_(placed, on)
        comes = problem.a[there].T - problem.a[here][:, None]
        gain = problem.alpha[on, self.count[on]][:, None] * comes
        memory = (self.memory[on] - problem.memory[here])[:, None] + problem.memory[there].T
        power = (self.power[on] - problem.power[here])[:, None] + problem.power[there].T
        fits = (
            problem.allowed[there].T
            & (memory <= problem.capacity[on][:, None])
            & (self.count[on][:, None] <= problem.most[there].T)
            & (power <= problem.power_room[on, self.count[on]][:, None])
            & (on[:, None] != on[None, :])
        )
        return np.where(fits & fits.T, gain + gain.T, -np.inf)


def search(problem: Problem, starts: Iterable[Ints]) -> Ints:
    """Return the best placement reached from `starts` and from nothing. Always within all limits.

    Better is: more models placed, then worth more.
    """
    empty = np.full(len(problem.items), NOWHERE, dtype=np.int64)
    if problem.speed is None:
        return _by_group(problem)
    best = _descend(problem, empty)
    for start in starts:
        found = _descend(problem, _kept(problem, start))
        if _better(problem, found, best):
            best = found
    return best


def _better(problem: Problem, one: Ints, other: Ints) -> bool:
    placed, others = int((one != NOWHERE).sum()), int((other != NOWHERE).sum())
    if placed != others:
        return placed > others
    return problem.worth(one) > problem.worth(other) + _WORTH_IT


def _kept(problem: Problem, start: Ints) -> Ints:
    """Return what of a placement keeps the limits: the rest is taken out, largest first."""
    where = start.copy()
    for device in range(len(problem.devices)):
        on = np.flatnonzero(where == device).tolist()
        on.sort(key=lambda i: (problem.most[i, device], -problem.memory[i, device], i))
        while on and not np.isfinite(problem.group_worth(device, on)):
            where[on.pop(0)] = NOWHERE
    return where


def _descend(problem: Problem, start: Ints) -> Ints:
    state = _State(problem, start)
    _insert_all(state)
    for _ in range(_STEPS):
        if not (_relocate(state) or _swap(state)):
            # Where all is as good as moves make it, room may have come up for who was left out.
            if not (_insert_all(state) or _make_room(state)):
                break
    return state.where


def _insert_all(state: _State) -> bool:
    """Place who is nowhere, the hardest to place first. Return whether anything changed."""
    problem = state.problem
    changed = False
    waiting = np.flatnonzero(state.where == NOWHERE).tolist()
    choices = problem.allowed.sum(axis=1)
    size = np.where(problem.allowed, problem.memory, np.inf).min(axis=1)
    waiting.sort(key=lambda i: (choices[i], -size[i], i))
    for i in waiting:
        gains = state.insertions()[i]
        device = int(np.argmax(gains))
        if np.isfinite(gains[device]):
            state.where[i] = device
            state.refresh()
            changed = True
    return changed


def _relocate(state: _State) -> bool:
    if state.placed.size == 0:
        return False
    gains = state.insertions()[state.placed] + state.removals()[:, None]
    index = int(np.argmax(gains))
    model, device = divmod(index, gains.shape[1])
    if gains[model, device] <= _WORTH_IT:
        return False
    state.where[state.placed[model]] = device
    state.refresh()
    return True


def _swap(state: _State) -> bool:
    if state.placed.size < 2:
        return False
    gains = state.swaps()
    one, other = divmod(int(np.argmax(gains)), gains.shape[1])
    if gains[one, other] <= _WORTH_IT:
        return False
    i, j = state.placed[one], state.placed[other]
    state.where[i], state.where[j] = state.where[j], state.where[i]
    state.refresh()
    return True


def _make_room(state: _State) -> bool:
    """Move one placed model elsewhere so that one who is left out can take its place."""
    problem = state.problem
    for i in np.flatnonzero(state.where == NOWHERE).tolist():
        if not problem.allowed[i].any():
            continue
        elsewhere = state.insertions()
        for j in state.placed.tolist():
            device = int(state.where[j])
            target = int(np.argmax(elsewhere[j]))
            if not problem.allowed[i, device] or not np.isfinite(elsewhere[j, target]):
                continue
            stay = [k for k in state.placed.tolist() if state.where[k] == device and k != j]
            if np.isfinite(problem.group_worth(device, sorted([*stay, i]))):
                state.where[j], state.where[i] = target, device
                state.refresh()
                return True
    return False


def _by_group(problem: Problem) -> Ints:
    """Search under a contention that must be asked for each group: greedy, then single moves."""
    count, fleet = problem.shape
    where = np.full(count, NOWHERE, dtype=np.int64)
    groups: list[list[int]] = [[] for _ in range(fleet)]
    priced: dict[tuple[int, tuple[int, ...]], float] = {}

    def worth(device: int, models: list[int]) -> float:
        key = (device, tuple(sorted(models)))
        if key not in priced:
            priced[key] = problem.group_worth(*key)
        return priced[key]

    def best_device(i: int) -> tuple[float, int]:
        gains = [
            (worth(d, [*groups[d], i]) - worth(d, groups[d]), -d)
            for d in range(fleet)
            if problem.allowed[i, d]
        ]
        gain, minus = max(gains, default=(-np.inf, 1))
        return gain, -minus

    def put(i: int) -> bool:
        gain, device = best_device(i)
        if not np.isfinite(gain):
            return False
        groups[device].append(i)
        where[i] = device
        return True

    size = np.where(problem.allowed, problem.memory, np.inf).min(axis=1)
    for i in sorted(range(count), key=lambda i: (problem.allowed[i].sum(), -size[i], i)):
        put(i)
    moved = True
    while moved and len(priced) < _GROUPS:
        moved = False
        for i in range(count):
            here = int(where[i])
            if here == NOWHERE:
                moved |= put(i)
                continue
            before = worth(here, groups[here])
            groups[here].remove(i)
            left = worth(here, groups[here])
            gain, device = best_device(i)
            if device != here and gain > before - left + _WORTH_IT:
                where[i], here, moved = device, device, True
            groups[here].append(i)
    return where
