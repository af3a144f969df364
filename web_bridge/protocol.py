"""One connection with a tab, without I/O.

You must call `receive` with every frame, and `tick` at least once a second; then send what
they return, and close when told to. After `Close` nothing more may be handed in.

A tab speaks first. What it says before `Hello` was taken, what can't be decoded, what comes
too fast, and what comes in binary frames ends the connection with a code that the page shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from schemas.browser import (
    PROTOCOL_VERSION,
    Bye,
    FromTab,
    Hello,
    Refused,
    decode_from_tab,
)
from schemas.errors import BadInput, shown

GREETING_SECONDS = 10.0
"""How long a connection may be open before it says who it is."""

MESSAGES_PER_SECOND = 200.0
"""How fast a tab may talk for long: a job of the shortest laps stays far below."""

MESSAGES_AT_ONCE = 400.0
_REASON_BYTES = 120  # a close frame holds 123 bytes of reason


class CloseCode(int, Enum):
    """Why the bridge ended a connection. 4000 to 4999 are free for applications (RFC 6455)."""

    GOING_AWAY = 1001
    TRY_AGAIN = 1013
    BAD_MESSAGE = 4400
    MISBEHAVED = 4403
    TIMED_OUT = 4408
    REPLACED = 4409
    WRONG_VERSION = 4426
    TOO_FAST = 4429


@dataclass(frozen=True, slots=True)
class Joined:
    """The tab said who it is."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Said:
    """The tab said something else."""

    message: FromTab


@dataclass(frozen=True, slots=True)
class Close:
    """Send `refusal` if there is one, then close with `code` and `reason`."""

    code: CloseCode
    reason: str
    refusal: Refused | None = None


Outcome = Joined | Said | Close


def closing(code: CloseCode, kind: str, message: str) -> Close:
    """Return a close whose reason fits into a close frame, with the whole of it before."""
    said = shown(message)
    reason = said.encode()[:_REASON_BYTES].decode(errors="ignore")
    return Close(code, reason, Refused(code=kind, message=said))


@dataclass(slots=True)
class TabProtocol:
    """The state of one connection.

    Attributes:
        opened_at: when it was opened, in seconds of the caller's clock.
        joined: whether `Hello` was taken.
        closed: whether a `Close` was returned.
    """

    opened_at: float
    joined: bool = False
    closed: bool = False
    _allowance: float = field(default=MESSAGES_AT_ONCE)
    _counted_at: float | None = None

    def receive(self, frame: str | bytes, now: float) -> Outcome:
        """Take one whole frame and return what it is."""
        assert not self.closed, "nothing is received after a close"
        outcome = self._read(frame, now)
        self.closed = isinstance(outcome, Close)
        return outcome

    def tick(self, now: float) -> Close | None:
        """Return a close if the tab takes too long to say who it is."""
        if self.joined or self.closed or now - self.opened_at < GREETING_SECONDS:
            return None
        self.closed = True
        return closing(
            CloseCode.TIMED_OUT, "silent", f"no hello within {GREETING_SECONDS:g} seconds"
        )

    def _read(self, frame: str | bytes, now: float) -> Outcome:
        if not self._in_time(now):
            most = f"more than {MESSAGES_PER_SECOND:g} messages a second"
            return closing(CloseCode.TOO_FAST, "too_fast", most)
        try:
            message = _decoded(frame)
        except BadInput as error:
            return closing(CloseCode.BAD_MESSAGE, error.code, error.message)
        if isinstance(message, Hello):
            return self._greeted(message)
        if not self.joined:
            return closing(CloseCode.BAD_MESSAGE, "invalid", f"{message.type} before hello")
        if isinstance(message, Bye):
            return Close(CloseCode.GOING_AWAY, "goodbye")
        return Said(message)

    def _greeted(self, hello: Hello) -> Outcome:
        if self.joined:
            return closing(CloseCode.BAD_MESSAGE, "invalid", "hello a second time")
        if hello.protocol != PROTOCOL_VERSION:
            return closing(
                CloseCode.WRONG_VERSION,
                "unsupported_version",
                f"this bridge speaks protocol {PROTOCOL_VERSION}, the page {hello.protocol}: "
                "reload the page",
            )
        self.joined = True
        return Joined(hello)

    def _in_time(self, now: float) -> bool:
        """Count a message against a bucket that refills steadily."""
        if self._counted_at is not None:
            refill = max(0.0, now - self._counted_at) * MESSAGES_PER_SECOND
            self._allowance = min(MESSAGES_AT_ONCE, self._allowance + refill)
        self._counted_at = now
        self._allowance -= 1
        return self._allowance >= 0


def _decoded(frame: str | bytes) -> FromTab:
    if isinstance(frame, bytes):
        raise BadInput.of_field("frame", "binary", "text")
    return decode_from_tab(frame)
