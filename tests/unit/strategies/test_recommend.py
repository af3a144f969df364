from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.replies import RecommendReply
from schemas.requests import RecommendRequest
from strategies.recommend import HardwareCandidate, recommend
from tests.unit.strategies.making import about, candidate


def ask(*candidates: HardwareCandidate, **fields: Any) -> RecommendReply:
    return recommend(RecommendRequest(model="m", **fields), candidates, "d-1")


# Score


def test_the_fastest_wins_when_nothing_else_is_asked() -> None:
    reply = ask(candidate("slow", 100), candidate("fast", 300), candidate("middle", 200))
    assert reply.decision_id == "d-1"
    assert reply.recommended is not None
    assert reply.recommended.hardware == "fast"
    assert reply.recommended.score == 1.0
    assert [one.hardware for one in reply.runners_up] == ["middle", "slow"]
    assert "fast scores highest (1): throughput 300 images/s (270 to 330)" in reply.reasons
    assert reply.runners_up[0].reasons[-1] == "against fast: 33.3 % less performance"


def test_weights_are_normalised_and_units_cancel() -> None:
    reply = ask(
        candidate("a", 100, cost=1.0),
        candidate("b", 300, cost=4.0),
        weights={"performance": 30, "cost": 10},
    )
    assert reply.recommended is not None
    assert reply.recommended.hardware == "b"
    assert [(p.criterion, p.score, p.weight) for p in reply.recommended.parts] == [
        ("performance", 1.0, 0.75),
        ("cost", 0.25, 0.25),
    ]
    assert reply.recommended.score == pytest.approx(0.8125)
    assert reply.runners_up[0].score == pytest.approx(0.75 / 3 + 0.25)


def test_latency_as_performance_is_better_when_lower() -> None:
    reply = ask(candidate("a", latency=20.0), candidate("b", latency=10.0), metric="latency_ms")
    assert reply.recommended is not None
    assert reply.recommended.hardware == "b"
    assert reply.runners_up[0].score == 0.5


def test_availability_counts() -> None:
    reply = ask(
        candidate("rare", 110, availability=0.1),
        candidate("free", 100, availability=0.9),
        weights={"performance": 1, "availability": 1},
    )
    assert reply.recommended is not None
    assert reply.recommended.hardware == "free"


def test_an_unknown_value_is_scored_openly() -> None:
    reply = ask(
        candidate("a", 100, power=100),
        candidate("b", 100, power=200),
        candidate("c", 100),
        weights={"power": 1},
    )
    scores = {one.hardware: one.score for one in [reply.recommended, *reply.runners_up] if one}
    assert scores == {"a": 1.0, "b": 0.5, "c": 0.25}
    assert any("power is unknown and scores 0.25" in r for r in reply.runners_up[1].reasons)


def test_what_nobody_knows_decides_nothing() -> None:
    reply = ask(candidate("b", 100), candidate("a", 100), weights={"power": 1})
    assert reply.recommended is not None
    assert reply.recommended.hardware == "a"
    assert reply.recommended.score == reply.runners_up[0].score == 0.5
    assert "b scores the same; a is named first by the order of names" in reply.reasons


def test_another_unit_counts_as_unknown() -> None:
    other = candidate("tokens", 5_000)
    other.estimates["throughput_per_s"] = about(5_000, unit="tokens/s")
    reply = ask(candidate("a", 100), candidate("b", 90), other)
    assert reply.recommended is not None
    assert reply.recommended.hardware == "a"


def test_says_whether_the_lead_is_clear() -> None:
    clear = ask(candidate("a", 100), candidate("b", 300))
    assert clear.recommended is not None
    assert clear.recommended.separated_from_next is True
    assert clear.runners_up[-1].separated_from_next is None
    assert any("clear of each other" in reason for reason in clear.reasons)
    close = ask(candidate("a", 100), candidate("b", 105))
    assert close.recommended is not None
    assert close.recommended.separated_from_next is False
    assert any("overlap" in reason for reason in close.reasons)


# Limits


def test_each_exclusion_says_limit_value_and_what_was_allowed() -> None:
    reply = ask(
        candidate("hot", 500, power=400),
        candidate("cool", 100, power=80),
        limits={"power_w": 300},
    )
    assert reply.recommended is not None
    assert reply.recommended.hardware == "cool"
    (out,) = reply.excluded
    assert (out.hardware, out.limit, out.value, out.allowed) == ("hot", "power_w", 400, 300)
    assert out.reason == "hot: power 400 W exceeds the limit of 300 W"
    assert "the limit power_w excludes 1 of 2 candidates" in reply.reasons
    assert "cool alone meets every limit" in reply.reasons


@pytest.mark.parametrize(
    ("limits", "bad", "limit"),
    [
        ({"latency_ms": 10}, candidate("x", 100, latency=11.0), "latency_ms"),
        ({"cost_per_hour": 2}, candidate("x", 100, cost=3.0), "cost_per_hour"),
        ({"throughput_per_s": 200}, candidate("x", 100), "throughput_per_s"),
        ({"memory_mb": 1_000}, candidate("x", 100, memory=1_100.0), "memory_mb"),
        ({"precision": ["fp16"]}, candidate("x", 100, precision="int8"), "precision"),
    ],
)
def test_limits_exclude(limits: dict[str, Any], bad: HardwareCandidate, limit: str) -> None:
    reply = ask(bad, limits=limits)
    assert reply.recommended is None
    assert [out.limit for out in reply.excluded] == [limit]
    assert any(f"the limit {limit} excludes 1 of 1" in reason for reason in reply.reasons)
    assert any("would admit x" in reason for reason in reply.reasons)


