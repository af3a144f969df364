from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.replies import PlaceReply
from schemas.requests import Device, PlaceRequest, WorkItem
from strategies.contention import Contention, NoInterference, TakingTurns, Untaught
from strategies.place import PlacementCell, place
from tests.unit.strategies.making import Pairwise, fleet, predicted

GOALS = ["throughput", "latency", "memory", "energy"]
goals = st.sampled_from(GOALS)


def ask(
    models: dict[str, Any], devices: dict[str, Any], cells: Any = None, **fields: Any
) -> PlaceReply:
    """Place models with the same predictions on every device, unless `cells` has others."""
    own = fields.pop("own", {})
    options = fields.pop("options", {})
    table = {
        (model, device): PlacementCell(f"p/{model}/{device}", estimates)
        for model, estimates in models.items()
        for device in devices
    }
    table.update(
        {pair: PlacementCell("p/" + "/".join(pair), found) for pair, found in (cells or {}).items()}
    )
    request = PlaceRequest(
        models=[WorkItem(model=name, latency_limit_ms=own.get(name)) for name in models],
        devices=[
            Device(name=name, hardware="gpu", memory_mb=memory) for name, memory in devices.items()
        ],
        **fields,
    )
    return place(request, table, "d-1", **options)


def where(reply: PlaceReply) -> dict[str, str]:
    return {one.model: one.device for one in reply.placed}


SOLO = predicted(latency=10, throughput=100, memory=400, power=80)


def test_two_models_on_two_devices_have_one_each() -> None:
    reply = ask({"a": SOLO, "b": SOLO}, {"x": None, "y": None})
    assert sorted(where(reply).values()) == ["x", "y"]
    assert (reply.objective, reply.bound, reply.optimal) == (1.0, 1.0, True)
    assert [load.share for load in reply.devices] == [1, 1]
    assert reply.placed[0].metrics == SOLO
    assert reply.placed[0].prediction_id == f"p/a/{where(reply)['a']}"
    assert PlaceReply.model_validate(reply.model_dump()) == reply


def test_models_on_one_device_take_turns() -> None:
    reply = ask({"a": SOLO, "b": SOLO}, {"x": 1_000})
    assert where(reply) == {"a": "x", "b": "x"}
    metrics = reply.placed[0].metrics
    assert metrics["throughput_per_s"].value == pytest.approx(50)
    assert metrics["latency_ms"].value == pytest.approx(20)
    assert metrics["memory_mb"] == SOLO["memory_mb"]
    (load,) = reply.devices
    assert (load.models, load.share, load.memory_mb, load.memory_capacity_mb) == (
        ["a", "b"],
        2,
        800,
        1_000,
    )
    assert reply.objective == pytest.approx(0.5)
    assert any("x is shared most: a and b" in reason for reason in reply.reasons)


def test_no_model_starves_for_another() -> None:
    # Alone on the slow device b would run at 1 %; sharing the fast one, both run at half speed.
    slow = predicted(latency=1_000, throughput=1, memory=400)
    reply = ask(
        {"a": SOLO, "b": SOLO},
        {"fast": None, "slow": None},
        {("a", "slow"): slow, ("b", "slow"): slow},
    )
    assert set(where(reply).values()) == {"fast"}


def test_goals_differ() -> None:
    quick = predicted(latency=5, throughput=200, memory=800, power=300)
    small = predicted(latency=20, throughput=50, memory=200, power=30)
    cells = {("a", "small"): small}
    found = {
        goal: where(ask({"a": quick}, {"quick": None, "small": None}, cells, goal=goal))["a"]
        for goal in GOALS
    }
    assert found == {
        "throughput": "quick",
        "latency": "quick",
        "memory": "small",
        "energy": "small",
    }


# Limits


def test_memory_of_models_on_a_device_adds_up() -> None:
    reply = ask({"a": SOLO, "b": SOLO, "c": SOLO}, {"x": 900, "y": 500})
    assert sorted(where(reply).values()) == ["x", "x", "y"]
    reply = ask({"a": SOLO, "b": SOLO}, {"x": 870})  # 880 at the upper end
    (left,) = reply.unplaced
    assert left.limit == "memory_mb"
    assert left.would_fit_if == "x had 10 MB more: 430 MB is free"
    assert any("not placed, by what stands in the way: memory_mb (1)" in r for r in reply.reasons)


def test_the_limit_on_memory_is_below_the_capacity() -> None:
    assert len(ask({"a": SOLO, "b": SOLO}, {"x": 10_000}, limits={"memory_mb": 500}).placed) == 1


def test_a_model_too_large_for_every_device() -> None:
    reply = ask({"a": SOLO}, {"x": 100, "y": 300})
    (left,) = reply.unplaced
    assert left.limit == "memory_mb"
    assert left.reason == "a can run on no device: memory_mb on 2 of 2 devices stands in the way"
    assert left.would_fit_if == "y had 440 MB for it instead of 300 MB"
    assert (reply.objective, reply.bound, reply.optimal) == (0.0, 0.0, True)


