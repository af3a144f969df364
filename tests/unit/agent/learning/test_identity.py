from __future__ import annotations

from agent.learning.identity import number_of


def test_words_have_one_number_in_every_process() -> None:
    assert number_of("a", "b") == number_of("a", "b") == 9214550154729315665


def test_other_words_have_another() -> None:
    words = [("a", "b"), ("b", "a"), ("ab",), ("a",), ("",), ("", "")]

    assert len({number_of(*one) for one in words}) == len(words)
