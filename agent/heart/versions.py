"""Versions of learned state: each is the fold of a part of the log, and can be made anew.

A version says which part, and in what order. So a version needs no file of its own: whoever has
the log has all versions, and a replay comes to the same state.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.heart.standing import Proposal, Standings, median_ape
from agent.learning.bank import Bank, BankConfig, Observation
from agent.learning.learner import Surprise
from schemas.refinement import LogRule, Refinement, Scope, Version

LONGEST_REBUILD = 200_000
"""Log records that a rebuild goes back at most."""

JUDGED_NEXT = 40
"""Measurements of its scope after which a kept refinement is judged again."""

HARMFUL = 1.2
"""Error on what came next over that before, from which on a refinement is taken back."""

REMEMBERED = 100
"""Refinements of which the heart can tell."""

_SCATTER = 2654435761
"""Knuth's multiplier: spreads neighbouring numbers, so that no rhythm of the log is thinned."""


_SHIPPED = 0
"""The number of lessons that are in no log."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one log record teaches about one cell.

    Attributes:
        seq: of the record.
        observation: what was measured.
        released: whether somebody said that it is right, however impossible.
    """

    seq: int
    observation: Observation
    released: bool = False


@dataclass(frozen=True, slots=True)
class _Watched:
    """A refinement whose effect on what comes next is not known yet."""

    refinement: Refinement
    before: int
    seq: int


class Versions:
    """Which version is current, and which refinements were tried.

    Attributes:
        current: the version that answers.
        refinements: the newest of those tried, the newest last.
    """

    def __init__(self) -> None:
        self.current = Version(number=0)
        self.refinements: list[Refinement] = []
        self._kept: dict[int, Version] = {0: self.current}
        self._watched: _Watched | None = None

    def note(self, refinement: Refinement, seq: int) -> None:
        """Take note of a refinement that was tried, and logged as `seq`."""
        self.refinements.append(refinement)
        del self.refinements[:-REMEMBERED]
        if refinement.kept:
            before = self.current.number
            self._watched = None
            if refinement.method != "rollback" and refinement.median_ape_before is not None:
                self._watched = _Watched(refinement, before, seq)
            self.current = refinement.version
            self._kept[refinement.version.number] = refinement.version
            while len(self._kept) > REMEMBERED:
                del self._kept[next(iter(self._kept))]

    def follow(self, standings: Standings) -> Proposal | None:
        """Look at what the newest version did on what came next; return to the one before if worse.

        Its effect is noted once there are enough measurements of its scope that came after it.
        """
        watched = self._watched
        if watched is None:
            return None
        errors = standings.errors(watched.refinement.scope, watched.seq)
        if len(errors) < JUDGED_NEXT:
            return None
        self._watched = None
        before = watched.refinement.median_ape_before
        after = median_ape(list(errors.values()))
        found = watched.refinement.model_copy(
            update={"rows_next": len(errors), "median_ape_next": after}
        )
        self.refinements = [found if one is watched.refinement else one for one in self.refinements]
        if before is None or after <= HARMFUL * before:
            return None
        reason = (
            f"version {found.version.number} made it worse: a median error of {after:.1%} on what "
            f"came next, {before:.1%} before"
        )
        return Proposal("rollback", found.scope, reason, version=watched.before)

    def find(self, number: int) -> Version | None:
        """Return a version that was once current, if it is still remembered."""
        return self._kept.get(number)

    def known(self) -> list[int]:
        """Return the numbers of the versions that can be returned to."""
        return list(self._kept)

    def plan(self, proposal: Proposal, last_seq: int, judged_from_seq: int) -> Version:
        """Return the version that a proposal asks for.

        Args:
            proposal: the update that is to be tried.
            last_seq: the newest record of the log.
            judged_from_seq: the first record on which the version will be judged; it and what
                follows are learnt in order.
        """
        number = 1 + max([self.current.number, *(one.version.number for one in self.refinements)])
        rules = list(self.current.rules)
        match proposal.method:
            case "rollback":
                old = self.find(proposal.version or 0)
                assert old is not None, "asked for a version that was once current"
                return old.model_copy(update={"number": number})
            case "rebuild":
                rules = []
                if last_seq > LONGEST_REBUILD:
                    rules = [LogRule(before_seq=last_seq - LONGEST_REBUILD)]
                return Version(
                    number=number,
                    rules=rules,
                    shuffled_before_seq=judged_from_seq,
                    shuffle_seed=number,
                )
            case "window" | "weighted":
                rule = LogRule(
                    scope=proposal.scope,
                    before_seq=max(1, proposal.newest_from_seq),
                    keep_one_in=proposal.keep_one_in if proposal.method == "weighted" else None,
                )
                rules = [one for one in rules if one.scope != rule.scope]
                return self.current.model_copy(update={"number": number, "rules": [*rules, rule]})


