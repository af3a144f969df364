"""What the agent answers."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from schemas.base import Message
from schemas.capacity import CapacityReply
from schemas.exploration import ActiveLearningReply, BatchReply, IntegrateReply
from schemas.explore import ExploreReply
from schemas.jobs import EmbeddingReuse, JobResult, WorkerState
from schemas.measurement import MetricName, PromisedMetric, StrategyName
from schemas.quarantine import QuarantineReply, ReleaseReply
from schemas.refinement import Refinement
from schemas.requests import BrowserGoal, Goal
from schemas.validation import ValidationReply


class Basis(Message):
    """How many measurements of this metric a prediction rests on."""

    cell: int = Field(description="Of exactly this model, hardware and set-up")
    model: int = Field(description="Of this model anywhere")
    hardware: int = Field(description="Of any model on this hardware")
    setup: int = Field(description="Of any model on this hardware in this precision and runtime")
    total: int = Field(description="Of anything, in this unit")


class Estimate(Message):
    """A predicted metric: nominal 90 % interval, and the chance of being within ±20 %."""

    value: float
    low: float
    high: float
    confidence: float = Field(ge=0, le=1)
    unit: str | None = Field(None, description="Throughput unit or latency kind, if any")
    basis: Basis | None = None


Estimates = dict[MetricName, Estimate]


class Prediction(Message):
    """What one cell is predicted to measure. A metric never measured is absent, never made up."""

    prediction_id: str
    model: str
    hardware: str
    metrics: Estimates
    energy_j: Estimate | None = Field(
        None, description="Per item: power over throughput; None where one of them is unknown"
    )
    fits: float | None = Field(
        None, ge=0, le=1, description="Chance that it fits into memory; None if unknown"
    )
    holds_for_s: float | None = Field(
        None,
        description="How long a run the speed holds for; None where no duration was ever measured",
    )
    notes: list[str] = Field([], description="What to know before relying on it")


class PredictReply(Message):
    """The answer to a predict request, in the order of its candidates."""

    predictions: list[Prediction]


class ComparedCell(Message):
    """One row of a comparison."""

    rank: int
    hardware: str
    batch_size: int | None = None
    prediction_id: str
    metrics: Estimates
    separated_from_next: bool | None = Field(
        None, description="Whether its interval is clear of the next one's; None for the last"
    )


class CompareReply(Message):
    """One model over hardware and batch sizes, best first by `metric`."""

    model: str
    metric: MetricName
    rows: list[ComparedCell]
    not_comparable: list[str] = Field([], description="Hardware for which the metric is unknown")


class ScorePart(Message):
    """One criterion's share of a score. `score` is 1 for the best candidate, relative to it."""

    criterion: Literal["performance", "power", "memory", "cost", "availability"]
    value: float | None = Field(description="In the criterion's own unit; None if unknown")
    score: float
    weight: float = Field(description="Normalised: the weights of all parts add up to one")


class RankedHardware(Message):
    """Hardware that meets the limits, with its score and where that comes from."""

    hardware: str
    precision: str | None = None
    score: float
    parts: list[ScorePart]
    metrics: Estimates
    prediction_id: str
    separated_from_next: bool | None = Field(
        None, description="Whether its score's interval is clear of the next one's; None for last"
    )
    reasons: list[str] = []


class ExcludedHardware(Message):
    """A hard limit that excluded some hardware. Hardware that breaks several has one for each."""

    hardware: str
    precision: str | None = None
    limit: str = Field(description="Which limit, e.g. `power_w`")
    value: float | str | None = Field(description="What it would be; None if unknown")
    allowed: float | str | list[str]
    reason: str


class RecommendReply(Message):
    """The best hardware, the runners-up, and what was excluded by which limit.

    `recommended` is None when nothing qualifies; `excluded` then says why.
    """

    decision_id: str
    model: str
    recommended: RankedHardware | None
    runners_up: list[RankedHardware]
    excluded: list[ExcludedHardware]
    reasons: list[str]


class PlacedModel(Message):
    """One model on one device.

    `metrics` are as they will be there, beside the others; `prediction_id` is of the model alone.
    """

    model: str
    device: str
    metrics: Estimates
    prediction_id: str


