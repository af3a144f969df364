"""What every rule of a placement must keep to. A new one is covered by a line in `RULES`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.replies import PlaceReply
from schemas.requests import Device, PlaceRequest
from strategies.contention import Contention, Speed, TakingTurns
from strategies.place import PlacementCell, place
from strategies.placing.problem import NOWHERE, build
from tests.unit.strategies.making import Pairwise, fleet

Cells = dict[tuple[str, str], PlacementCell]
GOALS = ["throughput", "latency", "energy"]


@dataclass(frozen=True)
class Rule:
    """A rule of placements.

    Attributes:
        laid: returns a request with the rule in it, drawn at random.
        kept: whether a placement keeps the rule.
    """

    name: str
    laid: Callable[[PlaceRequest, Any], PlaceRequest]
    kept: Callable[[Placed], bool]


@dataclass(frozen=True)
class Placed:
    """A placement, however it was come by: the device of each model that has one."""

    request: PlaceRequest
    cells: Cells
    contention: Contention
    where: Mapping[str, str]


def names_of(request: PlaceRequest) -> list[str]:
    return [item.model.name for item in request.models]


def where(reply: PlaceReply) -> dict[str, str]:
    return {one.model: one.device for one in reply.placed}


def groups(request: PlaceRequest, draw: Any) -> list[list[str]]:
    if len(request.models) < 2:
        return []
    group = st.lists(st.sampled_from(names_of(request)), min_size=2, max_size=3, unique=True)
    return draw(st.lists(group, min_size=1, max_size=2))  # type: ignore[no-any-return]


def with_devices(request: PlaceRequest, draw: Any, field: str, values: Any) -> PlaceRequest:
    return request.model_copy(
        update={
            "devices": [
                one.model_copy(update={field: draw(values)}) if draw(st.booleans()) else one
                for one in request.devices
            ]
        }
    )


def with_limit(request: PlaceRequest, **limits: float) -> PlaceRequest:
    return request.model_copy(
        update={"limits": request.limits.model_copy(update=limits)},
    )


def only_where(request: PlaceRequest, draw: Any) -> PlaceRequest:
    devices = [one.name for one in request.devices]
    chosen = st.lists(st.sampled_from(devices), min_size=1, unique=True)
    models = [item.model_copy(update={"devices": draw(chosen)}) for item in request.models]
    return request.model_copy(update={"models": models})


def priced(request: PlaceRequest, draw: Any) -> PlaceRequest:
    devices = [
        one.model_copy(update={"cost_per_hour": float(number)})
        for number, one in enumerate(request.devices, 1)
    ]
    return with_limit(
        request.model_copy(update={"devices": devices}), cost_per_hour=draw(st.floats(0.5, 6.5))
    )


def together(found: Placed) -> bool:
    return all(
        len({found.where.get(name) for name in group}) == 1 for group in found.request.together
    )


def apart(found: Placed) -> bool:
    placed = [
        [found.where[name] for name in group if name in found.where]
        for group in found.request.apart
    ]
    return all(len(set(devices)) == len(devices) for devices in placed)


def where_it_may(found: Placed) -> bool:
    return all(
        found.where.get(item.model.name) in {None, *(item.devices or ())}
        for item in found.request.models
    )


def not_on_failed(found: Placed) -> bool:
    return not {one.name for one in found.request.devices if one.failed} & {*found.where.values()}


def is_full(device: Device) -> bool:
    return (device.used_memory_mb or 0.0) >= (device.memory_mb or math.inf)


def within_room(found: Placed) -> bool:
    for device in found.request.devices:
        held = [
            memory.high
            for model, at in found.where.items()
            if at == device.name and (memory := found.cells[model, at].estimates.get("memory_mb"))
        ]
        room = min(
            (device.memory_mb or math.inf) - (device.used_memory_mb or 0.0),
            found.request.limits.memory_mb or math.inf,
        )
        if held and (room <= 0 or math.fsum(held) > room * (1 + 1e-9)):
            return False
    return True


def within_power(found: Placed) -> bool:
    """A model that has a share of its speed draws that share of its power."""
    limit = found.request.limits.power_w
    assert limit is not None
    return all(
        math.fsum(
            speed.value * found.cells[name, device].estimates["power_w"].value
            for name, speed in speeds_on(found, device).items()
        )
        <= limit * (1 + 1e-9)
        and all(
            found.cells[name, device].estimates["power_w"].value <= limit
            for name in speeds_on(found, device)
        )
        for device in {*found.where.values()}
    )


def within_latency(found: Placed) -> bool:
    limit = found.request.limits.latency_ms
    assert limit is not None
    return all(
        found.cells[name, device].estimates["latency_ms"].value / speed.value <= limit * (1 + 1e-9)
        for device in {*found.where.values()}
        for name, speed in speeds_on(found, device).items()
    )


def speeds_on(found: Placed, device: str) -> dict[str, Speed]:
    models = sorted(name for name, at in found.where.items() if at == device)
    return dict(zip(models, found.contention.speeds(models, device), strict=True))


def within_cost(found: Placed) -> bool:
    price = {one.name: one.cost_per_hour or 0.0 for one in found.request.devices}
    limit = found.request.limits.cost_per_hour
    assert limit is not None
    return math.fsum(price[name] for name in {*found.where.values()}) <= limit * (1 + 1e-9)


RULES = [
    Rule("together", lambda r, draw: r.model_copy(update={"together": groups(r, draw)}), together),
    Rule("apart", lambda r, draw: r.model_copy(update={"apart": groups(r, draw)}), apart),
    Rule("devices of a model", only_where, where_it_may),
    Rule(
        "failed devices",
        lambda r, draw: with_devices(r, draw, "failed", st.just(True)),
        not_on_failed,
    ),
    Rule(
        "memory in use",
        lambda r, draw: with_devices(r, draw, "used_memory_mb", st.floats(1, 30_000)),
        within_room,
    ),
    Rule(
        "limit on memory",
        lambda r, draw: with_limit(r, memory_mb=draw(st.floats(100, 30_000))),
        within_room,
    ),
    Rule(
        "limit on power",
        lambda r, draw: with_limit(r, power_w=draw(st.floats(20, 500))),
        within_power,
    ),
    Rule(
        "limit on latency",
        lambda r, draw: with_limit(r, latency_ms=draw(st.floats(1, 500))),
        within_latency,
    ),
    Rule("limit on cost", priced, within_cost),
]

each = pytest.mark.parametrize("rule", RULES, ids=lambda one: one.name)
fleets = st.builds(
    fleet,
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 10_000),
    tight=st.sampled_from([None, 1.4]),
    goal=st.sampled_from(GOALS),
)
contentions = st.sampled_from(
    [TakingTurns(), Pairwise({f"m{number:03}": 0.1 * number for number in range(4)})]
)


@each
@settings(max_examples=40, deadline=None)
@given(fleets, contentions, st.data())
def test_it_is_kept_and_nothing_better_keeps_it(rule, drawn, contention, data) -> None:  # type: ignore[no-untyped-def]
    request, cells = drawn
    ruled = rule.laid(request, data.draw)
    names = names_of(request)
    # Worth without the rule: whether a placement keeps it is asked of the rule itself.
    devices = [one.name for one in ruled.devices if not one.failed and not is_full(one)]
    assume(devices)
    left = [one for one in request.devices if one.name in devices]
    problem = build(request.model_copy(update={"devices": left}), cells, {}, contention)

    def value(choice: Mapping[str, str]) -> tuple[int, float]:
        places = [devices.index(choice[name]) if name in choice else NOWHERE for name in names]
        return len(choice), problem.worth(np.array(places))

    every = [
        {name: at for name, at in zip(names, choice, strict=True) if at is not None}
        for choice in itertools.product([None, *devices], repeat=len(names))
    ]
    kept = [one for one in every if rule.kept(Placed(ruled, cells, contention, one))]
    best = max(found for one in kept if math.isfinite((found := value(one))[1]))
    chosen = where(place(ruled, cells, "d", contention=contention))
    assert chosen in kept
    assert value(chosen) == (best[0], pytest.approx(best[1], rel=1e-9, abs=1e-9))


@each
@settings(max_examples=25, deadline=None)
@given(fleets, st.data())
def test_a_rule_more_never_places_more(rule, drawn, data) -> None:  # type: ignore[no-untyped-def]
    request, cells = drawn
    ruled = place(rule.laid(request, data.draw), cells, "d")
    assert len(ruled.placed) <= len(place(request, cells, "d").placed)


@each
@settings(max_examples=25, deadline=None)
@given(fleets, st.data(), st.randoms())
def test_the_order_of_lists_changes_nothing(rule, drawn, data, chance) -> None:  # type: ignore[no-untyped-def]
    request, cells = drawn
    request = rule.laid(request, data.draw)
    turned = {
        field: chance.sample(value, len(value))
        for field in ("models", "devices", "together", "apart")
        if (value := getattr(request, field))
    }
    assert where(place(request, cells, "d")) == where(
        place(request.model_copy(update=turned), cells, "d")
    )


@each
@settings(max_examples=25, deadline=None)
@given(fleets, st.data())
def test_who_has_no_place_is_told_what_would_have_to_change(rule, drawn, data) -> None:  # type: ignore[no-untyped-def]
    request, cells = drawn
    reply = place(rule.laid(request, data.draw), cells, "d")
    assert {one.model for one in reply.unplaced} == set(names_of(request)) - set(where(reply))
    assert all(one.reason and one.would_fit_if for one in reply.unplaced)
    assert reply.admitted == (not reply.unplaced)


@each
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(GOALS), st.data())
def test_it_is_kept_by_answers_that_are_not_proven_best(rule, seed, goal, data) -> None:  # type: ignore[no-untyped-def]
    """More models than can be searched through: the first answers come from a greedy search."""
    request, cells = fleet(24, 6, seed, tight=1.4, goal=goal)
    request = rule.laid(request, data.draw)
    contention = Pairwise({f"m{number:03}": 0.02 * number for number in range(24)})
    reply = place(request, cells, "d", contention=contention, time_limit_s=0)
    assert rule.kept(Placed(request, cells, contention, where(reply)))
