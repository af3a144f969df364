"""From a job of the bus to a job of the pool, and back to what was measured.

A wave of n models takes n tabs, one model each; waves of one run one after another in one tab.
An encoder that models of a wave have in common runs once in one tab, and its output stays there
for their heads.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.browsers.groups import Group
from agent.browsers.shelf import Shelf
from agent.worker.feeding import CHECK_BATCH, input_bytes, made_input
from schemas.browser import Generation, ModelTask, OutputSource, TensorInput
from schemas.errors import BadInput
from schemas.jobs import JobModel, RunJob, Spread
from schemas.models import ModelFile, ModelManifest, TextModel
from web_bridge.job import Done, Job, Round, Seat

MAX_INPUT_BYTES = 128 << 20
"""Of one model: half of what is held for tabs to fetch."""

PREPARE_SECONDS = 180.0
ROUND_SECONDS = 120.0

AnyModel = ModelFile | TextModel


@dataclass(frozen=True, slots=True)
class Unit:
    """What one tab runs in a wave: a model, or an encoder and the heads of several.

    `files` are run in their order; with an encoder, the first one feeds the others.
    """

    names: tuple[str, ...]
    files: tuple[AnyModel, ...]
    encoder: str | None
    asked: JobModel


@dataclass(slots=True)
class Plan:
    """A pool's job, and where each model of the bus's job is in it.

    Attributes:
        job: what the pool runs; the first `laps` of its rounds only warm up.
        laps: rounds per execution.
        places: by model: its seat, and the places of its first and last task there.
    """

    job: Job
    laps: int
    units: dict[str, Unit] = field(default_factory=dict)
    places: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def plan(
    job: RunJob, group: Group, manifest: ModelManifest, shelf: Shelf, *, cache: bool = False
) -> Plan:
    """Return how tabs of a group run a job.

    Args:
        job: of the bus.
        group: whose tabs run it.
        manifest: what there is to run.
        shelf: inputs are put here for the tabs to fetch.
        cache: whether an encoder's output may be reused for inputs that were seen before.

    Raises:
        BadInput: a model that is not there, or other content than was asked for; or inputs that
            are too large.
    """
    asked = {one.model: one for one in job.models}
    waves = [
        _units([(asked[name], find(manifest, asked[name])) for name in wave], manifest, job)
        for wave in job.waves
    ]
    width = max(len(wave) for wave in waves)
    threads = max(1, group.threads // width)
    tasks: list[list[ModelTask]] = [[] for _ in range(width)]
    orders: list[dict[int, list[int]]] = []
    found = Plan(Job("-", (Seat((_NOTHING,)),), (Round({0: (0,)}),)), 0)
    for wave in waves:
        order: dict[int, list[int]] = {}
        for seat, unit in enumerate(wave):
            first = len(tasks[seat])
            tasks[seat] += _tasks(unit, first, group, shelf, threads, cache=cache)
            places = list(range(first, len(tasks[seat])))
            order[seat] = places * unit.asked.runs
            for offset, name in enumerate(unit.names):
                last = first + offset + 1 if unit.encoder else first
                found.places[name] = (seat, first, last)
                found.units[name] = unit
        if orders and len(order) == 1 and orders[-1].keys() == order.keys():
            # One tab, one after another: it needs no word from here in between.
            orders[-1][0] += order[0]
        else:
            orders.append(order)
    once = [Round({seat: tuple(order) for seat, order in one.items()}) for one in orders]
    found.laps = len(once)
    found.job = Job(
        id=job.job_id,
        seats=tuple(Seat(tuple(one), group.includes, group.worker_id) for one in tasks),
        rounds=tuple(once * (job.repeats + 1)),
        samples=64,
        wait_seconds=job.deadline_s,
        prepare_seconds=min(PREPARE_SECONDS, job.deadline_s),
        round_seconds=min(ROUND_SECONDS, job.deadline_s),
    )
    return found


def check_job(job_id: str, model: AnyModel, group: Group, shelf: Shelf) -> Job:
    """Return the job that shows whether a group runs a model right: the manifest's own inputs."""
    task = _task(model, CHECK_BATCH, {}, group, shelf, 1)
    return Job(
        id=job_id,
        seats=(Seat((task,), group.includes, group.worker_id),),
        rounds=(Round({0: (0,)}),),
        samples=64,
        prepare_seconds=PREPARE_SECONDS,
        round_seconds=ROUND_SECONDS,
        wait_seconds=PREPARE_SECONDS,
    )


