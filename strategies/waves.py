"""Which models run together in which wave, and in which order the waves run.

Up to `EXACT_UP_TO` models: exact, by dynamic programming over subsets (Held and Karp 1962; 3^n
transitions, 6,561 for eight). A state is the set of models that are done; a label is what it cost
and how long it took to get there, and only labels that no other beats in both are kept. Any
contention will do, since it is asked for each subset once.

Beyond: a bounded number of partitions, into waves of like durations and first-fit by memory, the
best of which is improved by moving single models. `time_bound_ms` says what none can undercut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.requests import Goal
from strategies.outcome import Evaluator, Sketch
from strategies.workload import Waves, Workload

EXACT_UP_TO: Final = 8
"""Workloads of at most so many models get the best waves there are."""

_MOVES: Final = 400
"""How many moves of one model between waves are tried beyond that."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which limits a search keeps: those on single waves, those on time."""

    waves_fit: bool
    in_time: bool


_RULES: Final = (
    _Rules(waves_fit=True, in_time=True),
    _Rules(waves_fit=True, in_time=False),
    _Rules(waves_fit=False, in_time=False),
)


def best_waves(evaluator: Evaluator) -> Waves:
    """Return the best waves for the workload's goal under its limits.

    There is more than one wave, unless there is but one model. If no waves meet the limits, first
    the limits on time are let go, then all.
    """
    names = evaluator.workload.names
    if len(names) == 1:
        return (names,)
    for rules in _RULES:
        if len(names) <= EXACT_UP_TO:
            found = _Exact(evaluator, rules).best()
        else:
            found = _Heuristic(evaluator, rules).best()
        if found is not None:
            return found
    raise AssertionError("without limits there are always waves")


def in_order(evaluator: Evaluator, waves: Sequence[Sequence[str]]) -> Waves:
    """Return waves in the order of the smallest mean latency, if that meets the latency limits.

    That order is by duration per model (Smith's rule, weighted). Where it breaks a limit, the
    order by the latest permissible end is taken: it meets the limits if any order does (Jackson's
    rule, 1955).
    """
    drafts = sorted((evaluator.sketch(wave) for wave in waves), key=lambda wave: wave.names)
    drafts.sort(key=lambda wave: wave.duration_ms / len(wave.names))
    if not _in_time(evaluator.workload, drafts):
        drafts.sort(key=lambda wave: wave.latest_start_ms + wave.duration_ms)
    return tuple(wave.names for wave in drafts)


def goal_cost(goal: Goal, waves: Sequence[Sketch]) -> float:
    """Return what waves cost by the goal, in the order in which they run. Lower is better.

    Infinite where the goal's quantity is unknown for any of them.
    """
    cost = 0.0
    left = sum(len(wave.names) for wave in waves)
    for wave in waves:
        left -= len(wave.names)
        cost = _add(goal, cost, wave, left)
    return cost


def time_bound_ms(workload: Workload) -> float:
    """Return a total latency that no partition into waves can fall below, at predicted values.

    No model is done sooner than alone, and no device does more than the largest sum of
    normalised speeds that the contention grants to any number of models.
    """
    durations = [job.duration_ms.value for job in workload.jobs]
    best = float(len(durations))
    by_count = [
        workload.contention.by_count(count, workload.device)
        for count in range(1, len(durations) + 1)
    ]
    if None not in by_count:
        best = max(
            count * speed.value for count, speed in enumerate(by_count, 1) if speed is not None
        )
    return max(*durations, math.fsum(durations) / best)


def _add(goal: Goal, cost: float, wave: Sketch, left: int) -> float:
    """Return the cost with one more wave, while `left` models wait for its end."""
    match goal:
        case "throughput":
            return cost + wave.duration_ms
        case "latency":  # the sum of all models' latencies
            return cost + wave.duration_ms * left + wave.done_ms
        case "memory":
            return max(cost, wave.memory_mb)
        case "energy":
            return cost + wave.energy_j


def _in_time(workload: Workload, waves: Sequence[Sketch]) -> bool:
    """Return whether waves in this order meet the limits on latency."""
    now = 0.0
    for wave in waves:
        if now > wave.latest_start_ms:
            return False
        now += wave.duration_ms
    limit = workload.limits.latency_ms
    return limit is None or now <= limit


# Exact


@dataclass(frozen=True, slots=True)
class _Label:
    """One way to have run a set of models: its cost by the goal, its time, its last wave."""

    cost: float
    time_ms: float
    wave: int
    before: _Label | None


