"""From a request and what was learnt to a reply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import strategies.choose
import strategies.compare
import strategies.place
import strategies.recommend
from agent.heart.cells import cell_of
from agent.heart.company import Company
from agent.heart.outlook import outlook
from agent.heart.predictor import Predictor
from agent.heart.thought import Thought
from schemas.errors import BadInput, Unavailable
from schemas.exploration import ActiveLearningRequest, BatchRequest, IntegrateRequest
from schemas.explore import ExploreRequest
from schemas.measurement import METRICS, HardwareSpec, MetricName
from schemas.replies import (
    AnyReply,
    CompareReply,
    Estimates,
    PlaceReply,
    PredictReply,
    RecommendReply,
)
from schemas.requests import (
    AnyRequest,
    BestBrowserRequest,
    BrowsersRequest,
    CapacityRequest,
    CompareRequest,
    ExecuteRequest,
    HardwareOption,
    ModelsRequest,
    PlaceRequest,
    PredictRequest,
    QuarantineRequest,
    RecommendRequest,
    ReleaseRequest,
    StatusRequest,
    StrategyRequest,
    UpdateRequest,
    ValidationRequest,
)
from strategies import joining
from strategies.base import registered
from strategies.contention import Contention, TakingTurns
from strategies.place import PlacementCell
from strategies.recommend import HardwareCandidate

# Finds its modules now: the first decision would otherwise import files on the event loop.
registered()


def answer(
    predictor: Predictor, company: Company, request: AnyRequest, request_id: str
) -> AnyReply | Thought:
    """Answer any request that rests on what was learnt; leave long decisions to be thought.

    Every prediction in the reply has the id `request_id/n`; a decision has the id of its request.

    Raises:
        BadInput: nothing in the request is known, and nothing is named that could be.
        Unavailable: for what is not the heart's to answer (status, models, update),
            or what takes the whole heart (capacity, quarantine, release).
    """
    match request:
        case PredictRequest():
            return predict(predictor, request, request_id)
        case CompareRequest():
            return compare(predictor, request, request_id)
        case RecommendRequest():
            return recommend(predictor, request, request_id)
        case PlaceRequest():
            return place(predictor, company, request, request_id)
        case StrategyRequest():
            return strategy(predictor, company, request, request_id)
        case ExecuteRequest() | BestBrowserRequest() | BrowsersRequest() | ExploreRequest():
            raise Unavailable("the heart alone runs nothing: a worker does, and the agent asks it")
        case StatusRequest() | ModelsRequest() | UpdateRequest() | ValidationRequest():
            raise Unavailable("the heart alone does not know how the agent is, nor its ledger")
        case CapacityRequest() | QuarantineRequest() | ReleaseRequest():
            raise Unavailable("this needs the whole heart")
        case ActiveLearningRequest() | BatchRequest() | IntegrateRequest():
            raise Unavailable("this needs the whole heart")


def predict(predictor: Predictor, request: PredictRequest, request_id: str) -> PredictReply:
    """Predict every candidate, those of like units in one vectorised pass."""
    candidates = request.candidates
    metrics = request.metrics or METRICS
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for index, candidate in enumerate(candidates):
        key = (candidate.throughput_unit, candidate.latency_kind)
        groups.setdefault(key, []).append(index)

    cells = [cell_of(one.model, one.hardware, one.setup) for one in candidates]
    predicted: list[Estimates] = [{} for _ in candidates]
    for (throughput_unit, latency_kind), indices in groups.items():
        units: dict[MetricName, str] = {}
        if throughput_unit is not None:
            units["throughput_per_s"] = throughput_unit.casefold()
        if latency_kind is not None:
            units["latency_ms"] = latency_kind.casefold()
        asked = [cells[i] for i in indices]
        for i, one in zip(indices, predictor.predict(asked, metrics, units), strict=True):
            predicted[i] = one

    rows = zip(cells, predicted, predictor.fittings(cells), predictor.assumed(cells), strict=True)
    drafts = []
    for index, (cell, one, fitting, assumed) in enumerate(rows):
        draft = outlook(predictor, f"{request_id}/{index}", cell, one, fitting, request.duration_s)
        draft["notes"] = [*_notes(metrics, one), *_assumptions(assumed), *draft["notes"]]
        drafts.append(draft)
    # One validation of them all: one for each would take twice as long.
    return PredictReply.model_validate({"predictions": drafts})


def compare(predictor: Predictor, request: CompareRequest, request_id: str) -> CompareReply:
    """Rank one model's cells over hardware and batch sizes by a metric."""
    setups = (
        [request.setup.model_copy(update={"batch_size": size}) for size in request.batch_sizes]
        if request.batch_sizes
        else [request.setup]
    )
    choices = [(one, setup) for one in _hardware(predictor, request.hardware) for setup in setups]
    cells = [cell_of(request.model, one, setup) for one, setup in choices]
    rows = [
        strategies.compare.Cell(
            hardware=one.name,
            batch_size=setup.batch_size,
            prediction_id=f"{request_id}/{index}",
            estimates=predicted,
        )
        for index, ((one, setup), predicted) in enumerate(
            zip(choices, predictor.comparable(cells), strict=True)
        )
    ]
    return strategies.compare.compare(request, rows)


