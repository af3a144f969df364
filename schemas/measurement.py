"""What was run, on what, how, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from schemas.base import Count, Label, Message, Name, Quantity

Outcome = Literal["ok", "out_of_memory", "failed"]
StrategyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""parallel, sequential, batched, or one that an agent was given besides."""

MetricName = Literal["throughput_per_s", "latency_ms", "memory_mb", "power_w"]
PromisedMetric = Literal[
    "throughput_per_s",
    "latency_ms",
    "memory_mb",
    "power_w",
    "energy_j",
    "total_latency_ms",
    "peak_memory_mb",
    "total_energy_j",
]
"""What an answer can be held to: the metrics that are learnt, the energy of an item that follows,
and what a decision says of a workload as a whole."""

METRICS: tuple[MetricName, ...] = ("throughput_per_s", "latency_ms", "memory_mb", "power_w")


def _named(value: Any) -> Any:
    """Let a bare name stand for a description that consists of the name alone."""
    return {"name": value} if isinstance(value, str) else value


class ModelSpec(Message):
    """A model, by name, with whatever is known of it. Descriptors left out are looked up."""

    name: Name
    family: Name | None = Field(None, description="What it does: vision, text_generation, …")
    architecture: Name | None = Field(None, description="Architecture group, e.g. `resnet`")
    parameters_m: Quantity | None = Field(None, description="Parameters, in millions")
    gmacs: Quantity | None = Field(None, description="Multiply-accumulates per item, in 1e9")
    activations_m: Quantity | None = Field(None, description="Activations per item, in millions")
    kv_values_per_token: Quantity | None = Field(
        None,
        description="Numbers kept per token: 2 x layers x key-value heads x head dimension",
    )
    shares: Name | None = Field(
        None, description="Models of one key hold the same tensors: the encoder they have in common"
    )


class HardwareSpec(Message):
    """A kind of device and how many of them work together on one run."""

    name: Name
    hardware_class: Name | None = Field(None, alias="class", description="gpu, cpu, npu, …")
    count: Count | None = Field(None, description="Devices that work together; 1 if left out")


class Setup(Message):
    """How a model is run. Together with model and hardware it identifies a cell."""

    task: Name | None = Field(None, description="inference or training; inference if left out")
    batch_size: Count | None = None
    precision: Name | None = Field(None, description="fp32, fp16, bf16, int8, …")
    kv_precision: Name | None = Field(
        None, description="Of the key-value cache: fp16, fp8, int4, 2bit, …; fp16 if left out"
    )
    runtime: Name | None = Field(None, description="Engine and version, e.g. `onnxruntime-1.23`")
    runtime_options: Label | None = None
    input_size: Quantity | None = Field(None, description="Edge of a square input, in pixels")
    sequence_in: Count | None = Field(None, description="Tokens read per request")
    sequence_out: Count | None = Field(None, description="Tokens written per request")
    parallelism: Label | None = Field(None, description="How several devices share one model")
    concurrency: Count | None = Field(None, description="Requests in flight at a time")


class Metrics(Message):
    """What was measured. A metric is comparable only within one unit or kind."""

    throughput_per_s: Quantity | None = None
    throughput_unit: Name | None = Field(None, description="What is counted, e.g. `images/s`")
    latency_ms: Quantity | None = None
    latency_kind: Name | None = Field(None, description="What is timed, e.g. `batch_step`")
    latency_p95_ms: Quantity | None = None
    time_to_first_token_ms: Quantity | None = None
    inter_token_latency_ms: Quantity | None = None
    memory_mb: Quantity | None = Field(None, description="Peak device memory")
    power_w: Quantity | None = Field(None, description="Mean power while running")
    energy_j_per_item: Quantity | None = None

    def any_measured(self) -> bool:
        """Return whether any metric has a value (a unit alone measures nothing)."""
        return any(
            value is not None
            for name, value in self
            if name not in {"throughput_unit", "latency_kind"}
        )

    def values(self) -> dict[str, float]:
        """Return the metrics that are predicted, and were measured, by name."""
        return {name: value for name in METRICS if (value := getattr(self, name)) is not None}

    def units(self) -> dict[str, str]:
        """Return unit or kind by metric, case-folded: sources differ in capitals only."""
        units: dict[str, str] = {}
        if self.throughput_unit is not None:
            units["throughput_per_s"] = self.throughput_unit.casefold()
        if self.latency_kind is not None:
            units["latency_ms"] = self.latency_kind.casefold()
        return units

    def promised(self) -> dict[PromisedMetric, float]:
        """Return what was measured of all that an answer can be held to, by name."""
        values: dict[PromisedMetric, float] = {
            name: value for name in METRICS if (value := getattr(self, name)) is not None
        }
        if self.energy_j_per_item is not None:
            values["energy_j"] = self.energy_j_per_item
        return values


