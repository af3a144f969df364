"""The ledger of validations: what the heart finds, brought into the store, and what it says."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Iterable
from datetime import datetime

from agent.heart.effects import Effect, Publish
from agent.heart.standing import SIGNIFICANT, rank_score
from agent.store.port import GroupRow, Store
from schemas.published import Validation
from schemas.requests import ValidationRequest
from schemas.validation import Trend, ValidatedGroup, ValidationReply

KEPT_EVERY_SECONDS = 0.5
"""How long a validation waits for company on its way into the store: nobody waits for it there.

What a crash takes with it is made from the log again.
"""

SHOWN_GROUPS = 100


def validations_in(effects: Iterable[Effect]) -> list[Validation]:
    """Return what effects say of predictions that were measured."""
    return [
        one.what for one in effects if isinstance(one, Publish) and isinstance(one.what, Validation)
    ]


class Validations:
    """Owns what was validated and is not in the store yet.

    Args:
        store: keeps the ledger.
        clock: returns the time.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[Validation] = []
        self._through_seq = 0
        self._keeping = asyncio.Lock()

    def take(self, effects: Iterable[Effect], through_seq: int) -> None:
        """Take up what followed from log records up to one."""
        self._waiting += validations_in(effects)
        self._through_seq = through_seq

    async def keep(self) -> None:
        """Bring what waits into the store; return when all that was taken so far is there.

        What is cancelled on its way waits on: the store leaves out what it has already.
        """
        async with self._keeping:
            if waiting := list(self._waiting):
                await self._store.note(waiting, self._through_seq)
                del self._waiting[: len(waiting)]

    async def work(self) -> None:
        """Bring into the store what comes, for ever. The task `validations`."""
        while True:
            await asyncio.sleep(KEPT_EVERY_SECONDS)
            await self.keep()

    async def answer(self, request: ValidationRequest) -> ValidationReply:
        """Return what the ledger says, everything that was taken so far included."""
        await self.keep()
        rows = await self._store.validated(request, self._clock())
        shown = rows[:SHOWN_GROUPS]
        return ValidationReply(
            validations=sum(row.validations for row in rows),
            groups=[_group(row) for row in shown],
            left_out=len(rows) - len(shown),
        )


def _group(row: GroupRow) -> ValidatedGroup:
    return ValidatedGroup(
        name=row.name,
        metric=row.metric,
        validations=row.validations,
        newest=row.newest,
        current_ape=row.recent_errors[0],
        recent_ape=statistics.median(row.recent_errors),
        median_ape=row.median_ape,
        mean_ape=row.mean_ape,
        bias=row.bias,
        coverage_90=row.coverage_90,
        recent_coverage_90=statistics.fmean(row.recent_hits),
        trend=_trend(row),
    )


def _trend(row: GroupRow) -> Trend:
    score = rank_score(row.recent_errors[::-1])
    p_value = math.erfc(abs(score) / math.sqrt(2))
    if abs(score) < SIGNIFICANT:
        return Trend(direction="steady", p_value=p_value)
    return Trend(direction="rising" if score > 0 else "falling", p_value=p_value)
