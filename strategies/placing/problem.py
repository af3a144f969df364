"""A placement problem in numbers.

**Goals.** Models count different things (images, tokens), so each is first set in relation to
itself alone on its best device of the fleet, where units cancel:

- throughput: the geometric mean of the models' relative speeds. A plain sum would let a model
  starve wherever that frees a faster one; the product does not, and it is the one mean under
  which it makes no difference what each model is set in relation to (proportional fairness:
  Nash 1950, Kelly 1997).
- latency: the harmonic mean of the relative speeds, that is one over the mean slow-down (mean
  stretch: Bender, Chakrabarti and Muthukrishnan 1998).
- energy: the geometric mean of energy per item in relation to the model's best device.
- memory: the sum of the models' memory, in MB, below zero so that higher is better.

To place more models always comes first. What is equal by memory or energy is decided by speed.

**A device's worth.** Under a contention that depends on counts alone, a device with the set S of
n models is worth `alpha[n] * sum(a[i] for i in S) + beta[n]`, for every goal. All searches but
`subsets` rest on that.

**Limits.** The memory of models on one device adds up and must fit at the upper end of each
interval: too little memory is a crash and not a delay. Latency and power are held to predicted
values. What is limited and unknown is not placed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from schemas.replies import Estimate, Estimates
from schemas.requests import Device, Goal, PlaceRequest, WorkItem
from strategies.compare import common_unit
from strategies.contention import ALONE, Contention, Speed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TIE: Final = 1e-6
"""The weight of speed where a goal leaves it open: it decides ties and nothing else."""

TOLERANCE: Final = 1e-6
"""Objectives closer than this, relatively, are equal: it is above what rounding adds up to."""

NOWHERE: Final = -1
"""The device of a model that is not placed."""

Obstacle = Literal[
    "memory_mb",
    "power_w",
    "latency_ms",
    "throughput_per_s",
    "energy_j",
    "cost_per_hour",
    "devices",
    "affinity",
]


@dataclass(frozen=True, slots=True)
class PlacementCell:
    """What was predicted for one model alone on one device."""

    prediction_id: str
    estimates: Estimates


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a model can't run on a device even alone. `needs` is None where a value is unknown."""

    limit: Obstacle
    needs: float | None
    allowed: float | None


