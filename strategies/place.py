"""Models onto the devices of a fleet: the best placement for a goal under limits.

Small problems are solved outright. Larger ones get a placement from a deterministic search and a
bound from a relaxation; where these two don't meet, HiGHS takes over, within the caller's time
limit. The answer always carries its bound: `optimal` says whether they met. What the goals and
limits mean is written in `strategies.placing.problem`.

A search that HiGHS completes gives the same answer each time. One that its time limit cuts short
may not: give no time limit (0) where an answer has to be repeatable under any load.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from schemas.replies import DeviceLoad, Estimates, PlacedModel, PlaceReply, Unplaced
from schemas.requests import PlaceRequest
from strategies.contention import Contention, Speed, TakingTurns
from strategies.intervals import slowed, sped
from strategies.placing import milp, subsets
from strategies.placing.problem import (
    NOWHERE,
    TOLERANCE,
    Blocked,
    Ints,
    PlacementCell,
    Problem,
    build,
)
from strategies.placing.relax import relaxed, tightened
from strategies.placing.search import search
from strategies.words import NAMES, listed, number, quantity

__all__ = ["PlacementCell", "place"]

_GOALS = {
    "throughput": "the geometric mean of the models' speeds, each relative to itself alone on "
    "its best device",
    "latency": "one over the models' mean slow-down, each relative to itself alone on its best "
    "device",
    "memory": "the models' memory in MB, below zero",
    "energy": "the geometric mean of the models' items per joule, each relative to its best device",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """A placement, what it is worth, and what none can exceed (with as many models placed)."""

    where: Ints
    objective: float
    bound: float
    optimal: bool


def place(
    request: PlaceRequest,
    cells: Mapping[tuple[str, str], PlacementCell],
    decision_id: str,
    *,
    capacities_mb: Mapping[str, float] | None = None,
    contention: Contention | None = None,
    time_limit_s: float = 0.2,
) -> PlaceReply:
    """Place the request's models onto its devices.

    As many models as possible are placed, and among those placements the best for the goal.

    Args:
        request: models, devices, goal and limits.
        cells: what is predicted for each model alone, by (model name, device name).
        decision_id: returned in the reply.
        capacities_mb: memory by device name, looked up; used for devices that state none.
        contention: what models on one device do to each other; they take turns if left out. It
            is asked with the name of the device's hardware.
        time_limit_s: how long HiGHS may search; 0 leaves it out. The rest takes bounded time by
            size: some 40 ms for 64 models on 32 devices.

    Returns:
        The placement, in order of names. `placed` carries each model's metrics as they will be
        there, beside the others; `prediction_id` is that of the model alone.
    """
    problem = build(request, cells, capacities_mb or {}, contention or TakingTurns())
    answer = _solve(problem, time_limit_s)
    groups = [
        np.flatnonzero(answer.where == device).tolist() for device in range(len(problem.devices))
    ]
    placed: dict[int, PlacedModel] = {}
    loads = []
    for d, (device, group) in enumerate(zip(problem.devices, groups, strict=True)):
        speeds = problem.group_speeds(d, group) if group else []
        estimates = []
        for i, speed in zip(group, speeds, strict=True):
            name = problem.items[i].model.name
            cell = cells[name, device.name]
            estimates.append(cell.estimates)
            placed[i] = PlacedModel.model_construct(
                model=name,
                device=device.name,
                metrics=_beside(cell.estimates, speed),
                prediction_id=cell.prediction_id,
            )
        capacity = float(problem.capacity[d])
        loads.append(
            DeviceLoad.model_construct(
                device=device.name,
                hardware=device.hardware.name,
                models=[problem.items[i].model.name for i in group],
                memory_mb=_memory(estimates),
                memory_capacity_mb=capacity if math.isfinite(capacity) else None,
                share=_share(speeds),
            )
        )
    unplaced = [_unplaced(problem, groups, int(i)) for i in np.flatnonzero(answer.where == NOWHERE)]
    return PlaceReply.model_construct(
        decision_id=decision_id,
        goal=request.goal,
        placed=[placed[i] for i in sorted(placed)],
        unplaced=unplaced,
        devices=loads,
        objective=answer.objective,
        bound=answer.bound,
        optimal=answer.optimal,
        reasons=_reasons(problem, answer, loads, unplaced),
    )


# The solution


def _solve(problem: Problem, time_limit_s: float) -> _Answer:
    if subsets.small(problem):
        where = subsets.solve(problem)
        objective = problem.objective(where)
        return _Answer(where, objective, objective, optimal=True)

    bound, start = relaxed(problem)
    where = search(problem, [start, np.full_like(start, NOWHERE)], _enough(bound))
    movable = int(problem.allowed.any(axis=1).sum())
    placed = int((where != NOWHERE).sum())
    if not _reached(problem.worth(where), bound) or placed < movable:
        known = problem.worth(where) if placed == movable else 1.1 * min(bound, -1.0)
        bound, starts = tightened(problem, bound, start, known)
        where = search(problem, starts, _enough(bound), where)
        placed = int((where != NOWHERE).sum())
    if placed == movable and _reached(problem.worth(where), bound):
        objective = problem.objective(where)
        return _Answer(where, objective, objective, optimal=True)
    if time_limit_s <= 0 or problem.speed is None:
        return _answer(problem, where, bound if placed == movable else math.inf)

    target, most_is_known = placed, True
    if placed < movable:
        time_limit_s /= 2
        most, most_is_known = milp.most_models(problem, time_limit_s)
        target = most if most_is_known else placed
    incumbent = problem.worth(where) if target == placed == len(problem.items) else None
    found = milp.solve(problem, target, incumbent, time_limit_s)
    if found.where is not None and _improves(problem, found.where, where):
        where, placed = found.where, target
    limit = min(found.worth_bound, bound if placed == movable else math.inf)
    answer = _answer(problem, where, limit if placed == target else math.inf)
    return answer if most_is_known else replace(answer, optimal=False)


def _improves(problem: Problem, new: Ints, old: Ints) -> bool:
    worth = problem.worth(new)
    if not math.isfinite(worth):  # within HiGHS's tolerance of a limit, but beyond it
        return False
    more = int((new != NOWHERE).sum()) - int((old != NOWHERE).sum())
    return more > 0 or (more == 0 and worth > problem.worth(old))


def _answer(problem: Problem, where: Ints, worth_bound: float) -> _Answer:
    """Return a placement with its bound, in the goal's own terms."""
    objective = problem.objective(where)
    placed = int((where != NOWHERE).sum())
    worth = problem.worth(where)
    if _reached(worth, worth_bound):
        return _Answer(where, objective, objective, optimal=True)
    cap = _cap(problem, placed)
    bound = cap
    if math.isfinite(worth_bound):
        own = worth_bound + problem.tie_room()
        bound = min(cap, problem.in_words_of_goal(own, placed))
    return _Answer(where, objective, max(bound, objective), optimal=False)


