"""Learned state from the log: by a snapshot where one fits, by replay where none does."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version

from agent import pieces
from agent.heart.effects import Effect
from agent.heart.heart import Heart, HeartConfig
from agent.heart.stimuli import LoggedStimulus, MeasurementShipped, RefinementLogged
from agent.journal import stimulus_of
from agent.knowledge import fingerprint, fingerprint_of_sheets
from agent.rebuild import rebuild
from agent.slices import in_slices
from agent.store.port import Snapshot, Store
from agent.validations import validations_in

LAYOUT = "parts-15"
"""How a snapshot is laid out; changes with `agent.pieces`, and with what learners keep."""


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


def stamp(config: HeartConfig) -> str:
    """Return what the meaning of a pickled heart depends on: versions, and what it began with."""
    began_with = f"{fingerprint(config.shipped)} {fingerprint_of_sheets(config.bank.sheets)}"
    return f"{_versions()} {began_with}"


@cache
def _versions() -> str:
    packages = ("placewise", "river", "numpy", "numba", "scipy")
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
    ours = await asyncio.to_thread(stamp, config)  # reads files, which is nothing for the loop
    snapshot = await store.load_snapshot()
    set_aside = None
    heart: Heart | None = None
    last = await store.last_seq()
    if snapshot is not None:
        if snapshot.stamp == ours and snapshot.seq <= last:
            heart = pieces.load(snapshot.parts)
            heart.config = config
        else:
            set_aside = snapshot.stamp
    if heart is None:
        heart = Heart(config)
        await in_slices(given(heart, config))
    replayed = 0
    async for records in store.replay(after_seq=heart.applied_seq):
        effects: list[Effect] = []
        for record in records:
            stimulus = await completed(
                stimulus_of(record), store, config, lambda: on_progress(heart.applied_seq, last)
            )
            effects += heart.handle(stimulus)
        # Those that are there already are left out: a crash may have taken the newest.
        await store.note(validations_in(effects), heart.applied_seq)
        replayed += len(records)
        on_progress(heart.applied_seq, last)
    return Restored(heart, replayed, set_aside)


def given(heart: Heart, config: HeartConfig) -> Iterator[None]:
    """Let a new heart learn what ships; yield after each."""
    for observation in config.shipped:
        heart.handle(MeasurementShipped(observation))
        yield


async def completed(
    stimulus: LoggedStimulus,
    store: Store,
    config: HeartConfig,
    on_progress: Callable[[], None] = lambda: None,
) -> LoggedStimulus:
    """Return a replayed stimulus with what is not in the log but made from it.

    That takes as long as learning the log up to there; `on_progress` is called meanwhile.
    """
    if isinstance(stimulus, RefinementLogged) and stimulus.refinement.kept:
        version = stimulus.refinement.version
        made = await rebuild(store, config, version, stimulus.seq, on_progress)
        return replace(stimulus, made=made)
    return stimulus


async def snapshot_of(heart: Heart) -> Snapshot:
    """Return a snapshot of a heart, stamped with what made it.

    The loop gets its turn every few milliseconds; nothing may be learnt before the end.
    """
    ours = await asyncio.to_thread(stamp, heart.config)
    return Snapshot(heart.applied_seq, ours, tuple(await in_slices(pieces.dump(heart))))
