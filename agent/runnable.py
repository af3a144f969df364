"""What the workers that are there could measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.heart.cells import cell_of
from agent.learning.cell import Cell
from agent.worker.report import hardware_of, setup_of, spec_of
from schemas.jobs import WorkerState
from schemas.measurement import HardwareSpec, ModelSpec, Setup

BATCH_SIZES = (1, 2, 4, 8, 16)

HOTTEST_C = 85.0
"""A warmer machine explores not: it slows down soon, or does already."""

_NOT_FORESEEN = "text_generation"
"""Models of this family write as many tokens as they like, which is part of the cell."""


@dataclass(frozen=True, slots=True)
class Runnable:
    """A cell that at least one worker can measure.

    Attributes:
        workers: ids of those that can.
    """

    model: ModelSpec
    hardware: HardwareSpec
    setup: Setup
    workers: tuple[str, ...]

    @property
    def cell(self) -> Cell:
        """What identifies and describes it."""
        return cell_of(self.model, self.hardware, self.setup)


def runnable(
    workers: Iterable[WorkerState], batch_sizes: Sequence[int] = BATCH_SIZES
) -> dict[Cell, Runnable]:
    """Return every cell that workers can measure: their models, in each batch size."""
    found: dict[Cell, Runnable] = {}
    for worker in workers:
        wrong = {} if worker.browser is None else worker.browser.quarantined
        for held in worker.models:
            if held.family == _NOT_FORESEEN or held.model in wrong:
                continue
            for batch_size in batch_sizes:
                setup = setup_of(worker, batch_size)
                one = Runnable(
                    spec_of(worker, held.model), hardware_of(worker), setup, (worker.worker_id,)
                )
                known = found.get(one.cell)
                if known is not None:
                    ids = (*known.workers, worker.worker_id)
                    one = Runnable(one.model, one.hardware, one.setup, ids)
                found[one.cell] = one
    return found


def why_not(worker: WorkerState, *, energy: bool) -> str | None:
    """Return why a worker explores not, by the state of its machine; None if it may.

    What a platform does not tell keeps nobody from exploring; `unsaid` tells what that is.

    Args:
        worker: as it last said that it is.
        energy: whether the budget is one of energy, so that it must be measured.
    """
    gauges = worker.gauges
    if gauges is not None and gauges.on_battery:
        return "it runs on its battery"
    warm = None if gauges is None else gauges.temperature_c
    if warm is not None and warm > HOTTEST_C:
        return f"it has {warm:.0f} degrees C; at most {HOTTEST_C:.0f}"
    if energy and (gauges is None or not gauges.tells_energy):
        return "the budget is one of energy, and its platform tells none"
    return None


def unsaid(worker: WorkerState) -> list[str]:
    """Return what a worker's platform does not tell, though exploration would heed it."""
    gauges = worker.gauges
    told = {
        "temperature": gauges is not None and gauges.temperature_c is not None,
        "whether it runs on a battery": gauges is not None and gauges.on_battery is not None,
    }
    return [what for what, is_told in told.items() if not is_told]
