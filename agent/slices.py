"""Long work on the loop, in slices: everybody else gets a turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

SLICE_SECONDS = 0.002
"""How long work may keep the loop from others."""

_slice_ends = 0.0


async def in_slices(work: Iterator[None]) -> Any:
    """Do work that yields often; return what it returns (a generator's value, else None)."""
    global _slice_ends  # noqa: PLW0603 - one loop, one clock: short works share a slice
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value
        if time.perf_counter() >= _slice_ends:
            await asyncio.sleep(0)
            _slice_ends = time.perf_counter() + SLICE_SECONDS
