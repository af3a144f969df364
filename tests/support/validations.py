"""Validations, for tests of what is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from schemas.published import Validation

T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
"""To the microsecond, as stores keep times."""


def validation(seq: int, **changes: object) -> Validation:
    """Return a validation of the record `seq`, predicted a tenth too high."""
    found = Validation(
        seq=seq,
        time=T0 + timedelta(seconds=seq),
        prediction_id=f"p-{seq}",
        paired_by="id",
        metric="latency_ms",
        model="resnet50",
        hardware="gpu-1",
        predicted=11.0,
        low=8.0,
        high=14.0,
        measured=10.0,
        relative_error=0.1,
        absolute_percentage_error=0.1,
        within_interval=True,
        event_id=f"e-{seq}",
        event_source="lab",
    )
    return found.model_copy(update=changes)