@pytest.mark.parametrize(
    "limits",
    [
        {"latency_ms": 10},
        {"cost_per_hour": 2},
        {"throughput_per_s": 200},
        {"memory_mb": 1_000},
        {"power_w": 10},
        {"precision": ["fp16"]},
    ],
)
def test_what_is_unknown_cannot_be_shown_to_hold(limits: dict[str, Any]) -> None:
    reply = ask(candidate("x"), limits=limits)
    assert reply.recommended is None
    (out,) = reply.excluded
    assert out.value is None
    assert "cannot be shown to hold" in out.reason
    assert any("no change of a limit is known" in reason for reason in reply.reasons)


def test_memory_is_held_to_the_upper_end() -> None:
    assert ask(candidate("x", 1, memory=950.0), limits={"memory_mb": 1_000}).recommended is None
    assert ask(candidate("x", 1, memory=900.0), limits={"memory_mb": 1_000}).recommended


def test_what_does_not_fit_the_device_is_out_without_a_limit() -> None:
    reply = ask(candidate("small", 500, memory=10_000, capacity=8_000), candidate("big", 100))
    assert reply.recommended is not None
    assert reply.recommended.hardware == "big"
    assert reply.excluded[0].limit == "device_memory_mb"


def test_names_the_smallest_change_that_admits_somebody() -> None:
    reply = ask(
        candidate("a", 100, power=500),
        candidate("b", 100, power=320),
        candidate("c", 50, power=301, cost=9.0),
        limits={"power_w": 300, "cost_per_hour": 5},
    )
    assert reply.recommended is None
    # a and b have no known cost, so only c can be cured.
    assert reply.reasons[-1] == (
        "raising power_w from 300 to 301 and raising cost_per_hour from 5 to 9 would admit c"
    )


def test_the_change_that_is_named_suffices() -> None:
    bad = candidate("x", 100, power=333.3333)
    reply = ask(bad, limits={"power_w": 300})
    raised = float(reply.reasons[-1].split(" to ")[1].split(" would")[0])
    assert ask(bad, limits={"power_w": raised}).recommended


def test_no_candidates_at_all() -> None:
    reply = ask()
    assert reply.recommended is None
    assert reply.reasons[0].startswith("no hardware is known")


def test_breaking_two_limits_gives_two_entries() -> None:
    reply = ask(candidate("x", 1, power=99, latency=9), limits={"power_w": 9, "latency_ms": 1})
    assert sorted(out.limit for out in reply.excluded) == ["latency_ms", "power_w"]


# Laws

numbers = st.floats(0.1, 1e5)
rows = st.lists(
    st.tuples(numbers, st.none() | numbers, st.none() | numbers), min_size=1, max_size=6
)


def _candidates(table: list[tuple[float, float | None, float | None]]) -> list[HardwareCandidate]:
    return [
        candidate(f"h{i}", speed, cost=cost, **({} if power is None else {"power": power}))
        for i, (speed, power, cost) in enumerate(table)
    ]


MIX = {"performance": 2, "power": 1, "cost": 1}


@given(rows, st.randoms())
def test_order_changes_nothing(table: list[Any], chance: Any) -> None:
    candidates = _candidates(table)
    shuffled = candidates.copy()
    chance.shuffle(shuffled)
    assert ask(*candidates, weights=MIX) == ask(*shuffled, weights=MIX)


@given(rows, st.data())
def test_a_strictly_better_candidate_never_ranks_below(table: list[Any], data: Any) -> None:
    speed, power, cost = data.draw(st.sampled_from(table))
    better = candidate(
        "better",
        speed * 1.5,
        cost=None if cost is None else cost / 1.5,
        **({} if power is None else {"power": power / 1.5}),
    )
    worse = candidate("aworse", speed, cost=cost, **({} if power is None else {"power": power}))
    reply = ask(*_candidates(table), worse, better, weights=MIX)
    order = [one.hardware for one in [reply.recommended, *reply.runners_up] if one]
    assert order.index("better") < order.index("aworse")


@given(rows, numbers, numbers)
def test_answers_keep_the_limits(table: list[Any], power: float, cost: float) -> None:
    reply = ask(*_candidates(table), limits={"power_w": power, "cost_per_hour": cost}, weights=MIX)
    prices = {f"h{i}": row[2] for i, row in enumerate(table)}
    for one in [reply.recommended, *reply.runners_up]:
        if one is not None:
            assert one.metrics["power_w"].value <= power
            assert prices[one.hardware] is not None
            assert prices[one.hardware] <= cost
    ranked = len(reply.runners_up) + (reply.recommended is not None)
    assert ranked + len({out.hardware for out in reply.excluded}) == len(table)


@given(rows)
def test_parts_add_up_to_the_score(table: list[Any]) -> None:
    reply = ask(*_candidates(table), weights=MIX)
    for one in [reply.recommended, *reply.runners_up]:
        assert one is not None
        assert sum(part.weight for part in one.parts) == pytest.approx(1)
        assert one.score == pytest.approx(sum(p.weight * p.score for p in one.parts))
        assert all(0 < part.score <= 1 for part in one.parts)