def _enough(bound: float) -> float:
    return bound - TOLERANCE * max(1.0, abs(bound))


def _reached(worth: float, bound: float) -> bool:
    return worth >= _enough(bound)


def _cap(problem: Problem, placed: int) -> float:
    """Return what no placement of `placed` models could exceed if devices were without end."""
    if problem.goal != "memory":
        return 1.0
    best = np.where(problem.allowed, problem.own, -np.inf).max(axis=1)
    return problem.in_words_of_goal(float(np.sort(best)[::-1][:placed].sum()), placed)


# The reply


def _beside(estimates: Estimates, speed: Speed) -> Estimates:
    """Return a model's metrics beside others: slower, in the same memory."""
    found = dict(estimates)
    if "throughput_per_s" in found:
        found["throughput_per_s"] = sped(found["throughput_per_s"], *speed)
    if "latency_ms" in found:
        found["latency_ms"] = slowed(found["latency_ms"], *speed)
    return found


def _memory(estimates: list[Estimates]) -> float | None:
    known = [one["memory_mb"].value for one in estimates if "memory_mb" in one]
    return math.fsum(known) if len(known) == len(estimates) else None


def _share(speeds: object) -> float:
    """Return by how much the models on a device are slowed down, on average (1: not at all)."""
    values = [speed.value for speed in speeds]  # type: ignore[attr-defined]
    return len(values) / math.fsum(values) if values else 0.0


