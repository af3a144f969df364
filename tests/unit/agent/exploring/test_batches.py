"""Laws of batches: limits hold whatever is asked, and near-duplicates do not come first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exploring.batches import batch, most_on
from agent.exploring.choosing import Cost, Design, Field
from agent.heart.cells import words_of
from agent.learning.cell import Cell
from schemas.exploration import ActiveLearningRequest, BatchReply, BatchRequest

HARDWARE = ("left", "right", "middle")


def cell(
    model: str, hardware: str, batch_size: int = 1, family: str = "vision", **more: Any
) -> Cell:
    size = 5.0 * (1 + len(model))
    return Cell(
        model=model,
        hardware=hardware,
        hardware_class="gpu",
        family=family,
        parameters_m=size,
        gmacs=size / 5,
        task="inference",
        precision="fp16",
        runtime="ort",
        batch_size=batch_size,
        **more,
    )


CELLS = [cell(m, h, b) for m in ("a", "bb", "cccc") for h in HARDWARE for b in (1, 2, 16)]


def field(
    cells: list[Cell],
    seconds: tuple[float, ...] = (10.0,),
    measured: dict[Cell, tuple[str, ...]] | None = None,
) -> Field:
    costs = [
        Cost(seconds[at % len(seconds)], True, seconds[at % len(seconds)] * 100.0, None)
        for at in range(len(cells))
    ]
    return Field(
        metrics=("throughput_per_s",),
        measured=measured or {},
        candidates=cells,
        costs=costs,
        targets=cells,
        weights=[1.0] * len(cells),
    )


def ask(cells: list[Cell], seconds: tuple[float, ...] = (10.0,), **request: Any) -> BatchReply:
    return batch(field(cells, seconds), BatchRequest.model_validate(request), "r", [], [])


counts = st.none() | st.integers(1, 40)
amounts = st.none() | st.floats(1.0, 5_000.0)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40),
    limits=st.dictionaries(st.sampled_from(HARDWARE), st.integers(0, 8)),
    availability=st.dictionaries(st.sampled_from(HARDWARE), st.floats(0.0, 1.0)),
    diversity=st.floats(0.0, 1.0),
    runs=counts,
    seconds=amounts,
    joules=amounts,
    repeats=st.integers(1, 3),
    lasting=st.tuples(st.floats(1.0, 200.0), st.floats(1.0, 200.0)),
    worth=st.sampled_from(["gain", "gain_per_s", "gain_per_j"]),
)
def test_a_batch_keeps_every_limit_and_its_order(
    size: int,
    limits: dict[str, int],
    availability: dict[str, float],
    diversity: float,
    runs: int | None,
    seconds: float | None,
    joules: float | None,
    repeats: int,
    lasting: tuple[float, float],
    worth: str,
) -> None:
    request = BatchRequest(
        size=size,
        limits=limits,
        availability=availability,
        diversity=diversity,
        budget_runs=runs,
        budget_s=seconds,
        budget_j=joules,
        repeats=repeats,
        worth=worth,  # type: ignore[arg-type]
    )
    reply = batch(field(CELLS, lasting), request, "r", [], [])
    assert len(reply.wanted) <= size
    for name in HARDWARE:
        own = [one for one in reply.wanted if one.hardware.name == name]
        assert len(own) <= most_on(request, name) <= limits.get(name, size)
        assert len(own) <= size * availability.get(name, 1.0) + 1e-6
    assert reply.runs == len(reply.wanted) * repeats
    assert runs is None or reply.runs <= runs
    assert seconds is None or sum(one.cost_s for one in reply.wanted) * repeats <= seconds + 1e-6
    spent = sum(one.energy_j or 0.0 for one in reply.wanted) * repeats
    assert joules is None or spent <= joules + 1e-6
    assert [one.priority for one in reply.wanted] == list(range(1, len(reply.wanted) + 1))
    cells = [(one.model.name, one.hardware.name, one.setup.batch_size) for one in reply.wanted]
    assert len(set(cells)) == len(cells)


def test_what_is_worth_most_comes_first() -> None:
    chosen = ask(CELLS, size=20, diversity=0.0).wanted
    # What is told is the share of the variance, what is chosen by that of the errors: these differ
    # by little.
    gains = [one.expected_gain for one in chosen]
    assert gains[0] == max(gains)
    np.testing.assert_allclose(gains, sorted(gains, reverse=True), rtol=0.1)

    design = Design(field(CELLS), ActiveLearningRequest(budget=20))
    for one in chosen:
        worth = np.where(design.open, design.worth(), -1.0)
        place = int(worth.argmax())
        assert words_of(CELLS[place]) == (one.model, one.hardware, one.setup)
        design.take(place)


@settings(max_examples=25, deadline=None)
@given(other=st.sampled_from(["bb", "cccc"]), hardware=st.sampled_from(HARDWARE))
def test_near_duplicates_do_not_both_come_first(other: str, hardware: str) -> None:
    twins = [cell("a", hardware, 16), cell("a.tag", hardware, 16, architecture="x")]
    twins[0] = twins[0]._replace(architecture="x")
    apart = cell(other, next(one for one in HARDWARE if one != hardware), 1)
    first = ask([*twins, apart], size=2, diversity=0.0).wanted
    assert apart.model in {one.model.name for one in first}


def test_worth_is_not_the_batch_size() -> None:
    reply = ask(CELLS, size=3, diversity=0.0)
    largest = sorted((one.batch_size or 0.0 for one in CELLS), reverse=True)[:3]
    assert [one.setup.batch_size for one in reply.wanted] != largest


def test_hardware_never_measured_is_told_apart_by_what_is_known_of_it() -> None:
    """Of two that were never measured, the one unlike all that was measured teaches more of it."""
    known = {cell("a", "nvidia-l4", size): ("throughput_per_s",) for size in (1, 2, 16)}
    strange = [cell("a", "nvidia-h100"), cell("a", "intel-xeon")._replace(hardware_class="cpu")]
    design = Design(field(strange, measured=known), ActiveLearningRequest(budget=1))
    assert design.posterior.left[0] != design.posterior.left[1]


def test_one_that_differs_in_anything_that_identifies_it_is_another_cell() -> None:
    one = cell("a", "left")
    others = [
        one._replace(model="b"),
        one._replace(hardware="right"),
        one._replace(batch_size=2),
        one._replace(precision="fp32"),
        one._replace(runtime="torch"),
    ]
    design = Design(
        field([one, *others], measured={one: ("throughput_per_s",)}),
        ActiveLearningRequest(budget=1),
    )
    left = design.posterior.own
    assert all(left[1:] > left[0])


def test_where_intervals_are_wide_is_measured_first() -> None:
    pair = [cell("a", "left", family="vision"), cell("a", "left", family="audio")]
    for place in (0, 1):
        doubts = [0.2, 0.2]
        doubts[place] = 0.8
        design = Design(replace(field(pair), doubts=doubts), ActiveLearningRequest(budget=1))
        assert design.choose(1)[0].place == place


def test_what_was_measured_is_not_doubted() -> None:
    known = field(CELLS, measured={CELLS[0]: ("throughput_per_s",)})
    worths = []
    for doubt in (0.0, 5.0):
        doubts = [doubt, *[0.3] * (len(CELLS) - 1)]
        design = Design(replace(known, doubts=doubts), ActiveLearningRequest(budget=3))
        worths.append(design.worth())
    np.testing.assert_array_equal(*worths)


def test_what_is_not_sure_to_fit_counts_less_and_is_told() -> None:
    twins = [cell("a", "left", family=family) for family in ("vision", "audio")]
    doubtful = replace(field(twins), chances=[0.2, 1.0])
    design = Design(doubtful, ActiveLearningRequest(budget=1))
    worth = design.worth()
    assert worth[0] == pytest.approx(0.2 * worth[1])

    free = {"left": 0.5}
    reply = batch(doubtful, BatchRequest(size=4, availability=free, diversity=0.0), "r", [], [])
    first, second = reply.wanted
    assert (first.model.family, second.model.family) == ("audio", "vision")
    assert "it is not sure to fit into memory: it does with 20%" in second.reasons
    assert not any("fit into memory" in reason for reason in first.reasons)
