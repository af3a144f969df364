from __future__ import annotations

import copy
import math
import pickle
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.bank import METRICS, Bank, BankConfig, Observation, Predicted
from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell

RATE = "throughput_per_s"
CELL = Cell(
    "resnet50",
    "nvidia-t4",
    architecture="resnet",
    gmacs=4.1,
    parameters_m=25.6,
    task="inference",
    batch_size=8.0,
)


def observed(value: float, cell: Cell = CELL, unit: str | None = "images/s") -> Observation:
    return Observation(cell, {RATE: value}, {RATE: unit} if unit else {})


def taught(observations: Sequence[Observation]) -> Bank:
    bank = Bank()
    for one in observations:
        bank.learn(one)
    return bank


def sensible(one: Predicted) -> bool:
    return (
        all(map(math.isfinite, (one.value, one.low, one.high)))
        and 0 < one.low <= one.value <= one.high
        and 0 <= one.confidence <= 1
    )


@pytest.fixture(scope="module")
def bank(world: list[Observation]) -> Bank:
    return taught(world[:1200])


def test_an_empty_bank_answers_with_nothing() -> None:
    bank = Bank()

    assert bank.predict([CELL]) == [{}]
    assert bank.predict([]) == []
    assert (bank.known_models(), bank.known_hardware(), bank.observed_count) == ([], [], 0)


def test_one_event_is_an_answer_with_a_wide_interval() -> None:
    (answer,) = taught([observed(100.0)]).predict([CELL])

    assert set(answer) == {RATE}
    assert answer[RATE].value == pytest.approx(100.0, rel=0.1)
    assert answer[RATE].high / answer[RATE].low > 1.2
    assert answer[RATE].unit == "images/s"
    assert answer[RATE].basis.cell == answer[RATE].basis.total == 1


def test_it_learns_the_world(bank: Bank, world: list[Observation]) -> None:
    rest = world[1200:]
    answers = bank.predict([one.cell for one in rest])

    for metric in (RATE, "latency_ms"):
        errors = [
            abs(a[metric].value / o.metrics[metric] - 1) for a, o in zip(answers, rest, strict=True)
        ]
        held = [
            a[metric].low <= o.metrics[metric] <= a[metric].high
            for a, o in zip(answers, rest, strict=True)
        ]
        assert median(errors) < 0.1
        assert 0.8 < sum(held) / len(held) <= 1.0


def test_a_candidate_with_only_a_name_predicts_as_a_full_one(
    bank: Bank, world: list[Observation]
) -> None:
    full = world[0].cell
    bare = full._replace(
        architecture=None,
        parameters_m=None,
        gmacs=None,
        activations_m=None,
        hardware_class=None,
    )

    assert bank.predict([bare]) == bank.predict([full])


def test_one_pass_over_many_equals_many_over_one(bank: Bank, world: list[Observation]) -> None:
    cells = [one.cell for one in world[1200:1220]]

    for one, other in zip(
        bank.predict(cells), [bank.predict([cell])[0] for cell in cells], strict=True
    ):
        assert set(one) == set(other)
        for metric in one:
            assert one[metric].value == pytest.approx(other[metric].value, rel=1e-9)
            assert one[metric].high == pytest.approx(other[metric].high, rel=1e-9)


def test_intervals_widen_and_confidence_falls_with_distance(bank: Bank) -> None:
    known = Cell("net1", "nvidia-t4", task="inference", precision="fp16", runtime="runtime-1")
    known = known._replace(batch_size=16.0)
    cells = [
        known,
        known._replace(model="strange"),
        known._replace(model="strange", hardware="unheard of"),
    ]

    near, far, farthest = (answer[RATE] for answer in bank.predict(cells))

    assert near.high / near.low < far.high / far.low < farthest.high / farthest.low
    assert near.confidence > far.confidence > farthest.confidence
    assert farthest.confidence <= 0.25


def test_hardware_names_are_opaque() -> None:
    """Two names with one prefix share nothing but what their features share."""
    bank = taught([observed(10.0, CELL._replace(hardware="zz_a")) for _ in range(50)])

    answers = bank.predict([CELL._replace(hardware=name) for name in ("zz_b", "completely else")])

    assert answers[0] == answers[1]


