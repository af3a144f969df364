from __future__ import annotations

import math

import pytest

from strategies.contention import Contention, NoInterference, TakingTurns, Untaught
from strategies.outcome import Evaluator
from strategies.workload import Workload, workload
from tests.unit.strategies.making import Pairwise, predicted, work


def evaluator(predictions, contention: Contention | None = None, own=None, **fields) -> Evaluator:  # type: ignore[no-untyped-def]
    built = workload(
        work(list(predictions), own, **fields), predictions, None, contention or Untaught()
    )
    assert isinstance(built, Workload)
    return Evaluator(built)


TWO = {
    "a": predicted(latency=10, memory=100, power=50, share=0.0),
    "b": predicted(latency=30, memory=200, power=80, share=0.0),
}


def test_taking_turns_takes_as_long_as_one_after_the_other() -> None:
    found = evaluator(TWO, TakingTurns()).outcome("parallel", (("a", "b"),))
    # Half speed until a is done at 20, then b has 20 left and the device to itself.
    assert found.model_latency_ms["a"].value == pytest.approx(20)
    assert found.total_latency_ms.value == pytest.approx(40)
    assert found.mean_latency_ms is not None
    assert found.mean_latency_ms.value == pytest.approx(30)


def test_no_interference_takes_as_long_as_the_longest() -> None:
    found = evaluator(TWO, NoInterference()).outcome("parallel", (("a", "b"),))
    assert found.total_latency_ms.value == pytest.approx(30)


def test_before_data_the_interval_spans_all_that_is_possible() -> None:
    found = evaluator(TWO).outcome("parallel", (("a", "b"),))
    # b runs at 1/sqrt(2) until a is done after 10 sqrt(2), then alone for the remaining 20.
    assert found.total_latency_ms.value == pytest.approx(10 * math.sqrt(2) + 20)
    assert found.total_latency_ms.low == pytest.approx(30)
    assert found.total_latency_ms.high == pytest.approx(10 * 4 + 20)


def test_each_has_its_own_speed_where_the_contention_says_so() -> None:
    found = evaluator(TWO, Pairwise({"a": 1.0, "b": 0.0})).outcome("parallel", (("a", "b"),))
    # a is not slowed down by b; b runs at half speed beside a.
    assert found.model_latency_ms["a"].value == pytest.approx(10)
    assert found.model_latency_ms["b"].value == pytest.approx(35)


def test_waves_add_up() -> None:
    found = evaluator(TWO).outcome("sequential", (("b",), ("a",)))
    assert found.total_latency_ms.value == 40
    assert found.model_latency_ms["a"].value == 40
    assert found.memory_mb is not None
    assert found.memory_mb.value == 200  # released in between
    assert found.energy_j is not None
    assert found.energy_j.value == pytest.approx(0.5 + 2.4)
    assert found.power_w is not None
    assert found.power_w.value == 80


def test_memory_and_power_of_a_wave() -> None:
    found = evaluator(TWO, NoInterference()).outcome("parallel", (("a", "b"),))
    assert found.memory_mb is not None
    assert found.memory_mb.value == 300
    assert found.power_w is not None
    assert found.power_w.value == 130
    turns = evaluator(TWO, TakingTurns()).outcome("parallel", (("a", "b"),))
    assert turns.power_w is not None
    assert turns.power_w.value == 80  # what the hungrier one draws in its turn


def test_throughput_counts_items_over_the_whole() -> None:
    predictions = {
        "a": predicted(latency=10, throughput=400),  # 4 images a run
        "b": predicted(latency=30, throughput=100),  # 3
    }
    found = evaluator(predictions).outcome("sequential", (("a",), ("b",)))
    assert found.throughput_per_s.value == pytest.approx(7 / 0.040)
    assert found.throughput_per_s.unit == "images/s"


def test_different_units_are_not_added() -> None:
    predictions = {
        "a": predicted(latency=10, throughput=400),
        "b": predicted(latency=30, throughput=9_000, unit="tokens/s"),
    }
    found = evaluator(predictions).outcome("sequential", (("a",), ("b",)))
    assert found.throughput_per_s.value == pytest.approx(2 / 0.040)
    assert found.throughput_per_s.unit == "items/s"


def test_a_throughput_alone_gives_a_duration() -> None:
    found = evaluator({"a": predicted(throughput=50)}).outcome("parallel", (("a",),))
    assert found.total_latency_ms.value == pytest.approx(20)


def test_what_is_unknown_for_one_is_unknown_for_all() -> None:
    predictions = {"a": predicted(latency=1, memory=5), "b": predicted(latency=1, power=5)}
    found = evaluator(predictions).outcome("parallel", (("a", "b"),))
    assert (found.memory_mb, found.power_w, found.energy_j) == (None, None, None)
    assert found.feasible


def test_violations_say_what_and_how_much() -> None:
    found = evaluator(
        TWO,
        own={"a": 5.0},
        memory_mb=150,
        limits={"power_w": 60, "latency_ms": 20},
    ).outcome("sequential", (("a",), ("b",)))
    assert found.violations == [
        "b may need 200 MB (200 to 200) at once; at most 150 MB is allowed",
        "b may draw 80 W (80 to 80); at most 60 W is allowed",
        "the workload takes 40 ms (40 to 40); at most 20 ms is allowed",
        "a is done after 10 ms (10 to 10); at most 5 ms is allowed",
    ]


def test_unknown_under_a_limit_is_a_violation() -> None:
    found = evaluator({"a": predicted(latency=1)}, limits={"power_w": 60, "memory_mb": 10}).outcome(
        "parallel", (("a",),)
    )
    assert [text.split(" is unknown")[0] for text in found.violations] == [
        "the memory of a",
        "the power of a",
    ]


def test_nothing_known_is_said_in_a_sentence() -> None:
    found = workload(work(["a", "b"]), {"a": predicted(memory=3)}, None, Untaught())
    assert isinstance(found, str)
    assert "neither latency nor throughput is known for a and b on gpu" in found
