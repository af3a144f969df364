"""What every registered strategy must keep to. A new one is covered by being registered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.measurement import StrategyName
from schemas.replies import StrategyOutcome
from schemas.requests import StrategyLimits
from strategies import base
from strategies.base import Strategy, registered
from strategies.contention import FLOOR, Contention, NoInterference, TakingTurns, Untaught
from strategies.outcome import Evaluator
from strategies.workload import Waves, Workload, workload
from tests.unit.strategies.making import Pairwise, predicted, work, workloads

STRATEGIES = registered()
CONTENTIONS: list[Contention] = [
    Untaught(),
    TakingTurns(),
    NoInterference(),
    Pairwise({f"m{i}": 0.2 * i for i in range(10)}),
]

each = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
goals = st.sampled_from(["throughput", "latency", "memory", "energy"])


def outcome_of(strategy: Strategy, work: Workload) -> StrategyOutcome:
    evaluator = Evaluator(work)
    return evaluator.outcome(strategy.name, strategy.plan(evaluator))


def build(names, predictions, contention=None, own=None, **fields) -> Workload:  # type: ignore[no-untyped-def]
    found = workload(work(names, own, **fields), predictions, None, contention or Untaught())
    assert isinstance(found, Workload)
    return found


def test_a_strategy_is_one_class_and_is_found_by_being_registered() -> None:
    """The example of docs/strategies.md, which is run here as it stands there."""
    text = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text()
    source = text.split("```python\n")[1].split("```")[0]
    before = dict(base._REGISTRY)
    try:
        exec(compile(source, "longest_first.py", "exec"), {"__name__": "strategies.longest_first"})
        (added,) = [one for one in registered() if one.name not in before]
        predictions = {f"m{i}": predicted(latency=10.0 * (i + 1), memory=10) for i in range(4)}
        found = outcome_of(added, build(list(predictions), predictions))
        assert found.strategy == added.name
        assert sorted(name for wave in found.waves for name in wave) == sorted(predictions)
    finally:
        base._REGISTRY.clear()
        base._REGISTRY.update(before)


def test_the_three_are_there() -> None:
    assert [one.name for one in STRATEGIES] == ["sequential", "parallel", "batched"]


def test_a_second_registration_under_one_name_is_refused() -> None:
    class Impostor:
        name: ClassVar[StrategyName] = "parallel"
        rank: ClassVar[int] = 99

        def plan(self, evaluator: Evaluator) -> Waves:
            raise NotImplementedError

    with pytest.raises(ValueError, match=r"Impostor has the name or rank of Parallel"):
        base.register(Impostor)
    assert len(registered()) == 3


@each
@given(workloads(), goals, st.sampled_from(CONTENTIONS))
def test_every_model_is_in_exactly_one_wave(strategy, drawn, goal, contention) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    found = outcome_of(strategy, build(names, predictions, contention, goal=goal))
    assert sorted(name for wave in found.waves for name in wave) == sorted(names)
    assert all(found.waves)
    assert found.feasible
    assert found.violations == []
    # The reply is what the contract says, though it was built without being checked.
    assert StrategyOutcome.model_validate(found.model_dump()) == found


@each
@given(workloads(), goals, st.sampled_from(CONTENTIONS))
def test_physics(strategy, drawn, goal, contention) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    built = build(names, predictions, contention, goal=goal)
    found = outcome_of(strategy, built)
    alone = [job.duration_ms for job in built.jobs]
    whole = found.total_latency_ms
    close = 1 + 1e-9
    assert max(one.value for one in alone) <= whole.value * close
    assert max(one.low for one in alone) <= whole.low * close
    # Nothing keeps a device more than twice as long as one after the other.
    worst = 1 / FLOOR if not isinstance(contention, Pairwise) else math.inf
    assert whole.high <= sum(one.high for one in alone) * worst * close
    for estimate in (whole, found.throughput_per_s, found.mean_latency_ms, found.memory_mb):
        if estimate is not None:
            assert 0 < estimate.low <= estimate.value <= estimate.high
            assert 0 <= estimate.confidence <= 1
    for name, done in found.model_latency_ms.items():
        assert built.by_name()[name].duration_ms.value <= done.value * close
        assert done.value <= whole.value * close


@each
@given(workloads(), st.sampled_from(CONTENTIONS))
def test_the_timeline_says_the_same(strategy, drawn, contention) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    found = outcome_of(strategy, build(names, predictions, contention))
    assert sorted(slot.model for slot in found.timeline) == sorted(names)
    assert max(slot.end_ms for slot in found.timeline) == pytest.approx(
        found.total_latency_ms.value
    )
    for slot in found.timeline:
        assert slot.model in found.waves[slot.wave]
        assert slot.start_ms < slot.end_ms == found.model_latency_ms[slot.model].value
        before = [other.end_ms for other in found.timeline if other.wave < slot.wave]
        assert slot.start_ms == pytest.approx(max(before, default=0.0))


@each
@given(workloads(), goals, st.randoms())
def test_the_order_of_the_list_changes_nothing(strategy, drawn, goal, chance) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    turned = names.copy()
    chance.shuffle(turned)
    assert outcome_of(strategy, build(names, predictions, goal=goal)) == outcome_of(
        strategy, build(turned, dict(reversed(predictions.items())), goal=goal)
    )


@each
@given(workloads(least=2))
def test_a_model_more_never_needs_less_memory(strategy, drawn) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    # Asked for the least memory, so that batched has no reason to change its waves for another.
    fewer = outcome_of(strategy, build(names[:-1], predictions, goal="memory"))
    more = outcome_of(strategy, build(names, predictions, goal="memory"))
    if fewer.memory_mb and more.memory_mb:
        assert more.memory_mb.value >= fewer.memory_mb.value * (1 - 1e-12)


@given(workloads(least=2), goals, st.data())
def test_a_model_more_in_a_wave_never_needs_less(drawn, goal, data) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    evaluator = Evaluator(build(names, predictions, goal=goal))
    some = data.draw(st.lists(st.sampled_from(names[:-1]), min_size=1, unique=True))
    fewer = evaluator.outcome("batched", (tuple(some),))
    more = evaluator.outcome("batched", ((*some, names[-1]),))
    for field in ("memory_mb", "total_latency_ms", "energy_j"):
        one, other = getattr(fewer, field), getattr(more, field)
        if one is not None and other is not None:
            assert one.value <= other.value * (1 + 1e-12)
            assert one.high <= other.high * (1 + 1e-12)


@given(workloads(most=1), goals, st.sampled_from(CONTENTIONS))
def test_a_single_model_is_the_same_under_every_strategy(drawn, goal, contention) -> None:  # type: ignore[no-untyped-def]
    names, predictions = drawn
    built = build(names, predictions, contention, goal=goal)
    first, *others = [outcome_of(one, built).model_dump(exclude={"strategy"}) for one in STRATEGIES]
    assert all(other == first for other in others)
    # And the same as it is predicted to be alone.
    (job,) = built.jobs
    assert first["total_latency_ms"] == job.duration_ms.model_dump()
    assert first["throughput_per_s"] == job.rate_per_s.model_dump()


@each
def test_a_tiny_model_and_a_huge_one_differ(strategy: Strategy) -> None:
    tiny = predicted(latency=0.4, memory=18, power=40)
    huge = predicted(latency=2_100, memory=22_500, power=390)
    other = predicted(latency=10, memory=400, power=100)
    for company in ([], ["o"]):
        one = outcome_of(strategy, build(["t", *company], {"t": tiny, "o": other}))
        two = outcome_of(strategy, build(["h", *company], {"h": huge, "o": other}))
        assert one.total_latency_ms.value < two.total_latency_ms.value
        assert one.throughput_per_s.value > two.throughput_per_s.value
        assert one.memory_mb.value < two.memory_mb.value  # type: ignore[union-attr]
        assert one.energy_j.value < two.energy_j.value  # type: ignore[union-attr]


@each
@settings(deadline=None, max_examples=60)
@given(
    workloads(),
    goals,
    st.none() | st.floats(1, 1_000),
    st.none() | st.floats(1, 1_000),
    st.none() | st.floats(1, 2_000),
    st.none() | st.floats(1, 1_000),
    st.sampled_from(CONTENTIONS),
)
def test_feasible_means_that_the_limits_hold(  # type: ignore[no-untyped-def]
    strategy, drawn, goal, memory, power, latency, own, contention
) -> None:
    names, predictions = drawn
    built = build(
        names,
        predictions,
        contention,
        goal=goal,
        memory_mb=memory,
        limits=StrategyLimits(power_w=power, latency_ms=latency),
        own={} if own is None else {names[0]: own},
    )
    found = outcome_of(strategy, built)
    holds = (
        (memory is None or (found.memory_mb is not None and found.memory_mb.high <= memory))
        and (power is None or (found.power_w is not None and found.power_w.value <= power))
        and (latency is None or found.total_latency_ms.value <= latency)
        and (own is None or found.model_latency_ms[names[0]].value <= own)
    )
    assert found.feasible == holds
    assert bool(found.violations) != holds


@each
def test_two_hundred_models_are_planned(strategy: Strategy) -> None:
    names = [f"m{i:03}" for i in range(200)]
    predictions = {
        name: predicted(latency=1 + i % 17, memory=10 + i % 11, power=50 + i % 7)
        for i, name in enumerate(names)
    }
    found = outcome_of(strategy, build(names, predictions, memory_mb=500))
    assert sorted(name for wave in found.waves for name in wave) == names
    assert found.feasible == (strategy.name != "parallel")