@pytest.mark.parametrize("matters", ["hardware", "runtime"])
def test_a_few_dozen_measurements_tell_which_names_matter(matters: str) -> None:
    chance = random.Random(5)
    bank = Bank()
    speeds = {"a": 1.0, "b": 2.0, "c": 5.0}

    def cell() -> Cell:
        return CELL._replace(
            model=f"m{chance.randrange(8)}",
            hardware=chance.choice("abc"),
            runtime=chance.choice("abc"),
            batch_size=chance.choice([1.0, 4.0, 16.0]),
        )

    def speed(one: Cell) -> float:
        return 100.0 * speeds[getattr(one, matters) or "a"] * (one.batch_size or 1.0) ** 0.5

    for one in (cell() for _ in range(60)):
        bank.learn(observed(speed(one), one))
    other = "runtime" if matters == "hardware" else "hardware"
    here = CELL._replace(model="m1", runtime="b", hardware="b")
    (told,) = bank.predict([here._replace(**{other: "new"})])

    assert told[RATE].value == pytest.approx(speed(here), rel=0.1)


def test_equal_sizes_of_other_architecture_are_told_apart_once_measured() -> None:
    other = CELL._replace(model="vit", architecture="vit")
    bank = taught([observed(100.0), observed(20.0, other)] * 10)

    mine, theirs = (answer[RATE].value for answer in bank.predict([CELL, other]))

    assert mine == pytest.approx(100, rel=0.2)
    assert theirs == pytest.approx(20, rel=0.2)


def test_units_are_never_mixed() -> None:
    bank = taught(
        [observed(100.0, unit="images/s"), observed(90_000.0, unit="tokens/s")] * 20
        + [observed(100.0, unit="images/s")]
    )

    for unit, value in (("images/s", 100.0), ("tokens/s", 90_000.0)):
        (answer,) = bank.predict([CELL], [RATE], {RATE: unit})
        assert answer[RATE].value == pytest.approx(value, rel=0.1)
        assert answer[RATE].unit == unit
    assert bank.predict([CELL], [RATE], {RATE: "furlongs"}) == [{}]


def test_the_unit_with_the_best_support_is_taken_and_named() -> None:
    llm = Cell("llama", "nvidia-h100", task="inference")
    bank = taught([observed(100.0)] * 30 + [observed(5000.0, llm, "tokens/s")] * 3)

    answers = bank.predict([CELL, llm])

    assert [answer[RATE].unit for answer in answers] == ["images/s", "tokens/s"]


def test_a_metric_never_measured_is_absent() -> None:
    assert set(taught([observed(1.0)]).predict([CELL], METRICS)[0]) == {RATE}


def test_runs_that_failed_teach_no_value() -> None:
    bank = taught([replace(observed(100.0), outcome="out_of_memory")])

    assert bank.predict([CELL]) == [{}]
    assert bank.observed_count == 1
    assert bank.known_models() == ["resnet50"]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_values_that_no_metric_can_have_are_passed_over(value: float) -> None:
    bank = taught([observed(100.0)])
    before = bank.predict([CELL])

    bank.learn(observed(value))

    assert bank.predict([CELL]) == before


def test_contradictions_widen_the_interval() -> None:
    calm = taught([observed(100.0)] * 60).predict([CELL])[0][RATE]
    torn = taught([observed(60.0), observed(160.0)] * 30).predict([CELL])[0][RATE]

    assert torn.high / torn.low > 2 * calm.high / calm.low
    assert torn.confidence < calm.confidence


def test_contradictions_of_a_cell_stay_wide_whatever_others_of_its_setup_do() -> None:
    other = CELL._replace(model="vgg16", gmacs=15.5, parameters_m=138.0)
    bank = taught([observed(value) for value in [100.0, 1000.0] * 20])
    for number in range(40):
        bank.learn(observed(300.0 + number % 3, other))

    odd, steady = (one[RATE] for one in bank.predict([CELL, other]))

    assert odd.low <= 100.0
    assert odd.high >= 1000.0
    assert odd.confidence < 0.3
    assert steady.high / steady.low < 1.5