@dataclass(frozen=True)
class Problem:
    """Models by devices, each ordered by name.

    Attributes:
        a: worth of each model on each device; 0 where it may not run.
        own: the part of it that is the goal's own, without what decides ties.
        alpha, beta: a device's worth by the number of its models, [device, 0..M].
        allowed: whether a model may run on a device, alone.
        memory: upper end of a model's memory on a device, MB; 0 where unknown and not limited.
        capacity: memory of a device, MB; infinite where unknown.
        room: the same, with room for the last digit.
        power: watts; 0 without a limit on power.
        power_room: the largest sum of solo powers by the number of models, [device, 0..M].
        most: with how many models in all a model may share a device, by its latency limit.
        speed: normalised speed by the number of models, [device, 0..M]; None if it matters which
            models they are: to the contention, or to rules on who may be with whom.
        clusters: the models in groups that go onto one device, most of them of one model.
        apart: groups of which no two may share a device.
    """

    goal: Goal
    items: tuple[WorkItem, ...]
    devices: tuple[Device, ...]
    contention: Contention
    a: Floats
    own: Floats
    alpha: Floats
    beta: Floats
    allowed: Bools
    memory: Floats
    capacity: Floats
    room: Floats
    power: Floats
    power_room: Floats
    power_limit: float
    most: Ints
    latency: Floats
    latency_limit: Floats
    speed: Floats | None
    blocked: Mapping[tuple[int, int], Blocked]
    clusters: tuple[tuple[int, ...], ...]
    apart: tuple[frozenset[int], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """How many models, how many devices."""
        return len(self.items), len(self.devices)

    def group_speeds(self, device: int, models: Sequence[int]) -> Sequence[Speed]:
        """Return the normalised speed of each of `models` on `device`."""
        if len(models) == 1:
            return [ALONE]
        return self.contention.speeds(
            [self.items[i].model.name for i in models], self.devices[device].hardware.name
        )

    def group_worth(self, device: int, models: Sequence[int]) -> float:
        """Return what a device is worth with these models; minus infinity if it breaks a limit."""
        if not models:
            return 0.0
        if len(models) == 1 and len(self.clusters) == len(self.items):
            i = models[0]  # alone it fits wherever it is allowed
            return float(self.a[i, device]) if self.allowed[i, device] else -math.inf
        chosen = np.array(models)
        found = self.worths(device, chosen, np.ones((1, len(chosen)), dtype=np.bool_))
        if found is not None:
            return float(found[0])
        speeds = np.array([[speed.value for speed in self.group_speeds(device, models)]])
        return float(self._worths(device, chosen, np.ones_like(speeds, dtype=np.bool_), speeds)[0])

    def worths(self, device: int, chosen: Ints, sets: Bools) -> Floats | None:
        """Return what a device is worth with each of many sets of models.

        Args:
            device: which.
            chosen: the models that the columns of `sets` stand for.
            sets: which of them each set holds.

        Returns:
            The worths, minus infinity where a set breaks a limit; None if the contention has to
            be asked for each set.
        """
        names = [self.items[i].model.name for i in chosen]
        speeds = self.contention.many(names, self.devices[device].hardware.name, sets)
        return None if speeds is None else self._worths(device, chosen, sets, speeds)

    def _worths(self, device: int, chosen: Ints, sets: Bools, speeds: Floats) -> Floats:
        a = self.a[chosen, device]
        held = np.where(sets, speeds, 1.0)
        if self.goal == "latency":
            worth = (np.where(sets, a, 0.0) / held).sum(axis=1)
        else:
            weight = 1.0 if self.goal == "throughput" else TIE
            worth = sets @ a + weight * np.log(held).sum(axis=1)
        slow = self.latency[chosen, device] > self.latency_limit[chosen] * held * _ROUNDING
        fits = (
            ~(sets & ~self.allowed[chosen, device]).any(axis=1)
            & (sets @ self.memory[chosen, device] <= self.room[device])
            & ~(sets & slow).any(axis=1)
            & ((sets * held) @ self.power[chosen, device] <= self.power_limit * _ROUNDING)
            & self._allowed_together(chosen, sets)
        )
        return np.where(fits, worth, -np.inf)

    def _allowed_together(self, chosen: Ints, sets: Bools) -> Bools:
        """Return whether affinities and exclusions let each set share a device."""
        column = {int(i): number for number, i in enumerate(chosen)}
        fits = np.ones(len(sets), dtype=np.bool_)
        for group in self.apart:
            here = [column[i] for i in group if i in column]
            fits &= sets[:, here].sum(axis=1) < 2
        for cluster in self.clusters:
            if len(cluster) == 1:
                continue
            here = [column[i] for i in cluster if i in column]
            count = sets[:, here].sum(axis=1)
            fits &= (count == 0) | (count == len(cluster))
        return fits

    def worth(self, where: Ints) -> float:
        """Return what a placement is worth: the sum over devices. `where` may hold `NOWHERE`."""
        return math.fsum(
            self.group_worth(device, np.flatnonzero(where == device).tolist())
            for device in range(len(self.devices))
        )

    def objective(self, where: Ints) -> float:
        """Return the goal's objective of a placement."""
        placed = np.flatnonzero(where != NOWHERE)
        if self.goal in {"memory", "energy"}:  # who is beside whom makes no difference to these
            return self.in_words_of_goal(math.fsum(self.own[placed, where[placed]]), len(placed))
        return self.in_words_of_goal(self.worth(where), len(placed))

    def in_words_of_goal(self, worth: float, placed: int) -> float:
        """Return what `placed` models come to that are worth `worth` together."""
        if placed == 0:
            return 0.0
        if self.goal == "latency":
            return placed / max(-worth, placed)
        if self.goal == "memory":
            return worth * _MEMORY_UNIT
        return min(1.0, math.exp(worth / placed))

    def tie_room(self) -> float:
        """Return how far the goal's own worth can be above the worth that decides ties too."""
        if self.goal not in {"memory", "energy"}:
            return 0.0
        count = len(self.items)
        each = np.abs(self.beta[:, 1:]) / np.arange(1, count + 1)
        return float(np.abs(self.a - self.own).max(axis=1).sum() + count * each.max())


_MEMORY_UNIT: Final = 1_024.0
_ROUNDING: Final = 1 + 1e-12
"""Room for the last digit: sums are taken in different orders by those who search and check."""


def summed(group: Ints, values: Floats, groups: int) -> Floats:
    """Return the sum of `values` for each of `groups` groups."""
    return np.bincount(group, values, minlength=groups).astype(np.float64)


def build(
    request: PlaceRequest,
    cells: Mapping[tuple[str, str], PlacementCell],
    capacities: Mapping[str, float],
    contention: Contention,
) -> Problem:
    """Return the request as a problem. Pairs without a cell are pairs of which nothing is known."""
    items = tuple(sorted(request.models, key=lambda item: item.model.name))
    devices = tuple(sorted(request.devices, key=lambda device: device.name))
    count, fleet = len(items), len(devices)
    names = [item.model.name for item in items]
    clusters = _clusters(names, request.together)
    apart = tuple(frozenset(names.index(name) for name in group) for group in request.apart)
    ruled = bool(apart) or len(clusters) < count
    speed = None if ruled else _speeds(contention, devices, count)

    table = [
        [
            cell.estimates if (cell := cells.get((item.model.name, device.name))) else {}
            for device in devices
        ]
        for item in items
    ]
    blocked: dict[tuple[int, int], Blocked] = {}
    memory, capacity = _memory(request, devices, table, capacities, blocked)
    power_limit = request.limits.power_w or math.inf
    power = _power(table, request.limits.power_w, blocked)
    latency, latency_limit = _latency(request, items, table, blocked)
    a, own = _worths(request.goal, items, table, blocked)

    _rules(items, devices, clusters, apart, blocked)
    _price_moves(request, items, devices, a)

    allowed = np.ones((count, fleet), dtype=np.bool_)
    for pair in blocked:
        allowed[pair] = False
    a[~allowed] = own[~allowed] = 0.0

    counts = np.arange(count + 1, dtype=np.float64)
    shares = np.ones((fleet, count + 1)) if speed is None else speed
    logs = counts * np.log(shares)
    alpha = 1 / shares if request.goal == "latency" else np.ones_like(shares)
    weight = {"throughput": 1.0, "latency": 0.0}.get(request.goal, TIE)
    return Problem(
        goal=request.goal,
        items=items,
        devices=devices,
        contention=contention,
        a=a,
        own=own,
        alpha=alpha,
        beta=weight * logs,
        allowed=allowed,
        memory=memory,
        capacity=capacity,
        room=capacity * _ROUNDING,
        power=power,
        power_room=power_limit / shares * _ROUNDING,
        power_limit=power_limit,
        most=_most(latency, latency_limit, shares),
        latency=latency,
        latency_limit=latency_limit,
        speed=speed,
        blocked=blocked,
        clusters=clusters,
        apart=apart,
    )


def _clusters(
    names: Sequence[str], together: Sequence[Sequence[str]]
) -> tuple[tuple[int, ...], ...]:
    """Return the models in groups that go onto one device. Groups that overlap become one."""
    member = {name: {index} for index, name in enumerate(names)}
    for group in together:
        joined = set().union(*(member[name] for name in group))
        for index in joined:
            member[names[index]] = joined
    found = {tuple(sorted(group)) for group in member.values()}
    return tuple(sorted(found))


def _rules(
    items: Sequence[WorkItem],
    devices: Sequence[Device],
    clusters: Sequence[Sequence[int]],
    apart: Sequence[frozenset[int]],
    blocked: dict[tuple[int, int], Blocked],
) -> None:
    """Note where models may not run by the request's own rules."""
    for i, item in enumerate(items):
        for d, device in enumerate(devices):
            if item.devices is not None and device.name not in item.devices:
                blocked.setdefault((i, d), Blocked("devices", None, None))
    for cluster in clusters:
        torn = any(len(group.intersection(cluster)) > 1 for group in apart)
        for d in range(len(devices)):
            # What can't go there takes along who goes where it goes.
            if torn or (len(cluster) > 1 and any((i, d) in blocked for i in cluster)):
                for i in cluster:
                    blocked.setdefault((i, d), Blocked("affinity", None, None))


def _price_moves(
    request: PlaceRequest, items: Sequence[WorkItem], devices: Sequence[Device], a: Floats
) -> None:
    """Take from the worth of every pair that would be a move what a move costs."""
    if request.current is None:
        return
    price = math.log1p(request.move_cost) if request.goal != "latency" else request.move_cost
    scale = {"throughput": 1.0, "latency": 1.0, "energy": 1.0, "memory": TIE}[request.goal]
    names = {device.name: d for d, device in enumerate(devices)}
    for i, item in enumerate(items):
        here = names.get(request.current.get(item.model.name, ""))
        if here is not None:
            penalty = np.full(len(devices), scale * price)
            penalty[here] = 0.0
            a[i] -= penalty


def _speeds(contention: Contention, devices: Sequence[Device], count: int) -> Floats | None:
    """Return the speeds by count for each device, or None if the contention has none."""
    by_hardware: dict[str, list[float]] = {}
    for name in sorted({device.hardware.name for device in devices}):
        found = [contention.by_count(n, name) for n in range(1, count + 1)]
        if any(one is None for one in found):
            return None
        by_hardware[name] = [1.0, *(one.value for one in found if one is not None)]
    return np.array([by_hardware[device.hardware.name] for device in devices])


_Table = Sequence[Sequence[Estimates]]
_Blocked = dict[tuple[int, int], Blocked]


def _memory(
    request: PlaceRequest,
    devices: Sequence[Device],
    table: _Table,
    capacities: Mapping[str, float],
    blocked: _Blocked,
) -> tuple[Floats, Floats]:
    limit = request.limits.memory_mb
    capacity = np.full(len(devices), math.inf)
    memory = np.zeros((len(table), len(devices)))
    for d, device in enumerate(devices):
        has = device.memory_mb if device.memory_mb is not None else capacities.get(device.name)
        capacity[d] = min(math.inf if has is None else has, math.inf if limit is None else limit)
        # A capacity that nobody stated does not exclude what was never measured.
        stated = device.memory_mb is not None or limit is not None
        for i, row in enumerate(table):
            found = row[d].get("memory_mb")
            if found is not None:
                memory[i, d] = found.high
                if found.high > capacity[d]:
                    blocked[i, d] = Blocked("memory_mb", found.high, float(capacity[d]))
            elif stated:
                blocked[i, d] = Blocked("memory_mb", None, float(capacity[d]))
    return memory, capacity


def _power(table: _Table, limit: float | None, blocked: _Blocked) -> Floats:
    power = np.zeros((len(table), len(table[0])))
    if limit is None:
        return power
    for i, row in enumerate(table):
        for d, estimates in enumerate(row):
            found = estimates.get("power_w")
            if found is None:
                blocked.setdefault((i, d), Blocked("power_w", None, limit))
            else:
                power[i, d] = found.value
                if found.value > limit:
                    blocked.setdefault((i, d), Blocked("power_w", found.value, limit))
    return power


def _latency(
    request: PlaceRequest, items: Sequence[WorkItem], table: _Table, blocked: _Blocked
) -> tuple[Floats, Floats]:
    latency = np.zeros((len(table), len(table[0])))
    limits = np.full(len(table), math.inf)
    for i, (item, row) in enumerate(zip(items, table, strict=True)):
        stated = [
            limit
            for limit in (item.latency_limit_ms, request.limits.latency_ms)
            if limit is not None
        ]
        if not stated:
            continue
        limits[i] = min(stated)
        for d, estimates in enumerate(row):
            found = estimates.get("latency_ms")
            if found is None:
                blocked.setdefault((i, d), Blocked("latency_ms", None, limits[i]))
            else:
                latency[i, d] = found.value
                if found.value > limits[i]:
                    blocked.setdefault((i, d), Blocked("latency_ms", found.value, limits[i]))
    return latency, limits


def _most(latency: Floats, limit: Floats, shares: Floats) -> Ints:
    """Return with how many models in all each may share a device and keep its latency limit."""
    count = len(latency)
    most = np.full(latency.shape, count, dtype=np.int64)
    for i in np.flatnonzero(np.isfinite(limit)):
        within = latency[i][:, None] <= limit[i] * shares[:, 1:] * _ROUNDING
        # Up to the first count that is too many: contention never eases with company.
        most[i] = np.where(within.all(axis=1), count, np.argmin(within, axis=1))
    return most


def _worths(
    goal: Goal, items: Sequence[WorkItem], table: _Table, blocked: _Blocked
) -> tuple[Floats, Floats]:
    """Return what each pair is worth, and what of it is the goal's own."""
    speeds = np.full((len(table), len(table[0])), np.nan)
    for i, row in enumerate(table):
        first = "latency_ms" if goal == "latency" else "throughput_per_s"
        speeds[i] = _rates(row, first)
    own = speeds
    if goal == "memory":
        own = np.array([[_value(one.get("memory_mb")) for one in row] for row in table])
    elif goal == "energy":
        watts = np.array([[_value(one.get("power_w")) for one in row] for row in table])
        own = speeds / watts  # proportional to items per joule

    obstacle: dict[Goal, Obstacle] = {
        "throughput": "throughput_per_s",
        "latency": "latency_ms",
        "memory": "memory_mb",
        "energy": "energy_j",
    }
    for i, d in np.argwhere(np.isnan(own)).tolist():
        blocked.setdefault((i, d), Blocked(obstacle[goal], None, None))

    relative = _relative(speeds)
    logs = np.nan_to_num(np.log(relative))  # a speed that is unknown decides no tie
    if goal == "throughput":
        return logs, logs.copy()
    if goal == "latency":
        slow_down = -1 / np.nan_to_num(relative, nan=1.0)
        return slow_down, slow_down.copy()
    worth = np.nan_to_num(-own / _MEMORY_UNIT if goal == "memory" else np.log(_relative(own)))
    return worth + TIE * logs, worth


def _relative(rates: Floats) -> Floats:
    """Return each model's rates in relation to its best; NaN where unknown."""
    known = np.nan_to_num(rates, nan=0.0)
    best = known.max(axis=1, keepdims=True)
    best[best == 0] = 1.0
    ratio: Floats = rates / best
    return ratio


def _rates(row: Sequence[Estimates], first: str) -> Floats:
    """Return one model's rate on each device, in one unit; NaN where it is unknown.

    From throughput, or from one over latency where `first` says so. If the metric is known for no
    device at all, the other one stands in for it: only the ratio between devices matters.
    """
    other = "throughput_per_s" if first == "latency_ms" else "latency_ms"
    for metric in (first, other):
        found = [estimates.get(metric) for estimates in row]  # type: ignore[call-overload]
        unit = common_unit(found)
        values = np.array(
            [_value(one) if one is not None and one.unit == unit else math.nan for one in found]
        )
        if not np.isnan(values).all():
            rates: Floats = 1 / values if metric == "latency_ms" else values
            return rates
    return np.full(len(row), math.nan)


def _value(found: Estimate | None) -> float:
    return math.nan if found is None else found.value
