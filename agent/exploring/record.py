"""What was measured and what was asked for: from which what is wanted next follows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.heart.cells import cell_of
from agent.heart.predictor import Predictor
from agent.learning.bank import Observation
from agent.learning.cell import Cell
from agent.learning.digest import digest
from schemas.exploration import WantedBenchmark
from schemas.measurement import METRICS, MetricName
from schemas.topics import RequestKind

Identity = tuple[str | float | None, ...]

MEASURED = 4_096
_ASKED = 1_024
_AWAITED = 1_024
_GAINS = 100
_SAMPLE = 64
"""Cells that matter over which a gain is measured when it comes."""

WANTING: frozenset[RequestKind] = frozenset({"active_learning", "batch", "integrate"})
"""Requests whose answers say which benchmarks are wanted."""

_IDENTIFYING = (
    "task",
    "precision",
    "runtime",
    "runtime_options",
    "parallelism",
    "batch_size",
    "input_size",
    "sequence_in",
    "sequence_out",
    "concurrency",
    "kv_precision",
)


@dataclass(frozen=True, slots=True)
class Came:
    """A wanted benchmark that was measured.

    Attributes:
        expected: share of the uncertainty over the cells that matter that it was to remove.
        came: the share by which the variance told there really fell when it was learnt.
    """

    id: str
    expected: float
    came: float


class Record:
    """Remembers, bounded: the newest cells, what was asked for, and what is wanted.

    Attributes:
        asked: how often model and hardware were asked for together.
        gains: of wanted benchmarks that were measured, the newest last.
    """

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.gains: list[Came] = []
        self._measured: dict[Identity, tuple[Cell, tuple[str, ...]]] = {}
        self._durations: dict[str, tuple[int, float]] = {}
        self._awaited: dict[Identity, tuple[str, float]] = {}

    def digest(self) -> str:
        """Return a fingerprint: equal if and only if what is remembered is."""
        return digest(self)

    @property
    def measured(self) -> dict[Cell, tuple[str, ...]]:
        """Cells with the metrics that were measured of each, the newest last."""
        return dict(self._measured.values())

    def usual_metrics(self) -> list[MetricName]:
        """Return the metrics that are measured of a tenth of the cells or more, else all."""
        counts = Counter(name for _, names in self._measured.values() for name in names)
        return [one for one in METRICS if 10 * counts[one] >= len(self._measured)] or list(METRICS)

    def is_measured(self, cell: Cell) -> bool:
        """Return whether this very cell was measured."""
        return identity(cell) in self._measured

    def note(self, cell: Cell, observation: Observation) -> None:
        """Remember that a cell, filled in, was measured; that it fails is known as well."""
        key = identity(cell)
        _, before = self._measured.pop(key, (cell, ()))
        self._measured[key] = cell, tuple(sorted({*before, *observation.metrics}))
        _bound(self._measured, MEASURED)
        if observation.duration_s is not None:
            count, mean = self._durations.pop(cell.hardware, (0, 0.0))
            count += 1
            mean += (observation.duration_s - mean) / count
            self._durations[cell.hardware] = count, mean
            _bound(self._durations, _ASKED)

    def duration_s(self, hardware: str) -> float | None:
        """Return how long measurements took on hardware, else anywhere; None if nobody said."""
        if hardware in self._durations:
            return self._durations[hardware][1]
        count = sum(one for one, _ in self._durations.values())
        return sum(one * mean for one, mean in self._durations.values()) / count if count else None

    def answered(self, kind: RequestKind, reply: Mapping[str, Any]) -> None:
        """Remember what a logged answer was about, or which benchmarks it called wanted."""
        if kind in WANTING:
            for one in map(WantedBenchmark.model_validate, reply["wanted"]):
                key = identity(cell_of(one.model, one.hardware, one.setup))
                self._awaited.pop(key, None)
                self._awaited[key] = one.id, one.expected_gain
            _bound(self._awaited, _AWAITED)
            return
        model = reply.get("model")
        rows = [
            *reply.get("predictions", ()),
            *reply.get("rows", ()),
            *reply.get("placed", ()),
            *reply.get("runners_up", ()),
            *([reply["recommended"]] if isinstance(reply.get("recommended"), dict) else ()),
        ]
        for row in rows:
            pair = row.get("model", model), row.get("hardware")
            if None not in pair:
                self.asked[pair] = self.asked.pop(pair, 0) + 1
        _bound(self.asked, _ASKED)

    def unknown(self, observation: Observation, predictor: Predictor) -> float | None:
        """Return what is not known of a sample of the cells that matter, if this was wanted.

        Returns:
            The weighted mean square of the half-widths (log) of intervals; None if it is not.
        """
        if not self._awaited:
            return None
        (cell,) = predictor.filled([observation.cell])
        if identity(cell) not in self._awaited:
            return None
        cells, weights = self.mattering(_SAMPLE)
        squares = [
            (weight, math.log(estimate.high / estimate.value) ** 2)
            for weight, estimates in zip(weights, predictor.predict(cells), strict=True)
            for estimate in estimates.values()
        ]
        total = sum(weight for weight, _ in squares)
        return sum(weight * square for weight, square in squares) / total if total else None

    def learnt(self, observation: Observation, before: float | None, predictor: Predictor) -> None:
        """Remember what was learnt; where it was wanted, by how much less is unknown than before.

        Args:
            observation: what was measured.
            before: of `unknown`, from before it was learnt.
            predictor: predicts from what is learnt now.
        """
        (cell,) = predictor.filled([observation.cell])
        if before:
            after = self.unknown(observation, predictor)
            name, expected = self._awaited.pop(identity(cell))
            self.gains.append(Came(name, expected, 1.0 - (after or 0.0) / before))
            del self.gains[:-_GAINS]
        self.note(cell, observation)

    def mattering(self, count: int) -> tuple[list[Cell], list[float]]:
        """Return at most so many cells that matter, and how much each does.

        Cells of what was asked for, as often as it was; all that were measured, if nothing was.
        Where there are more, cells evenly spread over the order of their arrival.
        """
        cells = [one for one in self.measured if (one.model, one.hardware) in self.asked]
        if not cells:
            cells = list(self.measured)
        cells = cells[:: max(1, -(-len(cells) // count))]
        return cells, [float(self.asked.get((one.model, one.hardware), 1)) for one in cells]


def identity(cell: Cell) -> Identity:
    """Return all that identifies a cell: what is run, on what, and how; not what describes it."""
    return (
        cell.model,
        cell.hardware,
        cell.device_count or 1.0,
        *(getattr(cell, name) for name in _IDENTIFYING),
    )


def _bound(remembered: dict[Any, Any], count: int) -> None:
    """Forget the oldest beyond so many."""
    while len(remembered) > count:
        del remembered[next(iter(remembered))]
