"""What is worth measuring next: wanted benchmarks, and how they are asked for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from schemas.base import Count, Message, Name, Quantity, Request, Share
from schemas.measurement import HardwareRef, HardwareSpec, MetricName, ModelRef, ModelSpec, Setup

MAX_WANTED = 1_000
MAX_NAMED = 256

WantedCount = Annotated[int, Strict(), Field(ge=1, le=MAX_WANTED)]
Worth = Literal["gain", "gain_per_s", "gain_per_j", "gain_per_cost"]
"""What benchmarks are chosen by: what they teach, or what they teach for their time, energy or
money."""


class WantedBenchmark(Message):
    """A benchmark that is worth running, and what it is expected to teach.

    A measurement answers it when it is of the same cell: model, hardware and its count, and all
    of the set-up.
    """

    id: Name = Field(description="A measurement may name it as its `prediction_id`")
    model: ModelSpec
    hardware: HardwareSpec
    setup: Setup
    priority: int = Field(ge=1, description="1 is to be run first")
    expected_gain: float = Field(
        ge=0,
        description="Share of the total predictive uncertainty (variance of the log, over the "
        "cells that matter) that it is expected to remove, given all that come before it",
    )
    expected_gains: dict[MetricName, float] = Field(
        {}, description="The same for each metric, of its own uncertainty"
    )
    decision_gain: float | None = Field(
        None,
        description="By which share decisions are expected to become better; None where none was "
        "asked about",
    )
    cost_s: float = Field(ge=0, description="How long it is expected to run")
    energy_j: float | None = Field(None, description="None where power was never measured")
    cost: float | None = Field(None, description="In the caller's currency; None if not declared")
    reasons: list[str] = []


class ExplorationRequest(Request):
    """Among what benchmarks to choose; what is left out is taken from what was measured."""

    metrics: list[MetricName] | None = Field(
        None,
        min_length=1,
        description="Whose uncertainty counts, each as much; if left out, those that are measured "
        "of a tenth of the cells or more",
    )
    models: list[ModelRef] | None = Field(None, min_length=1, max_length=MAX_NAMED)
    hardware: list[HardwareRef] | None = Field(None, min_length=1, max_length=MAX_NAMED)
    setups: list[Setup] | None = Field(
        None, min_length=1, max_length=MAX_NAMED, description="Ways to run models"
    )
    batch_sizes: list[Count] | None = Field(None, min_length=1, max_length=16)
    precisions: list[Name] | None = Field(None, min_length=1, max_length=16)
    runtimes: list[Name] | None = Field(None, min_length=1, max_length=16)
    worth: Worth = Field("gain", description="What the choice is made by")
    cost_per_hour: dict[Name, Quantity] = Field(
        {}, max_length=MAX_NAMED, description="Of hardware, in the caller's currency"
    )
    thompson: bool = Field(
        False,
        description="Thompson sampling: choose by a draw of what may be unknown, so that several "
        "askers do not all run the same",
    )
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="Of what is drawn")
    diversity: Share = Field(0.0, description="How much being unlike what is chosen already counts")

    @model_validator(mode="after")
    def _knows_what_costs(self) -> Self:
        if self.worth == "gain_per_cost" and not self.cost_per_hour:
            raise ValueError("cost_per_hour of some hardware, since worth is gain_per_cost")
        return self


class ActiveLearningRequest(ExplorationRequest):
    """Which benchmarks are worth running next?"""

    budget: WantedCount = Field(description="So many benchmarks")


class MeasuredGain(Message):
    """A wanted benchmark that was measured since: what it was to teach, and what it taught."""

    id: str
    expected_gain: float
    measured_gain: float = Field(
        description="Share by which the variance that intervals tell, over a sample of the cells "
        "that matter, fell when it was learnt; below 0 where it showed that less was known"
    )


class ActiveLearningReply(Message):
    """The benchmarks to run, the most wanted first."""

    wanted: list[WantedBenchmark]
    candidates: int = Field(description="Benchmarks among which these were chosen")
    cells: int = Field(description="Cells that matter, over which uncertainty is added up")
    uncertainty: float = Field(
        description="Root of the mean variance over them, of the log: 0.1 is about 10 %"
    )
    expected_uncertainty: float = Field(description="The same, when all of these are measured")
    measured: list[MeasuredGain] = Field(
        [], description="Benchmarks that were wanted earlier and measured since, the newest last"
    )
    reasons: list[str] = []


class BatchRequest(ExplorationRequest):
    """Which batch of benchmarks to run, under limits?"""

    size: WantedCount = Field(description="At most so many benchmarks")
    limits: dict[Name, Annotated[int, Field(ge=0, le=MAX_WANTED)]] = Field(
        {}, max_length=MAX_NAMED, description="At most so many on this hardware"
    )
    availability: dict[Name, Share] = Field(
        {},
        max_length=MAX_NAMED,
        description="Share of time in which hardware is free: so much of its limit (of the size, "
        "where it has none) can be used, and what it teaches counts so much less",
    )
    diversity: Share = Field(0.3, description="How much being unlike what is chosen already counts")
    budget_runs: WantedCount | None = Field(None, description="Runs in all, repeats included")
    budget_s: Quantity | None = Field(None, description="Time in all")
    budget_j: Quantity | None = Field(None, description="Energy in all")
    repeats: Annotated[int, Strict(), Field(ge=1, le=100)] = Field(
        1, description="How often each is run"
    )


class BatchReply(ActiveLearningReply):
    """The batch, in the order in which to run it."""

    runs: int
    cost_s: float
    energy_j: float | None = Field(None, description="None where power is unknown of any of it")
    per_hardware: dict[str, int]


class IntegrateRequest(ExplorationRequest):
    """Which benchmarks would most change for the better what hardware is chosen?"""

    budget: WantedCount = Field(description="So many benchmarks")
    metric: MetricName = Field("throughput_per_s", description="What hardware is chosen by")


class DecisionAtHand(Message):
    """The choice of hardware for one model, as far as it is known."""

    model: str
    setup: Setup
    recommended: str = Field(description="The best hardware by what is known now")
    runner_up: str | None
    chance_best: float = Field(description="That the recommended one is really the best")
    expected_regret: float = Field(description="Share of the best that is lost by it, on average")


class IntegrateReply(ActiveLearningReply):
    """The benchmarks to run, those that decisions gain most by first; both gains are shown."""

    metric: MetricName
    decisions: list[DecisionAtHand] = Field(description="The most doubtful first")
