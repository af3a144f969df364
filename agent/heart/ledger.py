"""The ledger of open predictions: what was promised, until it was measured.

A measurement answers the prediction whose id it carries. One that carries none answers the newest
prediction of its very cell, if that was made no longer before it than `PAIRED_WITHIN`: serving
systems that publish what they measure, and know nothing of predictions, validate them as well.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.heart.pairing import CellKey, OpenPrediction, key_of_run, predictions_in
from agent.heart.stimuli import AnswerLogged
from schemas.measurement import Execution, ModelRun, PromisedMetric, Setup, energy_unit
from schemas.published import PairedBy, Validation
from schemas.replies import MetricStatus

DEFAULT_CAPACITY = 100_000
RECENT = 500
"""Validations of a metric that count as recent."""

PAIRED_WITHIN = timedelta(hours=1)
"""How far a measurement may be, by the clocks, from the prediction of its cell that it answers."""

_CELLS = 20_000


@dataclass(frozen=True, slots=True)
class Happened:
    """Which event it was that holds a measurement.

    Attributes:
        seq: of its log record.
        time: when it happened, by the clock of who measured.
        strategy: under which the models ran, if it was an execution.
    """

    seq: int
    time: datetime
    id: str
    source: str
    strategy: str | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """The prediction that a measurement answers, and how it was found."""

    id: str
    prediction: OpenPrediction
    by: PairedBy


class Ledger:
    """Open predictions by id, bounded: beyond `capacity` the oldest are forgotten.

    A prediction stays open after its first measurement, since others may follow.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._open: dict[str, OpenPrediction] = {}
        self._newest: dict[CellKey, str] = {}
        self._validated: dict[PromisedMetric, int] = {}
        self._recent: dict[PromisedMetric, deque[tuple[float, bool]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, answer: AnswerLogged) -> None:
        """Take up every prediction that a logged answer holds."""
        for prediction_id, prediction, key in predictions_in(answer):
            self._open[prediction_id] = prediction
            if key is not None:
                self._newest.pop(key, None)
                self._newest[key] = prediction_id
        _forget_oldest(self._open, self._capacity)
        _forget_oldest(self._newest, _CELLS)

    def validate(self, run: ModelRun, at: Happened) -> list[Validation]:
        """Hold the prediction that `run` answers against what it measured.

        Metrics in another unit than was promised are left out: they can't be compared.
        """
        answered = self._answered(run.prediction_id) or self._of_cell(run, at)
        if answered is None:
            return []
        units: dict[str, str | None] = {**run.metrics.units()}
        if run.metrics.throughput_unit is not None:
            units["energy_j"] = energy_unit(run.metrics.throughput_unit.casefold())
        promises = answered.prediction.promises
        measured: dict[PromisedMetric, float] = {
            metric: value
            for metric, value in run.metrics.promised().items()
            if (promise := promises.get(metric)) is not None
            and (promise.unit is None or units.get(metric, promise.unit) == promise.unit)
        }
        return self._held(answered, measured, run.setup, at)

    def validate_decision(self, data: Execution, at: Happened) -> list[Validation]:
        """Hold what a decision promised of a workload as a whole against what it came to."""
        answered = self._answered(data.decision_id)
        if answered is None or answered.prediction.strategy != data.strategy:
            return []
        came_to: dict[PromisedMetric, float | None] = {
            "total_latency_ms": data.wall_time_ms,
            "peak_memory_mb": data.peak_memory_mb,
            "total_energy_j": data.energy_j,
        }
        measured = {
            metric: value
            for metric, value in came_to.items()
            if value is not None and metric in answered.prediction.promises
        }
        return self._held(answered, measured, Setup(), at)

    def accuracy(self) -> dict[PromisedMetric, MetricStatus]:
        """Return how good the predictions of each metric turned out."""
        return {
            metric: MetricStatus(
                validated=self._validated[metric],
                median_ape=statistics.median(error for error, _ in recent),
                coverage_90=sum(inside for _, inside in recent) / len(recent),
            )
            for metric, recent in self._recent.items()
        }

    def _answered(self, prediction_id: str | None) -> _Answered | None:
        prediction = self._open.get(prediction_id) if prediction_id is not None else None
        if prediction_id is None or prediction is None:
            return None
        return _Answered(prediction_id, prediction, "id")

    def _of_cell(self, run: ModelRun, at: Happened) -> _Answered | None:
        if run.prediction_id is not None or not self._newest:
            return None
        newest = self._newest.get(key_of_run(run))
        prediction = self._open.get(newest) if newest is not None else None
        if newest is None or prediction is None:
            return None
        if abs(at.time - prediction.made_at) > PAIRED_WITHIN:
            return None
        return _Answered(newest, prediction, "cell")

    def _held(
        self,
        answered: _Answered,
        measured: Mapping[PromisedMetric, float],
        setup: Setup,
        at: Happened,
    ) -> list[Validation]:
        validations = []
        for metric, value in measured.items():
            promise = answered.prediction.promises[metric]
            error = (promise.value - value) / value
            # Not checked once more: this is on the way of every measurement.
            validation = Validation.model_construct(
                seq=at.seq,
                time=at.time,
                prediction_id=answered.id,
                paired_by=answered.by,
                metric=metric,
                model=answered.prediction.model,
                hardware=answered.prediction.hardware,
                batch_size=setup.batch_size,
                precision=setup.precision,
                runtime=setup.runtime,
                strategy=at.strategy,
                predicted=promise.value,
                low=promise.low,
                high=promise.high,
                measured=value,
                relative_error=error,
                absolute_percentage_error=abs(error),
                within_interval=promise.low <= value <= promise.high,
                event_id=at.id,
                event_source=at.source,
            )
            self._note(validation)
            validations.append(validation)
        return validations

    def _note(self, validation: Validation) -> None:
        metric, error = validation.metric, validation.absolute_percentage_error
        self._validated[metric] = self._validated.get(metric, 0) + 1
        recent = self._recent.setdefault(metric, deque(maxlen=RECENT))
        recent.append((error, validation.within_interval))


def _forget_oldest(held: dict[Any, Any], capacity: int) -> None:
    while len(held) > capacity:
        del held[next(iter(held))]
