from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.replies import StrategyReply
from strategies.choose import choose, measure
from strategies.contention import FLOOR, Speed, TakingTurns
from tests.unit.strategies.making import Pairwise, predicted, work, workloads

goals = st.sampled_from(["throughput", "latency", "memory", "energy"])


class Thrashing:
    """Models that evict each other's data: sharing costs half of the device."""

    def speeds(self, models: Any, device: str) -> list[Speed]:
        return [self.by_count(len(models), device)] * len(models)

    def by_count(self, count: int, device: str) -> Speed:
        value = 1.0 if count == 1 else FLOOR / count
        return Speed(value, value, value)


FOUR = {
    "a": predicted(latency=10, memory=100, power=60),
    "b": predicted(latency=12, memory=900, power=90),
    "c": predicted(latency=40, memory=300, power=120),
    "d": predicted(latency=45, memory=500, power=200),
}


def ask(
    predictions: Any = None, contention: Any = None, own: Any = None, **fields: Any
) -> StrategyReply:
    predictions = predictions or FOUR
    return choose(work(list(predictions), own, **fields), predictions, "d-1", contention=contention)


def name(reply: StrategyReply) -> str | None:
    return reply.chosen.strategy if reply.chosen else None


def test_with_room_all_run_at_once() -> None:
    reply = ask()
    assert reply.decision_id == "d-1"
    assert name(reply) == "parallel"
    assert sorted(one.strategy for one in reply.alternatives) == ["batched", "sequential"]
    assert reply.reasons[0].startswith("parallel has the best throughput: ")
    assert any("less throughput; the intervals overlap" in reason for reason in reply.reasons)
    # A checked copy is the same: nothing was built that the contract does not allow.
    assert StrategyReply.model_validate(reply.model_dump()) == reply


def test_too_little_room_gives_waves() -> None:
    reply = ask(memory_mb=1_500)
    assert name(reply) == "batched"
    assert any(
        reason.startswith("parallel breaks a limit: a, b, c and d may") for reason in reply.reasons
    )


def test_room_for_one_gives_one_after_the_other() -> None:
    like = {one: predicted(latency=10, memory=600) for one in "abc"}
    assert name(ask(like, memory_mb=1_000)) == "sequential"


def test_a_capacity_that_was_looked_up_counts() -> None:
    reply = choose(work(list(FOUR)), FOUR, "d", capacity_mb=1_500)
    assert name(reply) == "batched"


def test_where_sharing_hurts_nothing_is_shared() -> None:
    reply = ask(contention=Thrashing())
    assert name(reply) == "sequential"
    assert any("clear of the chosen one's" in reason for reason in reply.reasons)


def test_memory_free_of_charge_is_used() -> None:
    # a and c fit beside each other within what b needs by itself: waves cost no more memory.
    reply = ask(goal="memory")
    assert name(reply) == "batched"
    assert reply.chosen is not None
    assert reply.chosen.memory_mb is not None
    assert reply.chosen.memory_mb.value == 900
    assert any("sequential has the same peak memory" in reason for reason in reply.reasons)


def test_nothing_feasible_says_what_would_have_to_change() -> None:
    reply = ask(memory_mb=500)
    assert reply.chosen is None
    assert len(reply.alternatives) == 3
    assert reply.reasons[0] == "no strategy meets the limits on gpu"
    assert reply.reasons[-1] == (
        "nearest to its limits is sequential; what stands in its way: "
        "b may need 900 MB (810 to 990) at once; at most 500 MB is allowed; "
        "d may need 500 MB (450 to 550) at once; at most 500 MB is allowed"
    )


def test_a_goal_whose_quantity_is_unknown_is_refused() -> None:
    for goal, what in (("energy", "power"), ("memory", "memory")):
        reply = ask({"a": predicted(latency=1), "b": predicted(latency=2)}, goal=goal)
        assert reply.chosen is None
        assert f"the {what} of a and b was never measured on gpu" in reply.reasons[0]
        assert len(reply.alternatives) == 3


def test_a_model_nobody_has_seen() -> None:
    reply = ask({**FOUR, "new": {}})
    assert reply.chosen is None
    assert reply.alternatives == []
    assert "neither latency nor throughput is known for new" in reply.reasons[0]


def test_a_limit_that_may_be_missed_is_named() -> None:
    reply = ask(own={"d": 200.0}, limits={"latency_ms": 210})
    assert "a limit on latency may still be missed by the whole and d" in reply.reasons


def test_unknown_memory_is_named() -> None:
    reply = ask({"a": predicted(latency=1), "b": predicted(latency=2, memory=3)})
    assert "memory was never measured for a: watch the first run" in reply.reasons


def test_a_single_model() -> None:
    reply = ask({"a": predicted(latency=10)})
    assert name(reply) == "sequential"
    assert reply.reasons == [
        "a single model runs the same under every strategy: throughput 100 items/s (90.9 to 111)"
    ]


def test_two_hundred_models_state_their_bound() -> None:
    predictions = {
        f"m{i:03}": predicted(latency=1 + i % 17, memory=10 + i % 11) for i in range(200)
    }
    reply = ask(predictions, memory_mb=500)
    assert name(reply) == "batched"
    assert any("no partition takes less than" in reason for reason in reply.reasons)


# Laws


@settings(deadline=None)
@given(workloads(), goals, st.randoms())
def test_the_order_of_the_list_changes_nothing(drawn: Any, goal: Any, chance: Any) -> None:
    names, predictions = drawn
    turned = names.copy()
    chance.shuffle(turned)
    assert choose(work(names, goal=goal), predictions, "d") == choose(
        work(turned, goal=goal), predictions, "d"
    )


@settings(deadline=None)
@given(
    workloads(),
    goals,
    st.none() | st.floats(1, 1_500),
    st.none() | st.floats(1, 800),
    st.none() | st.floats(1, 2_000),
)
def test_limits_are_honoured_and_nothing_better_is_left(
    drawn: Any, goal: Any, memory: Any, power: Any, latency: Any
) -> None:
    names, predictions = drawn
    request = work(
        names, goal=goal, memory_mb=memory, limits={"power_w": power, "latency_ms": latency}
    )
    reply = choose(request, predictions, "d")
    feasible = [one for one in reply.alternatives if one.feasible]
    if reply.chosen is None:
        assert reply.reasons
        assert not [one for one in feasible if measure(goal, one)]
        return
    chosen = reply.chosen
    assert chosen.feasible
    assert memory is None or (chosen.memory_mb is not None and chosen.memory_mb.high <= memory)
    assert power is None or (chosen.power_w is not None and chosen.power_w.value <= power)
    assert latency is None or chosen.total_latency_ms.value <= latency
    sign = -1 if goal == "throughput" else 1
    mine = measure(goal, chosen)
    assert mine is not None
    for other in feasible:
        its = measure(goal, other)
        assert its is not None
        assert sign * mine.value <= sign * its.value * (1 + sign * 1e-8)


@pytest.mark.parametrize("goal", ["throughput", "latency", "memory", "energy"])
def test_no_goal_always_picks_the_same(goal: Any) -> None:
    contentions = [
        None,
        TakingTurns(),
        Thrashing(),
        Pairwise({"a": 0.1, "b": 2.0, "c": 0.2, "d": 0.3}),
    ]
    latencies = [None, 70.0, 85.0, 100.0]
    picked = {
        name(
            ask(goal=goal, contention=contention, memory_mb=memory, limits={"latency_ms": latency})
        )
        for contention in contentions
        for memory in (None, 2_000, 1_500, 1_100)
        for latency in latencies
    }
    assert {"parallel", "batched", "sequential"} <= picked