def memory_job(job_id: str, planned: Plan) -> Job:
    """Return the job that shows what a plan's models take of a tab's memory.

    In a pass of its own, from an empty tab, on one thread: threads that wait keep browsers from
    measuring.
    """
    seats = tuple(
        replace(seat, models=tuple(task.model_copy(update={"threads": 1}) for task in seat.models))
        for seat in planned.job.seats
    )
    rounds = planned.job.rounds[: planned.laps]
    return replace(
        planned.job, id=job_id, seats=seats, rounds=rounds, samples=0, measure_memory=True
    )


def find(manifest: ModelManifest, asked: JobModel) -> AnyModel:
    """Return a model of the manifest.

    Raises:
        BadInput: it is not there, has other content, or has no such size.
    """
    every: list[AnyModel] = [*manifest.models, *manifest.text_models]
    found = next((one for one in every if one.id == asked.model), None)
    if found is None:
        raise BadInput.of_field("model", f"no {asked.model} here", "a model of the manifest")
    if asked.sha256 is not None and asked.sha256 != found.sha256:
        raise BadInput.of_field(
            "sha256", f"{asked.model} is {found.sha256[:12]}… here", f"{asked.sha256[:12]}…"
        )
    sizes = found.sizes if isinstance(found, ModelFile) else {}
    if unknown := sorted(asked.sizes.keys() - sizes.keys()):
        raise BadInput.of_field("sizes", f"{asked.model} has no {unknown[0]}", ", ".join(sizes))
    return found


@dataclass(frozen=True, slots=True)
class Timed:
    """What one model took in each execution, in ms; `start` counts from the workload's start."""

    start_ms: float
    latency_ms: Spread
    cached_runs: int
    tokens: int | None
    first_token_ms: float | None


def timed(plan_: Plan, done: Done) -> tuple[dict[str, Timed], Spread]:
    """Return what each model took, and the whole workload, leaving out the first execution."""
    per_model: dict[str, list[tuple[float, float]]] = {name: [] for name in plan_.places}
    runs: dict[str, list[Any]] = {name: [] for name in plan_.places}
    walls: list[float] = []
    rounds = range(plan_.laps, len(plan_.job.rounds))
    for first in rounds[:: plan_.laps]:
        spans = {
            (seat, span.model, lap.lap, number): span
            for seat, result in enumerate(done.seats)
            for lap in result.laps
            if first <= lap.lap < first + plan_.laps
            for number, span in enumerate(lap.spans)
        }
        origin = min(span.start_ms for span in spans.values())
        walls.append(max(span.end_ms for span in spans.values()) - origin)
        for name, (seat, begins, ends) in plan_.places.items():
            mine = [
                span
                for (at, model, *_), span in spans.items()
                if at == seat and model in (begins, ends)
            ]
            start = min(span.start_ms for span in mine if span.model == begins)
            end = max(span.end_ms for span in mine if span.model == ends)
            per_model[name].append((start - origin, end - start))
            runs[name] += [span for span in mine if span.model == begins]
    return {
        name: Timed(
            start_ms=statistics.median(start for start, _ in times),
            latency_ms=spread([latency for _, latency in times]),
            cached_runs=sum(span.cached for span in runs[name]),
            tokens=_median(runs[name], lambda span: span.tokens),
            first_token_ms=_median(runs[name], lambda span: span.first_token_ms),
        )
        for name, times in per_model.items()
    }, spread(walls)


def spread(values: Sequence[float]) -> Spread:
    """Return median, least, greatest and count."""
    return Spread(
        median=statistics.median(values), low=min(values), high=max(values), count=len(values)
    )


