"""Making the learned state of a version from the log: here, or in a process of its own."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO

from agent import frames, pieces
from agent.heart.cells import observation_of, observations_of
from agent.heart.heart import HeartConfig
from agent.heart.stimuli import MeasurementLogged, ReleaseLogged
from agent.heart.versions import Lesson, Rebuilding
from agent.journal import stimulus_of
from agent.slices import in_slices
from agent.store.port import LogRecord, Store
from schemas.refinement import Version

_NICE = 10
"""How much less of the processor a rebuild gets than what serves requests."""


def lessons_of(records: Iterable[LogRecord]) -> list[Lesson]:
    """Return what log records teach, in their order."""
    lessons = []
    for record in records:
        stimulus = stimulus_of(record)
        if isinstance(stimulus, MeasurementLogged):
            lessons += [Lesson(stimulus.seq, one) for one in observations_of(stimulus.data)]
        elif isinstance(stimulus, ReleaseLogged):
            runs = [one.run for one in stimulus.release.runs if one.alone]
            lessons += [Lesson(stimulus.seq, observation_of(run), released=True) for run in runs]
    return lessons


async def rebuild(
    store: Store,
    config: HeartConfig,
    version: Version,
    before_seq: int,
    on_progress: Callable[[], None] = lambda: None,
) -> Rebuilding:
    """Make the state of a version as of the record before `before_seq`, on this thread."""
    work = Rebuilding(config.bank, version, config.shipped)
    await catch_up(work, store, 0, before_seq, on_progress)
    return work


async def catch_up(
    work: Rebuilding,
    store: Store,
    after_seq: int,
    before_seq: int,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Let a rebuilding take the log between two records, to its end; give the loop its turn."""
    async for records in store.replay(after_seq=after_seq):
        for lesson in lessons_of(one for one in records if one.seq < before_seq):
            await in_slices(work.take(lesson))
        on_progress()
        if records[-1].seq >= before_seq:
            break
    await in_slices(work.finish())


class Apprentice:
    """A rebuilding in a process of its own, so that requests hardly notice it.

    Raises:
        ProcessEnded: from every method, once the process has ended before its work.
    """

    def __init__(self, peer: frames.Peer) -> None:
        self._peer = peer

    async def begin(self, config: HeartConfig, version: Version) -> None:
        """Say what is to be made."""
        await self._ask("begin", (config.bank, version, config.shipped))

    async def catch_up(self, store: Store, after_seq: int) -> int:
        """Let it take the log after a record; return the last record that it took."""
        last = after_seq
        async for records in store.replay(after_seq=after_seq):
            await self._ask("take", records)
            last = records[-1].seq
        return last

    async def result(self) -> Rebuilding:
        """Return what was made."""
        count: int = pickle.loads(await self._ask("finish", None))  # noqa: S301 - from our process
        parts = [await self._ask("part", number) for number in range(count)]
        work: Rebuilding = await in_slices(pieces.loading(parts))
        return work

    async def _ask(self, what: str, about: object) -> bytes:
        # A thousand records of the log take some ten milliseconds.
        return await self._peer.ask(await asyncio.to_thread(pickle.dumps, (what, about), 5))


@asynccontextmanager
async def apprentice(config: HeartConfig, version: Version) -> AsyncIterator[Apprentice]:
    """Start a rebuilding in a process of its own; end it in any case."""
    async with frames.peer("agent.rebuild") as peer:
        one = Apprentice(peer)
        await one.begin(config, version)
        yield one


def serve(commands: BinaryIO, answers: BinaryIO) -> None:
    """Do as commanded until there are no more commands. What the apprentice's process runs."""
    work: Rebuilding | None = None
    parts: list[bytes] = []
    with suppress(EOFError):
        while True:
            what, about = pickle.loads(frames.read(commands))  # noqa: S301 - from who started this
            answer = b""
            if what == "begin":
                work = Rebuilding(*about)
            assert work is not None, "the first command begins"
            if what == "take":
                for lesson in lessons_of(about):
                    deque(work.take(lesson), maxlen=0)
            elif what == "finish":
                deque(work.finish(), maxlen=0)
                parts = pieces.dumps(work)
                answer = pickle.dumps(len(parts))
            elif what == "part":
                answer = parts[about]
            frames.write(answers, answer)


if __name__ == "__main__":
    os.nice(_NICE)
    serve(sys.stdin.buffer, sys.stdout.buffer)
