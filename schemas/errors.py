"""Every error of Placewise, on one page.

    PlacewiseError
    ├── BadInput               what came in is wrong; carries the details, field by field
    │   ├── MalformedPayload   not JSON at all, or not an object
    │   ├── PayloadTooLarge    more bytes than the agent reads
    │   ├── UnsupportedVersion a contract version or event type that this agent does not speak
    │   ├── UnknownRequest     a request topic that this agent does not serve
    │   └── NoReplyAddress     a request that names no way to reply
    ├── Unavailable            a part that is needed is not there (broker, store, configuration)
    │   ├── BusUnavailable
    │   └── StoreUnavailable
    ├── AgentRefused           an agent that was asked answered with an error
    ├── ProcessEnded           a process of ours has ended before its work was done
    └── Corrupt                something stored does not read as what it should be

An error keeps its data; its message is built from them. `code` is what goes over the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from schemas.base import Message

if TYPE_CHECKING:
    from pydantic import ValidationError

_SHOWN_CHARS = 120
_MAX_DETAILS = 20


class ErrorDetail(Message):
    """One thing that was wrong: which field, what about it, and what would be right."""

    field: str
    problem: str
    expected: str


class ErrorBody(Message):
    """What a failed request gets, and a dead letter carries."""

    code: str
    message: str
    details: list[ErrorDetail] = []


class ErrorReply(Message):
    """The reply to a request that failed."""

    error: ErrorBody


class PlacewiseError(Exception):
    """The root. `details` name the fields at fault, if any."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, details: Sequence[ErrorDetail] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)

    def body(self) -> ErrorBody:
        """Return the error as it goes over the wire."""
        return ErrorBody(code=self.code, message=self.message, details=list(self.details))


class BadInput(PlacewiseError):
    """What came in is wrong."""

    code = "invalid"

    @classmethod
    def from_validation(cls, error: ValidationError, what: str) -> BadInput:
        """Build from pydantic's error over a `what` ("benchmark event", "predict request")."""
        details = [_detail(item) for item in error.errors(include_url=False)[:_MAX_DETAILS]]
        first = details[0]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return cls(f"this {what} is not valid: {first.field}: {first.problem}{more}", details)

    @classmethod
    def of_field(cls, field: str, problem: str, expected: str) -> BadInput:
        """Build for one field."""
        detail = ErrorDetail(field=field, problem=problem, expected=expected)
        return cls(f"{field}: {problem}; expected {expected}", [detail])


class MalformedPayload(BadInput):
    """Not JSON at all, or not a JSON object."""

    code = "malformed"


class PayloadTooLarge(BadInput):
    """More bytes than the agent reads."""

    code = "too_large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        detail = ErrorDetail(
            field="payload",
            problem=f"{size_bytes} bytes",
            expected=f"at most {limit_bytes} bytes",
        )
        super().__init__(f"the payload has {size_bytes} bytes; at most {limit_bytes}", [detail])


class UnsupportedVersion(BadInput):
    """A contract version or event type that this agent does not speak."""

    code = "unsupported_version"


class UnknownRequest(BadInput):
    """A request topic that this agent does not serve."""

    code = "unknown_request"


class NoReplyAddress(BadInput):
    """A request that names no way to reply, so that its answer would go nowhere."""

    code = "no_reply_address"

    def __init__(self) -> None:
        detail = ErrorDetail(
            field="reply_to",
            problem="missing, and no MQTT 5 response topic was set",
            expected="a response topic (MQTT 5) or `reply_to` in the body (MQTT 3.1.1)",
        )
        super().__init__("the request names no way to reply", [detail])


class Unavailable(PlacewiseError):
    """A part that is needed is not there."""

    code = "unavailable"


class BusUnavailable(Unavailable):
    """The broker can't be reached, or refused the connection."""


class StoreUnavailable(Unavailable):
    """The store can't be opened: missing folder, no permission, held by another process."""


class AgentRefused(PlacewiseError):
    """An agent that was asked answered with an error; `remote_code` is the code it gave."""

    code = "refused"

    def __init__(self, remote: ErrorBody) -> None:
        super().__init__(remote.message, remote.details)
        self.remote_code = remote.code


class ProcessEnded(PlacewiseError):
    """A process of ours has ended before its work was done, with `exit_code`."""

    code = "process_ended"

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"a process of ours ended with {exit_code}")
        self.exit_code = exit_code


class Corrupt(PlacewiseError):
    """Something stored does not read as what it should be."""

    code = "corrupt"


def shown(value: object) -> str:
    """Return `value` as short printable text: outside text never reaches a log uncleaned."""
    if isinstance(value, bytes):
        value = value[: 4 * _SHOWN_CHARS].decode("utf-8", errors="replace")
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cut)


# A discriminated union puts its tag into the path; users know fields, not tags.
_UNION_TAG = "placewise."

_EXPECTED: dict[str, str] = {
    "missing": "a value",
    "extra_forbidden": "only fields that the contract names",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
}


def _detail(item: Any) -> ErrorDetail:
    """Translate one of pydantic's errors into field, problem, expectation."""
    kind: str = item["type"]
    context: dict[str, Any] = item.get("ctx") or {}
    path = [str(part) for part in item["loc"] if not str(part).startswith(_UNION_TAG)]
    field = ".".join(path) or "(whole)"
    problem = "missing" if kind == "missing" else f"got {shown(repr(item['input']))}"
    if kind == "extra_forbidden":
        problem = "unknown field"
    if "expected" in context:
        expected = str(context["expected"])
    elif kind in _EXPECTED:
        expected = _EXPECTED[kind]
    elif kind == "value_error":
        expected = str(context.get("error", item["msg"]))
    else:
        expected = (
            str(item["msg"]).removeprefix("Input should be ").removeprefix("Value should be ")
        )
    return ErrorDetail(field=shown(field), problem=problem, expected=shown(expected))
