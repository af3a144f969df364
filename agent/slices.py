"""Long work on the loop, in slices: everybody else gets a turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

SLICE_SECONDS = 0.002
"""How long work may keep the loop from others."""

_TURNS = 3
"""Of asyncio's own loop: one to look at the clock, one to wake who waits, one to let it run."""


class Slices:
    """Says when work has to let others have a turn; the first slice begins at once."""

    def __init__(self) -> None:
        self._ends = time.perf_counter() + SLICE_SECONDS

    async def pause(self) -> None:
        """Let everybody else have a turn if the slice is over.

        The loop looks at clocks and sockets between two turns, and lines up whom they wake behind
        who is ready. So it takes more than one turn to come after them.
        """
        if time.perf_counter() >= self._ends:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            self._ends = time.perf_counter() + SLICE_SECONDS


_ONE_LOOP = Slices()
"""Works that are short share a slice."""


async def in_slices(work: Iterator[None]) -> Any:
    """Do work that yields often; return what it returns (a generator's value, else None)."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value
        await _ONE_LOOP.pause()
