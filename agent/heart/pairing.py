"""What answers promise: their predictions, and which cell each of them is of."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.heart.stimuli import AnswerLogged
from schemas.measurement import ModelRun, PromisedMetric

CellKey = tuple[Hashable, ...]
"""All that identifies a cell: model, hardware, how many of it, and everything of the set-up."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One metric of one prediction: value, nominal 90 % interval, and in which unit."""

    value: float
    low: float
    high: float
    unit: str | None


@dataclass(frozen=True, slots=True)
class OpenPrediction:
    """A prediction that a measurement may answer.

    `strategy` is that of a decision on a workload, whose totals were promised.
    """

    model: str
    hardware: str
    made_at: datetime
    promises: Mapping[PromisedMetric, Promise]
    strategy: str | None = None


def key_of_run(run: ModelRun) -> CellKey:
    """Return the cell that was measured."""
    setup = run.setup.model_dump(exclude_none=True)
    return _key(run.model.name, run.hardware.name, run.hardware.count, setup)


def predictions_in(answer: AnswerLogged) -> Iterator[tuple[str, OpenPrediction, CellKey | None]]:
    """Yield each prediction of an answer with its id, and its cell where it is of one.

    What was predicted for models beside others is of no cell.
    """
    reply, request = answer.reply, answer.request
    match answer.kind:
        case "predict":
            for row, asked in zip(reply["predictions"], request["candidates"], strict=True):
                hardware, setup = asked["hardware"], asked.get("setup", {})
                key = _key(asked["model"]["name"], hardware["name"], hardware.get("count"), setup)
                yield from _of_row(answer, row, key)
        case "compare" | "recommend":
            yield from _of_choice(answer)
        case "place":
            for row in reply["placed"]:
                yield from _of_row(answer, row, None)
        case "strategy":
            yield from _of_decision(answer)


def _of_choice(
    answer: AnswerLogged,
) -> Iterator[tuple[str, OpenPrediction, CellKey | None]]:
    reply, request = answer.reply, answer.request
    counts = {one["name"]: one.get("count") for one in request.get("hardware", ())}
    rows = [*reply.get("rows", ()), *reply.get("runners_up", ())]
    if reply.get("recommended") is not None:
        rows.append(reply["recommended"])
    for row in rows:
        own = {name: row[name] for name in ("batch_size", "precision") if row.get(name) is not None}
        setup = request.get("setup", {}) | own
        yield from _of_row(
            answer,
            row,
            _key(reply["model"], row["hardware"], counts.get(row["hardware"]), setup),
        )


def _of_row(
    answer: AnswerLogged, row: Mapping[str, Any], key: CellKey | None
) -> Iterator[tuple[str, OpenPrediction, CellKey | None]]:
    promises: dict[PromisedMetric, Promise] = {
        metric: _promise(estimate) for metric, estimate in row["metrics"].items()
    }
    if row.get("energy_j") is not None:
        promises["energy_j"] = _promise(row["energy_j"])
    if promises:
        model = row.get("model", answer.reply.get("model", ""))
        hardware = row.get("hardware", row.get("device", ""))
        yield row["prediction_id"], OpenPrediction(model, hardware, answer.made_at, promises), key


def _of_decision(answer: AnswerLogged) -> Iterator[tuple[str, OpenPrediction, None]]:
    chosen = answer.reply.get("chosen")
    if chosen is None:
        return
    totals: dict[PromisedMetric, Promise] = {}
    for metric, field in (
        ("total_latency_ms", "total_latency_ms"),
        ("peak_memory_mb", "memory_mb"),
        ("total_energy_j", "energy_j"),
    ):
        if chosen.get(field) is not None:
            totals[metric] = _promise(chosen[field])  # type: ignore[index]
    models = ", ".join(sorted(name for wave in chosen["waves"] for name in wave))
    hardware = answer.request["hardware"]["name"]
    yield (
        answer.reply["decision_id"],
        OpenPrediction(models, hardware, answer.made_at, totals, chosen["strategy"]),
        None,
    )


def _key(model: str, hardware: str, count: int | None, setup: Mapping[str, Any]) -> CellKey:
    return (model, hardware, count or 1, *sorted(setup.items()))


def _promise(estimate: dict[str, Any]) -> Promise:
    return Promise(estimate["value"], estimate["low"], estimate["high"], estimate.get("unit"))
