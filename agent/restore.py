"""Learned state from the log: by a snapshot where one fits, by replay where none does."""

from __future__ import annotations

import asyncio
import pickle
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from agent.heart.heart import Heart, HeartConfig
from agent.journal import stimulus_of
from agent.store.port import Snapshot, Store


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
    return " ".join(
        [f"python-{platform.python_version()}", *(f"{name}-{version(name)}" for name in packages)]
    )


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
            heart = pickle.loads(snapshot.payload)  # noqa: S301 - our own file, see docs/operations.md
        else:
            set_aside = snapshot.stamp
    replayed = 0
    async for records in store.replay(after_seq=heart.applied_seq):
        for record in records:
            heart.handle(stimulus_of(record))
        replayed += len(records)
        on_progress(heart.applied_seq, last)
    return Restored(heart, replayed, set_aside)


def snapshot_of(heart: Heart) -> Snapshot:
    """Return a snapshot of a heart, stamped with what made it."""
    return Snapshot(heart.applied_seq, stamp(), pickle.dumps(heart, protocol=5))
