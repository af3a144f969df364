"""The refiner: tries updates of learned state in the background, and keeps those that help."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from agent.heart.effects import Effect, Publish, Refine
from agent.heart.heart import Heart
from agent.heart.standing import Proposal
from agent.heart.stimuli import RefinementLogged
from agent.heart.versions import Comparison, Rebuilding, compare
from agent.journal import record_of_refinement
from agent.rebuild import apprentice, catch_up
from agent.store.port import Store
from agent.writer import Draft, Writer
from schemas.errors import BadInput, ProcessEnded
from schemas.refinement import Refinement, Version
from schemas.replies import ModelsReply, UpdateReply
from schemas.requests import ModelsRequest, UpdateRequest

QUEUED = 16
"""Proposals that may wait; more are dropped, because trouble that lasts is proposed again."""

BETTER = 0.95
"""Error of a new version over the current one's at which it is worth to be kept."""

_JUDGED = 40
"""Newest measurements of a scope on which versions are judged; a few before them are learnt."""

log = structlog.get_logger(__name__)


class Refiner:
    """Owns what is being tried: one update at a time, each in a process of its own.

    Args:
        store: whose log is learnt anew.
        heart: asked how it does; it takes over what was kept when the log says so.
        writer: logs every refinement.
        agent_id: the source of those records.
        clock: returns the time.
    """

    def __init__(
        self,
        store: Store,
        heart: Heart,
        writer: Writer,
        agent_id: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._heart = heart
        self._writer = writer
        self._agent_id = agent_id
        self._clock = clock
        self._proposals: asyncio.Queue[Proposal] = asyncio.Queue(QUEUED)
        self._at_work: Proposal | None = None
        self._made: dict[int, tuple[Rebuilding, int]] = {}
        self._learnt = asyncio.Event()

    def take(self, effects: list[Effect]) -> None:
        """Take up the updates that learning advises, unless too many wait already."""
        for effect in effects:
            if isinstance(effect, Refine):
                self._propose(effect.proposal)
            elif isinstance(effect, Publish) and isinstance(effect.what, Refinement):
                self._learnt.set()

    def models(self, _: ModelsRequest) -> ModelsReply:
        """Return which version is current, what was tried, and how predictions do."""
        refining = None if self._at_work is None else _told(self._at_work)
        return self._heart.models().model_copy(update={"refining": refining})

    def update(self, request: UpdateRequest) -> UpdateReply:
        """Take up an update that somebody asks for.

        Raises:
            BadInput: the version is not known, the scope has no measurements, or too much waits.
        """
        standings, versions = self._heart.standings, self._heart.versions
        if request.version is not None and versions.find(request.version) is None:
            known = ", ".join(map(str, versions.known()))
            raise BadInput.of_field("version", f"{request.version} was never current", known)
        newest_from = standings.newest_from(request.scope, request.newest)
        if request.method in ("window", "weighted") and not newest_from:
            raise BadInput.of_field("scope", "never predicted yet", "measured hardware")
        proposal = Proposal(
            request.method,
            request.scope,
            "asked for",
            newest_from,
            request.keep_one_in,
            request.version,
        )
        if not self._propose(proposal):
            raise BadInput.of_field("method", f"{QUEUED} updates wait already", "fewer at once")
        return UpdateReply(accepted=_told(proposal))

    async def work(self) -> None:
        """Try what is proposed, one after another, for ever. The task `refiner`."""
        while True:
            self._at_work = await self._proposals.get()
            try:
                await self._try(self._at_work)
            except ProcessEnded as error:
                # What answers now goes on answering; the next trouble proposes again.
                log.warning("refinement_failed", what=_told(self._at_work), reason=error.message)
            finally:
                self._at_work = None

    async def complete(self, stimulus: RefinementLogged) -> RefinementLogged:
        """Return what the log says, with the learned state as of the record before it."""
        if not stimulus.refinement.kept:
            return stimulus
        version = stimulus.refinement.version
        made, seq = self._made.pop(version.number)
        await catch_up(made, self._store, seq, stimulus.seq)
        return replace(stimulus, made=made)

    def _propose(self, proposal: Proposal) -> bool:
        if self._proposals.full():
            return False
        self._proposals.put_nowait(proposal)
        return True

    async def _try(self, proposal: Proposal) -> None:
        heart = self._heart
        if proposal.version is not None and heart.versions.find(proposal.version) is None:
            # Those before it in the queue pushed it out of what is remembered.
            log.warning("refinement_dropped", what=_told(proposal), version=proposal.version)
            return
        judged_from = heart.standings.newest_from(proposal.scope, _JUDGED)
        version = heart.versions.plan(proposal, heart.applied_seq, judged_from)
        made, seq = await self._make(version)
        found = compare(heart.standings, made.standings, proposal.scope, judged_from)
        kept = proposal.method == "rollback" or _is_better(found)
        if kept:
            self._made[version.number] = (made, seq)
        refinement = Refinement(
            version=version,
            method=proposal.method,
            scope=proposal.scope,
            reason=proposal.reason,
            rows=found.rows,
            median_ape_before=found.before,
            median_ape_after=found.after,
            kept=kept,
        )
        log.info("refinement", what=_told(proposal), kept=kept, rows=found.rows)
        record = record_of_refinement(refinement, uuid.uuid4().hex, self._agent_id, self._clock())
        self._learnt.clear()
        await self._writer.submit([Draft(record, RefinementLogged(0, refinement, None))])
        # The next one is planned from what this one leaves.
        await self._learnt.wait()

    async def _make(self, version: Version) -> tuple[Rebuilding, int]:
        """Make a version from the log so far; return it, and the last record that it took."""
        async with apprentice(self._heart.config, version) as one:
            seq = await one.catch_up(self._store, 0)
            # What came meanwhile is little: the rest is caught up with when it is taken over.
            seq = await one.catch_up(self._store, seq)
            return await one.result(), seq


def _is_better(found: Comparison) -> bool:
    if found.rows < _JUDGED // 2 or found.before is None or found.after is None:
        return False
    return found.after < BETTER * found.before


def _told(proposal: Proposal) -> str:
    scope = proposal.scope
    where = " on ".join(part for part in (scope.metric, scope.hardware) if part)
    return f"{proposal.method} of {where}" if where else proposal.method
