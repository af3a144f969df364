"""Placement under rules: who must be with whom, what runs already, what a move costs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.replies import PlaceReply
from schemas.requests import Device, PlaceRequest, WorkItem
from strategies.contention import TakingTurns
from strategies.place import PlacementCell, place
from strategies.placing.problem import NOWHERE, build
from tests.unit.strategies.making import Pairwise, fleet, predicted


def simple(
    speeds: dict[str, dict[str, float]], memory: float = 100.0, **fields: Any
) -> tuple[PlaceRequest, dict[tuple[str, str], PlacementCell]]:
    """A fleet by speeds: model, device, items per second."""
    devices = sorted({device for row in speeds.values() for device in row})
    extra = fields.pop("devices", {})
    items = fields.pop("items", {})
    request = PlaceRequest(
        models=[WorkItem(model=name, **items.get(name, {})) for name in sorted(speeds)],
        devices=[
            Device(name=name, hardware="h", **{"memory_mb": 1_000.0, **extra.get(name, {})})
            for name in devices
        ],
        **fields,
    )
    cells = {
        (model, device): PlacementCell(
            f"{model}/{device}",
            predicted(latency=1_000 / speed, throughput=speed, memory=memory, power=50.0),
        )
        for model, row in speeds.items()
        for device, speed in row.items()
    }
    return request, cells


def where(reply: PlaceReply) -> dict[str, str]:
    return {one.model: one.device for one in reply.placed}


EVEN = {name: {"x": 100.0, "y": 90.0} for name in "abc"}


def test_models_that_belong_together_go_together() -> None:
    found = where(place(*simple(EVEN, together=[["a", "b"]]), "d"))
    assert found["a"] == found["b"] != found["c"]


def test_models_that_must_be_apart_are() -> None:
    speeds = {name: {"x": 100.0, "y": 1.0} for name in "ab"}
    free = where(place(*simple(speeds), "d"))
    assert free["a"] == free["b"] == "x"
    apart = where(place(*simple(speeds, apart=[["a", "b"]]), "d"))
    assert apart["a"] != apart["b"]


def test_a_model_goes_only_where_it_may() -> None:
    found = where(place(*simple(EVEN, items={"a": {"devices": ["y"]}}), "d"))
    assert found["a"] == "y"


def test_affinities_in_a_circle_are_one_group() -> None:
    found = where(place(*simple(EVEN, together=[["a", "b"], ["b", "c"], ["c", "a"]]), "d"))
    assert len(set(found.values())) == 1


def test_rules_that_contradict_each_other_are_said() -> None:
    reply = place(*simple(EVEN, together=[["a", "b"]], apart=[["a", "b"]]), "d")
    assert where(reply).keys() == {"c"}
    assert not reply.admitted
    assert {one.limit for one in reply.unplaced} == {"affinity"}
    assert all("rules" in one.reason for one in reply.unplaced)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("together", [["a", "nobody"]]),
        ("apart", [["a", "nobody"]]),
        ("together", [["a"]]),
        ("current", {"nobody": "x"}),
        ("items", {"a": {"devices": ["nowhere"]}}),
    ],
)
def test_rules_about_what_is_not_there_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        simple(EVEN, **{field: value})


def test_a_failed_device_is_emptied() -> None:
    current = {"a": "x", "b": "x", "c": "y"}
    reply = place(*simple(EVEN, devices={"x": {"failed": True}}, current=current), "d")
    assert set(where(reply).values()) == {"y"}
    assert [(move.model, move.from_device, move.to_device) for move in reply.moves] == [
        ("a", "x", "y"),
        ("b", "x", "y"),
    ]


def test_when_all_have_failed_nothing_is_placed() -> None:
    dead = {name: {"failed": True} for name in "xy"}
    reply = place(*simple(EVEN, devices=dead), "d")
    assert reply.placed == []
    assert len(reply.unplaced) == 3
    assert not reply.admitted


def test_what_runs_already_takes_room_and_time() -> None:
    full = place(*simple(EVEN, devices={"x": {"used_memory_mb": 950.0}}), "d")
    assert set(where(full).values()) == {"y"}
    busy = place(*simple({"a": EVEN["a"]}, devices={"x": {"load": 0.5}}), "d")
    assert where(busy) == {"a": "y"}
    assert place(*simple({"a": EVEN["a"]}), "d").placed[0].device == "x"


@pytest.mark.parametrize(("gain", "moves"), [(1.03, 0), (1.5, 1)])
def test_a_move_must_be_worth_its_cost(gain: float, moves: int) -> None:
    speeds = {"a": {"x": 100.0, "y": 100.0 * gain}}
    reply = place(*simple(speeds, current={"a": "x"}, move_cost=0.05), "d")
    assert len(reply.moves) == moves


def test_one_change_moves_little() -> None:
    request, cells = fleet(20, 6, 3)
    before = place(request, cells, "d", time_limit_s=0)
    current = where(before)
    new = WorkItem(model="m999")
    grown = {**cells, **{("m999", d): cells["m000", d] for _, d in cells}}
    again = request.model_copy(
        update={"models": [*request.models, new], "current": current, "move_cost": 0.3}
    )
    reply = place(again, grown, "d", time_limit_s=0)
    assert len(reply.placed) == 21
    assert sum(move.from_device is not None for move in reply.moves) <= 3


def test_a_fleet_stays_within_its_cost() -> None:
    cost = {"x": {"cost_per_hour": 4.0}, "y": {"cost_per_hour": 1.0}}
    dear = place(*simple(EVEN, devices=cost), "d")
    assert set(where(dear).values()) == {"x", "y"}
    cheap = place(*simple(EVEN, devices=cost, limits={"cost_per_hour": 2.0}), "d")
    assert set(where(cheap).values()) == {"y"}
    none = place(*simple(EVEN, devices=cost, limits={"cost_per_hour": 0.5}), "d")
    assert none.placed == []
    assert len(none.unplaced) == 3


def test_of_devices_within_the_cost_the_best_are_used() -> None:
    """The dearest for what it carries is not what to do without: two cheap ones are worse."""
    speeds = {name: {"x": 100.0, "y": 20.0, "z": 20.0} for name in "ab"}
    price = {"x": 4.0, "y": 2.0, "z": 2.0}
    devices = {name: {"cost_per_hour": value} for name, value in price.items()}
    reply = place(*simple(speeds, devices=devices, limits={"cost_per_hour": 4.0}), "d")
    assert set(where(reply).values()) == {"x"}
    assert reply.optimal


def test_who_is_left_out_for_the_cost_is_told_so() -> None:
    devices = {"x": {"cost_per_hour": 4.0}, "y": {"cost_per_hour": 3.0}}
    reply = place(*simple(EVEN, devices=devices, limits={"cost_per_hour": 2.5}), "d")
    assert {one.limit for one in reply.unplaced} == {"cost_per_hour"}
    assert reply.unplaced[0].would_fit_if == (
        "the limit cost_per_hour were 3 per hour instead of 2.5 per hour (y)"
    )


def test_a_large_fleet_stays_within_its_cost() -> None:
    request, cells = fleet(30, 20, 5)
    priced = [
        one.model_copy(update={"cost_per_hour": 1.0 + number % 7})
        for number, one in enumerate(request.devices)
    ]
    limits = request.limits.model_copy(update={"cost_per_hour": 12.0})
    request = request.model_copy(update={"devices": priced, "limits": limits})
    reply = place(request, cells, "d", time_limit_s=0)
    price = {one.name: one.cost_per_hour or 0.0 for one in priced}
    assert math.fsum(price[name] for name in set(where(reply).values())) <= 12.0
    assert len(reply.placed) == 30


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 10_000),
    st.sampled_from(["throughput", "latency", "energy"]),
    st.sampled_from([None, 0.7, 1.4]),
    st.booleans(),
    st.data(),
)
def test_equal_to_brute_force(  # type: ignore[no-untyped-def]
    models, devices, seed, goal, tight, pairwise, data
) -> None:
    """Of all placements none is better: more models placed, then worth more."""
    names = [f"m{i:03}" for i in range(models)]
    groups = st.lists(
        st.lists(st.sampled_from(names), min_size=2, max_size=3, unique=True), max_size=2
    )
    request, cells = fleet(models, devices, seed, tight=tight, goal=goal)
    if models > 1:
        request = request.model_copy(
            update={"together": data.draw(groups), "apart": data.draw(groups)}
        )
    if data.draw(st.booleans()):
        request = request.model_copy(update={"current": dict.fromkeys(names, "d000")})
    contention = Pairwise({name: 0.1 * i for i, name in enumerate(names)}) if pairwise else None
    problem = build(request, cells, {}, contention or TakingTurns())
    best = (-1, -math.inf)
    for choice in itertools.product([NOWHERE, *range(devices)], repeat=models):
        array = np.array(choice)
        worth = problem.worth(array)
        if math.isfinite(worth):
            best = max(best, (sum(one != NOWHERE for one in choice), worth))
    reply = place(request, cells, "d", contention=contention)
    index = {device.name: number for number, device in enumerate(problem.devices)}
    found = np.array([index.get(where(reply).get(name, ""), NOWHERE) for name in names])
    assert len(reply.placed) == best[0]
    assert problem.worth(found) == pytest.approx(best[1], rel=1e-9, abs=1e-9)
    assert reply.optimal
