"""A good feasible placement in bounded time: greedy, then single moves and swaps.

Nothing here depends on a clock or on chance. Every step takes the best change of all (of equal
ones the first by name), so a step costs O(models * (models + devices)), and their number is
bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from strategies.placing.problem import NOWHERE, Bools, Floats, Ints, Problem, summed

_STEPS: Final = 300
"""Changes at most, in one descent."""

_WORTH_IT: Final = 1e-12
"""What a change must gain: less is rounding, and could go round in circles."""

_GROUPS: Final = 1_500
"""Groups that are priced at most, under a contention that must be asked for each."""


_AT_ONCE: Final = 3
"""Groups from which pricing them together is cheaper than one by one."""


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
        self.count = np.bincount(on, minlength=fleet).astype(np.int64)
        own = (self.placed, on)
        self.sum = summed(on, problem.a[own], fleet)
        self.memory = summed(on, problem.memory[own], fleet)
        self.power = summed(on, problem.power[own], fleet)
        self.most = np.full(fleet, len(problem.items))
        np.minimum.at(self.most, on, problem.most[own])
        self.worth = self._at(self.count, self.sum)

    def _at(self, count: Ints, total: Floats) -> Floats:
        device = np.arange(len(self.problem.devices))
        worth: Floats = self.problem.alpha[device, count] * total + self.problem.beta[device, count]
        return worth

    def insertions(self) -> Floats:
        """Return what each model would add on each device; minus infinity where it can't go."""
        return self._insertions(slice(None))

    def insertion(self, model: int) -> Floats:
        """Return what one model would add on each device."""
        row: Floats = self._insertions(slice(model, model + 1))[0]
        return row

    def _insertions(self, rows: slice) -> Floats:
        problem = self.problem
        more = np.minimum(self.count + 1, len(problem.items))
        device = np.arange(len(problem.devices))
        worth = (
            problem.alpha[device, more] * (self.sum + problem.a[rows]) + problem.beta[device, more]
        )
        fits: Bools = (
            problem.allowed[rows]
            & (self.memory + problem.memory[rows] <= problem.room)
            & (more <= np.minimum(self.most, problem.most[rows]))
            & (self.power + problem.power[rows] <= problem.power_room[device, more])
            & (self.where[rows, None] != device)
        )
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
            & (memory <= problem.room[on][:, None])
            & (self.count[on][:, None] <= problem.most[there].T)
            & (power <= problem.power_room[on, self.count[on]][:, None])
            & (on[:, None] != on[None, :])
        )
        return np.where(fits & fits.T, gain + gain.T, -np.inf)


def search(
    problem: Problem, starts: Sequence[Ints], worth_enough: float, best: Ints | None = None
) -> Ints:
    """Return the best placement reached from `starts`, or `best`. Within all limits.

    Better is: more models placed, then worth more. A start that keeps the limits and is worth
    `worth_enough` is returned as it is.
    """
    if problem.speed is None:
        return _by_group(problem) if best is None else best
    for start in starts:
        kept = _kept(problem, start)
        whole = bool((start != NOWHERE).any() and (kept == start).all())
        if whole and problem.worth(kept) >= worth_enough:
            return kept
        found = _descend(problem, kept)
        if best is None or _better(problem, found, best):
            best = found
    assert best is not None, "at least one start"
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
        # Where all is as good as moves make it, room may have come up for who was left out.
        if not any(step(state) for step in (_relocate, _swap, _insert_all, _make_room)):
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
        gains = state.insertion(i)
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
    problem, placed = state.problem, state.placed
    on = state.where[placed]
    own = (placed, on)
    elsewhere = state.insertions()[placed]
    can_leave = np.isfinite(elsewhere.max(axis=1, initial=-np.inf))
    if not can_leave.any():
        return False
    for i in np.flatnonzero(state.where == NOWHERE).tolist():
        fits = (
            can_leave
            & problem.allowed[i, on]
            & (state.memory[on] - problem.memory[own] + problem.memory[i, on] <= problem.room[on])
            & (state.count[on] <= problem.most[i, on])
            & (
                state.power[on] - problem.power[own] + problem.power[i, on]
                <= problem.power_room[on, state.count[on]]
            )
        )
        if fits.any():
            leaver = int(np.argmax(fits))
            state.where[i] = on[leaver]
            state.where[placed[leaver]] = int(np.argmax(elsewhere[leaver]))
            state.refresh()
            return True
    return False


