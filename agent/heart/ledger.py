"""The ledger of open predictions: what was promised, until it was measured."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.heart.stimuli import AnswerLogged
from schemas.measurement import ModelRun, PromisedMetric, energy_unit
from schemas.published import Validation
from schemas.replies import MetricStatus

DEFAULT_CAPACITY = 100_000
RECENT = 500
"""Validations of a metric that count as recent."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One metric of one prediction: value, nominal 90 % interval, and in which unit."""

    value: float
    low: float
    high: float
    unit: str | None


@dataclass(frozen=True, slots=True)
class OpenPrediction:
    """A prediction that a measurement may answer."""

    model: str
    hardware: str
    promises: Mapping[PromisedMetric, Promise]


class Ledger:
    """Open predictions by id, bounded: beyond `capacity` the oldest are forgotten.

    A prediction stays open after its first measurement, since others may follow.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._open: dict[str, OpenPrediction] = {}
        self._validated: dict[PromisedMetric, int] = {}
        self._recent: dict[PromisedMetric, deque[tuple[float, bool]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, answer: AnswerLogged) -> None:
        """Take up every prediction that a logged answer holds."""
        for prediction_id, prediction in _predictions_in(answer):
            self._open[prediction_id] = prediction
        while len(self._open) > self._capacity:
            del self._open[next(iter(self._open))]

    def validate(self, run: ModelRun, event_id: str, event_source: str) -> list[Validation]:
        """Hold the prediction that `run` answers against what it measured.

        Metrics in another unit than was promised are left out: they can't be compared.
        """
        if run.prediction_id is None or run.prediction_id not in self._open:
            return []
        prediction = self._open[run.prediction_id]
        units: dict[str, str | None] = {**run.metrics.units()}
        if run.metrics.throughput_unit is not None:
            units["energy_j"] = energy_unit(run.metrics.throughput_unit.casefold())
        validations = []
        for metric, measured in run.metrics.promised().items():
            promise = prediction.promises.get(metric)
            if promise is None:
                continue
            if promise.unit is not None and units.get(metric, promise.unit) != promise.unit:
                continue
            error = abs(promise.value - measured) / measured
            inside = promise.low <= measured <= promise.high
            self._note(metric, error, inside=inside)
            validations.append(
                Validation(
                    prediction_id=run.prediction_id,
                    metric=metric,
                    model=prediction.model,
                    hardware=prediction.hardware,
                    predicted=promise.value,
                    low=promise.low,
                    high=promise.high,
                    measured=measured,
                    absolute_percentage_error=error,
                    within_interval=inside,
                    event_id=event_id,
                    event_source=event_source,
                )
            )
        return validations

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

    def _note(self, metric: PromisedMetric, error: float, *, inside: bool) -> None:
        self._validated[metric] = self._validated.get(metric, 0) + 1
        self._recent.setdefault(metric, deque(maxlen=RECENT)).append((error, inside))


def _predictions_in(answer: AnswerLogged) -> Iterator[tuple[str, OpenPrediction]]:
    """Find each prediction of an answer: wherever an id stands beside metrics."""
    reply = answer.reply
    model = reply.get("model", "")
    rows = [
        *reply.get("predictions", ()),
        *reply.get("rows", ()),
        *reply.get("placed", ()),
        *reply.get("runners_up", ()),
        *([reply["recommended"]] if reply.get("recommended") else ()),
    ]
    for row in rows:
        promises = {metric: _promise(estimate) for metric, estimate in row["metrics"].items()}
        if row.get("energy_j") is not None:
            promises["energy_j"] = _promise(row["energy_j"])
        if promises:
            yield (
                row["prediction_id"],
                OpenPrediction(
                    model=row.get("model", model),
                    hardware=row.get("hardware", row.get("device", "")),
                    promises=promises,
                ),
            )


def _promise(estimate: dict[str, Any]) -> Promise:
    return Promise(estimate["value"], estimate["low"], estimate["high"], estimate.get("unit"))
