"""From a request and what was learnt to a reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.heart.cells import cell_of
from agent.learning.bank import METRICS as LEARNED_METRICS
from agent.learning.bank import Bank, Predicted
from agent.learning.cell import Cell
from schemas.measurement import HardwareSpec, MetricName
from schemas.replies import (
    AnyReply,
    Basis,
    Estimate,
    Estimates,
    Prediction,
    PredictReply,
)
from schemas.requests import (
    AnyRequest,
    CompareRequest,
    PlaceRequest,
    PredictRequest,
    RecommendRequest,
    StrategyRequest,
)


def answer(bank: Bank, request: AnyRequest, request_id: str) -> AnyReply:
    """Answer any request that rests on what was learnt (all but `status`)."""
    match request:
        case PredictRequest():
            return predict(bank, request, request_id)
        case _:
            raise NotImplementedError(type(request).__name__)


def predict(bank: Bank, request: PredictRequest, request_id: str) -> PredictReply:
    """Predict every candidate, those of like units in one vectorised pass."""
    candidates = request.candidates
    metrics = request.metrics or list(LEARNED_METRICS)
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for index, candidate in enumerate(candidates):
        key = (candidate.throughput_unit, candidate.latency_kind)
        groups.setdefault(key, []).append(index)

    predicted: list[dict[str, Predicted]] = [{} for _ in candidates]
    for (throughput_unit, latency_kind), indices in groups.items():
        units = {}
        if throughput_unit is not None:
            units["throughput_per_s"] = throughput_unit.casefold()
        if latency_kind is not None:
            units["latency_ms"] = latency_kind.casefold()
        cells = [
            cell_of(candidates[i].model, candidates[i].hardware, candidates[i].setup)
            for i in indices
        ]
        for i, one in zip(indices, bank.predict(cells, metrics, units or None), strict=True):
            predicted[i] = one

    return PredictReply(
        predictions=[
            Prediction(
                prediction_id=f"{request_id}/{index}",
                model=candidate.model.name,
                hardware=candidate.hardware.name,
                metrics=estimates(one),
                notes=_notes(metrics, one),
            )
            for index, (candidate, one) in enumerate(zip(candidates, predicted, strict=True))
        ]
    )


def estimates(predicted: dict[str, Predicted]) -> Estimates:
    """Return learners' predictions in the words of the contract."""
    # They come from our own arithmetic: validating each of hundreds again would only cost.
    return {
        metric: Estimate.model_construct(
            value=one.value,
            low=one.low,
            high=one.high,
            confidence=one.confidence,
            unit=one.unit,
            basis=Basis.model_construct(
                cell=one.basis.cell,
                model=one.basis.model,
                hardware=one.basis.hardware,
                setup=one.basis.setup,
                total=one.basis.total,
            ),
        )
        for metric, one in predicted.items()
    }


def _notes(metrics: Iterable[str], predicted: dict[str, Predicted]) -> list[str]:
    notes = [f"{metric}: never measured" for metric in metrics if metric not in predicted]
    if predicted:
        basis = next(iter(predicted.values())).basis
        if basis.hardware == 0:
            notes.append("this hardware was never measured: the estimate rests on its relatives")
        if basis.model == 0:
            notes.append("this model was never measured: the estimate rests on its relatives")
    return notes
