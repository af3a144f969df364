"""The only hand that writes to the log, and the learner behind it.

Events and answers go into one queue. The writer commits them in the order of the queue, in
micro-batches, and only then are they acknowledged to the broker and handed to the heart, in
the order of the log. So the heart's state is always a fold over the log, and what was
acknowledged is safe.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agent.heart.effects import Effect
from agent.heart.heart import Heart
from agent.heart.stimuli import LoggedStimulus, RefinementLogged
from agent.metrics import AgentMetrics, QueueName
from agent.slices import Slices
from agent.store.port import LogRecord, Store

MAX_COMMIT_RECORDS = 512
"""Records per transaction: a commit costs milliseconds whatever it holds."""

QUEUED_BATCHES = 16
LINGER_SECONDS = 0.05
"""How long answers wait for company before they are committed: nobody waits for that commit.

An event that arrives behind them ends the wait, and is committed after them.
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that is not in the log yet, with the stimulus that it will be.

    The stimulus carries `seq` 0 until the log has given one.
    """

    record: LogRecord
    stimulus: LoggedStimulus


@dataclass(frozen=True, slots=True)
class _Batch:
    drafts: Sequence[Draft]
    then: Callable[[], Awaitable[None]] | None


class Writer:
    """Commits drafts in the order in which they were submitted, then lets the heart learn.

    Args:
        store: where the log is kept; this writer is the only one that appends to it.
        heart: learns from what was committed.
        heart_in_use: held by whoever lets the heart do something, here or in a thread.
        on_learned: told of what follows from a batch, between that batch and the next.
        complete: given a refinement, returns it with the learned state that it stands for.
        metrics: told of each commit and of what learning takes.
    """

    def __init__(
        self,
        store: Store,
        heart: Heart,
        heart_in_use: asyncio.Lock,
        on_learned: Callable[[list[Effect]], Awaitable[None]],
        complete: Callable[[RefinementLogged], Awaitable[RefinementLogged]],
        metrics: AgentMetrics,
    ) -> None:
        self._store = store
        self._heart = heart
        self._heart_in_use = heart_in_use
        self._on_learned = on_learned
        self._complete = complete
        self._metrics = metrics
        self._submitted: asyncio.Queue[_Batch] = asyncio.Queue(QUEUED_BATCHES)
        self._somebody_waits = asyncio.Event()
        self._committed: asyncio.Queue[list[LoggedStimulus]] = asyncio.Queue(QUEUED_BATCHES)

    async def submit(
        self, drafts: Sequence[Draft], then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Queue drafts, waiting while the queue is full; `then` runs once they are committed."""
        await self._submitted.put(_Batch(drafts, then))
        if then is not None or self._submitted.full():
            self._somebody_waits.set()

    def depths(self) -> dict[QueueName, int]:
        """Return how many batches wait in each queue."""
        return {"writer": self._submitted.qsize(), "learner": self._committed.qsize()}

    async def drain(self) -> None:
        """Wait until all that was submitted is committed and learnt."""
        self._somebody_waits.set()
        await self._submitted.join()
        await self._committed.join()

    async def write(self) -> None:
        """Commit what is submitted, for ever. The task `writer`."""
        while True:
            batches = [await self._submitted.get()]
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._somebody_waits.wait()
            self._somebody_waits.clear()
            count = len(batches[0].drafts)
            while count < MAX_COMMIT_RECORDS and not self._submitted.empty():
                batches.append(self._submitted.get_nowait())
                count += len(batches[-1].drafts)
            await self._commit(batches)
            for _ in batches:
                self._submitted.task_done()

    async def learn(self) -> None:
        """Hand what was committed to the heart, for ever. The task `learner`."""
        while True:
            stimuli = await self._committed.get()
            await self._learn(stimuli)
            self._committed.task_done()

    async def _commit(self, batches: list[_Batch]) -> None:
        drafts = [draft for batch in batches for draft in batch.drafts]
        if drafts:
            started = time.perf_counter()
            records = await self._store.append([draft.record for draft in drafts])
            seconds = time.perf_counter() - started
            new = [
                replace(draft.stimulus, seq=record.seq)
                for draft, record in zip(drafts, records, strict=True)
                if record is not None
            ]
            self._metrics.commit(len(new), len(drafts) - len(new), seconds)
            if new:
                await self._committed.put(new)
        for batch in batches:
            if batch.then is not None:
                await batch.then()

    async def _learn(self, stimuli: list[LoggedStimulus]) -> None:
        effects: list[Effect] = []
        slices = Slices()
        for stimulus in stimuli:
            if isinstance(stimulus, RefinementLogged):
                stimulus = await self._complete(stimulus)  # noqa: PLW2901
            async with self._heart_in_use:
                started = time.perf_counter()
                effects += self._heart.handle(stimulus)
            self._metrics.learned(time.perf_counter() - started)
            await slices.pause()
        await self._on_learned(effects)
