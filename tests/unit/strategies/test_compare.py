from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.requests import CompareRequest
from strategies.compare import Cell, compare
from tests.unit.strategies.making import predicted


def cell(hardware: str, batch: int | None = None, **metrics: float | str) -> Cell:
    return Cell(hardware, batch, f"p/{hardware}/{batch}", predicted(**metrics))  # type: ignore[arg-type]


def test_the_fastest_comes_first() -> None:
    reply = compare(
        CompareRequest(model="m"),
        [cell("a", throughput=100), cell("b", throughput=300), cell("c", throughput=310)],
    )
    assert [(row.rank, row.hardware) for row in reply.rows] == [(1, "c"), (2, "b"), (3, "a")]
    assert [row.separated_from_next for row in reply.rows] == [False, True, None]
    assert reply.not_comparable == []


@pytest.mark.parametrize("metric", ["latency_ms", "memory_mb", "power_w"])
def test_the_least_comes_first_where_less_is_better(metric: str) -> None:
    name = metric.rsplit("_", 1)[0]
    cells = [cell("a", **{name: 30.0}), cell("b", **{name: 10.0})]
    reply = compare(CompareRequest(model="m", metric=metric), cells)  # type: ignore[arg-type]
    assert [row.hardware for row in reply.rows] == ["b", "a"]


def test_batch_sizes_are_rows_of_their_own() -> None:
    reply = compare(
        CompareRequest(model="m"),
        [cell("a", 1, throughput=100), cell("a", 8, throughput=500), cell("a", 64)],
    )
    assert [row.batch_size for row in reply.rows] == [8, 1]
    assert reply.not_comparable == ["a at 64"]


def test_other_units_are_not_comparable() -> None:
    cells = [
        cell("a", throughput=100),
        cell("b", throughput=90),
        cell("c", throughput=9_000, unit="tokens/s"),
        cell("d", latency=3),
    ]
    reply = compare(CompareRequest(model="m"), cells)
    assert [row.hardware for row in reply.rows] == ["a", "b"]
    assert reply.not_comparable == ["c", "d"]


def test_nothing_known_is_an_answer() -> None:
    reply = compare(CompareRequest(model="m"), [cell("a"), cell("b")])
    assert (reply.rows, reply.not_comparable) == ([], ["a", "b"])


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=8), st.randoms())
def test_the_order_of_cells_changes_nothing(values: list[float], chance: object) -> None:
    cells = [cell(f"h{i}", throughput=value) for i, value in enumerate(values)]
    shuffled = cells.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert compare(CompareRequest(model="m"), cells) == compare(CompareRequest(model="m"), shuffled)
