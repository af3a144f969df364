"""What a tab says is held against what the bridge knows."""

from __future__ import annotations

import pytest

from schemas.browser import Go, Prepare, Span
from tests.support.tabs import MODEL, OTHER, lap, prepared
from web_bridge.truth import wrong_lap, wrong_preparation

GO = Go(job="j", attempt=1, lap=0, order=[0, 0, 1])
PREPARE = Prepare(job="j", attempt=1, models=[MODEL, OTHER])


def test_what_can_be_true_passes() -> None:
    assert wrong_lap(PREPARE.models, GO, lap(GO, run_ms=5.0), elapsed_ms=16.0) is None
    assert wrong_preparation(PREPARE.models, prepared(PREPARE)) is None


def test_more_time_than_there_was() -> None:
    wrong = wrong_lap(PREPARE.models, GO, lap(GO, run_ms=50.0), elapsed_ms=16.0)
    assert wrong is not None
    assert "150 ms within the 16 ms" in wrong


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([(0, 0, 1), (0, 1, 2), (1, 2, 2)], "no time"),
        ([(0, 0, 1), (0, 0.5, 2), (1, 2, 3)], "overlap"),
        ([(0, 2, 1), (0, 3, 4), (1, 4, 5)], "before they begin"),
        ([(0, 0, 1), (1, 1, 2), (0, 2, 3)], "another order"),
        ([(0, 0, 1), (0, 1, 2)], "another order"),
    ],
)
def test_impossible_runs(spans: list[tuple[int, float, float]], said: str) -> None:
    told = [Span(model=m, start_ms=1e12 + a, end_ms=1e12 + b) for m, a, b in spans]
    wrong = wrong_lap(PREPARE.models, GO, lap(GO, spans=told), elapsed_ms=100.0)
    assert wrong is not None
    assert said in wrong


def test_a_known_output_may_take_no_time_where_it_may_be_reused() -> None:
    told = [Span(model=m, start_ms=1e12, end_ms=1e12, cached=True) for m in GO.order]
    reusable = [one.model_copy(update={"cache": True}) for one in PREPARE.models]
    assert wrong_lap(reusable, GO, lap(GO, spans=told), elapsed_ms=1.0) is None
    wrong = wrong_lap(PREPARE.models, GO, lap(GO, spans=told), elapsed_ms=1.0)
    assert wrong is not None
    assert "reused an output of a-model" in wrong


def test_another_file_than_the_one_that_was_asked_for() -> None:
    wrong = wrong_preparation(PREPARE.models, prepared(PREPARE, sha256="c" * 64))
    assert wrong is not None
    assert "cccccccccccc" in wrong
    assert "a-model" in wrong


def test_another_backend_in_place_of_the_one_that_was_asked_for() -> None:
    wrong = wrong_preparation(PREPARE.models, prepared(PREPARE, requested="webgpu"))
    assert wrong is not None
    assert "webgpu" in wrong


def test_fewer_models_than_asked() -> None:
    few = prepared(PREPARE).model_copy(update={"models": prepared(PREPARE).models[:1]})
    assert wrong_preparation(PREPARE.models, few) == "prepared 1 models of 2"