def energy_unit(throughput_unit: str | None) -> str | None:
    """Return the unit of the energy of one item of what a throughput counts."""
    return None if throughput_unit is None else f"J per {throughput_unit.replace('/s', '', 1)}"


ModelRef = Annotated[ModelSpec, BeforeValidator(_named, json_schema_input_type=str | ModelSpec)]
"""A `ModelSpec`, or just the model's name."""

HardwareRef = Annotated[
    HardwareSpec, BeforeValidator(_named, json_schema_input_type=str | HardwareSpec)
]
"""A `HardwareSpec`, or just the hardware's name."""


class ModelRun(Message):
    """One model that ran in one set-up, alone or as part of a workload."""

    model: ModelRef
    hardware: HardwareRef
    setup: Setup = Setup()
    metrics: Metrics = Metrics()
    outcome: Outcome | None = Field(None, description="`ok` if left out and a metric is given")
    prediction_id: Name | None = Field(None, description="The prediction that this answers")
    shared_encoder: Name | None = Field(
        None, description="The encoder that ran once for this and other models of its wave"
    )
    batches: Count = Field(
        1, description="How many batches it ran, one after another; metrics are of one batch"
    )
    duration_s: Quantity | None = Field(
        None, description="How long the measured run lasted: devices slow down as they get warm"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.outcome is None and not self.metrics.any_measured():
            raise ValueError("an outcome or at least one metric")
        return self

    @property
    def result(self) -> Outcome:
        """The outcome, with `ok` understood where metrics were given without one."""
        return self.outcome or "ok"


class Benchmark(ModelRun):
    """`placewise.benchmark.v1`: one model measured alone on one kind of hardware."""


class Execution(Message):
    """`placewise.execution.v1`: a workload that ran under a strategy on a device.

    `waves` names the models of each wave in the order in which the waves ran; models of one
    wave ran at the same time.
    """

    runs: list[ModelRun] = Field(min_length=1, max_length=256)
    strategy: StrategyName
    waves: list[list[Name]] = Field(default_factory=list, max_length=256)
    device: Name | None = Field(None, description="Which device, where a fleet has several")
    wall_time_ms: Quantity | None = Field(None, description="Start of the first to end of the last")
    peak_memory_mb: Quantity | None = Field(None, description="Of all that ran, at its peak")
    power_w: Quantity | None = Field(None, description="Mean power while running")
    energy_j: Quantity | None = Field(None, description="Of the whole workload, once")
    decision_id: Name | None = Field(None, description="The decision that this answers")
    prediction_id: Name | None = Field(None, description="The prediction that this answers")

    @model_validator(mode="after")
    def _waves_name_the_runs(self) -> Self:
        names = [run.model.name for run in self.runs]
        in_waves = [name for wave in self.waves for name in wave]
        if in_waves and sorted(in_waves) != sorted(names):
            raise ValueError("waves that name each run's model exactly once")
        return self

    def alone(self) -> list[ModelRun]:
        """Return the runs that had the device to themselves, so that they count as benchmarks."""
        if len(self.runs) == 1 or (self.strategy == "sequential" and not self.waves):
            return list(self.runs)
        solo = {wave[0] for wave in self.waves if len(wave) == 1}
        return [run for run in self.runs if run.model.name in solo]