def recommend(predictor: Predictor, request: RecommendRequest, request_id: str) -> RecommendReply:
    """Find the best hardware for a model under the limits."""
    options = request.hardware or [
        HardwareOption(name=one.name, hardware_class=one.hardware_class)
        for one in _hardware(predictor, None)
    ]
    precisions: list[str | None] = [*(request.precisions or ())] or [request.setup.precision]
    choices = [(option, precision) for option in options for precision in precisions]
    cells = [
        cell_of(request.model, option, request.setup.model_copy(update={"precision": precision}))
        for option, precision in choices
    ]
    candidates = [
        HardwareCandidate(option, precision, f"{request_id}/{index}", predicted)
        for index, ((option, precision), predicted) in enumerate(
            zip(choices, predictor.comparable(cells), strict=True)
        )
    ]
    return strategies.recommend.recommend(request, candidates, request_id)


def place(
    predictor: Predictor, company: Company, request: PlaceRequest, request_id: str
) -> Thought:
    """Place models onto devices. Each model is predicted once per kind of hardware."""
    kinds = list({device.hardware: None for device in request.devices})
    choices = [(item, kind) for item in request.models for kind in kinds]
    predicted = predictor.each_comparable(
        [[cell_of(item.model, kind, item.setup) for kind in kinds] for item in request.models]
    )
    known = {
        (item.model.name, kind): PlacementCell(f"{request_id}/{index}", one)
        for index, ((item, kind), one) in enumerate(zip(choices, predicted, strict=True))
    }
    capacities = {
        device.name: capacity
        for device in request.devices
        if (capacity := predictor.capacity_mb(device.hardware.name)) is not None
    }
    by_hardware = {(name, kind.name): one.estimates for (name, kind), one in known.items()}
    contention, _ = company.contention_for(request.models, by_hardware, {}, TakingTurns())
    return Thought(
        placed,
        {
            "request": request,
            "known": known,
            "decision_id": request_id,
            "capacities_mb": capacities,
            "contention": contention,
        },
    )


def placed(
    request: PlaceRequest,
    known: Mapping[tuple[str, HardwareSpec], PlacementCell],
    decision_id: str,
    capacities_mb: Mapping[str, float],
    contention: Contention,
) -> PlaceReply:
    """Place models by what is known of each on each kind of hardware."""
    cells = {
        (item.model.name, device.name): known[item.model.name, device.hardware]
        for item in request.models
        for device in request.devices
    }
    # No time limit means no search by the clock: a replay must come to the same placement.
    return strategies.place.place(
        request,
        cells,
        decision_id,
        capacities_mb=capacities_mb,
        contention=contention,
        time_limit_s=0,
    )


def strategy(
    predictor: Predictor, company: Company, request: StrategyRequest, request_id: str
) -> Thought:
    """Choose how a workload runs on a device."""
    choices = [(item, size) for item in request.models for size in joining.sizes(item)]
    cells = [
        cell_of(item.model, request.hardware, item.setup.model_copy(update={"batch_size": size}))
        if size != item.setup.batch_size and len(joining.sizes(item)) > 1
        else cell_of(item.model, request.hardware, item.setup)
        for item, size in choices
    ]
    by_size: dict[str, dict[int, Estimates]] = {}
    for (item, size), one in zip(choices, predictor.predict(cells), strict=True):
        by_size.setdefault(item.model.name, {})[size] = one
    found = [joining.join(item, by_size[item.model.name]) for item in request.models]
    joined = [one for _, one in found if one is not None]
    request = request.model_copy(update={"models": [item for item, _ in found]})
    predictions = {
        item.model.name: by_size[item.model.name][item.setup.batch_size or 1]
        for item in request.models
    }
    hardware = request.hardware.name
    capacity = request.memory_mb or predictor.capacity_mb(hardware)
    contention, sharing = company.contention_for(
        request.models,
        {(name, hardware): one for name, one in predictions.items()},
        {} if capacity is None else {hardware: capacity},
    )
    return Thought(
        strategies.choose.choose,
        {
            "request": request,
            "predictions": predictions,
            "decision_id": request_id,
            "capacity_mb": predictor.capacity_mb(hardware),
            "contention": contention,
            "sharing": sharing,
            "joined": joined,
            "allowance": company.allowance(request.explore_budget),
        },
    )


def _hardware(predictor: Predictor, named: Sequence[HardwareSpec] | None) -> list[HardwareSpec]:
    """Return the hardware that was named, or else all that was ever measured.

    Raises:
        BadInput: none is named and none is known.
    """
    if named:
        return list(named)
    known = [HardwareSpec(name=name) for name in predictor.known_hardware()]
    if not known:
        raise BadInput.of_field("hardware", "left out, and none was ever measured", "its names")
    return known


def _notes(metrics: Iterable[MetricName], predicted: Estimates) -> list[str]:
    notes = [f"{metric}: never measured" for metric in metrics if metric not in predicted]
    bases = [one.basis for one in predicted.values() if one.basis is not None]
    for what, counts in (
        ("hardware", [basis.hardware for basis in bases]),
        ("model", [basis.model for basis in bases]),
    ):
        if counts and not any(counts):
            notes.append(f"this {what} was never measured: the estimate rests on its relatives")
    return notes


def _assumptions(lengths: Mapping[str, float]) -> list[str]:
    return [
        f"{name}: not said, and taken as {length:g}, with which the model last ran"
        for name, length in lengths.items()
    ]
