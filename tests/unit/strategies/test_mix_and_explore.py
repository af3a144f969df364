"""A mix of goals, and trying what is less certain."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.errors import BadInput
from schemas.replies import StrategyReply
from schemas.requests import GoalWeights, StrategyLimits
from strategies.choose import choose
from strategies.contention import Speed, TakingTurns
from tests.unit.strategies.making import Pairwise, predicted, work

FOUND = {name: predicted(latency=10, throughput=100, memory=100, power=50) for name in "abc"}
FREE = Pairwise(dict.fromkeys("abc", 0.05))  # hardly any interference


def mixed(**weights: float) -> StrategyReply:
    request = work(list("abc"), weights=GoalWeights(**weights))
    return choose(request, FOUND, "d", contention=FREE)


def test_a_mix_goes_with_its_weights() -> None:
    fast, small = mixed(throughput=1.0), mixed(memory=1.0)
    assert fast.chosen is not None
    assert small.chosen is not None
    assert (fast.chosen.strategy, small.chosen.strategy) == ("parallel", "sequential")
    found = {}
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        reply = mixed(throughput=share, memory=1 - share)
        assert reply.chosen is not None
        assert reply.chosen.memory_mb is not None
        found[share] = reply.chosen.memory_mb.value
    # The more throughput weighs, the more memory is spent on it.
    assert list(found.values()) == sorted(found.values())
    assert "best mix of throughput and memory" in mixed(throughput=1, memory=1).reasons[0]


def test_a_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one weight"):
        GoalWeights()


def test_a_mix_with_what_is_unknown_says_so() -> None:
    found = {name: predicted(latency=10, memory=100) for name in "ab"}
    request = work(["a", "b"], weights=GoalWeights(throughput=1, energy=1))
    reply = choose(request, found, "d")
    assert reply.chosen is None
    assert "energy is unknown" in reply.reasons[0]


def test_a_mix_keeps_the_limits() -> None:
    request = work(
        list("abc"), weights=GoalWeights(throughput=1), limits=StrategyLimits(memory_mb=150)
    )
    reply = choose(request, FOUND, "d", contention=FREE)
    assert reply.chosen is not None
    assert reply.chosen.strategy == "sequential"


class Unsure(TakingTurns):
    """Predicted a little worse than taking turns, perhaps much better."""

    def speeds(self, models, device):  # type: ignore[no-untyped-def]
        count = len(models)
        return [Speed(1.0, 1.0, 1.0) if count == 1 else Speed(0.49, 0.3, 0.9)] * count

    def by_count(self, count, device):  # type: ignore[no-untyped-def]
        return None


def test_it_tries_what_may_be_better_within_the_allowance() -> None:
    request = work(["a", "b"], goal="throughput")
    plain = choose(request, FOUND, "d", contention=Unsure())
    assert plain.chosen is not None
    assert (plain.chosen.strategy, plain.explored) == ("sequential", None)
    tried = choose(request, FOUND, "d", contention=Unsure(), allowance=0.05)
    assert tried.chosen is not None
    assert tried.explored is not None
    assert tried.chosen.strategy == "parallel"
    assert tried.explored.instead_of == "sequential"
    assert 0 < tried.explored.predicted_regret <= 0.05
    assert "is tried" in tried.reasons[0]
    assert "sequential" in {one.strategy for one in tried.alternatives}
    strict = choose(request, FOUND, "d", contention=Unsure(), allowance=0.01)
    assert strict.explored is None


def test_it_never_tries_what_breaks_a_limit() -> None:
    request = work(["a", "b"], goal="throughput", limits=StrategyLimits(memory_mb=150))
    reply = choose(request, FOUND, "d", contention=Unsure(), allowance=1.0)
    assert reply.explored is None
    assert reply.chosen is not None
    assert reply.chosen.strategy == "sequential"


def test_no_goal_always_picks_the_same() -> None:
    """On a spread of workloads, every goal but the ones physics decides picks different ones."""
    chosen: dict[str, set[str]] = {}
    for weight in (0.01, 0.5, 2.0):
        for memory in (None, 150.0, 250.0):
            for goal in ("throughput", "latency", "memory", "energy"):
                request = work(list("abc"), goal=goal, limits=StrategyLimits(memory_mb=memory))
                contention = Pairwise({"a": weight, "b": weight / 10, "c": 2 * weight})
                reply = choose(request, FOUND, "d", contention=contention)
                if reply.chosen is not None:
                    chosen.setdefault(goal, set()).add(reply.chosen.strategy)
    assert len(chosen["throughput"]) > 1
    assert len(chosen["latency"]) > 1
    assert len(chosen["energy"]) > 1


def test_a_strategy_that_there_is_not_is_named() -> None:
    with pytest.raises(BadInput, match=r"strategy: got 'magic'; expected .*parallel"):
        choose(work(["a", "b"], strategy="magic"), FOUND, "d")
