"""Joining the batches of a model, told apart from running models at the same time."""

from __future__ import annotations

import pytest

from schemas.requests import WorkItem
from strategies.choose import choose
from strategies.contention import NoInterference
from strategies.joining import join, sizes
from tests.unit.strategies.making import predicted, work


def item(batches: int | None = 12, most: int | None = 8, batch: int | None = 1) -> WorkItem:
    return WorkItem.model_validate(
        {"model": "m", "setup": {"batch_size": batch}, "batches": batches, "max_batch_size": most}
    )


def test_sizes_are_doublings_up_to_what_is_allowed() -> None:
    assert sizes(item()) == [1, 2, 4, 8]
    assert sizes(item(most=6)) == [1, 2, 4, 6]
    assert sizes(item(batches=3)) == [1, 2, 3]
    assert sizes(item(most=None)) == [1]
    assert sizes(item(batches=None, batch=None)) == [1]


def test_batches_are_joined_where_that_is_faster() -> None:
    # 12 of 10 ms each; 3 of 20 ms; 2 of 50 ms.
    found = {1: predicted(latency=10), 4: predicted(latency=20), 8: predicted(latency=50)}
    joined, told = join(item(), found)
    assert told is not None
    assert (told.batch_size, told.batches, told.gain) == (4, 3, pytest.approx(2))
    assert (joined.setup.batch_size, joined.batches) == (4, 3)


def test_they_are_left_alone_where_it_is_not() -> None:
    found = {1: predicted(latency=10), 4: predicted(latency=40), 8: predicted(latency=80)}
    assert join(item(), found) == (item(), None)
    assert join(item(), {}) == (item(), None)


def test_the_gains_are_told_apart() -> None:
    found = {1: predicted(latency=10), 4: predicted(latency=20)}
    _, told = join(item(), found)
    assert told is not None
    request = work(["a", "m"], goal="throughput")
    both = {name: predicted(latency=60, throughput=200, memory=10) for name in "am"}
    reply = choose(request, both, "d", contention=NoInterference(), joined=[told])
    assert reply.joined == [told]
    assert reply.overlap_gain == pytest.approx(2)
    assert any("joined into 3 of 4: 2 times as fast" in reason for reason in reply.reasons)
    assert any("2 times as fast as one model after another" in r for r in reply.reasons)
