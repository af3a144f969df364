"""From a request and the state of the heart to a choice that is still to be made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np

from agent.exploring.batches import batch
from agent.exploring.choosing import (
    ASSUMED_S,
    KNOWN,
    Cost,
    Design,
    Field,
    chances_of,
    doubts_of,
    wanted,
)
from agent.exploring.decisions import Choosing, deciding
from agent.exploring.record import HOPELESS, Mattering, Record
from agent.exploring.space import Known, space
from agent.heart.predictor import Predictor
from agent.heart.thought import Thought
from agent.learning.cell import Cell
from agent.learning.intervals import DEVIATIONS
from agent.learning.names import hints
from schemas.errors import BadInput, shown
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

_MOST_NAMES = 4_096
"""The newest names, among which those are looked for that are written nearly as an unknown one."""


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
        BadInput: as `field_of` does.
    """
    field, reasons = field_of(predictor, record, request)
    return Thought(
        teaching_most,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "earlier": earlier(record),
            "reasons": reasons,
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
        BadInput: as `field_of` does, or a limit is on hardware that is not asked about.
    """
    named = {*record.known.hardware, *(one.name for one in request.hardware or ())}
    for option, names in (("limits", request.limits), ("availability", request.availability)):
        unknown = sorted(set(names) - named)
        if unknown:
            raise BadInput.of_field(option, f"names {unknown[0]}", "hardware that is known")
    field, reasons = field_of(predictor, record, request)
    return Thought(
        batch,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "earlier": earlier(record),
            "reasons": reasons,
        },
    )


def integrate(
    predictor: Predictor, record: Record, request: IntegrateRequest, request_id: str
) -> Thought:
    """Leave to be thought which benchmarks decisions on hardware gain most by.

    Raises:
        BadInput: as `field_of` does, or there is nothing to choose between.
    """
    request = request.model_copy(update={"metrics": [request.metric]})
    known = record.known
    _refuse_unknown(request, known)
    every = space(request, lambda _: False, known)
    cells, chances = _able(predictor, record, every.cells)
    open_places = [place for place, cell in enumerate(cells) if not record.is_measured(cell)]
    choosings = _choosings(predictor, record, request, cells)
    if not choosings:
        raise BadInput.of_field(
            "request", "one kind of hardware, or no prediction", "two kinds or more to choose from"
        )
    if not open_places:
        raise BadInput.of_field("request", "all of it was measured", "more models or hardware")
    mattering = record.mattering(MOST_TARGETS, [cells[place] for place in open_places])
    field = Field(
        metrics=(request.metric,),
        measured=record.weighed([request.metric], KNOWN, mattering.cells),
        candidates=cells,
        costs=_costs(predictor, record, request, cells),
        targets=mattering.cells,
        weights=mattering.weights,
        sheets=predictor.sheets,
        chances=chances,
    )
    return Thought(
        deciding,
        {
            "field": field,
            "request": request,
            "request_id": request_id,
            "choosings": choosings,
            "open_places": frozenset(open_places),
            "earlier": earlier(record),
            "reasons": said_of(record, mattering, every.of, len(every.cells), len(cells)),
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
) -> tuple[Field, list[str]]:
    """Return what a choice rests on, and what is to be said of that.

    Raises:
        BadInput: nothing was measured, hardware or a model is unknown, nothing is left to measure,
            or what is left does not fit into memory.
    """
    known = record.known
    _refuse_unknown(request, known)
    found = space(request, record.is_measured, known)
    if not found.cells:
        raise BadInput.of_field(
            "request", "everything that it allows was measured", "more models, hardware or set-ups"
        )
    candidates, chances = _able(predictor, record, found.cells)
    if not candidates:
        raise BadInput.of_field(
            "request",
            "nothing that it allows fits into memory",
            "smaller batches, other models or hardware",
        )
    metrics = tuple(request.metrics or record.usual_metrics())
    # What was asked for and never measured matters as much as what was.
    mattering = record.mattering(MOST_TARGETS, candidates)
    field = Field(
        metrics=metrics,
        measured=record.weighed(metrics, KNOWN, mattering.cells),
        candidates=candidates,
        costs=_costs(predictor, record, request, candidates),
        targets=mattering.cells,
        weights=mattering.weights,
        sheets=predictor.sheets,
        chances=chances,
        doubts=doubts_of(predictor.predict(mattering.cells, metrics)),
    )
    return field, said_of(record, mattering, found.of, len(found.cells), len(candidates))


def _able(
    predictor: Predictor, record: Record, cells: Sequence[Cell]
) -> tuple[list[Cell], list[float]]:
    """Return the cells, filled in, that can be run, and how likely each fits into memory.

    What was measured can; else what was tried in vain, or hardly fits, is left out.
    """
    filled = predictor.filled(cells)
    able: list[Cell] = []
    chances: list[float] = []
    for cell, chance in zip(filled, chances_of(predictor.fittings(filled)), strict=True):
        if not record.is_failed(cell) and (chance >= HOPELESS or record.is_measured(cell)):
            able.append(cell)
            chances.append(chance)
    return able, chances


def earlier(record: Record) -> list[MeasuredGain]:
    """Return the newest wanted benchmarks that were measured, with what they were worth."""
    return [
        MeasuredGain(id=one.id, expected_gain=one.expected, measured_gain=one.came)
        for one in record.gains[-_SHOWN_GAINS:]
    ]


def said_of(
    record: Record, mattering: Mattering, combinations: int, drawn: int, weighed: int
) -> list[str]:
    """Say which cells matter and why, and what was chosen among.

    Args:
        record: says whether anything was asked for.
        mattering: the cells.
        combinations: how many there are.
        drawn: so many of them were looked at.
        weighed: so many of those can be run.
    """
    taken = len(mattering.cells)
    if mattering.asked and mattering.of == 1:
        reason = "only the one cell that was asked for counts"
    elif mattering.asked:
        reason = f"only the {mattering.of} cells that were asked for count, each as often as it was"
    elif record.asked:
        reason = (
            "nothing of what was asked for can be run here: "
            f"all {mattering.of} cells that are known, or may be measured, count alike"
        )
    else:
        reason = (
            "nothing was asked for yet: "
            f"all {mattering.of} cells that are known, or may be measured, count alike"
        )
    reasons = [reason if taken == mattering.of else f"{reason}; {taken} of them were weighed"]
    if combinations > drawn:
        reasons.append(
            f"{drawn} of {combinations} combinations were looked at; "
            "the others were measured, or left out by a seeded draw"
        )
    if drawn > weighed:
        reasons.append(
            f"{drawn - weighed} combinations were left out: they do not fit into memory, or failed"
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


def _refuse_unknown(request: ExplorationRequest, known: Known) -> None:
    """Refuse hardware and models that were never measured and of which nothing is said.

    A model whose name says its size needs no more.

    Raises:
        BadInput: names them, and what is called nearly so.
    """
    for model in request.models or ():
        said = model.parameters_m or model.gmacs or hints(model.name).parameters_m
        if model.name not in known.models and said is None:
            raise BadInput.of_field(
                "models",
                f"{shown(model.name)} was never measured",
                f"{_measured('models', model.name, known.models)}, "
                "or its parameters_m or gmacs as well",
            )
    for one in request.hardware or ():
        if one.name not in known.hardware and one.hardware_class is None:
            raise BadInput.of_field(
                "hardware",
                f"{shown(one.name)} was never measured",
                f"{_measured('hardware', one.name, known.hardware)}, or its class as well",
            )
    named = {one.name for one in request.hardware or ()} or {*known.hardware}
    unknown = sorted(set(request.cost_per_hour) - named)
    if unknown:
        raise BadInput.of_field(
            "cost_per_hour", f"names {unknown[0]}", "hardware that is asked about"
        )


def _measured(what: str, name: str, names: Iterable[str]) -> str:
    """Return what is expected where a name is unknown, with names that are written nearly so."""
    near = get_close_matches(name, list(names)[-_MOST_NAMES:])
    return f"measured {what} ({', '.join(map(shown, near))}, …)" if near else f"measured {what}"
