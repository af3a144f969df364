"""From a capacity request to its reply: how large a batch, how long a context fits where."""

from __future__ import annotations

from collections.abc import Iterator

from agent.heart.cells import cell_of
from agent.heart.predictor import Predictor
from agent.learning.capacity import MOST, Find, Largest
from schemas.capacity import Capacity, CapacityReply, MemoryParts
from schemas.requests import CapacityRequest

_GROWS: dict[Find, str] = {
    "batch_size": "the model's activations_m, or the set-up's sequences",
    "context": "the model's kv_values_per_token",
}


def capacity(predictor: Predictor, request: CapacityRequest) -> CapacityReply:
    """Return the largest size that fits, for all hardware in all precisions asked for."""
    precisions: list[str | None] = [*(request.precisions or ())] or [request.setup.precision]
    caches: list[str | None] = [*(request.kv_precisions or ())] or [request.setup.kv_precision]
    choices = [
        (one, precision, cache)
        for one in request.hardware
        for precision in precisions
        for cache in caches
    ]
    cells = [
        cell_of(
            request.model,
            one,
            request.setup.model_copy(update={"precision": precision, "kv_precision": cache}),
        )
        for one, precision, cache in choices
    ]
    found = predictor.largest(cells, request.find, request.probability, request.memory_mb)
    return CapacityReply(
        model=request.model.name,
        find=request.find,
        probability=request.probability,
        rows=[
            _row(one.name, precision, cache, largest, request.find)
            for (one, precision, cache), largest in zip(choices, found, strict=True)
        ],
    )


def _row(
    hardware: str, precision: str | None, cache: str | None, largest: Largest | None, find: Find
) -> Capacity:
    if largest is None:
        note = "unknown: it takes the model's parameters_m, and memory_mb or a data sheet"
        return Capacity(
            hardware=hardware, precision=precision, kv_precision=cache, largest=None, notes=[note]
        )
    need = largest.fitting.need
    return Capacity(
        hardware=hardware,
        precision=precision,
        kv_precision=cache,
        largest=largest.size,
        fits=largest.fitting.chance,
        fits_next=None if largest.size is None else largest.next_chance,
        memory_capacity_mb=largest.fitting.memory_mb,
        parts=MemoryParts(
            weights_mb=need.weights_mb,
            kv_cache_mb=need.kv_cache_mb,
            activations_mb=need.activations_mb + need.unsaid_mb,
        ),
        limited_by=need.largest,
        notes=list(_notes(largest, find)),
    )


def _notes(largest: Largest, find: Find) -> Iterator[str]:
    need = largest.fitting.need
    if largest.size is None:
        yield f"even {MOST:,} fits by what is known: say {_GROWS[find]}"
    if need.unsaid_mb > 0.0:
        yield (
            "what an item takes beside the weights is guessed, and counts as activations: declare "
            "the model's activations_m, or its kv_values_per_token and the set-up's sequences"
        )
    if need.kv_estimated:
        yield (
            "the key-value cache is guessed from the model's size, which makes it less sure: "
            "declare kv_values_per_token"
        )
