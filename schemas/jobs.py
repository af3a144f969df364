"""What the agent (or anybody) has a worker do, and what came of it.

A worker keeps a retained state on `placewise/v1/workers/{id}/state` and takes jobs on
`placewise/v1/workers/{id}/jobs`, each with MQTT 5 response topic and correlation data (or
`reply_to` and `correlation_id` in the body), and answers each with one result. What it measured
goes out as an execution event as well. Native processes and pools of browser tabs alike.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas.base import Count, Label, Message, Name, Quantity
from schemas.errors import BadInput, ErrorDetail, MalformedPayload, shown
from schemas.measurement import HardwareSpec, StrategyName
from schemas.models import ModelId, Sha256, Size, Symbol

WorkerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
JobOutcome = Literal[
    "ok", "failed", "out_of_memory", "wrong_output", "too_late", "refused", "gave_way"
]
MAX_MODELS = 32
LARGEST_BATCH = 4_096


class JobModel(Message):
    """One model of a job, and how it is to be run."""

    model: ModelId
    sha256: Sha256 | None = Field(None, description="Refused if the worker has other content")
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 1
    runs: Annotated[int, Field(ge=1, le=1_000)] = Field(
        1, description="Batches that one execution of the workload runs, one after another"
    )
    sizes: dict[Symbol, Size] = Field({}, max_length=8, description="Defaults if left out")


class RunJob(Message):
    """Run a workload under a strategy, several times, and measure it."""

    type: Literal["run"] = "run"
    job_id: JobId
    models: list[JobModel] = Field(min_length=1, max_length=MAX_MODELS)
    strategy: StrategyName
    waves: list[list[ModelId]] = Field(min_length=1, max_length=MAX_MODELS)
    repeats: Annotated[int, Field(ge=1, le=100)] = Field(
        3, description="Executions that are measured, after one that is not"
    )
    warm_up: bool = Field(True, description="Whether there is one that is not measured")
    backend: Name | None = Field(
        None, description="cpu, cuda, wasm, …; the worker's own if left out"
    )
    share_encoders: bool = Field(
        True, description="Run an encoder that models of one wave have in common once for them all"
    )
    reuse_embeddings: bool = Field(
        False,
        description="Take a shared encoder's output from earlier runs on the same input, in "
        "browsers; such runs measure no model, so no event is published",
    )
    measure_memory: bool = Field(
        True, description="Measure the peak in a pass of its own, which loads everything anew"
    )
    gives_way: bool = Field(
        False,
        description="Nobody waits for it: a native worker runs it only while no other job is "
        "there, and ends it when one comes; the outcome is then `gave_way`",
    )
    deadline_s: Annotated[float, Field(gt=0, le=3_600)] = 120.0
    decision_id: Name | None = Field(None, description="Goes into the execution event")
    publish: bool = Field(True, description="Whether to publish an execution event")
    reply_to: Name | None = Field(None, description="Where to reply (MQTT 3.1.1)")
    correlation_id: Name | None = Field(None, description="Returned unchanged (MQTT 3.1.1)")

    @model_validator(mode="after")
    def _waves_name_the_models(self) -> Self:
        names = [one.model for one in self.models]
        if len(set(names)) < len(names):
            raise ValueError("each model once")
        if sorted(name for wave in self.waves for name in wave) != sorted(names):
            raise ValueError("waves that name each model exactly once")
        if not all(self.waves):
            raise ValueError("no empty wave")
        return self


class CancelJob(Message):
    """Give a job up. Its result says `refused` if it had not begun, else it is finished."""

    type: Literal["cancel"] = "cancel"
    job_id: JobId


AnyJob = RunJob | CancelJob
_JOBS: dict[str, type[AnyJob]] = {"run": RunJob, "cancel": CancelJob}


class Spread(Message):
    """Repeated measurements of one thing, in the unit that the field's name says."""

    median: float
    low: float = Field(description="The smallest")
    high: float = Field(description="The largest")
    count: int


class RanIn(Message):
    """In which browser tab a model ran, and how the tab was."""

    tab: str
    label: str | None = None
    browser: str
    version: str
    adapter: str | None = Field(None, description="The WebGPU adapter, if that ran it")
    software: bool | None = Field(None, description="Whether the adapter is the processor")
    bundle: str = Field(description="Which build of the runtime")
    threads: int
    placement: dict[str, int] = Field({}, description="Graph nodes by what ran them")
    memory_mb: float | None = Field(None, description="Of the whole tab, afterwards")
    lag_ms: float | None = Field(None, description="How late the page's timers ran")
    pressure: str | None = Field(None, description="On the processor, where the browser tells")
    visible: bool = True
    busy_tabs: int = Field(0, description="Tabs of the pool that worked on other jobs")
    cached_runs: int = Field(0, description="Runs whose output was known, so that nothing ran")
    tokens: int | None = Field(None, description="Written per run, by a text-generation model")
    first_token_ms: float | None = Field(None, description="Median")


class EmbeddingReuse(Message):
    """How often a shared encoder's output was known for its input, and what that saved."""

    runs: int = Field(ge=0, description="Times that an encoder's output was needed")
    reused: int = Field(ge=0, description="Of these, taken from an earlier run on the same input")
    hit_rate: float = Field(ge=0, le=1)
    saved_ms: float = Field(
        description="What the runs took that made the reused outputs, less what taking them took"
    )
    kept_mb: float | None = Field(
        None, description="What the outputs take that are kept for inputs to come, in the tabs"
    )


