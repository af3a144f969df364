"""From what tabs did to the words of the bus: results, and events for the log."""

from __future__ import annotations

from agent.browsers.cells import adapter_name, hardware_of, is_software, runtime_of
from agent.browsers.groups import Group
from agent.browsers.planning import Plan, Timed, timed
from agent.worker.report import execution_of
from schemas.jobs import EmbeddingReuse, JobResult, ModelMeasured, RanIn, RunJob, WorkerState
from schemas.measurement import Benchmark, Execution, ModelRun
from schemas.models import TextModel
from web_bridge.job import Done, SeatResult


def result_of(
    job: RunJob,
    plan: Plan,
    done: Done,
    group: Group,
    checked: dict[str, bool | None],
    memory_mb: float | None,
) -> JobResult:
    """Return what came of a job, in the words of the bus.

    Args:
        job: as it was asked for.
        plan: how the pool ran it.
        done: what the tabs did.
        group: of the tabs.
        checked: by file, whether its output there agreed with the reference.
        memory_mb: what the job's models took, measured apart; None if it was not.
    """
    times, wall = timed(plan, done)
    return JobResult(
        job_id=job.job_id,
        worker_id=group.worker_id,
        outcome="ok",
        message="; ".join(done.setbacks)[:400],
        strategy=job.strategy,
        waves=job.waves,
        models=[
            _model(one.model, plan, times, done, checked).model_copy(
                update={"memory_mb": memory_mb if len(job.models) == 1 else None}
            )
            for one in job.models
        ],
        wall_time_ms=wall,
        peak_memory_mb=memory_mb,
        reuse=reuse_of(done) if job.reuse_embeddings else None,
        decision_id=job.decision_id,
    )


def reuse_of(done: Done) -> EmbeddingReuse | None:
    """Return how often encoders' outputs were known; None where there was no encoder to share."""
    saved: list[float | None] = []
    for asked, seat in zip(done.job.seats, done.seats, strict=True):
        cached = [task.cache for task in asked.models]
        for index, prepared in enumerate(seat.prepared.models):
            if cached[index]:
                saved.append(prepared.saved_ms)
        for span in (one for lap in seat.laps for one in lap.spans if cached[one.model]):
            took_ms = span.end_ms - span.start_ms
            saved.append(None if span.saved_ms is None else span.saved_ms - took_ms)
    if not saved:
        return None
    known = [one for one in saved if one is not None]
    kept = [seat.laps[-1].kept_mb or 0.0 for seat in done.seats if seat.laps]
    return EmbeddingReuse(
        runs=len(saved),
        reused=len(known),
        hit_rate=len(known) / len(saved),
        saved_ms=sum(known),
        kept_mb=sum(kept),
    )


def together(one: EmbeddingReuse | None, other: EmbeddingReuse | None) -> EmbeddingReuse | None:
    """Return what two jobs reused, the second one later."""
    if one is None or other is None:
        return other or one
    runs, reused = one.runs + other.runs, one.reused + other.reused
    return EmbeddingReuse(
        runs=runs,
        reused=reused,
        hit_rate=reused / runs,
        saved_ms=one.saved_ms + other.saved_ms,
        kept_mb=other.kept_mb,
    )


def event_of(result: JobResult, state: WorkerState, plan: Plan, done: Done) -> Execution:
    """Return a result that is `ok` as an execution, each run under what really ran it."""
    execution = execution_of(result, state)
    runs = [
        _corrected(run, measured, plan, done)
        for run, measured in zip(execution.runs, result.models, strict=True)
    ]
    return execution.model_copy(update={"runs": runs})


def benchmark_of(run: ModelRun) -> Benchmark:
    """Return a run that had its tab to itself as a benchmark."""
    return Benchmark(**{name: getattr(run, name) for name in ModelRun.model_fields})


