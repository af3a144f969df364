from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.bus.port import Delivery
from agent.intake import dead_letter, decode
from schemas.errors import BadInput, PayloadTooLarge
from tests.support.agent import benchmark_event

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMIT = 1 << 20


def delivery(event: Any) -> Delivery:
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    return Delivery("placewise/v1/events/benchmark/test", payload)


def test_a_good_event_is_decoded() -> None:
    event = decode(delivery(benchmark_event("1")), NOW, LIMIT)
    assert event.data.model.name == "resnet50"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("time", "accepted"),
    [
        (NOW - timedelta(days=365), True),
        (NOW + timedelta(hours=23), True),
        (NOW + timedelta(hours=25), False),
        (datetime(3000, 1, 1, tzinfo=UTC), False),
        (datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
def test_the_time_of_an_event_must_be_believable(time: datetime, accepted: bool) -> None:
    event = benchmark_event("1") | {"time": time.isoformat()}
    if accepted:
        assert decode(delivery(event), NOW, LIMIT).time == time
        return
    with pytest.raises(BadInput) as caught:
        decode(delivery(event), NOW, LIMIT)
    assert caught.value.details[0].field == "time"


def test_a_large_payload_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        decode(delivery(b"x" * 101), NOW, 100)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (101, 100)


def test_a_dead_letter_tells_the_reason_and_shows_a_cleaned_start() -> None:
    payload = b"\x1b[31mnot json\x00" + b"x" * 5_000
    with pytest.raises(BadInput) as caught:
        decode(delivery(payload), NOW, LIMIT)
    letter = dead_letter(delivery(payload), caught.value, NOW)
    assert letter.error.code == "malformed"
    assert letter.payload_bytes == len(payload)
    assert "not json" in letter.payload_start
    assert letter.payload_start.isprintable()
    assert len(letter.payload_start) <= 1_024