def _reasons(
    problem: Problem, answer: _Answer, loads: list[DeviceLoad], unplaced: list[Unplaced]
) -> list[str]:
    count, fleet = problem.shape
    placed = count - len(unplaced)
    used = sum(bool(load.models) for load in loads)
    reasons = [
        f"{placed} of {count} models placed on {used} of {fleet} devices",
        f"the objective is {_GOALS[problem.goal]}: {number(answer.objective)}",
    ]
    if answer.optimal:
        reasons.append("no placement of as many models is better")
    else:
        gap = abs(answer.bound - answer.objective)
        reasons.append(
            f"no placement of as many models exceeds {number(answer.bound)}: this one is within "
            f"{number(gap)} of the best"
        )
    crowded = max(loads, key=lambda load: (load.share, load.device))
    if crowded.share > 1:
        reasons.append(
            f"{crowded.device} is shared most: {listed(crowded.models)} each run at "
            f"1/{number(crowded.share)} of their speed alone, on average"
        )
    if unplaced:
        limits = Counter(one.limit for one in unplaced)
        counts = ", ".join(f"{limit} ({n})" for limit, n in sorted(limits.items()))
        reasons.append(f"not placed, by what stands in the way: {counts}")
    unknown = [load.device for load in loads if load.models and load.memory_mb is None] or [
        load.device for load in loads if load.models and load.memory_capacity_mb is None
    ]
    if unknown:
        reasons.append(f"memory was not checked in full on {listed(unknown)}: not all is known")
    return reasons


def _unplaced(problem: Problem, groups: list[list[int]], i: int) -> Unplaced:
    if not problem.allowed[i].any():
        return _nowhere_alone(problem, i)
    return _no_room(problem, groups, i)


def _nowhere_alone(problem: Problem, i: int) -> Unplaced:
    """Say why a model can run on no device, even alone, and what would be least to change."""
    name = problem.items[i].model.name
    found = [(d, problem.blocked[i, d]) for d in range(len(problem.devices))]
    counts = Counter(one.limit for _, one in found)
    reason = " and ".join(
        f"{limit} on {count} of {len(found)} devices" for limit, count in sorted(counts.items())
    )
    known = [(one.needs / one.allowed, d, one) for d, one in found if one.needs and one.allowed]
    if known:
        _, d, nearest = min(known, key=lambda entry: entry[:2])
        return Unplaced(
            model=name,
            limit=nearest.limit,
            reason=f"{name} can run on no device: {reason} stands in the way",
            would_fit_if=_change(nearest, problem.devices[d].name),
        )
    d, nearest = found[0]
    return Unplaced(
        model=name,
        limit=nearest.limit,
        reason=f"{name} can run on no device: {reason} stands in the way, its value unknown",
        would_fit_if=f"its {NAMES[nearest.limit]} were known: publish one benchmark event of it "
        f"on {problem.devices[d].hardware.name}",
    )


def _change(blocked: Blocked, device: str) -> str:
    assert blocked.needs is not None
    assert blocked.allowed is not None
    needs = quantity(blocked.limit, blocked.needs)
    have = quantity(blocked.limit, blocked.allowed)
    if blocked.limit == "memory_mb":
        return f"{device} had {needs} for it instead of {have}"
    return f"the limit {blocked.limit} were {needs} instead of {have} ({device})"


def _no_room(problem: Problem, groups: list[list[int]], i: int) -> Unplaced:
    """Say what keeps a model out that could run alone: memory, or others' and its own limits."""
    name = problem.items[i].model.name
    short: list[tuple[float, float, float, str]] = []
    for d in np.flatnonzero(problem.allowed[i]).tolist():
        used = float(problem.memory[groups[d], d].sum())
        needs = float(problem.memory[i, d])
        missing = used + needs - float(problem.capacity[d])
        if missing > 0:
            short.append((missing, needs, needs - missing, problem.devices[d].name))
    if len(short) == int(problem.allowed[i].sum()):
        missing, needs, free, device = min(short)
        return Unplaced(
            model=name,
            limit="memory_mb",
            reason=f"{name} needs up to {quantity('memory_mb', needs)}; beside the models placed "
            f"no device has that much left",
            would_fit_if=f"{device} had {quantity('memory_mb', missing)} more: "
            f"{quantity('memory_mb', max(0.0, free))} is free",
        )
    power = math.isfinite(problem.power_limit) and not np.isfinite(problem.latency_limit).any()
    limit = "power_w" if power else "latency_ms"
    return Unplaced(
        model=name,
        limit=limit,
        reason=f"{name} would have to share a device, and then its own limit {limit} or that of "
        f"a model beside it would be exceeded",
        would_fit_if="there were one more device like those it can run on, or the limit "
        f"{limit} of the models that would share one were raised",
    )