def test_repeats_change_little_of_what_is_said_of_others(sample: list[Observation]) -> None:
    chance = random.Random(3)
    rows = [one for one in sample if RATE in one.metrics]
    chance.shuffle(rows)
    known, asked = rows[:300], rows[300:600]
    often = known * 10
    chance.shuffle(often)

    def judged(bank: Bank) -> tuple[float, float]:
        errors, inside = [], []
        for one in asked:
            found = bank.predict([one.cell], [RATE], one.units)[0].get(RATE)
            if found is not None:
                measured = one.metrics[RATE]
                errors.append(abs(found.value - measured) / measured)
                inside.append(found.low <= measured <= found.high)
        return median(errors), sum(inside) / len(inside)

    (error, coverage), (error_often, coverage_often) = judged(taught(known)), judged(taught(often))

    # Three times as wrong, and four of ten, when all measurements counted alike.
    assert error_often < 1.4 * error
    assert coverage_often > coverage - 0.12


def test_the_unit_is_that_of_the_model_rather_than_of_the_hardware() -> None:
    language = Cell("llm", "elsewhere", task="inference", parameters_m=7000.0, sequence_out=128.0)
    bank = taught(
        [
            *(observed(400.0, CELL._replace(batch_size=float(1 + n))) for n in range(30)),
            *(observed(90.0, language, "tokens/s") for _ in range(3)),
        ]
    )

    (found,) = bank.predict([language._replace(hardware=CELL.hardware)])

    assert found[RATE].unit == "tokens/s"


def test_lengths_that_nobody_said_are_assumed_aloud_and_widen_the_interval() -> None:
    language = Cell("llm", "box", task="inference", parameters_m=7000.0, batch_size=1.0)
    whole = language._replace(sequence_in=256.0, sequence_out=128.0)
    bank = taught([observed(90.0 + n % 3, whole, "tokens/s") for n in range(30)])

    said, unsaid = (one[RATE] for one in bank.predict([whole, language]))

    assert bank.assumed([whole, language]) == [{}, {"sequence_in": 256.0, "sequence_out": 128.0}]
    assert unsaid.value == pytest.approx(said.value, rel=0.3)
    assert unsaid.high / unsaid.low >= 4.0 * (1.0 - 1e-9) > said.high / said.low
    assert unsaid.confidence <= 0.25 < said.confidence


@pytest.mark.parametrize("name", ["hardware", "model", "task", "precision", "runtime"])
def test_spelling_makes_no_other_cell(name: str) -> None:
    cell = CELL._replace(precision="fp16", runtime="onnxruntime-1.23")
    bank = taught([observed(400.0, cell) for _ in range(10)])

    spelt, other = bank.predict([cell, cell._replace(**{name: getattr(cell, name).upper()})])

    assert other[RATE].basis == spelt[RATE].basis
    assert other[RATE].value == spelt[RATE].value


def test_one_device_is_what_is_meant_where_no_count_is_said() -> None:
    bank = taught([observed(400.0) for _ in range(3)])
    (found,) = bank.predict([CELL._replace(device_count=1.0)])
    assert found[RATE].basis.cell == 3


def test_no_rate_is_predicted_over_the_roofline() -> None:
    bank = taught([observed(400.0, CELL._replace(batch_size=float(1 + n))) for n in range(20)])
    (found,) = bank.predict([CELL._replace(model="vast", gmacs=1e9, precision="fp16")])
    # 65 TFLOP/s at 2e18 operations for each item.
    assert found[RATE].high < 1.3 * 65e12 / 2e18


def test_an_outlier_moves_little(world: list[Observation]) -> None:
    bank = taught(world[:400])
    cell = world[0].cell
    before = bank.predict([cell])[0][RATE].value

    bank.learn(Observation(cell, {RATE: 1e12}, world[0].units))

    assert bank.predict([cell])[0][RATE].value == pytest.approx(before, rel=1.0)


