"""Learned state from the log: by a snapshot where one fits, by replay where none does."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from agent import pieces
from agent.heart.heart import Heart, HeartConfig
from agent.journal import stimulus_of
from agent.store.port import Snapshot, Store

LAYOUT = "pieces-1"
"""How a snapshot is laid out; changes with `agent.pieces`."""

SLICE_SECONDS = 0.004
"""How long a snapshot may be worked on before the loop gets its turn."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A heart that has taken the whole log.

    Attributes:
        heart: the restored heart.
        replayed: how many records were replayed.
        set_aside: the stamp of a snapshot made by other versions, which was not used.
    """

    heart: Heart
    replayed: int
    set_aside: str | None


@cache
def stamp() -> str:
    """Return the versions on which the meaning of a pickled heart depends."""
    packages = ("placewise", "river", "numpy")
    versions = [f"{name}-{version(name)}" for name in packages]
    return " ".join([LAYOUT, f"python-{platform.python_version()}", *versions])


async def restore(
    store: Store,
    config: HeartConfig,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Restored:
    """Return the heart that the log makes, from a fitting snapshot and what came after it.

    Args:
        store: holds log and snapshot.
        config: of a heart that starts anew; a snapshot brings its own.
        on_progress: told the newest applied and the last `seq`, batch by batch.
    """
    ours = await asyncio.to_thread(stamp)  # reads files, which is nothing for the loop
    snapshot = await store.load_snapshot()
    set_aside = None
    heart = Heart(config)
    last = await store.last_seq()
    if snapshot is not None:
        if snapshot.stamp == ours and snapshot.seq <= last:
            heart = pieces.load(snapshot.payload)
        else:
            set_aside = snapshot.stamp
    replayed = 0
    async for records in store.replay(after_seq=heart.applied_seq):
        for record in records:
            heart.handle(stimulus_of(record))
        replayed += len(records)
        on_progress(heart.applied_seq, last)
    return Restored(heart, replayed, set_aside)


async def snapshot_of(heart: Heart) -> Snapshot:
    """Return a snapshot of a heart, stamped with what made it.

    The loop gets its turn every few milliseconds; nothing may be learnt before the end.
    """
    ours = await asyncio.to_thread(stamp)
    at_work = pieces.dump(heart)
    slice_ends = time.perf_counter() + SLICE_SECONDS
    while True:
        try:
            next(at_work)
        except StopIteration as done:
            return Snapshot(heart.applied_seq, ours, done.value)
        if time.perf_counter() >= slice_ends:
            await asyncio.sleep(0)
            slice_ends = time.perf_counter() + SLICE_SECONDS
