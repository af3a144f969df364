from __future__ import annotations

from agent.learning.cell import Cell
from agent.learning.descriptors import Descriptors

FULL = Cell("m", "h", hardware_class="gpu", architecture="a", gmacs=4.0, input_size=224)


def test_what_is_left_out_is_filled_in() -> None:
    known = Descriptors(10)
    known.learn(FULL)

    assert known.fill(Cell("m", "h")) == FULL


def test_what_is_given_stays() -> None:
    known = Descriptors(10)
    known.learn(FULL)

    assert known.fill(Cell("m", "h", gmacs=1.0)).gmacs == 1.0


def test_operations_follow_the_area_of_the_input() -> None:
    known = Descriptors(10)
    known.learn(FULL)

    assert known.fill(Cell("m", "h", input_size=448)).gmacs == 16.0


def test_silence_does_not_erase() -> None:
    known = Descriptors(10)
    known.learn(FULL)
    known.learn(Cell("m", "h"))

    assert known.fill(Cell("m", "h")) == FULL


def test_the_oldest_are_forgotten() -> None:
    known = Descriptors(3)
    for i in range(5):
        known.learn(Cell(f"m{i}", f"h{i}"))

    assert known.models == ["m2", "m3", "m4"]
    assert known.hardware == ["h2", "h3", "h4"]
    assert known.model("m0") is None
    assert known.of_hardware("h0") is None
