"""What arrives on the event topics: decoded once, refused with a reason or accepted."""

from __future__ import annotations

from datetime import datetime, timedelta

from agent.bus.port import Delivery
from schemas.errors import BadInput, PayloadTooLarge, shown
from schemas.events import BenchmarkEvent, ExecutionEvent, decode_event
from schemas.published import DeadLetter

MAX_CLOCK_LEAD = timedelta(days=1)
"""How far a sender's clock may be ahead of ours: time zones set wrong, not centuries."""

_SHOWN_BYTES = 1_024


def decode(
    delivery: Delivery, received_at: datetime, max_payload_bytes: int
) -> BenchmarkEvent | ExecutionEvent:
    """Decode an event as it arrived.

    Raises:
        BadInput: too large, malformed, of an unknown version, from the future, or wrong in
            any field; the details name each.
    """
    refuse_large(delivery, max_payload_bytes)
    event = decode_event(delivery.payload)
    if event.time is not None and event.time > received_at + MAX_CLOCK_LEAD:
        raise BadInput.of_field(
            "time",
            f"{event.time.isoformat()} is in the future",
            f"at most a day after {received_at.isoformat(timespec='seconds')}, our time",
        )
    return event


def refuse_large(delivery: Delivery, max_payload_bytes: int) -> None:
    """Raise `PayloadTooLarge` for a payload of more than `max_payload_bytes`."""
    if len(delivery.payload) > max_payload_bytes:
        raise PayloadTooLarge(len(delivery.payload), max_payload_bytes)


def dead_letter(delivery: Delivery, error: BadInput, received_at: datetime) -> DeadLetter:
    """Return the dead letter of a refused message: the reason, and how the message began."""
    start = delivery.payload[:_SHOWN_BYTES].decode("utf-8", errors="replace")
    return DeadLetter(
        topic=shown(delivery.topic),
        received_at=received_at,
        error=error.body(),
        payload_bytes=len(delivery.payload),
        payload_start="".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in start),
    )
