"""Which of the benchmarks that workers can run come first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.exploring.choosing import KNOWN, Cost, Design, Field, chances_of, doubts_of, wanted
from agent.exploring.record import HOPELESS, Record
from agent.heart.predictor import Predictor
from agent.learning.cell import Cell
from schemas.exploration import ActiveLearningRequest, WantedBenchmark
from schemas.measurement import MetricName
from schemas.replies import Estimates

_SPEED: tuple[MetricName, ...] = ("throughput_per_s", "latency_ms")
_MOST = 16


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be chosen from, and how unknown it all is; can be pickled.

    Attributes:
        uncertainty: root of the mean square of the half-widths (log) of the predicted intervals
            of speed, over all cells; None while some can't be predicted at all.
    """

    field: Field
    order_id: str
    uncertainty: float | None

    def think(self) -> list[WantedBenchmark]:
        """Return the benchmarks that teach most, the first first."""
        design = Design(self.field, ActiveLearningRequest(budget=_MOST))
        return wanted(self.field, design.choose(_MOST), self.order_id)


def order(
    predictor: Predictor,
    record: Record,
    cells: Sequence[Cell],
    *,
    runs: int,
    longest_s: float,
    order_id: str,
) -> Order:
    """Leave to be thought which of some cells are measured first; all of them matter.

    What was never measured is preferred; once all was, it may be measured again. What surely does
    not fit into memory, or takes too long, is left out if anything else is there.

    Args:
        predictor: predicts from what is learnt now.
        record: what was measured so far.
        cells: not empty.
        runs: how often a benchmark runs its model.
        longest_s: what is predicted to take longer takes too long.
        order_id: from which each benchmark gets its id.
    """
    filled = predictor.filled(cells)
    predicted = predictor.predict(cells, _SPEED)
    seconds = [_seconds(one, runs) for one in predicted]
    chances = chances_of(predictor.fittings(filled))
    short = [
        i for i, took in enumerate(seconds) if took <= longest_s and chances[i] >= HOPELESS
    ] or list(range(len(cells)))
    # Of what was never run, a small batch tells first whether the large ones take too long.
    new = [i for i in short if not record.is_measured(filled[i])]
    smallest = min((cells[i].batch_size or 1 for i in new if not predicted[i]), default=None)
    new = [i for i in new if predicted[i] or (cells[i].batch_size or 1) == smallest]
    chosen = new or short
    return Order(
        Field(
            metrics=_SPEED,
            measured=record.weighed(_SPEED, KNOWN, filled),
            candidates=[filled[i] for i in chosen],
            costs=[Cost(seconds[i], True, None, None) for i in chosen],
            targets=filled,
            weights=[1.0] * len(filled),
            sheets=predictor.sheets,
            chances=[chances[i] for i in chosen],
            doubts=doubts_of(predicted),
        ),
        order_id,
        _uncertainty(predicted),
    )


def _seconds(predicted: Estimates, runs: int) -> float:
    latency = predicted.get("latency_ms")
    return 0.0 if latency is None else runs * latency.value / 1_000


def _uncertainty(predicted: Sequence[Estimates]) -> float | None:
    if not all(predicted):
        return None
    widths = [math.log(one.high / one.value) for each in predicted for one in each.values()]
    return math.sqrt(math.fsum(width**2 for width in widths) / len(widths))