class DeviceLoad(Message):
    """What a device carries in a placement."""

    device: str
    hardware: str
    models: list[str]
    memory_mb: float | None = Field(description="Predicted peak; None if unknown")
    memory_capacity_mb: float | None
    share: float = Field(
        description="By how much models slow each other down: 2 halves each one's speed; 0 if empty"
    )


class Unplaced(Message):
    """A model for which there was no room, and what would have to change."""

    model: str
    limit: str
    reason: str
    would_fit_if: str


class Move(Message):
    """A model that has to go from one device to another; None where it is on no device now."""

    model: str
    from_device: str | None
    to_device: str


class PlaceReply(Message):
    """Models onto devices: first as many as possible, then the best for the goal.

    `objective` is, for the goals throughput and energy, the geometric mean of the placed models'
    speeds (items per joule), each relative to itself alone on its best device; for latency one
    over their mean slow-down; for memory their sum in MB, below zero.
    """

    decision_id: str
    goal: Goal
    placed: list[PlacedModel]
    unplaced: list[Unplaced]
    devices: list[DeviceLoad]
    objective: float = Field(description="Of the goal, higher is better")
    bound: float = Field(description="No placement of as many models exceeds this objective")
    optimal: bool = Field(description="Whether `objective` reaches `bound`")
    admitted: bool = Field(True, description="Whether every model has a place")
    moves: list[Move] = Field([], description="What has to be moved from where it is now")
    reasons: list[str]


class Slot(Message):
    """One model's time in a timeline."""

    model: str
    wave: int
    start_ms: float
    end_ms: float


class StrategyOutcome(Message):
    """What a strategy is predicted to come to for a workload."""

    strategy: StrategyName
    waves: list[list[str]]
    timeline: list[Slot]
    total_latency_ms: Estimate
    throughput_per_s: Estimate = Field(description="Sum of the models' items per second")
    mean_latency_ms: Estimate | None = Field(
        None, description="Mean of `model_latency_ms` over the models"
    )
    model_latency_ms: dict[str, Estimate] = Field(
        {}, description="When each model is done, counted from the start of the workload"
    )
    memory_mb: Estimate | None = Field(None, description="Peak; None if any model's is unknown")
    power_w: Estimate | None = Field(None, description="Largest of any wave; None if unknown")
    energy_j: Estimate | None = Field(None, description="Of one run of each; None if unknown")
    feasible: bool
    violations: list[str] = []


class Explored(Message):
    """Something less certain was chosen, to learn what it comes to."""

    instead_of: StrategyName
    predicted_regret: float = Field(description="How much worse it is predicted to be, as a share")


class Joined(Message):
    """Batches of one model that are run as fewer, larger ones: its gain is not that of overlap."""

    model: str
    batch_size: int = Field(description="Of the larger batches")
    batches: int = Field(description="How many of them there are")
    gain: float = Field(description="How many times as fast that is predicted to be, alone")


class StrategyReply(Message):
    """How to run a workload on a device. `chosen` is None when no strategy meets the limits."""

    decision_id: str
    goal: Goal
    chosen: StrategyOutcome | None
    alternatives: list[StrategyOutcome]
    joined: list[Joined] = Field([], description="Models whose batches are joined, whatever runs")
    overlap_gain: float | None = Field(
        None, description="How many times as fast as one after another the chosen waves are"
    )
    explored: Explored | None = Field(None, description="If what was chosen is not the best")
    reasons: list[str]


class Compared(Message):
    """What was predicted for an execution, beside what it came to."""

    metric: str = Field(description="As of the strategy's outcome: total_latency_ms, memory_mb, …")
    predicted: float
    low: float
    high: float
    measured: float
    absolute_percentage_error: float = Field(description="|predicted - measured| / measured")
    within_interval: bool


class ExecuteReply(Message):
    """How a workload was run, what had been predicted for it, and what was measured."""

    decision_id: str
    worker: str
    predicted: StrategyOutcome | None = Field(description="None if not enough was known")
    result: JobResult
    compared: list[Compared] = Field([], description="Empty if nothing was predicted or measured")
    reasons: list[str] = []


