"""How good predictions turned out, asked of the ledger of validations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, Strict

from schemas.base import Count, Label, Message, Name
from schemas.measurement import PromisedMetric, StrategyName

GroupedBy = Literal[
    "metric", "hardware", "model", "batch_size", "precision", "runtime", "browser", "strategy"
]

LONGEST_AGO_S = 3.2e9
"""A hundred years: no calendar goes back for ever."""


class ValidationQuestion(Message):
    """Which validations to look at; what is left out is not asked for."""

    metric: PromisedMetric | None = None
    hardware: Name | None = None
    model: Name | None = None
    batch_size: Count | None = None
    precision: Name | None = None
    runtime: Label | None = None
    browser: Name | None = Field(None, description="Browser and version, or just the browser")
    strategy: StrategyName | None = None
    last_s: Annotated[float, Strict(), Field(gt=0, le=LONGEST_AGO_S)] | None = Field(
        None, description="Only what was measured so long ago or later"
    )
    by: GroupedBy = Field("hardware", description="One row for each of these, and each metric")


class Trend(Message):
    """Whether errors grow or shrink, by the rank test of Mann (1945) over the newest."""

    direction: Literal["rising", "falling", "steady"] = Field(
        description="steady where chance explains it"
    )
    p_value: float = Field(ge=0, le=1, description="Of as much of a trend by chance")


class ValidatedGroup(Message):
    """How good the predictions of one metric turned out. Errors are fractions of what was measured.

    Recent are the newest 60.
    """

    name: str | None = Field(description="Of the hardware, model, … ; None where there is none")
    metric: PromisedMetric
    validations: int
    newest: AwareDatetime
    current_ape: float = Field(description="Of the newest")
    recent_ape: float = Field(description="Median")
    median_ape: float
    mean_ape: float
    bias: float = Field(description="Median of (predicted - measured) / measured")
    coverage_90: float = Field(description="Share of measurements inside their interval")
    recent_coverage_90: float
    trend: Trend


class ValidationReply(Message):
    """What the ledger says, the groups with the most validations first."""

    validations: int = Field(description="That were looked at")
    groups: list[ValidatedGroup]
    left_out: int = Field(0, description="Groups with fewer validations that are not listed")
