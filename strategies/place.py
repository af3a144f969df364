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

from schemas.replies import DeviceLoad, Estimates, Move, PlacedModel, PlaceReply, Unplaced
from schemas.requests import PlaceRequest
from strategies.contention import Contention, Speed, TakingTurns
from strategies.intervals import slowed, sped
from strategies.placing import milp, subsets
from strategies.placing.cost import affordable, cost, dearest_left_out, without
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
    request, cells, capacities = _as_left(request, cells, capacities_mb or {})
    if not request.devices:
        return _nowhere(request, decision_id)
    problem = build(request, cells, capacities, contention or TakingTurns())
    answer = _solve(problem, time_limit_s)
    limit = request.limits.cost_per_hour
    if limit is not None and cost(problem, answer.where) > limit:
        problem, answer = _within_cost(problem, answer, limit, time_limit_s)
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
        admitted=not unplaced,
        moves=_moves(request, problem, answer.where),
        reasons=_reasons(problem, answer, loads, unplaced),
    )


# What a fleet is left with


def _as_left(
    request: PlaceRequest,
    cells: Mapping[tuple[str, str], PlacementCell],
    capacities: Mapping[str, float],
) -> tuple[PlaceRequest, Mapping[tuple[str, str], PlacementCell], Mapping[str, float]]:
    """Return the request with what already runs, and what has failed, taken out of its devices."""
    devices = []
    free = dict(capacities)
    left = dict(cells)
    for device in request.devices:
        if device.failed:
            continue
        used = device.used_memory_mb
        if used is not None:
            has = device.memory_mb if device.memory_mb is not None else capacities.get(device.name)
            if has is not None and used >= has:
                continue  # full
            if device.memory_mb is not None:
                device = device.model_copy(update={"memory_mb": device.memory_mb - used})  # noqa: PLW2901
            elif has is not None:
                free[device.name] = has - used
        if device.load:
            idle = 1 - device.load
            for item in request.models:
                cell = cells.get((item.model.name, device.name))
                if cell is not None:
                    slower = _beside(cell.estimates, Speed(idle, idle, idle))
                    left[item.model.name, device.name] = replace(cell, estimates=slower)
        devices.append(device)
    return request.model_copy(update={"devices": devices}), left, free


def _nowhere(request: PlaceRequest, decision_id: str) -> PlaceReply:
    """Return the answer where no device is left."""
    return PlaceReply(
        decision_id=decision_id,
        goal=request.goal,
        placed=[],
        unplaced=[
            Unplaced(
                model=item.model.name,
                limit="devices",
                reason="every device has failed or is full",
                would_fit_if="there were one more device",
            )
            for item in sorted(request.models, key=lambda item: item.model.name)
        ],
        devices=[],
        objective=0.0,
        bound=0.0,
        optimal=True,
        admitted=False,
        reasons=["no device is left to place anything on"],
    )


def _moves(request: PlaceRequest, problem: Problem, where: Ints) -> list[Move]:
    if request.current is None:
        return []
    moves = []
    for item, device in zip(problem.items, where.tolist(), strict=True):
        now = request.current.get(item.model.name)
        if device != NOWHERE and problem.devices[device].name != now:
            moves.append(
                Move(
                    model=item.model.name,
                    from_device=now,
                    to_device=problem.devices[device].name,
                )
            )
    return moves


# The solution


def _within_cost(
    problem: Problem, answer: _Answer, limit: float, time_limit_s: float
) -> tuple[Problem, _Answer]:
    """Return the best answer that costs no more than the limit, and the problem it is of.

    Args:
        problem: without the limit.
        answer: to that; it costs more.
        limit: cost per hour.
        time_limit_s: for all searches together.
    """
    fleets = affordable(problem, limit)
    if fleets is not None:
        problems = [without(problem, kept, limit) for kept in fleets]
        answers = [_solve(one, time_limit_s / len(problems)) for one in problems]
        best = max(
            range(len(answers)),
            key=lambda at: (
                int((answers[at].where != NOWHERE).sum()),
                problem.worth(answers[at].where),
            ),
        )
        bound = max(one.bound for one in answers)
        optimal = all(one.optimal for one in answers)
        return problems[best], replace(answers[best], bound=bound, optimal=optimal)
    kept = np.ones(len(problem.devices), dtype=np.bool_)
    left = problem
    while cost(problem, answer.where) > limit:
        kept = dearest_left_out(problem, answer.where, kept)
        left = without(problem, kept, limit)
        answer = replace(_solve(left, time_limit_s), optimal=False)
    return left, answer


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
    ruled = {"affinity", "devices"} & counts.keys()
    if ruled and len(ruled) == len(counts):
        return Unplaced(
            model=name,
            limit="affinity" if "affinity" in ruled else "devices",
            reason=f"the request's own rules leave no device for {name}: {reason}",
            would_fit_if="its devices, or who it must be together with and apart from, were others",
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
    d, nearest = next(pair for pair in found if pair[1].limit in NAMES)
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
