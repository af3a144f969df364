"""Topic filters, by the examples of the standard and by their laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bus.filters import is_filter, is_topic, matches

LEVELS = st.lists(st.sampled_from(["", "a", "b", "tennis", "$x"]), min_size=1, max_size=5)
TOPICS = LEVELS.map("/".join).filter(lambda topic: topic and not topic.startswith("$"))


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "sport/tennis"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("$SYS/#", "$SYS/uptime"),
        ("$SYS/+", "$SYS/uptime"),
    ],
)
def test_a_filter_covers(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("sport", "sport/"),
        ("Sport", "sport"),
        ("sport/tennis/#", "sport"),
        ("#", "$SYS/uptime"),
        ("+/uptime", "$SYS/uptime"),
    ],
)
def test_a_filter_does_not_cover(topic_filter: str, topic: str) -> None:
    assert not matches(topic_filter, topic)


@given(TOPICS, st.data())
def test_a_topic_is_covered_by_itself_and_with_any_levels_left_open(
    topic: str, data: st.DataObject
) -> None:
    levels = topic.split("/")
    assert matches(topic, topic)
    assert matches("/".join(data.draw(st.sampled_from([one, "+"])) for one in levels), topic)
    kept = data.draw(st.integers(0, len(levels)))
    assert matches("/".join([*levels[:kept], "#"]), topic)


@pytest.mark.parametrize("text", ["a", "/", "+", "#", "a/+/b", "a/#", "+/+/#", "a b/c"])
def test_is_a_filter(text: str) -> None:
    assert is_filter(text)


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+/c", "a\x00"])
def test_is_no_filter(text: str) -> None:
    assert not is_filter(text)


@pytest.mark.parametrize("text", ["", "a/+", "#", "a+b", "a\x00"])
def test_is_no_topic(text: str) -> None:
    assert not is_topic(text)


@given(TOPICS)
def test_every_topic_is_a_filter(topic: str) -> None:
    assert is_topic(topic)
    assert is_filter(topic)
