"""What fits into memory: how large a batch, how long a context, and what takes the room."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Message

Find = Literal["batch_size", "context"]


class MemoryParts(Message):
    """What takes memory, by arithmetic, in MB on all devices together.

    What a runtime takes beyond it is learnt, and is part of the chance that it fits.
    """

    weights_mb: float
    kv_cache_mb: float
    activations_mb: float


class Capacity(Message):
    """The largest batch or context on some hardware, in some precisions."""

    hardware: str
    precision: str | None
    kv_precision: str | None
    largest: int | None = Field(
        description="0: not even 1 fits; None: unknown, or nothing known grows with it"
    )
    fits: float | None = Field(None, description="Chance at the largest (at 1, where it is 0)")
    fits_next: float | None = Field(None, description="Chance with one more")
    memory_capacity_mb: float | None = Field(None, description="Of all devices together")
    parts: MemoryParts | None = Field(None, description="At the largest (at 1, where it is 0)")
    limited_by: Literal["weights", "kv_cache", "activations"] | None = Field(
        None, description="What takes the most there"
    )
    notes: list[str] = []


class CapacityReply(Message):
    """The answer to a capacity request, in the order of its hardware, then of its precisions."""

    model: str
    find: Find
    probability: float
    rows: list[Capacity]
