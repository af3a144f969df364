"""Events on the bus: CloudEvents 1.0 in JSON structured mode.

Source: CloudEvents 1.0.2 core specification and its JSON event format (CNCF).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Discriminator,
    Field,
    TypeAdapter,
    ValidationError,
)

from schemas.base import Message, Name
from schemas.errors import BadInput, ErrorDetail, MalformedPayload, UnsupportedVersion, shown
from schemas.measurement import Benchmark, Execution

BENCHMARK_TYPE = "placewise.benchmark.v1"
EXECUTION_TYPE = "placewise.execution.v1"
EVENT_TYPES = (BENCHMARK_TYPE, EXECUTION_TYPE)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)

T = TypeVar("T")


def _not_before_2000(value: datetime) -> datetime:
    """Refuse the times that a device without a clock reports."""
    if value < EARLIEST:
        raise ValueError("a time after the year 2000: is the sender's clock set?")
    return value


EventTime = Annotated[AwareDatetime, AfterValidator(_not_before_2000)]


class CloudEvent(Message, Generic[T]):
    """The envelope. Extension attributes are allowed, as the specification says, and ignored."""

    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"]
    id: Name
    source: Name
    type: Name
    time: EventTime | None = None
    subject: Name | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Name | None = None
    data: T


class BenchmarkEvent(CloudEvent[Benchmark]):
    """One model was measured alone."""

    type: Literal["placewise.benchmark.v1"]


class ExecutionEvent(CloudEvent[Execution]):
    """A workload ran under a strategy."""

    type: Literal["placewise.execution.v1"]


Event = Annotated[BenchmarkEvent | ExecutionEvent, Field(discriminator="type")]

_EVENT: TypeAdapter[BenchmarkEvent | ExecutionEvent] = TypeAdapter(
    Annotated[BenchmarkEvent | ExecutionEvent, Discriminator("type")]
)


def decode_event(payload: bytes | str) -> BenchmarkEvent | ExecutionEvent:
    """Decode one event from the wire.

    Raises:
        MalformedPayload: not a JSON object.
        UnsupportedVersion: another `type` or `specversion` than this agent speaks.
        BadInput: any other field at fault, each named in the details.
    """
    try:
        return _EVENT.validate_json(payload)
    except ValidationError as error:
        raise _explain(error, payload) from None


def _explain(error: ValidationError, payload: bytes | str) -> BadInput:
    first = error.errors(include_url=False)[0]
    kind = first["type"]
    if kind == "json_invalid":
        return MalformedPayload(
            f"the event is not JSON: {shown(str(first.get('ctx', {}).get('error', '')))}",
            [ErrorDetail(field="payload", problem=shown(payload), expected="a JSON object")],
        )
    if kind in {"model_attributes_type", "model_type", "dict_type"} and not first["loc"]:
        return MalformedPayload(
            "the event is not a JSON object",
            [ErrorDetail(field="payload", problem=shown(payload), expected="a JSON object")],
        )
    if kind == "union_tag_invalid":
        tag = shown(str(first["ctx"]["tag"]))
        return UnsupportedVersion(
            f"unknown event type {tag}",
            [ErrorDetail(field="type", problem=f"got {tag}", expected=" or ".join(EVENT_TYPES))],
        )
    if kind == "union_tag_not_found":
        return BadInput.of_field("type", "missing", " or ".join(EVENT_TYPES))
    if first["loc"][-1:] == ("specversion",) and kind == "literal_error":
        return UnsupportedVersion(
            f"unknown CloudEvents version {shown(first['input'])}",
            [
                ErrorDetail(
                    field="specversion", problem=f"got {shown(first['input'])}", expected="1.0"
                )
            ],
        )
    return BadInput.from_validation(error, "event")


def envelope(
    event_type: str, event_id: str, source: str, time: datetime, data: Any
) -> dict[str, Any]:
    """Return a structured-mode CloudEvent around `data` (already JSON-ready)."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": event_type,
        "time": time.isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }
