"""What every message has in common, and the bounds that keep absurd values out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints


class Message(BaseModel):
    """A value on the wire: immutable, closed, finite.

    Unknown fields are refused, so that a misspelt `batchsize` is an error and not a silence.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def _refuse_text(value: Any) -> Any:
    """Keep `"12"` and `true` from passing as the number they resemble."""
    if isinstance(value, (str, bytes, bool)):
        raise ValueError("a number, not text or a boolean")  # noqa: TRY004 - pydantic reports ValueError
    return value


Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f]+$",
    ),
]
"""A short printable text: 1 to 256 characters, none of them a control character."""

Label = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""Like `Name`, but may be empty and longer: a set-up's free-form options."""

Count = Annotated[int, BeforeValidator(_refuse_text), Field(ge=1, le=10_000_000)]
"""How many of something: a whole number from 1 to ten million (4.0 passes, "4" does not)."""

Quantity = Annotated[float, Strict(), Field(gt=0, le=1e12)]
"""A positive finite measurement or size. No real metric in its unit exceeds 1e12."""

Share = Annotated[float, Strict(), Field(ge=0, le=1)]
"""A fraction or probability."""

Weight = Annotated[float, Strict(), Field(ge=0, le=1e6)]
"""How much something matters, relative to the other weights beside it."""


class Request(Message):
    """What every request may carry.

    MQTT 5 clients set response topic and correlation data on the message itself; MQTT 3.1.1
    clients name them here. The properties of the message win.
    """

    reply_to: Name | None = Field(None, description="Where to reply (MQTT 3.1.1)")
    correlation_id: Name | None = Field(None, description="Returned unchanged (MQTT 3.1.1)")
