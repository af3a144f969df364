"""What bad input gets: answers that stay finite and sensible, and interval that own up."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.bank import METRICS, Bank, Observation, Predicted
from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.judge import impossible

RATE = "throughput_per_s"
CELL = Cell(
    "net",
    "nvidia-t4",
    gmacs=4.1,
    parameters_m=25.6,
    activations_m=11.0,
    task="inference",
    precision="fp16",
    batch_size=8.0,
)


def taught(observations: Sequence[Observation]) -> Bank:
    bank = Bank()
    for one in observations:
        bank.learn(one)
    return bank


def rates(*values: float, unit: str = "images/s") -> list[Observation]:
    return [Observation(CELL, {RATE: value}, {RATE: unit}) for value in values]


def predicted(bank: Bank, cell: Cell = CELL, unit: str = "images/s") -> Predicted:
    return bank.predict([cell], [RATE], {RATE: unit})[0][RATE]


def is_sensible(one: Predicted) -> bool:
    return (
        0 < one.low <= one.value <= one.high < math.inf
        and 0 <= one.confidence <= 1
        and one.basis.total > 0
    )


def test_one_single_event() -> None:
    one = predicted(taught(rates(900.0)))

    assert is_sensible(one)
    assert one.low < 900.0 < one.high
    far = predicted(taught(rates(900.0)), Cell("other", "elsewhere"))
    assert is_sensible(far)
    assert far.high / far.low > one.high / one.low


@pytest.mark.timeout(120)
def test_ten_thousand_identical_events() -> None:
    metrics = {RATE: 900.0, "latency_ms": 8.9, "power_w": 65.0, "memory_mb": 900.0}
    bank = Bank()
    for _ in range(10_000):
        bank.learn(Observation(CELL, metrics, {RATE: "images/s", "latency_ms": "batch"}))
    (answer,) = bank.predict([CELL])
    (fitting,) = bank.fittings([CELL])
    (strange,) = bank.predict([Cell("other", "elsewhere", batch_size=512.0)])

    for metric, value in metrics.items():
        assert is_sensible(answer[metric])
        assert answer[metric].value == pytest.approx(value, rel=0.01), metric
        assert answer[metric].confidence > 0.9
        assert is_sensible(strange[metric])
        assert strange[metric].confidence <= answer[metric].confidence
    assert fitting is not None
    assert fitting.chance > 0.95


def test_a_constant_metric_is_constant_and_not_certain_elsewhere() -> None:
    chance = random.Random(4)
    bank = Bank()
    for number in range(200):
        cell = CELL._replace(
            model=f"m{number % 10}", gmacs=1.0 + number % 10, batch_size=chance.choice([1.0, 8.0])
        )
        bank.learn(Observation(cell, {"power_w": 70.0}))
    (here, there) = bank.predict(
        [CELL._replace(model="m3", gmacs=4.0), CELL._replace(model="m3", hardware="elsewhere")],
        ["power_w"],
    )

    assert here["power_w"].value == pytest.approx(70.0, rel=0.05)
    assert there["power_w"].high / there["power_w"].low > 1.5
    assert there["power_w"].confidence < here["power_w"].confidence


def test_units_mixed_in_one_stream_are_kept_apart() -> None:
    images, tokens = rates(*[900.0] * 40), rates(*[70_000.0] * 40, unit="tokens/s")
    bank = taught([one for pair in zip(images, tokens, strict=True) for one in pair])

    assert predicted(bank).value == pytest.approx(900.0, rel=0.1)
    assert predicted(bank, unit="tokens/s").value == pytest.approx(70_000.0, rel=0.1)
    assert bank.predict([CELL], [RATE], {RATE: "furlongs"}) == [{}]


def test_contradicting_measurements_of_one_cell_widen_its_interval() -> None:
    chance = random.Random(1)
    calm = predicted(taught(rates(*[900.0 * chance.lognormvariate(0, 0.02) for _ in range(80)])))
    torn = predicted(taught(rates(*[chance.choice([500.0, 1600.0]) for _ in range(80)])))

    assert torn.high / torn.low > 2.0 * calm.high / calm.low
    assert torn.low <= 600.0
    assert torn.high >= 1350.0
    assert torn.confidence < 0.6 * calm.confidence


values = st.floats(min_value=1e-9, max_value=1e12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["nvidia-t4", "elsewhere"]),
            st.dictionaries(st.sampled_from(METRICS), values, min_size=1),
            st.sampled_from(["images/s", "tokens/s", ""]),
            st.sampled_from(["ok", "ok", "out_of_memory", "failed"]),
            st.none() | values,
            st.sampled_from([None, "fp16", "int4", "nonsense"]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_whatever_comes_all_answers_are_sensible(
    rows: list[tuple[str, str, dict[str, float], str, str, float | None, str | None]],
) -> None:
    bank = Bank()
    cells = []
    for model, hardware, metrics, unit, outcome, duration_s, precision in rows:
        size = next(iter(metrics.values()))
        cell = Cell(model, hardware, parameters_m=size, precision=precision, batch_size=size)
        bank.learn(Observation(cell, metrics, {RATE: unit}, outcome, duration_s))
        cells.append(cell)

    for cell, answer, fitting in zip(cells, bank.predict(cells), bank.fittings(cells), strict=True):
        assert all(is_sensible(one) for one in answer.values())
        assert fitting is None or 0.0 <= fitting.chance <= 1.0
        lasting = bank.lasting(cell, 7200.0)
        assert lasting is None or (-3.0 < lasting.log_speed <= 0.0 <= lasting.half_width < 10.0)


def test_of_the_sample_that_ships_five_rows_are_impossible(sample: list[Observation]) -> None:
    reasons = [
        (one.cell.model, one.cell.hardware, reason)
        for one in sample
        if (reason := impossible(one.cell, one.metrics, one.units, catalogue())) is not None
    ]

    assert Counter((model, hardware) for model, hardware, _ in reasons) == {
        ("Qwen/Qwen2-7B", "nvidia-h100"): 5
    }
    assert all("weights read" in reason for *_, reason in reasons)


def test_nor_does_a_bank_that_learnt_them_all_suspect_more(sample: list[Observation]) -> None:
    """What one event says of a model must not rule out another's of the same name."""
    bank = Bank()
    suspected = 0
    for one in sample:
        if bank.judge(one) is None:
            bank._descriptors.learn(one.cell)  # learning it all takes seconds
        else:
            suspected += 1

    assert suspected == 5
