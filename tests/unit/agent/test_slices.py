"""Who works long lets others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

from agent.slices import SLICE_SECONDS, Slices, in_slices


def work(slices: float) -> None:
    end = time.perf_counter() + slices * SLICE_SECONDS
    while time.perf_counter() < end:
        pass


def steps(count: int) -> Generator[None, None, str]:
    for _ in range(count):
        work(2)
        yield
    return "done"


def test_what_work_returns_comes_back() -> None:
    async def both() -> None:
        assert await in_slices(steps(2)) == "done"
        assert await in_slices(iter([None])) is None

    asyncio.run(both())


def test_who_waits_for_a_moment_comes_before_the_next_slice() -> None:
    order: list[str] = []

    async def wait() -> None:
        await asyncio.sleep(SLICE_SECONDS / 2)
        order.append("waited")

    async def both() -> None:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        slices = Slices()
        work(2)
        await slices.pause()
        order.append("worked on")
        await waiting

    asyncio.run(both())
    assert order == ["waited", "worked on"]


def test_within_a_slice_nobody_else_has_a_turn() -> None:
    order: list[str] = []

    async def wait() -> None:
        order.append("had a turn")

    async def both() -> None:
        waiting = asyncio.create_task(wait())
        slices = Slices()
        slices._ends = time.perf_counter() + 60.0
        await slices.pause()
        order.append("worked on")
        await waiting

    asyncio.run(both())
    assert order == ["worked on", "had a turn"]
