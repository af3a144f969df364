"""One connection: what it takes, and what ends it."""

from __future__ import annotations

import json

import pytest

from schemas.browser import Beat, Hello
from tests.support.tabs import hello
from web_bridge.protocol import (
    GREETING_SECONDS,
    MESSAGES_AT_ONCE,
    MESSAGES_PER_SECOND,
    Close,
    CloseCode,
    Joined,
    Said,
    TabProtocol,
)

BEAT = '{"type": "beat"}'


def greeted() -> TabProtocol:
    protocol = TabProtocol(0.0)
    assert isinstance(protocol.receive(hello().model_dump_json(), 0.1), Joined)
    return protocol


def test_a_tab_says_who_it_is_and_then_talks() -> None:
    protocol = TabProtocol(0.0)
    match protocol.receive(hello("tab-12345").model_dump_json(), 0.1):
        case Joined(Hello() as said):
            assert said.tab == "tab-12345"
        case other:
            pytest.fail(f"{other}")
    assert protocol.receive(BEAT, 0.2) == Said(Beat(type="beat"))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("{", "not an object"),
        ("[]", "not an object"),
        ('{"type": "no-such"}', "not an object of a known type"),
        ('{"type": "beat", "surprise": 1}', "surprise"),
        (BEAT, "before hello"),
        (b"\x00\x01", "binary"),
        (json.dumps({**json.loads(hello().model_dump_json()), "tab": "x"}), "tab"),
        ('{"type": "beat", "circumstances": {"memory_mb": NaN}}', "memory_mb"),
        ('{"type": "beat", "circumstances": {"memory_mb": 1e999}}', "memory_mb"),
    ],
)
def test_what_is_wrong_ends_the_connection_and_is_named(frame: str | bytes, said: str) -> None:
    protocol = TabProtocol(0.0)
    outcome = protocol.receive(frame, 0.1)
    assert isinstance(outcome, Close)
    assert outcome.code is CloseCode.BAD_MESSAGE
    assert outcome.refusal is not None
    assert said in outcome.refusal.message
    assert len(outcome.reason.encode()) <= 123, "a close frame holds no more"
    assert protocol.closed


def test_hello_is_said_once() -> None:
    outcome = greeted().receive(hello().model_dump_json(), 0.2)
    assert isinstance(outcome, Close)
    assert "second time" in outcome.reason


def test_another_version_of_the_page_is_told_to_reload() -> None:
    old = hello().model_copy(update={"protocol": 99})
    outcome = TabProtocol(0.0).receive(old.model_dump_json(), 0.1)
    assert isinstance(outcome, Close)
    assert outcome.code is CloseCode.WRONG_VERSION
    assert "reload" in outcome.reason


def test_a_connection_that_says_nothing_is_closed() -> None:
    protocol = TabProtocol(100.0)
    assert protocol.tick(100.0 + GREETING_SECONDS - 0.1) is None
    close = protocol.tick(100.0 + GREETING_SECONDS)
    assert close is not None
    assert close.code is CloseCode.TIMED_OUT
    assert protocol.tick(100.0 + GREETING_SECONDS + 1) is None, "said once"


def test_a_tab_that_said_who_it_is_may_be_silent() -> None:
    assert greeted().tick(1e6) is None


def test_a_flood_ends_the_connection_and_steady_talk_does_not() -> None:
    protocol = greeted()
    pause = 1 / MESSAGES_PER_SECOND
    for i in range(int(3 * MESSAGES_AT_ONCE)):
        assert isinstance(protocol.receive(BEAT, 1.0 + i * pause), Said)

    flooded = greeted()
    outcomes = [flooded.receive(BEAT, 1.0) for _ in range(int(MESSAGES_AT_ONCE))]
    assert isinstance(outcomes[-2], Said)
    last = outcomes[-1] if isinstance(outcomes[-1], Close) else flooded.receive(BEAT, 1.0)
    assert isinstance(last, Close)
    assert last.code is CloseCode.TOO_FAST


def test_goodbye_is_no_offence() -> None:
    outcome = greeted().receive('{"type": "bye"}', 1.0)
    assert isinstance(outcome, Close)
    assert outcome.code is CloseCode.GOING_AWAY
    assert outcome.refusal is None
