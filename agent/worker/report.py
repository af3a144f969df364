"""What a worker's result is as an execution event: what was run, on what, how, what came of it."""

from __future__ import annotations

from schemas.jobs import JobResult, ModelMeasured, WorkerState
from schemas.measurement import Execution, HardwareSpec, Metrics, ModelRun, ModelSpec, Setup

THROUGHPUT_UNIT = "items/s"
LATENCY_KIND = "batch"


def spec_of(worker: WorkerState, model: str) -> ModelSpec:
    """Return what a worker tells of one of its models."""
    held = next((one for one in worker.models if one.model == model), None)
    if held is None:
        return ModelSpec(name=model)
    return ModelSpec(
        name=model,
        family=held.family,
        parameters_m=held.parameters_m,
        gmacs=held.gmacs,
        shares=held.shares,
    )


def setup_of(worker: WorkerState, batch_size: int) -> Setup:
    """Return how a worker runs any model."""
    return Setup(task="inference", batch_size=batch_size, precision="fp32", runtime=worker.runtime)


def hardware_of(worker: WorkerState) -> HardwareSpec:
    """Return the hardware of a worker; its own name stands for one that tells none."""
    return worker.hardware or HardwareSpec(name=worker.worker_id)


def execution_of(result: JobResult, worker: WorkerState) -> Execution:
    """Return a result that is `ok` as the data of an execution event."""
    assert result.strategy is not None
    assert result.wall_time_ms is not None
    return Execution(
        runs=[_run(one, result, worker) for one in result.models],
        strategy=result.strategy,
        waves=result.waves,
        device=worker.worker_id,
        wall_time_ms=result.wall_time_ms.median,
        peak_memory_mb=result.peak_memory_mb,
        power_w=result.power_w,
        energy_j=result.energy_j,
        decision_id=result.decision_id,
    )


def _run(one: ModelMeasured, result: JobResult, worker: WorkerState) -> ModelRun:
    batch_ms = one.latency_ms.median / one.runs
    alone = len(result.models) == 1
    return ModelRun(
        model=spec_of(worker, one.model),
        hardware=hardware_of(worker),
        setup=setup_of(worker, one.batch_size),
        metrics=Metrics(
            latency_ms=batch_ms,
            latency_kind=LATENCY_KIND,
            throughput_per_s=1_000 * one.batch_size / batch_ms,
            throughput_unit=THROUGHPUT_UNIT,
            memory_mb=one.memory_mb,
            power_w=result.power_w if alone else None,
        ),
        outcome="ok",
        shared_encoder=one.shared_encoder,
        batches=one.runs,
    )