def test_power_and_latency_keep_devices_out() -> None:
    reply = ask({"a": SOLO}, {"x": None}, limits={"power_w": 70})
    assert reply.unplaced[0].would_fit_if == "the limit power_w were 80 W instead of 70 W (x)"
    reply = ask({"a": SOLO}, {"x": None}, limits={"latency_ms": 9})
    assert reply.unplaced[0].limit == "latency_ms"


def test_a_latency_limit_says_how_many_may_share() -> None:
    reply = ask({"a": SOLO, "b": SOLO, "c": SOLO}, {"x": None}, own={"a": 20.0})
    assert len(reply.placed) == 2
    assert reply.unplaced[0].limit == "latency_ms"
    assert len(ask({"a": SOLO, "b": SOLO, "c": SOLO}, {"x": None}, own={"a": 30.0}).placed) == 3


def test_what_is_limited_and_unknown_is_not_placed() -> None:
    bare = predicted(throughput=100)
    for fields in (
        {"limits": {"power_w": 10}},
        {"limits": {"latency_ms": 10}},
        {"limits": {"memory_mb": 10}},
    ):
        reply = ask({"a": bare}, {"x": None}, **fields)
        (left,) = reply.unplaced
        assert left.would_fit_if.startswith("its ")
        assert "publish one benchmark event of it on gpu" in left.would_fit_if
    assert ask({"a": bare}, {"x": 500}).unplaced


def test_a_capacity_that_was_looked_up_excludes_only_what_is_known() -> None:
    bare = predicted(throughput=100)
    options = {"capacities_mb": {"x": 300.0}}
    assert ask({"a": bare}, {"x": None}, options=options).placed
    assert ask({"a": SOLO}, {"x": None}, options=options).unplaced


def test_a_model_nobody_has_seen() -> None:
    reply = ask({"a": SOLO, "new": {}}, {"x": None})
    assert where(reply) == {"a": "x"}
    assert reply.unplaced[0].model == "new"
    assert reply.unplaced[0].limit == "throughput_per_s"


def test_without_throughput_latency_stands_in() -> None:
    slow = predicted(latency=90)
    reply = ask({"a": predicted(latency=10)}, {"x": None, "y": None}, {("a", "x"): slow})
    assert where(reply) == {"a": "y"}


# Against brute force


class Brute:
    """The definitions themselves, applied to every placement there is."""

    def __init__(self, request: PlaceRequest, cells: Any, contention: Contention) -> None:
        self.request, self.cells, self.contention = request, cells, contention
        self.models = sorted(request.models, key=lambda item: item.model.name)
        self.devices = sorted(request.devices, key=lambda device: device.name)

    def value(self, model: WorkItem, device: Device, metric: str) -> float:
        return self.cells[model.model.name, device.name].estimates[metric].value  # type: ignore[no-any-return]

    def own(self, model: WorkItem, device: Device) -> float:
        """What is set in relation to the model's best device."""
        throughput = self.value(model, device, "throughput_per_s")
        if self.request.goal == "latency":
            return 1 / self.value(model, device, "latency_ms")
        if self.request.goal == "energy":
            return throughput / self.value(model, device, "power_w")
        return throughput

    def fits(self, here: list[WorkItem], device: Device, speeds: list[float]) -> bool:
        memory = sum(
            self.cells[m.model.name, device.name].estimates["memory_mb"].high for m in here
        )
        power = [self.value(model, device, "power_w") for model in here]
        drawn = sum(watts * speed for watts, speed in zip(power, speeds, strict=True))
        limit = self.request.limits.power_w or math.inf
        return (
            memory <= (device.memory_mb or math.inf)
            and max(drawn, *power) <= limit
            and all(
                self.value(model, device, "latency_ms") / speed
                <= (model.latency_limit_ms or math.inf)
                for model, speed in zip(here, speeds, strict=True)
            )
        )

    def terms(self, choice: tuple[Device | None, ...]) -> list[float] | None:
        """One term of the objective for each placed model; None where a limit is broken."""
        terms: list[float] = []
        for device in self.devices:
            here = [model for model, on in zip(self.models, choice, strict=True) if on is device]
            names = [model.model.name for model in here]
            speeds = (
                [s.value for s in self.contention.speeds(names, device.hardware.name)]
                if here
                else []
            )
            if here and not self.fits(here, device, speeds):
                return None
            for model, speed in zip(here, speeds, strict=True):
                if self.request.goal == "memory":
                    terms.append(-self.value(model, device, "memory_mb"))
                else:
                    share = 1.0 if self.request.goal == "energy" else speed
                    best = max(self.own(model, other) for other in self.devices)
                    terms.append(share * self.own(model, device) / best)
        return terms

    def best(self) -> tuple[int, float]:
        """How many models can be placed, and the best objective of as many."""
        mean = {
            "latency": statistics.harmonic_mean,
            "memory": math.fsum,
        }.get(self.request.goal, statistics.geometric_mean)
        found = (0, 0.0)
        for choice in itertools.product([None, *self.devices], repeat=len(self.models)):
            terms = self.terms(choice)
            if terms and (found[0] == 0 or (len(terms), mean(terms)) > found):
                found = (len(terms), mean(terms))
        return found


