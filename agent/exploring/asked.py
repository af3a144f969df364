"""From a request and the state of the heart to a choice that is still to be made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agent.exploring.batches import batch
from agent.exploring.choosing import ASSUMED_S, Cost, Design, Field, doubts_of, wanted
from agent.exploring.decisions import Choosing, deciding
from agent.exploring.record import Record
from agent.exploring.space import Space, space
from agent.heart.predictor import Predictor
from agent.heart.thought import Thought
from agent.learning.cell import Cell
from agent.learning.intervals import DEVIATIONS
from schemas.errors import BadInput
from schemas.exploration import (
    ActiveLearningReply,
    ActiveLearningRequest,
    BatchRequest,
    ExplorationRequest,
    IntegrateRequest,
    MeasuredGain,
)
from strategies.words import HIGHER_IS_BETTER

MOST_TARGETS = 400
MOST_DECISIONS, MOST_ALTERNATIVES = 30, 32

_SHOWN_GAINS = 10


def wanted_by(
    predictor: Predictor, record: Record, request: ExplorationRequest, request_id: str
) -> Thought:
    """Leave to be thought which benchmarks a request wants.

    Raises:
        BadInput: as the kinds of request do.
    """
    match request:
        case ActiveLearningRequest():
            return active_learning(predictor, record, request, request_id)
        case BatchRequest():
            return batch_of(predictor, record, request, request_id)
        case IntegrateRequest():
            return integrate(predictor, record, request, request_id)
    raise AssertionError(type(request))


def active_learning(
    predictor: Predictor, record: Record, request: ActiveLearningRequest, request_id: str
) -> Thought:
    """Leave to be thought which benchmarks teach most.

    Raises:
        BadInput: nothing was measured, or nothing is left to measure.
    """
    field, found = field_of(predictor, record, request)
    return Thought(
        teaching_most,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "earlier": earlier(record),
            "reasons": said_of(found, field, record),
        },
    )


def teaching_most(
    field: Field,
    request: ActiveLearningRequest,
    request_id: str,
    earlier: list[MeasuredGain],
    reasons: list[str],
) -> ActiveLearningReply:
    """Choose the benchmarks that teach most."""
    design = Design(field, request)
    before = design.spread
    choices = design.choose(request.budget)
    if not choices:
        reasons = [*reasons, f"no benchmark's {request.worth} is known"]
    return ActiveLearningReply(
        wanted=wanted(field, choices, request_id),
        candidates=len(field.candidates),
        cells=len(field.targets),
        uncertainty=before,
        expected_uncertainty=design.spread,
        measured=earlier,
        reasons=reasons,
    )


def batch_of(
    predictor: Predictor, record: Record, request: BatchRequest, request_id: str
) -> Thought:
    """Leave to be thought which batch to run under limits.

    Raises:
        BadInput: as for `active_learning`, or a limit is on hardware that is not asked about.
    """
    named = {cell.hardware for cell in record.measured} | {
        one.name for one in request.hardware or ()
    }
    for option, names in (("limits", request.limits), ("availability", request.availability)):
        unknown = sorted(set(names) - named)
        if unknown:
            raise BadInput.of_field(option, f"names {unknown[0]}", "hardware that is known")
    field, found = field_of(predictor, record, request)
    return Thought(
        batch,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "earlier": earlier(record),
            "reasons": said_of(found, field, record),
        },
    )


def integrate(
    predictor: Predictor, record: Record, request: IntegrateRequest, request_id: str
) -> Thought:
    """Leave to be thought which benchmarks decisions on hardware gain most by.

    Raises:
        BadInput: as for `active_learning`, or there is nothing to choose between.
    """
    request = request.model_copy(update={"metrics": [request.metric]})
    known = list(record.measured)
    _refuse_unknown(request, known)
    every = space(request, lambda _: False, known)
    cells = predictor.filled(every.cells)
    open_places = frozenset(
        place for place, cell in enumerate(cells) if not record.is_measured(cell)
    )
    choosings = _choosings(predictor, record, request, cells)
    if not choosings:
        raise BadInput.of_field(
            "request", "one kind of hardware, or no prediction", "two kinds or more to choose from"
        )
    if not open_places:
        raise BadInput.of_field("request", "all of it was measured", "more models or hardware")
    targets, weights = record.mattering(MOST_TARGETS)
    field = Field(
        metrics=(request.metric,),
        measured=record.measured,
        candidates=cells,
        costs=_costs(predictor, record, request, cells),
        targets=targets,
        weights=weights,
        sheets=predictor.sheets,
    )
    return Thought(
        deciding,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "choosings": choosings,
            "open_places": open_places,
            "earlier": earlier(record),
            "reasons": said_of(every, field, record),
        },
    )


def _choosings(
    predictor: Predictor, record: Record, request: IntegrateRequest, cells: Sequence[Cell]
) -> list[Choosing]:
    """Return the decisions: for each model and way to run it, between kinds of hardware.

    Those of the models that were asked for most, where there are many.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, cell in enumerate(cells):
        way = cell.task, cell.batch_size, cell.input_size, cell.sequence_in, cell.sequence_out
        groups.setdefault((cell.model, *way, cell.concurrency), []).append(place)
    real = [one for one in groups.values() if len({cells[place].hardware for place in one}) > 1]
    asked: dict[str, int] = {}
    for (model, _), count in record.asked.items():
        asked[model] = asked.get(model, 0) + count
    real.sort(key=lambda one: -asked.get(cells[one[0]].model, 0))
    sign = 1.0 if request.metric in HIGHER_IS_BETTER else -1.0
    choosings = []
    for one in real[:MOST_DECISIONS]:
        places = one[:MOST_ALTERNATIVES]
        found = predictor.comparable([cells[place] for place in places])
        estimates = [line.get(request.metric) for line in found]
        known = [(place, e) for place, e in zip(places, estimates, strict=True) if e is not None]
        if len({cells[place].hardware for place, _ in known}) > 1:
            choosings.append(
                Choosing(
                    tuple(place for place, _ in known),
                    sign * np.log([e.value for _, e in known]),
                    np.log([e.high / e.value for _, e in known]) / DEVIATIONS,
                )
            )
    return choosings


