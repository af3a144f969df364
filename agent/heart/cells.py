"""From the words of the contract to the cells that learners know."""

from __future__ import annotations

from agent.learning.bank import Observation
from agent.learning.cell import Cell
from schemas.measurement import Benchmark, Execution, HardwareSpec, ModelRun, ModelSpec, Setup

USUAL_TASK = "inference"
"""What is done where nobody says."""


def cell_of(model: ModelSpec, hardware: HardwareSpec, setup: Setup) -> Cell:
    """Return the cell that a model, hardware and set-up identify and describe."""
    return Cell(
        model=model.name,
        family=model.family,
        architecture=model.architecture,
        parameters_m=model.parameters_m,
        gmacs=model.gmacs,
        activations_m=model.activations_m,
        hardware=hardware.name,
        hardware_class=hardware.hardware_class,
        device_count=hardware.count,
        task=setup.task or USUAL_TASK,
        precision=setup.precision,
        runtime=setup.runtime,
        runtime_options=_options(setup),
        parallelism=setup.parallelism,
        batch_size=setup.batch_size,
        input_size=setup.input_size,
        sequence_in=setup.sequence_in,
        sequence_out=setup.sequence_out,
        concurrency=setup.concurrency,
        kv_values_per_token=model.kv_values_per_token,
        kv_precision=setup.kv_precision,
    )


def words_of(cell: Cell) -> tuple[ModelSpec, HardwareSpec, Setup]:
    """Return the model, hardware and set-up of a cell: what `cell_of` makes it from."""
    model = ModelSpec(
        name=cell.model,
        family=cell.family,
        architecture=cell.architecture,
        parameters_m=cell.parameters_m,
        gmacs=cell.gmacs,
        activations_m=cell.activations_m,
        kv_values_per_token=cell.kv_values_per_token,
    )
    options = cell.runtime_options
    if options is not None and cell.kv_precision is not None:
        options = options.removesuffix(_cache(cell.kv_precision)).strip() or None
    return (
        model,
        HardwareSpec(
            name=cell.hardware, hardware_class=cell.hardware_class, count=_whole(cell.device_count)
        ),
        Setup(
            task=cell.task,
            batch_size=_whole(cell.batch_size),
            precision=cell.precision,
            kv_precision=cell.kv_precision,
            runtime=cell.runtime,
            runtime_options=options,
            input_size=cell.input_size,
            sequence_in=_whole(cell.sequence_in),
            sequence_out=_whole(cell.sequence_out),
            parallelism=cell.parallelism,
            concurrency=_whole(cell.concurrency),
        ),
    )


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


def _cache(precision: str) -> str:
    return f"kv-cache={precision}"


def _options(setup: Setup) -> str | None:
    """Return the options of the runtime; a precision of the cache's own makes another set-up."""
    if setup.kv_precision is None:
        return setup.runtime_options
    return " ".join((setup.runtime_options or "", _cache(setup.kv_precision))).strip()


def observations_of(data: Benchmark | Execution) -> list[Observation]:
    """Return what a measurement teaches.

    A run beside others measures the company as much as the model: it is no benchmark.
    """
    runs = data.alone() if isinstance(data, Execution) else [data]
    return [observation_of(run) for run in runs]


def observation_of(run: ModelRun) -> Observation:
    """Return what a run teaches: its cell, its metrics with their units, its outcome."""
    return Observation(
        cell=cell_of(run.model, run.hardware, run.setup),
        metrics=run.metrics.values(),
        units=run.metrics.units(),
        outcome=run.result,
        duration_s=run.duration_s,
    )
