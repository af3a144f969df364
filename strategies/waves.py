"""Which models run together in which wave, and in which order the waves run.

Up to `EXACT_UP_TO` models: exact, by dynamic programming over subsets (Held and Karp 1962; 3^n
transitions, 6,561 for eight). A state is the set of models that are done; a label is what it cost
and how long it took to get there, and only labels that no other beats in both are kept. Any
contention will do, since it is asked for each subset once.

Beyond: a bounded number of partitions into waves of like durations and a first-fit one by memory,
each improved by moving single models; see `time_bound_ms` for how far from the best it can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from strategies.outcome import Evaluator, Wave
from strategies.workload import Waves, Workload

EXACT_UP_TO: Final = 8
"""Workloads of at most so many models get the best waves there are."""

_MOVES: Final = 400
"""How many moves of one model between waves are tried beyond that."""


@dataclass(frozen=True, slots=True)
class _Label:
    """One way to have run a set of models: its cost by the goal, its time, its last wave."""

    cost: float
    time_ms: float
    wave: int
    before: _Label | None


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which limits a search keeps."""

    waves_fit: bool
    in_time: bool


_ALL: Final = _Rules(waves_fit=True, in_time=True)
_RELAXED: Final = (_Rules(waves_fit=True, in_time=False), _Rules(waves_fit=False, in_time=False))


def best_waves(evaluator: Evaluator) -> Waves:
    """Return the best waves for the workload's goal under its limits.

    Some models run together and there is more than one wave, where there are three models or
    more. If no such waves meet the limits, first the limits on time are let go, then all.
    """
    names = evaluator.workload.names
    if len(names) < 3:
        return in_order(evaluator, [(name,) for name in names])
    search = _exact if len(names) <= EXACT_UP_TO else _heuristic
    for rules in (_ALL, *_RELAXED):
        found = search(evaluator, rules)
        if found is not None:
            return found
    raise AssertionError("without limits there are always waves")


def goal_cost(workload: Workload, waves: Sequence[Wave]) -> float:
    """Return what waves cost by the goal, in the order in which they run. Lower is better.

    Infinite where the goal's quantity is unknown for any of them.
    """
    cost = 0.0
    left = len(workload.jobs)
    for wave in waves:
        left -= len(wave.names)
        cost = _add(workload.goal, cost, _step(workload.goal, wave, left))
    return cost


def in_order(evaluator: Evaluator, waves: Sequence[Sequence[str]]) -> Waves:
    """Return waves in the order of the smallest mean latency, if that meets the latency limits.

    That order is by duration per model (Smith's rule, weighted). Where it breaks a limit, the
    order by the latest permissible end is taken: it meets the limits if any order does (Jackson's
    rule, 1955).
    """
    priced = [evaluator.wave(wave) for wave in waves]
    ordered = sorted(priced, key=lambda w: (w.duration_ms.value / len(w.names), w.names))
    if not _in_time(evaluator, ordered):
        ordered = sorted(priced, key=lambda w: (_latest_start(evaluator, w), w.names))
        ordered.sort(key=lambda w: _latest_start(evaluator, w) + w.duration_ms.value)
    return tuple(wave.names for wave in ordered)


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
    return max(max(durations), math.fsum(durations) / best)


# Exact


def _exact(evaluator: Evaluator, rules: _Rules) -> Waves | None:
    workload = evaluator.workload
    names = workload.names
    count = len(names)
    full = (1 << count) - 1
    members = [
        tuple(names[i] for i in range(count) if subset >> i & 1) for subset in range(full + 1)
    ]
    waves: dict[int, Wave] = {}
    for subset in range(1, full):  # not all at once: that is parallel
        wave = evaluator.wave(members[subset])
        if rules.waves_fit and not evaluator.fits(wave):
            continue
        waves[subset] = wave
    latest = {subset: _latest_start(evaluator, wave) for subset, wave in waves.items()}
    timed = rules.in_time and (
        workload.limits.latency_ms is not None or any(map(math.isfinite, latest.values()))
    )
    # Without latencies to watch, the order of waves does not matter: the next one may as well
    # hold the first model that is left.
    any_order = workload.goal != "latency" and not timed
    deadline = workload.limits.latency_ms if timed else None

    # Two tables: nothing but single models so far, or some together already.
    labels: list[dict[int, list[_Label]]] = [{0: [_Label(0.0, 0.0, 0, None)]}, {}]
    for done in range(full):
        rest = full ^ done
        for mixed in (0, 1):
            for label in labels[mixed].get(done, ()):
                for subset in _subsets(rest, first=any_order):
                    wave = waves.get(subset)
                    if wave is None or (timed and label.time_ms > latest[subset]):
                        continue
                    time = label.time_ms + wave.duration_ms.value
                    if deadline is not None and time > deadline:
                        continue
                    left = (rest ^ subset).bit_count()
                    cost = _add(workload.goal, label.cost, _step(workload.goal, wave, left))
                    table = labels[mixed | (len(wave.names) > 1)]
                    _keep(
                        table.setdefault(done | subset, []),
                        _Label(cost, time, subset, label),
                        timed=timed,
                    )
    ends = labels[1].get(full)
    if not ends:
        return None
    best: _Label | None = min(ends, key=lambda label: (label.cost, label.time_ms))
    backwards = []
    while best is not None and best.before is not None:
        backwards.append(members[best.wave])
        best = best.before
    found = tuple(reversed(backwards))
    return in_order(evaluator, found) if any_order else found