class _Exact:
    """The best waves of a small workload. Sets of models are bit masks."""

    def __init__(self, evaluator: Evaluator, rules: _Rules) -> None:
        self.evaluator = evaluator
        self.goal = evaluator.workload.goal
        names = evaluator.workload.names
        self.full = (1 << len(names)) - 1
        self.waves: dict[int, Sketch] = {}
        for subset in range(1, self.full):  # not all at once: that is parallel
            members = [name for i, name in enumerate(names) if subset >> i & 1]
            if not rules.waves_fit or evaluator.fits(members):
                self.waves[subset] = evaluator.sketch(members)
        limit = evaluator.workload.limits.latency_ms
        self.deadline = math.inf if limit is None or not rules.in_time else limit
        self.timed = rules.in_time and (
            limit is not None
            or any(wave.latest_start_ms < math.inf for wave in self.waves.values())
        )
        # Without latencies to watch, the order of waves does not matter: the next one may as
        # well hold the first model that is left.
        self.any_order = self.goal != "latency" and not self.timed
        self.labels: dict[int, list[_Label]] = {0: [_Label(0.0, 0.0, 0, None)]}

    def best(self) -> Waves | None:
        """Return the best waves, or None if none keep the rules."""
        for done in range(self.full):
            for label in self.labels.get(done, ()):
                self._extend(done, label)
        ends = self.labels.get(self.full)
        if not ends:
            return None
        end = min(ends, key=lambda end: (end.cost, end.time_ms))
        found = []
        while end.before is not None:
            found.append(self.waves[end.wave].names)
            end = end.before
        found.reverse()
        return in_order(self.evaluator, found) if self.any_order else tuple(found)

    def _extend(self, done: int, label: _Label) -> None:
        """Append each possible next wave to a label."""
        rest = self.full ^ done
        for subset in _subsets(rest, with_first=self.any_order):
            wave = self.waves.get(subset)
            if wave is None or (self.timed and label.time_ms > wave.latest_start_ms):
                continue
            time = label.time_ms + wave.duration_ms
            if time > self.deadline:
                continue
            cost = _add(self.goal, label.cost, wave, (rest ^ subset).bit_count())
            labels = self.labels.setdefault(done | subset, [])
            # Where no latency is watched, the time decides nothing but ties: one label is enough.
            if self.timed:
                _keep(labels, _Label(cost, time, subset, label))
            elif not labels or (cost, time) < (labels[0].cost, labels[0].time_ms):
                labels[:] = [_Label(cost, time, subset, label)]


def _subsets(of: int, *, with_first: bool) -> Iterator[int]:
    """Yield the non-empty subsets of a bit mask, or those that hold its lowest bit."""
    lowest = of & -of if with_first else 0
    inner = of ^ lowest
    subset = inner
    while subset:
        yield subset | lowest
        subset = (subset - 1) & inner
    if lowest:
        yield lowest


def _keep(labels: list[_Label], new: _Label) -> None:
    """Add a label unless another is at least as good in both; drop those that it beats."""
    if any(old.cost <= new.cost and old.time_ms <= new.time_ms for old in labels):
        return
    labels[:] = [old for old in labels if old.cost < new.cost or old.time_ms < new.time_ms]
    labels.append(new)


# Beyond


@dataclass(frozen=True, slots=True)
class _Priced:
    """Waves in their order, with what they cost by the goal and how long they take."""

    cost: float
    time_ms: float
    waves: Waves

    def beats(self, other: _Priced | None) -> bool:
        return other is None or (self.cost, self.time_ms) < (other.cost, other.time_ms)


class _Heuristic:
    """Good waves of a large workload, in bounded time."""

    def __init__(self, evaluator: Evaluator, rules: _Rules) -> None:
        self.evaluator = evaluator
        self.rules = rules

    def best(self) -> Waves | None:
        """Return the best waves found, or None if none keep the rules."""
        jobs = self.evaluator.workload.jobs
        by_duration = sorted(jobs, key=lambda job: (-job.duration_ms.value, job.name))
        by_memory = sorted(
            jobs, key=lambda job: (-(job.memory_mb.high if job.memory_mb else 0.0), job.name)
        )
        best: _Priced | None = None
        size = (len(jobs) + 1) // 2
        while size >= 1:
            for order, first_fit in ((by_duration, False), (by_memory, True)):
                waves = self._filled([job.name for job in order], size, first_fit=first_fit)
                found = self._price(waves)
                if found is not None and found.beats(best):
                    best = found
            size //= 2
        return None if best is None else self._improved(best).waves

    def _filled(self, names: Sequence[str], size: int, *, first_fit: bool) -> list[list[str]]:
        """Fill waves of at most `size` in the order of `names`.

        Into the last wave while it has room (which keeps like with like), or into the first wave
        that has.
        """
        waves: list[list[str]] = []
        for name in names:
            for wave in waves if first_fit else waves[-1:]:
                if len(wave) < size and self._fits([*wave, name]):
                    wave.append(name)
                    break
            else:
                waves.append([name])
        return waves

    def _fits(self, names: Sequence[str]) -> bool:
        return not self.rules.waves_fit or self.evaluator.fits(names)

    def _price(self, waves: Sequence[Sequence[str]]) -> _Priced | None:
        """Return waves with their price; None where they break a rule or are but one."""
        waves = [wave for wave in waves if wave]
        if len(waves) < 2:
            return None
        if not all(self._fits(wave) for wave in waves):
            return None
        ordered = in_order(self.evaluator, waves)
        drafts = [self.evaluator.sketch(wave) for wave in ordered]
        if self.rules.in_time and not _in_time(self.evaluator.workload, drafts):
            return None
        cost = goal_cost(self.evaluator.workload.goal, drafts)
        return _Priced(cost, math.fsum(draft.duration_ms for draft in drafts), ordered)

    def _improved(self, best: _Priced) -> _Priced:
        """Move single models to other waves while it helps, for a bounded number of trials."""
        trials = 0
        names = sorted(name for wave in best.waves for name in wave)
        moved = True
        while moved:
            moved = False
            for name in names:
                for target in range(len(best.waves)):
                    if name in best.waves[target]:
                        continue
                    trials += 1
                    if trials > _MOVES:
                        return best
                    found = self._price(_moved(best.waves, name, target))
                    if found is not None and found.beats(best):
                        best, moved = found, True
                        break
        return best


def _moved(waves: Waves, name: str, target: int) -> list[tuple[str, ...]]:
    """Return waves with one model moved to the wave at index `target`."""
    return [
        (*wave, name) if index == target else tuple(other for other in wave if other != name)
        for index, wave in enumerate(waves)
    ]
