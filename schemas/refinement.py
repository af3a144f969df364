"""How learned state is refined: which part of the log it learns, and what that was worth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Count, Message, Name
from schemas.measurement import MetricName

UpdateMethod = Literal["window", "weighted", "rebuild", "rollback"]
"""How learned state can be made anew; learning event by event goes on under all of them.

window: of the scope, only the newest measurements are learnt. weighted: older ones count less,
because only one in so many is learnt. rebuild: everything is learnt again, older measurements in
random order, so that chance of arrival leaves no trace. rollback: as an earlier version did.
"""


class Scope(Message):
    """What a refinement concerns; what is left out means all of it."""

    metric: MetricName | None = None
    hardware: Name | None = None


class LogRule(Message):
    """A part of the log that is not learnt."""

    scope: Scope = Scope()
    before_seq: int = Field(ge=1, description="Concerns log records before this one")
    keep_one_in: Count | None = Field(None, description="Learn one in so many; None: none of them")


class Version(Message):
    """Which part of the log a version of learned state learns, and in what order."""

    number: int = Field(ge=0, description="Given to each refinement, also to those not kept")
    rules: list[LogRule] = []
    shuffled_before_seq: int = Field(
        0, ge=0, description="Older records are learnt in random order"
    )
    shuffle_seed: int = Field(0, description="Of that order")


class Refinement(Message):
    """An attempt to make learned state better, with what it came to.

    Both versions predicted the same newest measurements of the scope, each just before it
    learnt it. A refinement that made things no better is not kept; one that made what came next
    worse is taken back.
    """

    version: Version
    method: UpdateMethod
    scope: Scope = Scope()
    reason: str
    rows: int = Field(ge=0, description="Measurements on which both versions were judged")
    median_ape_before: float | None = Field(None, description="A fraction of the measurement")
    median_ape_after: float | None = None
    kept: bool
    rows_next: int = Field(0, ge=0, description="Newer measurements of the scope, since it is kept")
    median_ape_next: float | None = Field(None, description="Of those; none before there are 40")
