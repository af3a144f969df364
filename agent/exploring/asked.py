"""From a request and the state of the heart to a choice that is still to be made."""

from __future__ import annotations

from collections.abc import Sequence

from agent.exploring.choosing import ASSUMED_S, Cost, Design, Field, wanted
from agent.exploring.record import Record
from agent.exploring.space import Space, space
from agent.heart.predictor import Predictor
from agent.heart.thought import Thought
from agent.learning.cell import Cell
from schemas.errors import BadInput
from schemas.exploration import (
    ActiveLearningReply,
    ActiveLearningRequest,
    ExplorationRequest,
    MeasuredGain,
)

MOST_TARGETS = 400
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
    return (
        Field(
            metrics=metrics,
            measured=record.measured,
            candidates=candidates,
            costs=_costs(predictor, record, request, candidates),
            targets=[*cells, *predictor.filled(more)],
            weights=[*weights, *counts],
            sheets=predictor.sheets,
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