def admitted(rules: Sequence[LogRule], lesson: Lesson) -> Lesson | None:
    """Return what the rules leave of a lesson, None if nothing."""
    metrics = dict(lesson.observation.metrics)
    for rule in rules:
        if lesson.seq >= rule.before_seq:
            continue
        if rule.scope.hardware not in (None, lesson.observation.cell.hardware):
            continue
        if rule.keep_one_in and (lesson.seq * _SCATTER >> 16) % rule.keep_one_in == 0:
            continue
        if rule.scope.metric is None:
            return None
        metrics.pop(rule.scope.metric, None)
    if len(metrics) == len(lesson.observation.metrics):
        return lesson
    if not metrics:
        return None
    return replace(lesson, observation=replace(lesson.observation, metrics=metrics))


class Rebuilding:
    """Makes the learned state of a version, from the lessons of the log in their order.

    Args:
        config: of the bank.
        version: what is learnt, and in what order.
        shipped: public measurements, which come before the log.

    Attributes:
        bank: what was learnt so far; complete after `finish`.
        standings: how well each lesson was predicted before it was learnt.
    """

    def __init__(
        self, config: BankConfig, version: Version, shipped: Sequence[Observation] = ()
    ) -> None:
        self.bank = Bank(config)
        self.standings = Standings()
        self._version = version
        scoped = [rule for rule in version.rules if rule.scope != Scope()]
        given = (admitted(scoped, Lesson(_SHIPPED, one)) for one in shipped)
        self._waiting = [one for one in given if one is not None]

    def take(self, lesson: Lesson) -> Iterator[None]:
        """Take the next lesson of the log; yield after each one that is learnt for it."""
        left = admitted(self._version.rules, lesson)
        if left is None:
            return
        if left.seq < self._version.shuffled_before_seq:
            self._waiting.append(left)
            return
        yield from self.finish()
        self._learn(left)
        yield

    def finish(self) -> Iterator[None]:
        """Learn what still waits: what ships, and what comes in random order; yield after each."""
        waiting, self._waiting = self._waiting, []
        if self._version.shuffled_before_seq:
            random.Random(self._version.shuffle_seed).shuffle(waiting)
        for one in waiting:
            self._learn(one)
            yield

    def _learn(self, lesson: Lesson) -> None:
        if not lesson.released and self.bank.judge(lesson.observation) is not None:
            return
        if lesson.seq == _SHIPPED:
            self.bank.learn(lesson.observation, shipped=True)
        else:
            teach(self.bank, self.standings, lesson)


def teach(
    bank: Bank, standings: Standings, lesson: Lesson
) -> tuple[list[Proposal], list[Surprise]]:
    """Let a bank learn a lesson; return the updates that its errors advise, and the errors."""
    proposals = []
    surprises = bank.learn(lesson.observation)
    for surprise in surprises:
        proposal = standings.add(
            surprise.metric,  # type: ignore[arg-type]  # the bank's metrics are the contract's
            lesson.observation.cell.hardware,
            lesson.seq,
            surprise.error,
        )
        if proposal is not None:
            proposals.append(proposal)
    return proposals, surprises


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions on the same measurements. Errors are medians, fractions of the measurement."""

    rows: int
    before: float | None
    after: float | None


def compare(current: Standings, other: Standings, scope: Scope, from_seq: int) -> Comparison:
    """Judge two versions by the lessons of a scope that both predicted, from `from_seq` on."""
    ours, theirs = current.errors(scope, from_seq - 1), other.errors(scope, from_seq - 1)
    both = [key for key in ours if key in theirs]
    if not both:
        return Comparison(0, None, None)
    return Comparison(
        len(both),
        median_ape([ours[key] for key in both]),
        median_ape([theirs[key] for key in both]),
    )
