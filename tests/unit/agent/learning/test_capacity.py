"""Laws of what fits, whatever was learnt."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.bank import Bank, BankConfig, Observation
from agent.learning.capacity import MOST, Find
from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.need import need_of

MEMORIES_GB = (8.0, 16.0, 24.0, 40.0, 80.0)
SHEETS = tuple(Sheet(f"box{size:g}", memory_gb=size) for size in MEMORIES_GB)
PRECISIONS = ("fp32", "fp16", "int8", "int4", "3bit", "2bit")

LLM = Cell(
    "llm",
    "box80",
    parameters_m=8000.0,
    precision="fp16",
    task="inference",
    sequence_in=4096.0,
    sequence_out=512.0,
    batch_size=4.0,
    kv_values_per_token=65_536.0,
)

sizes = st.floats(min_value=1.0, max_value=2e5)
counts = st.integers(min_value=1, max_value=512).map(float)
cells = st.builds(
    Cell,
    model=st.just("m"),
    hardware=st.sampled_from([one.name for one in SHEETS]),
    parameters_m=sizes,
    activations_m=st.none() | st.floats(min_value=0.1, max_value=500.0),
    task=st.sampled_from(["inference", "training", None]),
    precision=st.sampled_from([*PRECISIONS, None]),
    batch_size=st.none() | counts,
    sequence_in=st.none() | counts.map(lambda n: n * 64),
    sequence_out=st.none() | counts,
    kv_values_per_token=st.none() | st.floats(min_value=100.0, max_value=1e6),
    kv_precision=st.sampled_from([*PRECISIONS, None]),
    device_count=st.none() | st.integers(1, 8).map(float),
)
outcomes = st.lists(st.tuples(cells, st.sampled_from(["ok", "out_of_memory"])), max_size=12)


def taught(runs: Sequence[tuple[Cell, str]]) -> Bank:
    bank = Bank(BankConfig(sheets=SHEETS))
    for number, (cell, outcome) in enumerate(runs):
        bank.learn(Observation(cell._replace(model=f"m{number}"), {}, {}, outcome))
    return bank


def chance(bank: Bank, cell: Cell) -> float:
    (found,) = bank.fittings([cell])
    assert found is not None
    return found.chance


def memory_gb(cell: Cell) -> float:
    return MEMORIES_GB[[one.name for one in SHEETS].index(cell.hardware)]


@settings(max_examples=150, deadline=None)
@given(outcomes, cells)
def test_more_memory_never_fits_less(runs: list[tuple[Cell, str]], cell: Cell) -> None:
    bank = taught(runs)
    chances = [chance(bank, cell._replace(hardware=one.name)) for one in SHEETS]

    assert chances == sorted(chances)
    assert all(0.0 <= one <= 1.0 for one in chances)


@settings(max_examples=150, deadline=None)
@given(outcomes, cells)
def test_fewer_bits_never_fit_less(runs: list[tuple[Cell, str]], cell: Cell) -> None:
    bank = taught(runs)
    for field in ("precision", "kv_precision"):
        chances = [chance(bank, cell._replace(**{field: one})) for one in PRECISIONS]
        assert chances == sorted(chances), field


@settings(max_examples=150, deadline=None)
@given(outcomes, cells, st.sampled_from(["batch_size", "sequence_in", "sequence_out"]))
def test_a_smaller_batch_or_context_never_fits_less(
    runs: list[tuple[Cell, str]], cell: Cell, field: str
) -> None:
    bank = taught(runs)
    chances = [chance(bank, cell._replace(**{field: float(4**n)})) for n in range(12)]

    assert chances == sorted(chances, reverse=True)


@settings(max_examples=150, deadline=None)
@given(outcomes, cells, st.sampled_from(["batch_size", "context"]), st.floats(0.05, 0.99))
def test_the_largest_fits_and_the_next_does_not(
    runs: list[tuple[Cell, str]], cell: Cell, find: Find, probability: float
) -> None:
    bank = taught(runs)
    (found,) = bank.largest([cell], find, probability)
    assert found is not None

    def at(size: int) -> float:
        if find == "batch_size":
            return chance(bank, cell._replace(batch_size=float(size)))
        return chance(bank, cell._replace(sequence_in=float(size), sequence_out=0.0))

    if found.size is None:
        assert at(MOST) >= probability
        return
    if found.size > 0:
        assert at(found.size) >= probability
        assert found.fitting.chance == at(found.size)
    assert at(found.size + 1) < probability
    assert found.next_chance == pytest.approx(at(found.size + 1), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(cells)
def test_what_is_needed_is_never_below_the_weights(cell: Cell) -> None:
    need = need_of(cell)

    assert need is not None
    assert need.counted_mb >= need.weights_mb > 0
    assert need.guessed_mb >= 0


def test_a_planner_sees_what_quantisation_buys() -> None:
    bank = taught([])
    ways = [("fp16", "fp16"), ("int4", "fp16"), ("int4", "2bit")]
    longest = [
        found.size
        for found in bank.largest(
            [
                LLM._replace(hardware="box24", batch_size=1.0, precision=weights, kv_precision=kv)
                for weights, kv in ways
            ],
            "context",
            0.9,
        )
        if found is not None and found.size is not None
    ]

    plain, weights, cache = longest
    assert 0 <= plain < weights
    assert cache == pytest.approx(8 * weights, rel=0.01), "2 bits hold eight times as many tokens"


def test_the_limit_is_broken_down() -> None:
    need = need_of(LLM)
    assert need is not None

    assert need.weights_mb == 16_000.0
    assert need.kv_cache_mb == pytest.approx(4 * 4608 * 65_536 * 2 / 1e6)
    assert need.activations_mb == 0.0
    assert need.largest == "weights"
    assert not need.kv_estimated
    assert need.unsaid_mb == 0.0, "the cache is what grows"
    assert need.guessed_mb == 0.0


def test_an_undeclared_cache_is_guessed_and_less_sure() -> None:
    guess = LLM._replace(kv_values_per_token=None)
    need = need_of(guess)
    assert need is not None
    bank = taught([])

    assert need.kv_estimated
    assert 32_768 * 2 / 1e6 < need.kv_cache_mb / (4 * 4608) < 262_144 * 2 / 1e6
    assert chance(bank, LLM) > chance(bank, guess) > 0.5
    writes_nothing = need_of(guess._replace(sequence_out=None))
    assert writes_nothing is not None
    assert writes_nothing.kv_cache_mb == 0.0


def test_a_measured_peak_bounds_what_fits() -> None:
    cell = Cell("net", "box16", parameters_m=1000.0, precision="fp16", task="inference")
    before = chance(taught([]), cell)
    bank = taught([])
    for _ in range(30):
        bank.learn(Observation(cell, {"memory_mb": 14_500.0}))
    greedy = chance(bank, cell._replace(hardware="box8"))

    assert before > 0.9
    assert chance(taught([]), cell._replace(hardware="box8")) > 0.9
    assert greedy < 0.5, "it took 14.5 GB wherever it ran"


def test_where_nothing_grows_no_largest_is_made_up() -> None:
    image = Cell("m", "box16", parameters_m=10.0, activations_m=3.0, task="training")
    (found,) = taught([]).largest([image], "context", 0.9)
    (too_large,) = taught([]).largest([LLM._replace(hardware="box8")], "batch_size", 0.9)
    (unknown,) = taught([]).largest([Cell("m", "unheard of")], "batch_size", 0.9)

    assert found is not None
    assert found.size is None
    assert too_large is not None
    assert too_large.size == 0
    assert unknown is None
