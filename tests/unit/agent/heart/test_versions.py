"""Versions of learned state: what each learns of the log, and which of two is better."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.heart.standing import Proposal, Standings
from agent.heart.versions import Lesson, Rebuilding, Versions, admitted, compare
from agent.learning.bank import Bank, BankConfig, Observation
from agent.learning.cell import Cell
from schemas.refinement import LogRule, Refinement, Scope, Version


def lesson(seq: int, hardware: str = "a", rate: float = 100.0) -> Lesson:
    cell = Cell(model=f"m{seq % 7}", hardware=hardware, parameters_m=10.0 + seq % 7, batch_size=8)
    return Lesson(seq, Observation(cell, {"throughput_per_s": rate, "latency_ms": 8e3 / rate}))


def made(version: Version, lessons: list[Lesson]) -> Rebuilding:
    work = Rebuilding(BankConfig(), version)
    for one in lessons:
        list(work.take(one))
    list(work.finish())
    return work


def test_without_rules_a_version_is_what_was_learnt_in_order() -> None:
    lessons = [lesson(seq, rate=100.0 + seq) for seq in range(1, 60)]
    bank = Bank()
    for one in lessons:
        bank.learn(one.observation)
    assert made(Version(number=0), lessons).bank.digest() == bank.digest()


def test_a_window_leaves_out_the_old_of_its_scope_alone() -> None:
    rules = [LogRule(scope=Scope(metric="latency_ms", hardware="a"), before_seq=10)]
    (old, new, other) = (admitted(rules, one) for one in (lesson(9), lesson(10), lesson(9, "b")))
    assert old is not None
    assert set(old.observation.metrics) == {"throughput_per_s"}
    assert new == lesson(10)
    assert other == lesson(9, "b")


def test_a_rule_for_everything_leaves_nothing() -> None:
    assert admitted([LogRule(before_seq=10)], lesson(9)) is None


@given(st.integers(1, 10**6), st.integers(2, 8), st.integers(1, 12))
def test_thinning_keeps_about_one_in_so_many_whatever_the_rhythm(
    start: int, one_in: int, rhythm: int
) -> None:
    rules = [LogRule(before_seq=10**9, keep_one_in=one_in)]
    seqs = range(start, start + 3_000 * rhythm, rhythm)
    kept = sum(admitted(rules, lesson(seq)) is not None for seq in seqs)
    assert 0.6 / one_in < kept / 3_000 < 1.5 / one_in


def test_shuffled_lessons_are_learnt_before_those_in_order_and_always_alike() -> None:
    lessons = [lesson(seq, rate=100.0 + seq % 13) for seq in range(1, 80)]
    version = Version(number=1, shuffled_before_seq=50, shuffle_seed=1)
    one, two = made(version, lessons), made(version, lessons)
    assert one.bank.digest() == two.bank.digest()
    assert one.bank.digest() != made(Version(number=0), lessons).bank.digest()
    assert one.bank.observed_count == len(lessons)


def refinement(version: Version, *, kept: bool) -> Refinement:
    return Refinement(version=version, method="window", reason="", rows=40, kept=kept)


def test_each_plan_has_a_new_number_and_builds_on_the_current_version() -> None:
    versions = Versions()
    scope = Scope(metric="latency_ms", hardware="a")
    first = versions.plan(Proposal("window", scope, "", 20), 100, 60)
    versions.note(refinement(first, kept=True), 100)
    second = versions.plan(Proposal("weighted", Scope(hardware="b"), "", 50, 4), 100, 60)
    versions.note(refinement(second, kept=False), 100)
    third = versions.plan(Proposal("window", scope, "", 70), 100, 60)
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert versions.current == first
    assert [rule.before_seq for rule in third.rules] == [70], "a scope has one rule"
    assert [rule.keep_one_in for rule in second.rules] == [None, 4]


def test_a_rollback_learns_what_the_old_version_learnt() -> None:
    versions = Versions()
    rebuilt = versions.plan(Proposal("rebuild", Scope(), ""), 100, 60)
    versions.note(refinement(rebuilt, kept=True), 100)
    versions.note(
        refinement(versions.plan(Proposal("window", Scope(), "", 9), 100, 60), kept=True), 100
    )
    back = versions.plan(Proposal("rollback", Scope(), "", version=1), 100, 60)
    assert back.model_copy(update={"number": 1}) == rebuilt
    assert back.number == 3
    assert versions.find(7) is None


def test_two_versions_are_judged_by_what_both_predicted() -> None:
    ours, theirs = Standings(), Standings()
    for seq in range(1, 11):
        ours.add("latency_ms", "a", seq, 0.2)
    for seq in range(6, 16):
        theirs.add("latency_ms", "a", seq, 0.1)
    found = compare(ours, theirs, Scope(hardware="a"), 8)
    assert found.rows == 3
    assert found.before is not None
    assert found.after is not None
    assert found.after < found.before
    assert compare(ours, theirs, Scope(hardware="b"), 1).rows == 0


def measured(standings: Standings, count: int, error: float, start: int) -> None:
    for seq in range(start, start + count):
        standings.add("latency_ms", "a", seq, error)


def watched(versions: Versions, before: float) -> None:
    scope = Scope(metric="latency_ms", hardware="a")
    version = versions.plan(Proposal("window", scope, "", 20), 100, 60)
    one = Refinement(
        version=version,
        method="window",
        scope=scope,
        reason="",
        rows=40,
        median_ape_before=before,
        median_ape_after=before / 2,
        kept=True,
    )
    versions.note(one, 100)


def test_a_refinement_that_harmed_what_came_next_is_taken_back() -> None:
    versions, standings = Versions(), Standings()
    watched(versions, before=0.1)
    measured(standings, 50, 0.01, start=40)  # before it was kept: says nothing
    assert versions.follow(standings) is None
    measured(standings, 39, 0.3, start=101)
    assert versions.follow(standings) is None
    measured(standings, 1, 0.3, start=140)
    proposal = versions.follow(standings)
    assert proposal is not None
    assert (proposal.method, proposal.version) == ("rollback", 0)
    assert "worse" in proposal.reason
    assert versions.refinements[-1].rows_next == 40
    assert versions.follow(standings) is None, "once is enough"


def test_a_refinement_that_helped_stays_and_its_effect_is_told() -> None:
    versions, standings = Versions(), Standings()
    watched(versions, before=0.1)
    measured(standings, 40, 0.02, start=101)
    assert versions.follow(standings) is None
    assert versions.current.number == 1
    (one,) = versions.refinements
    assert one.median_ape_next is not None
    assert one.median_ape_next < 0.03