def test_an_outlier_moves_nothing_that_is_known(world: list[Observation]) -> None:
    """What is learnt of it is bounded, and doubted."""
    bank = taught(world)
    cells = [one.cell for one in world[:60]]
    before = bank.predict(cells, [RATE])

    one = world[0]
    bank.learn(Observation(one.cell, {RATE: 10.0 * one.metrics[RATE]}, one.units))

    after = bank.predict(cells, [RATE])
    moved = [
        abs(math.log(now[RATE].value / then[RATE].value))
        for now, then in zip(after, before, strict=True)
    ]
    assert max(moved) < 0.05


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(1e-10, 1e14),
            st.none() | st.floats(allow_nan=True),
            st.sampled_from(["a", "b", ""]),
            st.sampled_from(["images/s", "tokens/s", None]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_answers_are_always_sensible(
    rows: list[tuple[float, float | None, str, str | None]],
) -> None:
    cells = [CELL._replace(gmacs=size, model=name, batch_size=size) for _, size, name, _ in rows]
    bank = taught(
        [observed(value, cell, unit) for (value, _, _, unit), cell in zip(rows, cells, strict=True)]
    )

    for answer in bank.predict([*cells, Cell("new", "new")]):
        assert all(map(sensible, answer.values()))


def test_same_observations_give_equal_banks(world: list[Observation]) -> None:
    one, other = taught(world[:200]), taught(world[:200])
    assert one.digest() == other.digest()

    other.learn(world[201])
    assert one.digest() != other.digest()


def test_a_pickled_bank_is_equal_and_stays_so(world: list[Observation]) -> None:
    bank = taught(world[:300])
    copy = pickle.loads(pickle.dumps(bank))
    assert copy.digest() == bank.digest()

    for one in world[300:400]:
        bank.learn(one)
        copy.learn(one)
    cells = [one.cell for one in world[400:420]]
    assert copy.digest() == bank.digest()
    assert copy.predict(cells) == bank.predict(cells)


def test_predicting_changes_nothing(world: list[Observation]) -> None:
    bank = taught(world[:200])
    before = bank.digest()

    bank.predict([one.cell for one in world])

    assert bank.digest() == before


def test_a_users_data_sheet_counts() -> None:
    slow = Sheet("toy", hardware_class="gpu", fp16_tflops=1.0, fp32_tflops=0.5)
    fast = replace(slow, fp16_tflops=500.0, fp32_tflops=250.0)
    values = []
    for sheet in (slow, fast):
        bank = Bank(BankConfig(sheets=(replace(sheet, bandwidth_gb_per_s=sheet.fp16_tflops),)))
        bank.learn(observed(100.0))
        values.append(bank.predict([CELL._replace(hardware="toy")])[0][RATE].value)

    assert values[1] > 10 * values[0]


def test_names_that_were_met_are_known(bank: Bank, world: list[Observation]) -> None:
    assert "nvidia-t4" in bank.known_hardware()
    assert "net1" in bank.known_models()
    described = bank.describe_model(world[0].cell.model)
    assert described is not None
    assert described.gmacs == world[0].cell.gmacs
    assert bank.describe_model("strange") is None
    assert bank.describe_hardware("nvidia-t4") is not None


def test_memory_is_bounded() -> None:
    bank = Bank(BankConfig(setups=8, names=16, rows=100))
    for i in range(400):
        bank.learn(observed(100.0, CELL._replace(model=f"m{i}", hardware=f"h{i}")))

    assert len(bank.known_models()) == 16
    assert len(pickle.dumps(bank)) < 3_000_000


def test_learning_and_predicting_are_fast(sample: list[Observation]) -> None:
    """A coarse guard; the benchmarks measure properly."""
    bank = taught(sample[:1000])
    started = time.perf_counter()
    for one in sample[1000:1500]:
        bank.learn(one)
    learn_s = (time.perf_counter() - started) / 500
    cells = [one.cell for one in sample[:100]]
    started = time.perf_counter()
    bank.predict(cells)
    predict_s = time.perf_counter() - started

    assert learn_s < 0.01
    assert predict_s < 0.1


def test_real_measurements_are_predicted(sample: list[Observation]) -> None:
    bank = taught(sample[:3000])
    errors, held = [], []
    for one in sample[3000:]:
        for metric, measured in one.metrics.items():
            answer = bank.predict([one.cell], [metric], one.units)[0].get(metric)
            if answer is not None:
                errors.append(abs(answer.value / measured - 1))
                held.append(answer.low <= measured <= answer.high)

    assert np.median(errors) < 0.25
    assert 0.8 < np.mean(held) < 0.97


def test_impossible_measurements_are_told_with_the_reason() -> None:
    bank = taught([observed(100.0)])
    bare = CELL._replace(gmacs=None)

    assert bank.judge(observed(100.0)) is None
    assert bank.judge(observed(1e6)) is not None
    assert bank.judge(observed(1e6, bare)) is not None, "the model's operations are known"


def test_a_shift_of_the_hardware_is_announced_and_recovered_from(
    world: list[Observation],
) -> None:
    bank = taught(world[:900])
    assert bank.take_drifts() == []
    slow, errors, found = world[0].cell.hardware, [], []
    for one in world[900:]:
        if one.cell.hardware == slow:
            metrics = dict(one.metrics)
            metrics[RATE] *= 0.7
            one = replace(one, metrics=metrics)
            answer = bank.predict([one.cell], [RATE])[0][RATE]
            errors.append(abs(answer.value / metrics[RATE] - 1))
        bank.learn(one)
        found += bank.take_drifts()
        if found and len(errors) > 100:
            break

    first = next(one for one in found if one.metric == RATE)
    assert first.hardware == slow
    assert first.factor == pytest.approx(0.7, abs=0.1)
    assert median(errors[:8]) > 0.2
    assert median(errors[60:100]) < 0.1


def test_hardware_that_has_shifted_for_one_task_is_watched_for_others(
    world: list[Observation],
) -> None:
    def trained(one: Observation, speed: float = 1.0) -> Observation:
        cell = one.cell._replace(task="training")
        return replace(one, cell=cell, metrics={RATE: 0.3 * speed * one.metrics[RATE]})

    def slower(one: Observation) -> Observation:
        return replace(one, metrics={RATE: 0.7 * one.metrics[RATE]})

    slow = world[0].cell.hardware
    bank = taught([each for one in world[:600] for each in (one, trained(one))])
    rest = [one for one in world[600:] if one.cell.hardware == slow]
    unwarned = copy.deepcopy(bank)
    for one in rest:
        bank.learn(slower(one))
        if bank.take_drifts():
            break

    def noticed(bank: Bank) -> int:
        for count, one in enumerate(rest, 1):
            bank.learn(trained(one, 0.8))
            if any(one.hardware == slow and one.setup is None for one in bank.take_drifts()):
                return count
        raise AssertionError("it is noticed")

    assert noticed(bank) < noticed(unwarned)


def test_an_answer_never_depends_on_the_cells_beside_it(
    bank: Bank, world: list[Observation]
) -> None:
    """Bit for bit: what is remembered, or asked together, must not show."""
    cells = [one.cell for one in world[1200:1300]]

    together = bank.predict(cells)

    assert [bank.predict([cell])[0] for cell in cells] == together


def test_intervals_of_strange_networks_follow_how_odd_the_known_ones_are() -> None:
    """Each network is as fast as its sizes say, times something of its own that they do not say."""
    chance = random.Random(3)
    held = []
    for _ in range(3):
        own: dict[str, float] = {}

        def measured(number: int, own: dict[str, float] = own) -> Observation:
            cell = CELL._replace(
                model=f"m{number}",
                architecture="a",
                hardware=chance.choice("abc"),
                gmacs=2.0 * (1 + number % 4),
                batch_size=chance.choice([1.0, 4.0, 16.0]),
            )
            odd = own.setdefault(cell.model, math.exp(chance.gauss(0.0, 0.5)))
            speed = 100.0 * odd * math.sqrt(cell.batch_size or 1.0) / (cell.gmacs or 1.0)
            return observed(speed * math.exp(chance.gauss(0.0, 0.01)), cell)

        bank = taught([measured(chance.randrange(16)) for _ in range(240)])
        strange = [measured(100 + number) for number in range(60)]
        told = bank.predict([one.cell for one in strange], [RATE])
        held += [
            one[RATE].low <= each.metrics[RATE] <= one[RATE].high
            for one, each in zip(told, strange, strict=True)
        ]

    # Without networks that are taken for strange, half of them lie inside.
    assert np.mean(held) > 0.68
