from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from agent.bus.filters import is_filter, is_topic, matches

LEVEL = st.sampled_from(["a", "b", "", "$SYS", "long level", "é"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVEL, st.just("+")), min_size=1, max_size=5))
    return "/".join(levels + draw(st.sampled_from([[], ["#"]]))) or "#"


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+/+", "/a", True),
        ("+", "/a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
    ],
)
def test_examples_of_the_standard(topic_filter: str, topic: str, *, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@given(filters(), TOPIC)
def test_matches_as_another_implementation_does(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) == topic_matches_sub(topic_filter, topic)


@given(TOPIC)
def test_a_topic_matches_itself(topic: str) -> None:
    assert matches(topic, topic)


@given(TOPIC, st.data())
def test_a_level_may_be_any(topic: str, data: st.DataObject) -> None:
    levels = topic.split("/")
    position = data.draw(st.integers(0, len(levels) - 1))
    levels[position] = "+"
    reaches_into_the_brokers_own = position == 0 and topic.startswith("$")
    assert matches("/".join(levels), topic) is not reaches_into_the_brokers_own


@given(TOPIC, st.data())
def test_the_rest_may_be_any(topic: str, data: st.DataObject) -> None:
    levels = topic.split("/")
    kept = levels[: data.draw(st.integers(0, len(levels)))]
    reaches_into_the_brokers_own = not kept and topic.startswith("$")
    assert matches("/".join([*kept, "#"]), topic) is not reaches_into_the_brokers_own


@given(filters())
def test_filters(topic_filter: str) -> None:
    assert is_filter(topic_filter)


@pytest.mark.parametrize("text", ["", "a/#/b", "a#", "#a", "a/b+", "+a/b", "a\x00"])
def test_no_filters(text: str) -> None:
    assert not is_filter(text)


@given(TOPIC)
def test_topics(topic: str) -> None:
    assert is_topic(topic)


@pytest.mark.parametrize(
    "text",
    ["", "#", "a/+/b", "\x00", "a\x1f", "\x7f", "\x9f", "\ud800", "\ufdd0", "\uffff", "\U0001fffe"],
)
def test_no_topics(text: str) -> None:
    assert not is_topic(text)


def test_the_longest_topic() -> None:
    assert is_topic("é" * 32_767 + "a")
    assert not is_topic("é" * 32_768)
