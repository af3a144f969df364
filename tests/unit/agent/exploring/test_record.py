"""What is remembered of what was measured and asked for, within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from agent import pieces
from agent.exploring.record import MEASURED, NAMES, Record
from agent.learning.bank import BankConfig, Observation
from agent.learning.cell import Cell
from schemas.measurement import MetricName

SPEEDS: tuple[MetricName, ...] = ("throughput_per_s", "latency_ms")


def cell(number: int, **more: str) -> Cell:
    described = {"model": f"m{number % 7}", "hardware": "left", "task": "inference", **more}
    return Cell(**described, batch_size=float(number))


def note(record: Record, cells: Sequence[Cell], *metrics: MetricName) -> None:
    for one in cells:
        values = dict.fromkeys(metrics or SPEEDS, 1.0)
        record.note(one, Observation(one, values))


def asked(record: Record, model: str, hardware: str, fits: float | None = None) -> None:
    row = {"model": model, "hardware": hardware, "fits": fits}
    record.answered("predict", {"predictions": [row]})


def test_as_much_is_remembered_as_learners_do() -> None:
    assert BankConfig().rows <= MEASURED
    assert BankConfig().names <= NAMES


def test_the_oldest_cells_are_forgotten_and_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.exploring.record.MEASURED", 3)
    record = Record()
    note(record, [cell(number, hardware=f"h{number}") for number in range(10)])
    note(record, [cell(7, hardware="h7")])
    assert [one.hardware for one in record.known.cells] == ["h8", "h9", "h7"]
    assert not record.is_measured(cell(6, hardware="h6"))
    assert set(record.known.hardware) == {f"h{number}" for number in range(10)}
    assert set(record.known.models) == {f"m{number}" for number in range(7)}


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.exploring.record.NAMES", 2)
    record = Record()
    note(record, [cell(number, hardware=f"h{number}") for number in range(5)])
    assert list(record.known.hardware) == ["h3", "h4"]
    assert list(record.known.models) == ["m3", "m4"]


def test_all_is_weighed_where_it_is_little() -> None:
    record = Record()
    cells = [cell(number) for number in range(20)]
    note(record, cells[:10], "throughput_per_s")
    note(record, cells[10:], "latency_ms")
    assert record.weighed(["throughput_per_s"], 10, []) == dict.fromkeys(
        cells[:10], ("throughput_per_s",)
    )
    assert list(record.weighed(SPEEDS, 10, [])) == cells


def test_of_much_what_matters_the_newest_and_every_domain_are_weighed() -> None:
    record = Record()
    rare = [cell(number, task="training") for number in range(5)]
    common = [cell(number) for number in range(1_000)]
    note(record, [*rare, *common])
    matter = common[100:120]
    found = record.weighed(SPEEDS, 100, [*matter, cell(5_000)])
    assert len(found) == 100
    assert {*rare, *matter, *common[-40:]} <= found.keys()
    assert list(found) == [one for one in record.known.cells if one in found]
    assert set(found.values()) == {SPEEDS}
    others = [one.batch_size or 0.0 for one in found if one not in matter and one in common[:-40]]
    assert max(after - one for one, after in pairwise(others)) < 60
    assert found == record.weighed(SPEEDS, 100, [*matter, cell(5_000)])


def test_each_metric_has_its_own_count() -> None:
    record = Record()
    note(record, [cell(number) for number in range(100)], "latency_ms")
    note(record, [cell(number) for number in range(100, 300)], *SPEEDS)
    counts = Counter(name for names in record.weighed(SPEEDS, 50, []).values() for name in names)
    assert counts == {"throughput_per_s": 50, "latency_ms": 50}


def test_metrics_that_are_nearly_always_measured_together_are_weighed_by_the_same_cells() -> None:
    record = Record()
    note(record, [cell(number) for number in range(100)])
    note(record, [cell(number) for number in range(100, 105)], "latency_ms")
    assert set(record.weighed(SPEEDS, 50, []).values()) == {SPEEDS}
    note(record, [cell(number) for number in range(105, 150)], "latency_ms")
    assert set(record.weighed(SPEEDS, 50, []).values()) != {SPEEDS}


def test_all_cells_matter_alike_until_some_are_asked_for() -> None:
    record = Record()
    note(record, [cell(number) for number in range(10)])
    others = [cell(number, hardware="right") for number in range(100)]
    found = record.mattering(8, others)
    assert (len(found.cells), found.of, found.asked) == (8, 110, False)
    assert found.weights == [1.0] * 8
    asked(record, "m1", "left")
    asked(record, "m1", "left")
    asked(record, "m2", "right")
    found = record.mattering(200, others)
    names = Counter((one.model, one.hardware) for one in found.cells)
    assert names == {("m1", "left"): 2, ("m2", "right"): 14}
    assert found.weights == [2.0] * 2 + [1.0] * 14
    assert (found.of, found.asked) == (16, True)


def test_where_nothing_that_was_asked_for_is_there_all_matters() -> None:
    record = Record()
    note(record, [cell(number) for number in range(10)])
    asked(record, "m1", "elsewhere")
    found = record.mattering(100)
    assert (len(found.cells), found.of, found.asked) == (10, 10, False)
    assert found.weights == [1.0] * 10


def test_what_failed_matters_to_nobody() -> None:
    record = Record()
    failed, well = cell(1), cell(2)
    record.note(failed, Observation(failed, {}, outcome="out_of_memory"))
    note(record, [well])
    assert record.is_failed(failed)
    assert not record.is_failed(well)
    assert not record.is_failed(cell(3))
    assert record.mattering(10).cells == [well]


def test_a_sample_of_the_newest_is_of_no_others() -> None:
    record = Record()
    note(record, [cell(number) for number in range(100)])
    found = record.mattering(4, newest=10)
    assert [one.batch_size for one in found.cells] == [90.0, 93.0, 96.0, 99.0]


@pytest.mark.parametrize(("fits", "count"), [(None, 1), (0.9, 1), (0.05, 1), (0.04, 0), (0.0, 0)])
def test_a_question_about_what_cannot_fit_is_none(fits: float | None, count: int) -> None:
    record = Record()
    asked(record, "m1", "left", fits)
    assert len(record.asked) == count


def test_a_snapshot_is_what_it_was_taken_of() -> None:
    record = Record()
    note(record, [cell(number) for number in range(400)])
    asked(record, "m1", "left")
    again = pieces.load(pieces.dumps(record))
    assert again.digest() == record.digest()
    assert again.mattering(64) == record.mattering(64)
    assert again.weighed(SPEEDS, 50, []) == record.weighed(SPEEDS, 50, [])