def _median(spans: Sequence[Any], what: Callable[[Any], Any]) -> Any:
    known = [value for span in spans if (value := what(span)) is not None]
    return statistics.median_low(known) if known else None


def _units(
    wave: Sequence[tuple[JobModel, AnyModel]], manifest: ModelManifest, job: RunJob
) -> list[Unit]:
    """Return what runs at once: models that are fed the same through one encoder are one unit."""
    alike: dict[tuple[Any, ...], list[tuple[JobModel, AnyModel]]] = {}
    for asked, model in wave:
        key: tuple[Any, ...] = (asked.model,)
        if isinstance(model, ModelFile) and model.parts is not None and job.share_encoders:
            sizes = tuple(sorted(asked.sizes.items()))
            key = ("shared", model.parts.encoder, asked.batch_size, asked.runs, sizes)
        alike.setdefault(key, []).append((asked, model))
    units = []
    for members in alike.values():
        asked, model = members[0]
        names = tuple(one.model for one, _ in members)
        if len(members) == 1:
            units.append(Unit(names, (model,), None, asked))
            continue
        cut = [one.parts for _, one in members if isinstance(one, ModelFile) and one.parts]
        encoder = cut[0].encoder
        files = [manifest.find(encoder), *(manifest.find(one.head) for one in cut)]
        units.append(Unit(names, tuple(one for one in files if one), encoder, asked))
    return units


def _tasks(
    unit: Unit, first: int, group: Group, shelf: Shelf, threads: int, *, cache: bool
) -> list[ModelTask]:
    asked = unit.asked
    if unit.encoder is None:
        return [_task(unit.files[0], asked.batch_size, asked.sizes, group, shelf, threads)]
    encoder, *heads = unit.files
    assert isinstance(encoder, ModelFile), "text models are not cut in parts"
    made = [_task(encoder, asked.batch_size, asked.sizes, group, shelf, threads)]
    made[0] = made[0].model_copy(update={"keep": True, "cache": cache})
    outputs = {one.name for one in encoder.outputs}
    for head in heads:
        task = _task(head, asked.batch_size, asked.sizes, group, shelf, threads)
        inputs = [
            one.model_copy(
                update={"sha256": None, "source": OutputSource(model=first, output=one.name)}
            )
            if one.name in outputs
            else one
            for one in task.inputs
        ]
        made.append(task.model_copy(update={"inputs": inputs}))
    return made


def _task(
    model: AnyModel,
    batch: int,
    sizes: Mapping[str, int],
    group: Group,
    shelf: Shelf,
    threads: int,
) -> ModelTask:
    if isinstance(model, TextModel):
        return ModelTask(
            name=model.id,
            format="gguf",
            sha256=model.sha256,
            size_bytes=model.size_bytes,
            threads=threads,
            generation=Generation(prompt=model.prompt, tokens=model.tokens, context=model.context),
        )
    whole = {**model.sizes, **sizes, "batch": batch}
    fixed = {
        name: whole[size] if isinstance(size, str) else size
        for name, size in model.free_dimensions.items()
    }
    inputs = []
    if (size := input_bytes(model, batch, whole)) > MAX_INPUT_BYTES:
        raise BadInput.of_field(
            "batch_size",
            f"{batch} inputs of {model.id} take {size >> 20} MiB",
            f"a smaller one: at most {MAX_INPUT_BYTES >> 20} MiB",
        )
    for spec in model.inputs:
        values = made_input(spec, batch, whole)
        inputs.append(
            TensorInput(
                name=spec.name,
                dtype=spec.dtype,
                shape=list(values.shape),
                sha256=shelf.put_value(values.tobytes()),
            )
        )
    return ModelTask(
        name=model.id,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        backend=group.backend,
        threads=threads,
        # WebNN takes graphs of fixed sizes only: without this, nodes stay on the processor.
        free_dimensions=fixed if group.backend == "webnn" else {},
        inputs=inputs,
    )


_NOTHING = ModelTask(name="-", sha256="0" * 64, size_bytes=1)