class ModelMeasured(Message):
    """What was measured of one model of a job. Times are of one execution: all of its runs."""

    model: str
    batch_size: int
    runs: int
    requested_backend: str
    actual_backend: str = Field(description="What really ran it")
    load_ms: float = Field(
        description="Making the session, in a tab by whichever job; 0 if a native worker had it"
    )
    first_run_ms: float | None = Field(
        None, description="The first run of the session, apart; None if a native worker had it"
    )
    start_ms: float = Field(description="Median start, from the start of the workload")
    latency_ms: Spread = Field(description="From its own start to its own end")
    memory_mb: float | None = Field(None, description="What loading and running it added")
    shared_encoder: str | None = Field(None, description="The encoder that ran once for several")
    output_checked: bool | None = Field(
        None, description="Whether it agreed with the reference; None if there is none"
    )
    ran_in: RanIn | None = Field(None, description="The browser tab; None for a native worker")


class JobResult(Message):
    """What came of a job. Only `ok` has measurements; an execution in which nothing ran is none."""

    job_id: str
    worker_id: str
    outcome: JobOutcome
    message: str = ""
    strategy: StrategyName | None = None
    waves: list[list[str]] = []
    models: list[ModelMeasured] = []
    wall_time_ms: Spread | None = Field(None, description="First start to last end")
    peak_memory_mb: float | None = Field(
        None,
        description="Of the process, or of a GPU that tells no processes apart, above an idle one",
    )
    power_w: float | None = Field(None, description="Mean, where the platform tells it")
    energy_j: float | None = Field(None, description="Of one execution, where it is told")
    reuse: EmbeddingReuse | None = Field(
        None, description="Over all runs, the uncounted first too; None if none was asked for"
    )
    event_id: str | None = Field(None, description="Of the execution event that was published")
    decision_id: str | None = None

    @model_validator(mode="after")
    def _measured_if_ok(self) -> Self:
        if (self.outcome == "ok") != bool(self.models and self.wall_time_ms):
            raise ValueError("measurements if and only if the outcome is ok")
        return self


class HeldModel(Message):
    """A model that a worker can run."""

    model: str
    sha256: Sha256
    family: str
    shares: str | None = Field(None, description="Key of what it may share with others")
    parameters_m: float | None = None
    gmacs: float | None = None


class BrowserKind(Message):
    """Tabs of one browser on machines of one kind, and one way in which they run models."""

    browser: Name = Field(description="chromium, chrome, edge, firefox, safari, …")
    version: Name
    backend: Literal["wasm", "webgpu", "webnn"]
    tabs: int = Field(ge=0)
    adapter: str | None = None
    software: bool | None = Field(None, description="Whether the adapter is the processor")
    operators: int | None = Field(None, description="That WebNN names")
    quarantined: dict[ModelId, Label] = Field(
        {}, description="Models whose output was wrong there, with what was wrong"
    )
    reuse: EmbeddingReuse | None = Field(
        None, description="Of all jobs since the pool was opened that asked for it"
    )


class Gauges(Message):
    """How a worker's machine is. What its platform does not tell is None."""

    temperature_c: float | None = Field(None, description="Of the hottest part that tells")
    on_battery: bool | None = Field(None, description="Whether it runs on a battery now")
    tells_energy: bool = Field(False, description="Whether results of its jobs have power, energy")


class WorkerState(Message):
    """Retained on `workers/{id}/state`; the will publishes `offline` when the worker vanishes."""

    worker_id: WorkerId
    kind: Literal["native", "browser"]
    status: Literal["online", "offline"]
    since: AwareDatetime
    hardware: HardwareSpec | None = None
    host: Name | None = Field(
        None, description="The machine, as far as it is known: workers of one disturb each other"
    )
    memory_mb: Quantity | None = None
    cores: Count | None = None
    gauges: Gauges | None = Field(None, description="Told anew when they have changed")
    runtime: Name | None = None
    backends: list[Name] = []
    models: list[HeldModel] = []
    browser: BrowserKind | None = None
    note: Label = ""


def decode_job(payload: bytes | str) -> AnyJob:
    """Decode a job as a worker receives it.

    Raises:
        MalformedPayload: not a JSON object.
        BadInput: any field at fault, each named in the details.
    """
    try:
        body = json.loads(payload)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise MalformedPayload(
            "the job is not a JSON object",
            [ErrorDetail(field="payload", problem=shown(payload), expected="a JSON object")],
        )
    kind = _JOBS.get(str(body.get("type")))
    if kind is None:
        raise BadInput.of_field("type", "missing or unknown", " or ".join(_JOBS))
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise BadInput.from_validation(error, f"{body['type']} job") from None


def decode_worker_state(payload: bytes | str) -> WorkerState:
    """Decode a worker's state.

    Raises:
        BadInput: what it says is no state, each wrong field named in the details.
    """
    try:
        return WorkerState.model_validate_json(payload)
    except ValidationError as error:
        raise BadInput.from_validation(error, "worker state") from None


def decode_result(payload: bytes | str) -> JobResult:
    """Decode what came of a job.

    Raises:
        BadInput: what it says is no result, each wrong field named in the details.
    """
    try:
        return JobResult.model_validate_json(payload)
    except ValidationError as error:
        raise BadInput.from_validation(error, "job result") from None
