"""One model over kinds of hardware and batch sizes, best first by one metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.replies import ComparedCell, CompareReply, Estimate, Estimates
from schemas.requests import CompareRequest
from strategies.intervals import apart
from strategies.words import HIGHER_IS_BETTER


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell to compare, with what was predicted for it."""

    hardware: str
    batch_size: int | None
    prediction_id: str
    estimates: Estimates


def compare(request: CompareRequest, cells: Sequence[Cell]) -> CompareReply:
    """Order `cells` by the request's metric.

    Throughput and latency are comparable only within one unit or kind: where cells differ, the
    unit that most of them have is compared (of equally many, the first by name), and the others
    are named in `not_comparable`, as are those for which the metric was never measured.
    """
    metric = request.metric
    unit = common_unit(cell.estimates.get(metric) for cell in cells)
    known: list[tuple[Cell, Estimate]] = []
    unknown: set[str] = set()
    for cell in cells:
        found = cell.estimates.get(metric)
        if found is None or found.unit != unit:
            unknown.add(_label(cell))
        else:
            known.append((cell, found))

    sign = -1.0 if HIGHER_IS_BETTER[metric] else 1.0
    known.sort(key=lambda pair: (sign * pair[1].value, pair[0].hardware, pair[0].batch_size or 0))
    rows = [
        ComparedCell.model_construct(
            rank=index + 1,
            hardware=cell.hardware,
            batch_size=cell.batch_size,
            prediction_id=cell.prediction_id,
            metrics=cell.estimates,
            separated_from_next=(
                apart(found, known[index + 1][1]) if index + 1 < len(known) else None
            ),
        )
        for index, (cell, found) in enumerate(known)
    ]
    return CompareReply(
        model=request.model.name, metric=metric, rows=rows, not_comparable=sorted(unknown)
    )


def common_unit(estimates: Iterable[Estimate | None]) -> str | None:
    """Return the unit or kind that most of the estimates have; None if they have none."""
    units = Counter(found.unit for found in estimates if found is not None)
    if not units:
        return None
    return min(units, key=lambda unit: (-units[unit], unit or ""))


def _label(cell: Cell) -> str:
    return cell.hardware if cell.batch_size is None else f"{cell.hardware} at {cell.batch_size}"