def _model(
    name: str, plan: Plan, times: dict[str, Timed], done: Done, checked: dict[str, bool | None]
) -> ModelMeasured:
    unit, (at, first, last) = plan.units[name], plan.places[name]
    seat, time = done.seats[at], times[name]
    ran = seat.prepared.models[first]
    parts = [seat.prepared.models[one] for one in dict.fromkeys((first, last))]
    actual = {one.actual for one in parts if not _tiny(one.placement)} or {ran.actual}
    return ModelMeasured(
        model=name,
        batch_size=unit.asked.batch_size,
        runs=unit.asked.runs,
        requested_backend=ran.requested,
        actual_backend=actual.pop() if len(actual) == 1 else "mixed",
        load_ms=sum(one.load_ms for one in parts),
        first_run_ms=sum(one.first_run_ms for one in parts),
        start_ms=time.start_ms,
        latency_ms=time.latency_ms,
        shared_encoder=unit.encoder,
        output_checked=_all_agree([checked.get(one.id) for one in unit.files]),
        ran_in=_ran_in(seat, first, time, done),
    )


def _tiny(placement: dict[str, int]) -> bool:
    """Return whether a graph is so small that where it ran says nothing."""
    return 0 < sum(placement.values()) <= 2


def _all_agree(checked: list[bool | None]) -> bool | None:
    if any(one is False for one in checked):
        return False
    return None if any(one is None for one in checked) else True


def _ran_in(seat: SeatResult, index: int, time: Timed, done: Done) -> RanIn:
    model, last = seat.prepared.models[index], seat.last
    gpu = seat.capabilities.webgpu if model.actual == "webgpu" else None
    lags = [lap.circumstances.lag_ms for lap in seat.laps if lap.circumstances.lag_ms is not None]
    return RanIn(
        tab=seat.tab,
        label=seat.label,
        browser=seat.capabilities.browser,
        version=seat.capabilities.version,
        adapter=None if gpu is None else adapter_name(gpu),
        software=None if gpu is None else is_software(gpu),
        bundle=model.bundle,
        threads=model.threads,
        placement=model.placement,
        memory_mb=last.memory_mb,
        lag_ms=max(lags, default=None),
        pressure=last.pressure,
        visible=last.visible,
        busy_tabs=done.busy_tabs,
        cached_runs=time.cached_runs,
        tokens=time.tokens,
        first_token_ms=time.first_token_ms,
    )


def memory_of(done: Done) -> float | None:
    """Return what a job added to the memory of its tabs; None where a browser doesn't tell."""
    total = 0.0
    for seat in done.seats:
        before, after = seat.prepared.memory_before_mb, seat.last.memory_mb
        if before is None or after is None:
            return None
        total += max(0.1, after - before)
    return total


def _corrected(run: ModelRun, measured: ModelMeasured, plan: Plan, done: Done) -> ModelRun:
    """Name what really ran a model: a fallback never speaks for what was asked for."""
    at, first, _ = plan.places[measured.model]
    seat = done.seats[at]
    ran = seat.prepared.models[first]
    unit = plan.units[measured.model]
    setup = run.setup.model_copy(update={"runtime": runtime_of(seat.capabilities, ran)})
    hardware = run.hardware
    if measured.actual_backend != measured.requested_backend:
        hardware = hardware_of(seat.capabilities, "wasm", seat.label)
        setup = setup.model_copy(update={"runtime_options": f"asked for {ran.requested}"})
    metrics = run.metrics
    model = unit.files[0]
    if isinstance(model, TextModel):
        tokens = (measured.ran_in.tokens if measured.ran_in else None) or model.tokens
        batch_ms = measured.latency_ms.median / measured.runs
        first_token = measured.ran_in.first_token_ms if measured.ran_in else None
        setup = setup.model_copy(update={"precision": model.precision, "sequence_out": tokens})
        metrics = metrics.model_copy(
            update={
                "throughput_per_s": 1_000 * tokens / batch_ms,
                "throughput_unit": "tokens/s",
                "time_to_first_token_ms": first_token or None,
            }
        )
    return run.model_copy(update={"hardware": hardware, "setup": setup, "metrics": metrics})
