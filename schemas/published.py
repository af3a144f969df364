"""What the agent says of itself, unasked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from schemas.base import Message
from schemas.errors import ErrorBody
from schemas.measurement import PromisedMetric
from schemas.topics import RequestKind

DECISION_TYPE = "placewise.decision.v1"
VALIDATION_TYPE = "placewise.validation.v1"
ALERT_TYPE = "placewise.alert.v1"
REFINEMENT_TYPE = "placewise.refinement.v1"


PairedBy = Literal["id", "cell"]


class AgentState(Message):
    """Retained on `agents/{id}/state`; the will publishes `offline` when the agent vanishes."""

    agent_id: str
    status: Literal["starting", "online", "stopping", "offline"]
    version: str
    since: AwareDatetime
    events_logged: int = 0
    observations_learned: int = 0


class Decision(Message):
    """`placewise.decision.v1`: an answered request that somebody may act on."""

    decision_id: str
    kind: RequestKind
    request: dict[str, Any]
    reply: dict[str, Any]


class Validation(Message):
    """`placewise.validation.v1`: a prediction held against what was then measured."""

    seq: int = Field(description="Of the measurement's log record")
    time: AwareDatetime = Field(description="Of the measurement, by the clock of who measured")
    prediction_id: str = Field(description="Of the prediction, or of the decision, that it answers")
    paired_by: PairedBy = Field(
        description="id: it named the prediction. cell: it is of the very cell, within an hour"
    )
    metric: PromisedMetric
    model: str = Field(description="For a whole workload: its models")
    hardware: str
    batch_size: int | None = None
    precision: str | None = None
    runtime: str | None = None
    strategy: str | None = Field(None, description="Under which it ran, if it was an execution")
    predicted: float
    low: float
    high: float
    measured: float
    relative_error: float = Field(description="(predicted - measured) / measured")
    absolute_percentage_error: float = Field(description="|predicted - measured| / measured")
    within_interval: bool
    event_id: str
    event_source: str


AnomalyKind = Literal["drift", "throttling", "fallback_backend", "outlier", "poisoned_source"]
AlertKind = Literal[AnomalyKind, "quarantine", "source_trusted", "wrong_output"]


class Alert(Message):
    """`placewise.alert.v1`: something that a person should know."""

    kind: AlertKind
    message: str
    scope: dict[str, str] = {}


class DeadLetter(Message):
    """A message that was refused, on `agents/{id}/dead_letters`, with the reason."""

    topic: str
    received_at: AwareDatetime
    error: ErrorBody
    payload_bytes: int
    payload_start: str = Field(description="The first bytes, cleaned of what does not print")