def _subsets(of: int, *, first: bool) -> Iterator[int]:
    """Yield the non-empty subsets of a bit mask, or those that hold its lowest bit."""
    lowest = of & -of
    inner = of ^ lowest if first else of
    subset = inner
    while subset:
        yield subset | lowest if first else subset
        subset = (subset - 1) & inner
    if first:
        yield lowest


def _keep(labels: list[_Label], new: _Label, *, timed: bool) -> None:
    """Add a label unless another is at least as good; drop those that it beats."""
    if not timed:  # how long it took decides nothing but ties
        if not labels:
            labels.append(new)
        elif (new.cost, new.time_ms) < (labels[0].cost, labels[0].time_ms):
            labels[0] = new
        return
    if any(old.cost <= new.cost and old.time_ms <= new.time_ms for old in labels):
        return
    labels[:] = [old for old in labels if old.cost < new.cost or old.time_ms < new.time_ms]
    labels.append(new)


def _step(goal: str, wave: Wave, left: int) -> float:
    """Return what a wave adds to the cost, with `left` models still waiting for its end."""
    if goal == "throughput":
        return wave.duration_ms.value
    if goal == "latency":  # the sum of all models' latencies
        return wave.duration_ms.value * left + math.fsum(done.value for done in wave.done_ms)
    if goal == "memory":
        return math.inf if wave.memory_mb is None else wave.memory_mb.value
    return math.inf if wave.energy_j is None else wave.energy_j.value


def _add(goal: str, cost: float, step: float) -> float:
    return max(cost, step) if goal == "memory" else cost + step


def _latest_start(evaluator: Evaluator, wave: Wave) -> float:
    """Return the latest start of a wave that meets its models' latency limits."""
    latest = math.inf
    for name, done in zip(wave.names, wave.done_ms, strict=True):
        limit = evaluator.jobs[name].latency_limit_ms
        if limit is not None:
            latest = min(latest, limit - done.value)
    return latest


def _in_time(evaluator: Evaluator, waves: Sequence[Wave]) -> bool:
    """Return whether waves in this order meet the limits on latency."""
    now = 0.0
    for wave in waves:
        if now > _latest_start(evaluator, wave):
            return False
        now += wave.duration_ms.value
    limit = evaluator.workload.limits.latency_ms
    return limit is None or now <= limit


# Beyond


def _heuristic(evaluator: Evaluator, rules: _Rules) -> Waves | None:
    workload = evaluator.workload
    count = len(workload.jobs)
    best: tuple[float, float, Waves] | None = None
    by_duration = sorted(workload.jobs, key=lambda job: (-job.duration_ms.value, job.name))
    by_memory = sorted(
        workload.jobs,
        key=lambda job: (-(job.memory_mb.high if job.memory_mb else 0.0), job.name),
    )
    starts: list[list[list[str]]] = []
    size = (count + 1) // 2
    while size >= 2:
        starts.append(_filled(evaluator, [job.name for job in by_duration], size, rules))
        starts.append(_filled(evaluator, [job.name for job in by_memory], size, rules, fit=True))
        size //= 2
    price = _pricer(evaluator, rules)
    for start in starts:
        found = price(start)
        if found is not None and (best is None or found[:2] < best[:2]):
            best = found
    if best is None:
        return None
    return _improved(best, price)[2]


def _filled(
    evaluator: Evaluator, names: Sequence[str], size: int, rules: _Rules, *, fit: bool = False
) -> list[list[str]]:
    """Fill waves of at most `size` in the order of `names`.

    Into the last wave while it fits (which keeps like with like), or with `fit` into the first
    wave that has room.
    """
    waves: list[list[str]] = []
    for name in names:
        for wave in waves if fit else waves[-1:]:
            if len(wave) < size and (
                not rules.waves_fit or evaluator.fits(evaluator.wave([*wave, name]))
            ):
                wave.append(name)
                break
        else:
            waves.append([name])
    return waves


_Priced = tuple[float, float, Waves]


def _pricer(
    evaluator: Evaluator, rules: _Rules
) -> Callable[[Sequence[Sequence[str]]], _Priced | None]:
    """Return what prices waves: cost, time and their order; None where they break a rule."""

    def price(waves: Sequence[Sequence[str]]) -> _Priced | None:
        waves = [wave for wave in waves if wave]
        if len(waves) < 2 or all(len(wave) == 1 for wave in waves):
            return None
        ordered = in_order(evaluator, waves)
        priced = [evaluator.wave(wave) for wave in ordered]
        if rules.waves_fit and not all(map(evaluator.fits, priced)):
            return None
        if rules.in_time and not _in_time(evaluator, priced):
            return None
        time = math.fsum(wave.duration_ms.value for wave in priced)
        return goal_cost(evaluator.workload, priced), time, ordered

    return price


def _improved(best: _Priced, price: Callable[[Sequence[Sequence[str]]], _Priced | None]) -> _Priced:
    """Move single models to other waves while it helps, up to `_MOVES` times tried."""
    tried = 0
    moved = True
    while moved:
        moved = False
        for name in sorted(name for wave in best[2] for name in wave):
            for target in range(len(best[2])):
                if name in best[2][target]:
                    continue
                tried += 1
                if tried > _MOVES:
                    return best
                waves = [[other for other in wave if other != name] for wave in best[2]]
                waves[target].append(name)
                found = price(waves)
                if found is not None and found[:2] < best[:2]:
                    best, moved = found, True
                    break
    return best