CONTENTIONS: list[Contention] = [
    TakingTurns(),
    Untaught(),
    NoInterference(),
    Pairwise({f"m{i:03}": 0.3 * i for i in range(5)}),
]


@settings(deadline=None, max_examples=80)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 10**6),
    goals,
    st.none() | st.floats(0.5, 2.0),
    st.none() | st.floats(20, 800),
    st.none() | st.floats(50, 200),
    st.sampled_from(CONTENTIONS),
)
def test_equal_to_brute_force(  # type: ignore[no-untyped-def]
    models, devices, seed, goal, tight, latency, power, contention
) -> None:
    request, cells = fleet(
        models,
        devices,
        seed,
        tight=tight,
        latency_limit=latency,
        goal=goal,
        limits={"power_w": power},
    )
    reply = place(request, cells, "d", contention=contention)
    placed, objective = Brute(request, cells, contention).best()
    assert len(reply.placed) == placed
    assert reply.objective == pytest.approx(objective, rel=2e-6)
    assert reply.optimal
    assert reply.bound == reply.objective


# Laws


def check(request: PlaceRequest, cells: Any, reply: PlaceReply, contention: Contention) -> None:
    """Every limit holds, every model is there once, and the bound is one."""
    names = [one.model for one in reply.placed] + [one.model for one in reply.unplaced]
    assert sorted(names) == sorted(item.model.name for item in request.models)
    assert reply.objective <= reply.bound
    assert not reply.optimal or reply.objective == reply.bound
    own = {item.model.name: item.latency_limit_ms for item in request.models}
    capacity = {device.name: device.memory_mb for device in request.devices}
    for load in reply.devices:
        assert load.models == [one.model for one in reply.placed if one.device == load.device]
        found = [cells[model, load.device].estimates for model in load.models]
        room = capacity[load.device]
        if room is not None and found:
            assert sum(one["memory_mb"].high for one in found) <= room * (1 + 1e-12)
        if request.limits.power_w is not None:
            assert all(one["power_w"].value <= request.limits.power_w for one in found)
    for one in reply.placed:
        limit = own[one.model]
        assert limit is None or one.metrics["latency_ms"].value <= limit * (1 + 1e-9)
    for left in reply.unplaced:
        assert left.reason
        assert left.would_fit_if


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 24),
    st.integers(1, 8),
    st.integers(0, 10**6),
    goals,
    st.none() | st.floats(0.5, 2.0),
    st.none() | st.floats(20, 800),
    st.sampled_from([TakingTurns(), Untaught(), Pairwise({f"m{i:03}": 0.1 for i in range(24)})]),
)
def test_limits_are_honoured_by_every_answer(
    models, devices, seed, goal, tight, latency, contention
) -> None:  # type: ignore[no-untyped-def]
    request, cells = fleet(models, devices, seed, tight=tight, latency_limit=latency, goal=goal)
    reply = place(request, cells, "d", contention=contention, time_limit_s=0.05)
    check(request, cells, reply, contention)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 14),
    st.integers(1, 5),
    st.integers(0, 10**6),
    goals,
    st.none() | st.floats(0.7, 2.0),
    st.randoms(),
)
def test_the_order_of_lists_changes_nothing(models, devices, seed, goal, tight, chance) -> None:  # type: ignore[no-untyped-def]
    request, cells = fleet(models, devices, seed, tight=tight, goal=goal)
    turned_models, turned_devices = list(request.models), list(request.devices)
    chance.shuffle(turned_models)
    chance.shuffle(turned_devices)
    turned = request.model_copy(update={"models": turned_models, "devices": turned_devices})
    assert place(request, cells, "d", time_limit_s=0) == place(turned, cells, "d", time_limit_s=0)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("tight", [None, 1.2, 0.9])
def test_two_hundred_models_are_answered(goal: str, tight: float | None) -> None:
    request, cells = fleet(200, 40, 3, tight=tight, goal=goal)
    reply = place(request, cells, "d", time_limit_s=0.1)
    check(request, cells, reply, TakingTurns())
    assert len(reply.placed) > 150


def test_a_contention_that_must_be_asked_is_bounded_too() -> None:
    request, cells = fleet(40, 10, 3, tight=1.3)
    contention = Pairwise({f"m{i:03}": 0.02 * i for i in range(40)})
    reply = place(request, cells, "d", contention=contention)
    check(request, cells, reply, contention)
    assert contention.asked < 20_000
    assert reply.objective < reply.bound < 1


def test_a_realistic_fleet_is_answered_close_to_its_bound() -> None:
    request, cells = fleet(64, 32, 1, tight=1.3)
    reply = place(request, cells, "d", time_limit_s=0.1)
    assert math.isclose(reply.objective, reply.bound, rel_tol=0.02)
