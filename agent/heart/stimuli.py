"""What the heart takes in.

Everything but a request comes from the log, in the order of the log, so that a replay is
the same fold as the life that it replays. What ships with the package comes before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.heart.versions import Rebuilding
from agent.learning.bank import Observation
from schemas.measurement import Benchmark, Execution
from schemas.quarantine import Release
from schemas.refinement import Refinement
from schemas.requests import AnyRequest
from schemas.topics import RequestKind


@dataclass(frozen=True, slots=True)
class MeasurementShipped:
    """A public measurement that came with the package; learnt before the log."""

    observation: Observation


@dataclass(frozen=True, slots=True)
class MeasurementLogged:
    """A benchmark or an execution was committed to the log as `seq`."""

    seq: int
    source: str
    id: str
    event_time: datetime
    data: Benchmark | Execution


@dataclass(frozen=True, slots=True)
class AnswerLogged:
    """An answer of ours was committed to the log as `seq`; its predictions are open now.

    `request` and `reply` are JSON; of the request, what is left to its default is left out.
    """

    seq: int
    id: str
    made_at: datetime
    kind: RequestKind
    request: dict[str, Any]
    reply: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RefinementLogged:
    """A refinement was committed to the log as `seq`.

    `made` is the learned state of its version, as of the record before; it is not in the log,
    but made from it, by whoever hands this over. None for a refinement that is not kept.
    """

    seq: int
    refinement: Refinement
    made: Rebuilding | None


@dataclass(frozen=True, slots=True)
class ReleaseLogged:
    """The release of a measurement that was set aside was committed to the log as `seq`."""

    seq: int
    released_at: datetime
    release: Release


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """Somebody asks. `id` is unique; the ids of what is answered are made from it."""

    id: str
    kind: RequestKind
    request: AnyRequest


LoggedStimulus = MeasurementLogged | AnswerLogged | RefinementLogged | ReleaseLogged
Stimulus = MeasurementShipped | LoggedStimulus | RequestReceived