class CompareStrategiesReply(Message):
    """Every strategy as it was predicted and as it ran, and how good the recommendation was."""

    decision_id: str
    goal: Goal
    recommended: StrategyName | None = Field(description="None if not enough was known")
    best: StrategyName | None = Field(description="By the goal, as measured")
    regret: float | None = Field(
        description="By which share the recommended one came out worse than the best; 0 is right"
    )
    executions: list[ExecuteReply]
    reasons: list[str] = []


DecidedBy = Literal["measurements", "predictions", "rules_of_thumb", "capabilities"]


class BrowserChoice(Message):
    """A browser that is there, and a way of running a model in it."""

    worker: str = Field(description="To be named in an execute request")
    browser: str
    version: str
    backend: str
    hardware: str
    software: bool | None = Field(None, description="Whether the adapter is the processor")
    tabs: int
    measured: int = Field(description="Measurements of exactly this model there")
    estimate: Estimate | None = Field(None, description="Of the goal; None if nothing is known")
    rules: list[str] = Field([], description="Published rules of thumb in favour of it")
    prediction_id: str


class BestBrowserReply(Message):
    """The best browser for a model. `chosen` is None when none can run it; `excluded` says why."""

    decision_id: str
    model: str
    goal: BrowserGoal
    chosen: BrowserChoice | None
    others: list[BrowserChoice]
    excluded: dict[str, str] = Field({}, description="Workers that can't run it, and why")
    decided_by: DecidedBy | None = Field(
        None,
        description="What put it first: measurements of it, predictions from its relatives, "
        "a published rule of thumb, or what the browser can do",
    )
    reasons: list[str]


class BrowsersReply(Message):
    """The browsers that are there: each group of like tabs is a worker."""

    workers: list[WorkerState]


class MetricStatus(Message):
    """How well one metric was predicted, by the answers that were measured afterwards."""

    validated: int = Field(description="Predictions held against a measurement")
    median_ape: float = Field(description="Of the recent ones; a fraction of the measurement")
    coverage_90: float = Field(description="Share of the recent ones inside their interval")


class StatusReply(Message):
    """How the agent is."""

    agent_id: str
    version: str
    started_at: AwareDatetime
    log_records: int = Field(description="Events and answers in the log, as far as applied")
    events_logged: int = Field(description="Benchmarks and executions among them")
    observations_learned: int
    models_known: int
    hardware_known: int
    requests_answered: int
    dead_letters: int
    open_predictions: int
    quarantined: int = Field(0, description="Impossible measurements that are set aside")
    learned_mb: float = Field(
        0.0, description="Memory that what was learnt takes, by a count every ten seconds; bounded"
    )
    metrics: dict[PromisedMetric, MetricStatus] = Field(description="Those validated at least once")
    reuse: dict[str, EmbeddingReuse] = Field(
        {}, description="By worker that is there: embeddings that were reused"
    )


class Standing(Message):
    """How well one metric of one hardware is being predicted, each time just before it is learnt.

    Errors are medians, as fractions of the measurement.
    """

    metric: MetricName
    hardware: str
    events: int
    usual_ape: float = Field(description="Over a long time")
    recent_ape: float = Field(description="Of the newest measurements")
    bias: float = Field(description="Median of measured over predicted, less one; recent")
    trend: Literal["steady", "rising", "falling"]


class ModelsReply(Message):
    """The versions of learned state, and how the current one does."""

    version: int
    observations_learned: int
    refining: str | None = Field(None, description="What is being tried just now")
    refinements: list[Refinement] = Field([], description="The newest last")
    standings: list[Standing] = Field([], description="The worst first")


class UpdateReply(Message):
    """An update was taken up; what it came to is published as a refinement."""

    accepted: str


AnyReply = (
    PredictReply
    | CompareReply
    | RecommendReply
    | PlaceReply
    | StrategyReply
    | ExecuteReply
    | CompareStrategiesReply
    | CapacityReply
    | QuarantineReply
    | ReleaseReply
    | BestBrowserReply
    | BrowsersReply
    | StatusReply
    | ModelsReply
    | UpdateReply
    | ActiveLearningReply
    | ValidationReply
    | ExploreReply
    | BatchReply
    | IntegrateReply
)
