"""What the heart wants done. Each effect names the stimulus that caused it."""

from __future__ import annotations

from dataclasses import dataclass

from agent.heart.standing import Proposal
from schemas.explore import Wanted
from schemas.published import Alert, Decision, Validation
from schemas.quarantine import Release
from schemas.refinement import Refinement
from schemas.replies import AnyReply
from schemas.topics import RequestKind


@dataclass(frozen=True, slots=True)
class Answer:
    """Send `reply` to whoever asked.

    `logged` answers go into the log before they are sent, because a measurement may answer
    them later; `as_of_seq` is the state that they were made from.
    """

    cause: str
    kind: RequestKind
    reply: AnyReply
    logged: bool
    as_of_seq: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Say `what` on the agent's own channel for its kind."""

    cause: str
    what: Decision | Validation | Alert | Refinement | Wanted


@dataclass(frozen=True, slots=True)
class Refine:
    """Try an update, in the background; log what came of it."""

    cause: str
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Log:
    """Write `what` into the log; what follows from it, follows once it is there."""

    cause: str
    what: Release


Effect = Answer | Log | Publish | Refine
