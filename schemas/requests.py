"""What can be asked of the agent, and how a request is decoded."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, Self

from pydantic import Field, Strict, ValidationError, model_validator

from schemas.base import Count, Message, Name, Quantity, Request, Share, Weight
from schemas.capacity import Find
from schemas.errors import BadInput, ErrorDetail, MalformedPayload, UnknownRequest, shown
from schemas.exploration import ActiveLearningRequest, BatchRequest, IntegrateRequest
from schemas.explore import ExploreRequest
from schemas.jobs import LARGEST_BATCH
from schemas.measurement import (
    HardwareRef,
    HardwareSpec,
    MetricName,
    ModelRef,
    Setup,
    StrategyName,
)
from schemas.refinement import Scope, UpdateMethod
from schemas.topics import REQUEST_KINDS, RequestKind
from schemas.validation import ValidationQuestion

Goal = Literal["throughput", "latency", "memory", "energy"]
BrowserGoal = Literal["throughput", "latency", "memory"]
MAX_CANDIDATES = 1_000
MAX_CAPACITY_ROWS = 512


class Candidate(Message):
    """A cell to predict."""

    model: ModelRef
    hardware: HardwareRef
    setup: Setup = Setup()
    throughput_unit: Name | None = Field(None, description="The best supported one if left out")
    latency_kind: Name | None = Field(None, description="The best supported one if left out")


class PredictRequest(Request):
    """What will each of these cells measure?"""

    candidates: list[Candidate] = Field(min_length=1, max_length=MAX_CANDIDATES)
    metrics: list[MetricName] | None = Field(None, min_length=1, description="All if left out")
    duration_s: Quantity | None = Field(
        None, description="How long it is to run; the first minute if left out"
    )


class CompareRequest(Request):
    """One model over several kinds of hardware, over several batch sizes, or both."""

    model: ModelRef
    hardware: list[HardwareRef] | None = Field(
        None, min_length=1, max_length=64, description="All known hardware if left out"
    )
    setup: Setup = Setup()
    batch_sizes: list[Count] | None = Field(None, min_length=1, max_length=15)
    metric: MetricName = Field("throughput_per_s", description="Ordered by this, best first")


class HardwareOption(HardwareSpec):
    """Hardware that may be chosen, with what it costs and how often it is free."""

    cost_per_hour: Quantity | None = Field(None, description="In the caller's currency")
    availability: Share | None = Field(None, description="Share of time in which it is free")
    memory_mb: Quantity | None = Field(None, description="Memory of one device")


class Weights(Message):
    """What matters, relative to each other. Weights need not add up to one."""

    performance: Weight = 0.0
    power: Weight = 0.0
    memory: Weight = 0.0
    cost: Weight = 0.0
    availability: Weight = 0.0

    @model_validator(mode="after")
    def _something_matters(self) -> Self:
        if not any(value > 0 for _, value in self):
            raise ValueError("at least one weight above zero")
        return self


class HardwareLimits(Message):
    """Hard limits: what exceeds one is excluded, whatever its score."""

    power_w: Quantity | None = None
    memory_mb: Quantity | None = None
    cost_per_hour: Quantity | None = None
    latency_ms: Quantity | None = None
    throughput_per_s: Quantity | None = Field(None, description="At least this much")
    precision: list[Name] | None = Field(None, min_length=1, description="Only these")


class RecommendRequest(Request):
    """Which hardware is best for this model?"""

    model: ModelRef
    setup: Setup = Setup()
    hardware: list[HardwareOption] | None = Field(
        None, min_length=1, max_length=64, description="All known hardware if left out"
    )
    precisions: list[Name] | None = Field(
        None, min_length=1, max_length=8, description="Try each of these; else the set-up's"
    )
    metric: MetricName = Field("throughput_per_s", description="What performance means")
    weights: Weights = Weights(performance=1.0)
    limits: HardwareLimits = HardwareLimits()


NameGroup = Annotated[list[Name], Field(min_length=2, max_length=200)]


class WorkItem(Message):
    """One model of a workload."""

    model: ModelRef
    setup: Setup = Setup()
    latency_limit_ms: Quantity | None = Field(None, description="Its latency objective")
    batches: Annotated[int, Field(ge=1, le=1_000)] | None = Field(
        None, description="How many batches there are to run, one after another; 1 if left out"
    )
    devices: list[Name] | None = Field(
        None, min_length=1, max_length=200, description="Only onto these (place); any if left out"
    )
    max_batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] | None = Field(
        None, description="Its batches may be joined into larger ones of at most so many items"
    )


class Device(Message):
    """One device of a fleet, with its capacity."""

    name: Name
    hardware: HardwareRef
    memory_mb: Quantity | None = Field(None, description="Looked up by hardware if left out")
    cost_per_hour: Quantity | None = None
    used_memory_mb: Quantity | None = Field(None, description="By what already runs there")
    load: Annotated[float, Strict(), Field(ge=0, lt=1)] | None = Field(
        None, description="Share of its time that what already runs there takes"
    )
    failed: bool = Field(False, description="Nothing is placed there; what ran there is re-placed")


class PlacementLimits(Message):
    """Hard limits on a placement."""

    memory_mb: Quantity | None = Field(None, description="Per device, below its capacity")
    power_w: Quantity | None = Field(None, description="Per device")
    latency_ms: Quantity | None = Field(None, description="Per model")
    cost_per_hour: Quantity | None = Field(None, description="Of all devices that are used")


class PlaceRequest(Request):
    """Which model runs on which device?"""

    models: list[WorkItem] = Field(min_length=1, max_length=200)
    devices: list[Device] = Field(min_length=1, max_length=200)
    goal: Goal = "throughput"
    limits: PlacementLimits = PlacementLimits()
    together: list[NameGroup] = Field(
        [], max_length=200, description="Affinity: models of one group go onto one device"
    )
    apart: list[NameGroup] = Field(
        [], max_length=200, description="Exclusion: no two models of one group share a device"
    )
    current: dict[Name, Name] | None = Field(
        None, description="On which device each model is now; move as little as `move_cost` allows"
    )
    move_cost: Annotated[float, Strict(), Field(ge=0, le=10)] = Field(
        0.05, description="A move must gain the moved model this much speed, as a share of it"
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        models = [item.model.name for item in self.models]
        devices = [device.name for device in self.devices]
        _refuse_doubles(models, "models")
        _refuse_doubles(devices, "devices")
        for what, groups in (("together", self.together), ("apart", self.apart)):
            unknown = sorted({name for group in groups for name in group} - set(models))
            if unknown:
                raise ValueError(f"{what} that names models of the request, not {unknown[0]}")
        for item in self.models:
            unknown = sorted(set(item.devices or ()) - set(devices))
            if unknown:
                raise ValueError(f"devices of {item.model.name} in the request, not {unknown[0]}")
        unknown = sorted((self.current or {}).keys() - set(models))
        if unknown:
            raise ValueError(f"current that names models of the request, not {unknown[0]}")
        return self


class StrategyLimits(Message):
    """Hard limits on how a workload runs."""

    memory_mb: Quantity | None = None
    power_w: Quantity | None = None
    latency_ms: Quantity | None = Field(None, description="For the whole workload")


class GoalWeights(Message):
    """What matters of several goals, relative to each other. Weights need not add up to one."""

    throughput: Weight = 0.0
    latency: Weight = 0.0
    memory: Weight = 0.0
    energy: Weight = 0.0

    @model_validator(mode="after")
    def _something_matters(self) -> Self:
        if not any(value > 0 for _, value in self):
            raise ValueError("at least one weight above zero")
        return self


ExploreBudget = Annotated[float, Strict(), Field(ge=0, le=1)]


class StrategyRequest(Request):
    """How should these models run together on this device?"""

    models: list[WorkItem] = Field(min_length=1, max_length=200)
    hardware: HardwareRef
    memory_mb: Quantity | None = Field(None, description="Capacity; looked up if left out")
    goal: Goal = "throughput"
    limits: StrategyLimits = StrategyLimits()
    strategy: StrategyName | None = Field(None, description="Only this one; the best if left out")
    weights: GoalWeights | None = Field(None, description="A mix of goals, in place of `goal`")
    explore_budget: ExploreBudget = Field(
        0.0,
        description="By which share, on average over all decisions, choices may be predicted to be "
        "worse because something less certain was tried; 0 tries nothing",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_doubles([item.model.name for item in self.models], "models")
        return self


class ExecuteRequest(Request):
    """Decide how these models run together, run them on a worker, and tell what came of it."""

    models: list[WorkItem] = Field(min_length=1, max_length=32)
    worker: Name | None = Field(None, description="Its id; any that has the models if left out")
    pool: Literal["native", "browsers"] | None = Field(None, description="Workers of this kind")
    browser: Name | None = Field(None, description="Tabs of this browser: chromium, firefox, …")
    goal: Goal = "throughput"
    limits: StrategyLimits = StrategyLimits()
    strategy: StrategyName | None = Field(None, description="Only this one; the best if left out")
    weights: GoalWeights | None = Field(None, description="A mix of goals, in place of `goal`")
    explore_budget: ExploreBudget = Field(
        0.0,
        description="By which share, on average over all decisions, choices may be predicted to be "
        "worse because something less certain was tried; 0 tries nothing",
    )
    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    backend: Name | None = Field(None, description="The worker's own if left out")
    share_encoders: bool = True
    reuse_embeddings: bool = Field(
        False,
        description="Take a shared encoder's output from earlier requests with the same input, in "
        "browsers; such an execution measures no model, so nothing is learnt of it",
    )
    publish: bool = Field(
        True, description="Whether what is measured becomes an event, and so is learnt"
    )
    measure_memory: bool = Field(True, description="In a pass of its own")
    deadline_s: Annotated[float, Field(gt=0, le=3_600)] = 120.0

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_doubles([item.model.name for item in self.models], "models")
        return self


STRATEGIES: Final[tuple[StrategyName, ...]] = ("sequential", "parallel", "batched")
"""What a comparison runs models under."""


class CompareStrategiesRequest(ExecuteRequest):
    """Recommend a strategy, then run these models under every one: how good was the choice?"""

    strategy: None = Field(None, description="All of them are run")
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(
        0, description="Of the order in which they are run"
    )


class CapacityRequest(Request):
    """How large a batch, or how long a context, fits into memory?

    Every combination of hardware and precisions is answered, so that a planner sees what fewer
    bits buy. The other sizes are those of the set-up.
    """

    model: ModelRef
    hardware: list[HardwareRef] = Field(min_length=1, max_length=64)
    setup: Setup = Setup()
    find: Find = Field(
        "batch_size", description="context: tokens read and written by one request, together"
    )
    precisions: list[Name] | None = Field(
        None, min_length=1, max_length=16, description="Try each of these; else the set-up's"
    )
    kv_precisions: list[Name] | None = Field(
        None, min_length=1, max_length=16, description="Try each of these; else the set-up's"
    )
    memory_mb: Quantity | None = Field(
        None, description="Memory of one device; by its data sheet if left out"
    )
    probability: float = Field(0.9, gt=0, lt=1, description="With which it has to fit")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        ways = len(self.precisions or "1") * len(self.kv_precisions or "1")
        if ways * len(self.hardware) > MAX_CAPACITY_ROWS:
            raise ValueError(f"at most {MAX_CAPACITY_ROWS} combinations of hardware and precisions")
        return self


class QuarantineRequest(Request):
    """Which measurements were set aside as impossible, and why?"""

    limit: Count = Field(100, description="So many of the newest")


class ReleaseRequest(Request):
    """Learn a measurement that was set aside, because somebody knows that it is right."""

    source: Name
    id: Name


class BestBrowserRequest(Request):
    """Which of the browsers that are there is best for this model, on which backend?"""

    model: ModelRef
    setup: Setup = Setup()
    goal: BrowserGoal = "throughput"
    browsers: list[Name] | None = Field(
        None, min_length=1, max_length=16, description="Only these; all that are there if left out"
    )


class BrowsersRequest(Request):
    """Which browsers are there, and what do they offer?"""


class StatusRequest(Request):
    """How is the agent?"""


class ModelsRequest(Request):
    """Which version of learned state answers, which came before it, and how do they do?"""


class ValidationRequest(Request, ValidationQuestion):
    """How good did predictions turn out: of which hardware, model, browser, strategy, …?"""


class UpdateRequest(Request):
    """Make learned state anew by a method; keep it if that makes predictions better.

    A rollback is asked for because somebody knows better: it is kept without being judged.
    """

    method: UpdateMethod
    scope: Scope = Field(Scope(), description="For window and weighted; a rebuild concerns all")
    newest: Count = Field(200, description="Measurements of the scope that count in full")
    keep_one_in: Count = Field(4, description="Weighted: of the older ones, learn one in so many")
    version: int | None = Field(None, ge=0, description="For rollback: the version to return to")

    @model_validator(mode="after")
    def _says_what_its_method_needs(self) -> Self:
        if (self.method == "rollback") != (self.version is not None):
            raise ValueError("a rollback needs a version, other methods none")
        if self.method in ("rebuild", "rollback") and self.scope != Scope():
            raise ValueError(f"a {self.method} concerns all learned state: leave out the scope")
        return self


AnyRequest = (
    PredictRequest
    | CompareRequest
    | RecommendRequest
    | PlaceRequest
    | StrategyRequest
    | ExecuteRequest
    | CompareStrategiesRequest
    | CapacityRequest
    | QuarantineRequest
    | ReleaseRequest
    | BestBrowserRequest
    | BrowsersRequest
    | StatusRequest
    | ModelsRequest
    | UpdateRequest
    | ActiveLearningRequest
    | ValidationRequest
    | ExploreRequest
    | BatchRequest
    | IntegrateRequest
)

REQUESTS: dict[RequestKind, type[AnyRequest]] = {
    "predict": PredictRequest,
    "compare": CompareRequest,
    "recommend": RecommendRequest,
    "place": PlaceRequest,
    "strategy": StrategyRequest,
    "execute": ExecuteRequest,
    "compare_strategies": CompareStrategiesRequest,
    "capacity": CapacityRequest,
    "quarantine": QuarantineRequest,
    "release": ReleaseRequest,
    "best_browser": BestBrowserRequest,
    "browsers": BrowsersRequest,
    "status": StatusRequest,
    "models": ModelsRequest,
    "update": UpdateRequest,
    "active_learning": ActiveLearningRequest,
    "validation": ValidationRequest,
    "explore": ExploreRequest,
    "batch": BatchRequest,
    "integrate": IntegrateRequest,
}


class ReplyAddress(Message):
    """Where a request wants its reply, read even from a request that is otherwise wrong."""

    reply_to: str | None = None
    correlation_id: str | None = None


def decode_request(kind: str, payload: bytes | str) -> AnyRequest:
    """Decode the request of `kind` (the last level of its topic). An empty payload is `{}`.

    Raises:
        UnknownRequest: `kind` is none of `REQUEST_KINDS`.
        MalformedPayload: not a JSON object.
        BadInput: any field at fault, each named in the details.
    """
    request_type = REQUESTS.get(kind)  # type: ignore[call-overload]
    if request_type is None:
        raise UnknownRequest(
            f"unknown request {shown(kind)}",
            [
                ErrorDetail(
                    field="topic", problem=f"got {shown(kind)}", expected=", ".join(REQUEST_KINDS)
                )
            ],
        )
    try:
        return request_type.model_validate_json(payload or b"{}")  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid" or (first["type"] == "model_type" and not first["loc"]):
            raise MalformedPayload(
                f"the {kind} request is not a JSON object",
                [ErrorDetail(field="payload", problem=shown(payload), expected="a JSON object")],
            ) from None
        raise BadInput.from_validation(error, f"{kind} request") from None


def _refuse_doubles(names: list[str], what: str) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"each of the {what} once; more than once: {', '.join(doubles)}")


def reply_address(payload: bytes | str) -> ReplyAddress:
    """Read where to reply from a body that may be wrong in any other way. Never raises."""
    try:
        body = json.loads(payload)
    except ValueError:
        return ReplyAddress()
    if not isinstance(body, dict):
        return ReplyAddress()
    texts = {
        key: value
        for key in ("reply_to", "correlation_id")
        if isinstance(value := body.get(key), str) and value
    }
    return ReplyAddress(**texts)
