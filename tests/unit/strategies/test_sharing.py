"""Sharing: one encoder for several models saves its time and memory, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.sharing import SharingLearner
from strategies.choose import choose
from strategies.contention import ALONE, TakingTurns
from strategies.sharing import UNKNOWN, Encoder, Portion, Sharing, WithSharing, together
from tests.unit.strategies.making import predicted, work

GROUP = ("shared", "enc", "1x1")
KNOWN = Encoder(Portion(0.9, 0.85, 0.95), Portion(0.8, 0.75, 0.85))
SHARING = Sharing({"a": GROUP, "b": GROUP}, {(GROUP, "gpu"): KNOWN})
ALONE_MS = {("a", "gpu"): 10.0, ("b", "gpu"): 10.0, ("c", "gpu"): 10.0}


def test_two_heads_take_one_encoder() -> None:
    contention = WithSharing(TakingTurns(), SHARING, ALONE_MS)
    one, two = contention.speeds(["a", "b"], "gpu")
    # Together 10 + 10 - 9 = 11 ms, where taking turns would take 20.
    assert one.value == two.value == pytest.approx(10 / 11)
    assert contention.speeds(["a", "c"], "gpu") == TakingTurns().speeds(["a", "c"], "gpu")
    assert contention.speeds(["a"], "gpu") == [ALONE]
    # Beside another model, the two are one unit of two.
    beside = contention.speeds(["a", "c", "b"], "gpu")
    assert [one.value for one in beside] == pytest.approx([0.5 * 10 / 11, 0.5, 0.5 * 10 / 11])


def test_by_count_is_known_only_while_nobody_shares() -> None:
    assert WithSharing(TakingTurns(), SHARING, ALONE_MS).by_count(2, "gpu") is None
    one = Sharing({"a": GROUP}, {})
    assert WithSharing(TakingTurns(), one, ALONE_MS).by_count(2, "gpu") is not None


@given(
    st.lists(st.floats(0.1, 1e4), min_size=1, max_size=6),
    st.floats(0, 1),
    st.floats(0.1, 1e4),
)
def test_one_model_more_never_takes_less(parts: list[float], portion: float, more: float) -> None:
    assert together([*parts, more], portion) >= together(parts, portion) * (1 - 1e-12)
    assert max(parts) * (1 - 1e-12) <= together(parts, portion) <= sum(parts) * (1 + 1e-12)


def test_the_choice_uses_it() -> None:
    found = {name: predicted(latency=10, throughput=100, memory=100) for name in "ab"}
    request = work(["a", "b"], goal="throughput")
    plain = choose(request, found, "d", contention=TakingTurns())
    shared = choose(
        request,
        found,
        "d",
        contention=WithSharing(TakingTurns(), SHARING, ALONE_MS),
        sharing=SHARING,
    )
    assert plain.chosen is not None
    assert shared.chosen is not None
    assert plain.chosen.strategy == "sequential"
    assert shared.chosen.strategy == "parallel"
    assert shared.chosen.total_latency_ms.value == pytest.approx(11)
    assert shared.chosen.memory_mb is not None
    assert shared.chosen.memory_mb.value == pytest.approx(120)


def test_an_encoder_is_learnt_from_where_it_ran_once() -> None:
    learner = SharingLearner()
    assert learner.encoder("gpu", "enc") == Encoder(UNKNOWN, UNKNOWN)
    for _ in range(5):
        learner.learn_time("gpu", "enc", [10, 12], 13)
        learner.learn_memory("gpu", "enc", [100, 100], 110)
    found = learner.encoder("gpu", "enc")
    assert found.time.value == pytest.approx(0.9)
    assert found.memory.value == pytest.approx(0.9)
    assert found.time.low < 0.9 < found.time.high
    assert learner.encoder("cpu", "enc") == Encoder(UNKNOWN, UNKNOWN)
    # What can't be is taken for the nearest that can.
    learner.learn_time("cpu", "enc", [10, 10], 50)
    assert learner.encoder("cpu", "enc").time.value == 0