def _by_group(problem: Problem) -> Ints:
    """Search where it matters who is with whom: greedy, then moves of one model or cluster."""
    groups = _Groups(problem)
    size = np.where(problem.allowed, problem.memory, np.inf).min(axis=1)
    clusters = sorted(
        problem.clusters,
        key=lambda one: (problem.allowed[one[0]].sum(), -len(one), -max(size[i] for i in one), one),
    )
    for cluster in clusters:
        groups.put(cluster)
    moved = True
    while moved and len(groups.priced) < _GROUPS:
        moved = sum(groups.move(cluster) for cluster in clusters) > 0
    return groups.where


_Cluster = tuple[int, ...]


class _Groups:
    """A placement under a contention or rules that must be asked for each group of models."""

    def __init__(self, problem: Problem) -> None:
        count, fleet = problem.shape
        self.problem = problem
        self.where: Ints = np.full(count, NOWHERE, dtype=np.int64)
        self.on: list[list[int]] = [[] for _ in range(fleet)]
        self.priced: dict[tuple[int, tuple[int, ...]], float] = {}
        alike: dict[bytes, list[int]] = {}
        for d in range(fleet):
            columns = (problem.a, problem.allowed, problem.memory, problem.latency, problem.power)
            like = b"".join(one[:, d].tobytes() for one in columns)
            kind = problem.devices[d].hardware.name.encode()
            alike.setdefault(like + problem.room[d].tobytes() + kind, []).append(d)
        self.alike = list(alike.values())

    def price(self, cluster: _Cluster) -> None:
        """Price a cluster on every device at once, as far as devices are alike."""
        count = len(self.problem.items)
        for devices in self.alike:
            keys = {
                (d, tuple(sorted([*self.on[d], *cluster])))
                for d in devices
                if self.problem.allowed[cluster[0], d]
            } - self.priced.keys()
            if len(keys) < _AT_ONCE:
                continue
            ordered = sorted(keys)
            sets = np.zeros((len(ordered), count), dtype=np.bool_)
            for row, (_, models) in enumerate(ordered):
                sets[row, list(models)] = True
            found = self.problem.worths(devices[0], np.arange(count), sets)
            if found is not None:
                self.priced.update(zip(ordered, found.tolist(), strict=True))

    def worth(self, device: int, models: Sequence[int]) -> float:
        """Return what a device is worth with `models`; asked once for each group."""
        key = (device, tuple(sorted(models)))
        found = self.priced.get(key)
        if found is None:
            found = self.priced[key] = self.problem.group_worth(*key)
        return found

    def best_device(self, cluster: _Cluster) -> tuple[float, int]:
        """Return the most that a cluster can add, and where; of equal devices the first."""
        self.price(cluster)
        best = (-np.inf, NOWHERE)
        empty: set[tuple[str, float, float]] = set()
        for d in np.flatnonzero(self.problem.allowed[cluster[0]]).tolist():
            if not self.on[d]:  # an empty device is as good as another one like it
                kind = self.problem.devices[d].hardware.name
                like = (
                    kind,
                    self.problem.capacity[d],
                    float(self.problem.a[list(cluster), d].sum()),
                )
                if like in empty:
                    continue
                empty.add(like)
            gain = self.worth(d, [*self.on[d], *cluster]) - self.worth(d, self.on[d])
            if gain > best[0]:
                best = (gain, d)
        return best

    def put(self, cluster: _Cluster) -> bool:
        """Place a cluster that is nowhere. Return whether there was room."""
        _, device = self.best_device(cluster)
        if device == NOWHERE:
            return False
        self._set(cluster, device)
        return True

    def move(self, cluster: _Cluster) -> bool:
        """Move a cluster to where it adds the most. Return whether anything changed."""
        here = int(self.where[cluster[0]])
        if here == NOWHERE:
            return self.put(cluster)
        before = self.worth(here, self.on[here])
        for i in cluster:
            self.on[here].remove(i)
        gain, device = self.best_device(cluster)
        better = gain > before - self.worth(here, self.on[here]) + _WORTH_IT
        self._set(cluster, device if better else here)
        return better

    def _set(self, cluster: _Cluster, device: int) -> None:
        for i in cluster:
            self.on[device].append(i)
            self.where[i] = device