def field_of(
    predictor: Predictor, record: Record, request: ExplorationRequest
) -> tuple[Field, Space]:
    """Return what a choice rests on, and the space of its candidates.

    Raises:
        BadInput: nothing was measured, hardware is unknown, or nothing is left to measure.
    """
    known = list(record.measured)
    _refuse_unknown(request, known)
    found = space(request, record.is_measured, known)
    if not found.cells:
        raise BadInput.of_field(
            "request", "everything that it allows was measured", "more models, hardware or set-ups"
        )
    metrics = tuple(request.metrics or record.usual_metrics())
    cells, weights = record.mattering(MOST_TARGETS // 2)
    # What was asked for and never measured matters as much as what was.
    asked = [
        one for one in found.cells if (one.model, one.hardware) in record.asked or not record.asked
    ]
    more = asked[:: max(1, -(-len(asked) // (MOST_TARGETS - len(cells))))]
    counts = [float(record.asked.get((one.model, one.hardware), 1)) for one in more]
    candidates = predictor.filled(found.cells)
    targets = [*cells, *predictor.filled(more)]
    return (
        Field(
            metrics=metrics,
            measured=record.measured,
            candidates=candidates,
            costs=_costs(predictor, record, request, candidates),
            targets=targets,
            weights=[*weights, *counts],
            sheets=predictor.sheets,
            doubts=doubts_of(predictor.predict(targets, metrics)),
        ),
        found,
    )


def earlier(record: Record) -> list[MeasuredGain]:
    """Return the newest wanted benchmarks that were measured, with what they were worth."""
    return [
        MeasuredGain(id=one.id, expected_gain=one.expected, measured_gain=one.came)
        for one in record.gains[-_SHOWN_GAINS:]
    ]


def said_of(found: Space, field: Field, record: Record) -> list[str]:
    """Say what was chosen among, and what the cells that matter are."""
    reasons = [
        "cells that were asked for matter as often as they were"
        if record.asked
        else "nothing was asked for yet: all known cells matter alike"
    ]
    if found.of > len(field.candidates):
        reasons.append(
            f"{len(field.candidates)} of {found.of} combinations were weighed; "
            "the others were measured, or left out by a seeded draw"
        )
    return reasons


def _costs(
    predictor: Predictor, record: Record, request: ExplorationRequest, cells: Sequence[Cell]
) -> list[Cost]:
    power = [one.get("power_w") for one in predictor.predict(cells, ("power_w",))]
    costs = []
    for cell, watts in zip(cells, power, strict=True):
        measured_s = record.duration_s(cell.hardware)
        seconds = measured_s or ASSUMED_S
        per_hour = request.cost_per_hour.get(cell.hardware)
        costs.append(
            Cost(
                seconds=seconds,
                measured=measured_s is not None,
                joules=None if watts is None else watts.value * (cell.device_count or 1) * seconds,
                money=None if per_hour is None else per_hour * seconds / 3600.0,
            )
        )
    return costs


def _refuse_unknown(request: ExplorationRequest, known: Sequence[Cell]) -> None:
    """Refuse hardware and models that were never measured and of which nothing is said.

    Raises:
        BadInput: names them.
    """
    met = {cell.hardware for cell in known}
    for one in request.hardware or ():
        if one.name not in met and one.hardware_class is None:
            raise BadInput.of_field(
                "hardware",
                f"{one.name} was never measured",
                "measured hardware, or its class as well",
            )
    named = {one.name for one in request.hardware or ()} or met
    unknown = sorted(set(request.cost_per_hour) - named)
    if unknown:
        raise BadInput.of_field(
            "cost_per_hour", f"names {unknown[0]}", "hardware that is asked about"
        )
