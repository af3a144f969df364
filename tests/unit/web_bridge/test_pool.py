"""The pool: what it does with tabs that work, leave, sleep, hang, fail and lie."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.browser import (
    Beat,
    Circumstances,
    Failed,
    Go,
    Lap,
    Prepare,
    Prepared,
    Recycle,
    Release,
    Welcome,
)
from schemas.errors import BadInput
from tests.support.tabs import MODEL, OTHER, hello, lap, prepared
from web_bridge.job import Done, GivenUp, Job, Round, Seat
from web_bridge.pool import Drop, Effect, Ended, Pool, PoolConfig, Send
from web_bridge.protocol import CloseCode
from web_bridge.tab import TabState

A, B, C = "tab-000a", "tab-000b", "tab-000c"


class Table:
    """A pool, a clock, and what came of everything so far."""

    def __init__(self, *tabs: str, config: PoolConfig | None = None, **about: Any) -> None:
        self.pool = Pool(config)
        self.now = 100.0
        self.effects: list[Effect] = []
        for tab in tabs:
            self.join(tab, **about)

    def do(self, effects: list[Effect], passes: float = 0.0) -> list[Effect]:
        self.effects += effects
        self.now += passes
        return effects

    def join(self, tab: str, host: str = "", **about: Any) -> list[Effect]:
        return self.do(self.pool.joined(hello(tab, **about), self.now, host))

    def submit(self, job: Job) -> list[Effect]:
        return self.do(self.pool.submit(job, self.now))

    def say(self, tab: str, message: Any) -> list[Effect]:
        return self.do(self.pool.said(tab, message, self.now))

    def tick(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.do(self.pool.tick(self.now))

    def told(self, tab: str, kind: type) -> list[Any]:
        """Return what a tab was told so far, of one kind."""
        return [
            effect.message
            for effect in self.effects
            if isinstance(effect, Send) and effect.tab == tab and isinstance(effect.message, kind)
        ]

    def ended(self) -> list[Done | GivenUp]:
        return [effect.outcome for effect in self.effects if isinstance(effect, Ended)]

    def prepare(self, tab: str, **changes: Any) -> list[Effect]:
        return self.say(tab, prepared(self.told(tab, Prepare)[-1], **changes))

    def run(self, tab: str, **changes: Any) -> list[Effect]:
        go = self.told(tab, Go)[-1]
        self.now += 1.0
        return self.say(tab, lap(go, **changes))


def single(job_id: str = "job", rounds: int = 1, **changes: Any) -> Job:
    return Job(job_id, (Seat((MODEL,)),), (Round({0: (0, 0)}),) * rounds, **changes)


def pair(job_id: str = "pair", **changes: Any) -> Job:
    seats = (Seat((MODEL,)), Seat((OTHER,)))
    return Job(job_id, seats, (Round({0: (0,), 1: (0,)}), Round({1: (0,)})), **changes)


def drops(effects: Iterable[Effect]) -> list[Drop]:
    return [effect for effect in effects if isinstance(effect, Drop)]


def test_a_job_goes_through_its_phases_and_ends_once() -> None:
    table = Table(A)
    assert table.told(A, Welcome)[0].tab == A
    table.submit(single(rounds=2))
    assert table.told(A, Prepare)[0].models == [MODEL]
    table.prepare(A)
    assert [go.lap for go in table.told(A, Go)] == [0]
    table.run(A)
    table.run(A)
    (result,) = table.ended()
    assert isinstance(result, Done)
    assert [one.lap for one in result.seats[0].laps] == [0, 1]
    assert result.seats[0].tab == A
    assert result.attempt == 1
    assert table.told(A, Release)
    assert table.pool.tabs[A].state is TabState.IDLE
    assert table.pool.tabs[A].busy_seconds == pytest.approx(2.0)
    assert table.pool.counts.jobs_done == 1


def test_a_job_for_two_tabs_waits_for_both_and_keeps_them_in_step() -> None:
    table = Table(A)
    table.submit(pair())
    assert not table.told(A, Prepare), "one tab is not enough"
    table.join(B)
    first, second = (A, B) if table.told(A, Prepare)[0].models == [MODEL] else (B, A)
    table.prepare(first)
    assert not table.told(first, Go), "the other is not ready"
    table.prepare(second)
    assert table.told(first, Go)
    assert table.told(second, Go)
    table.run(first)
    assert len(table.told(second, Go)) == 1, "the round is not over"
    table.run(second)
    assert [go.lap for go in table.told(second, Go)] == [0, 1]
    assert [go.lap for go in table.told(first, Go)] == [0], "it has no part in the second round"
    table.run(second)
    (result,) = table.ended()
    assert isinstance(result, Done)
    assert [len(seat.laps) for seat in result.seats] == [1, 2]


def test_models_that_run_at_the_same_time_run_on_one_machine() -> None:
    table = Table()
    table.join(A, host="10.0.0.1")
    table.join(B, host="10.0.0.2")
    table.submit(pair())
    assert not table.told(A, Prepare)
    table.join(C, host="10.0.0.2")
    assert not table.told(A, Prepare)
    assert table.told(B, Prepare)
    assert table.told(C, Prepare)


def test_a_job_for_two_tabs_is_not_starved_by_jobs_for_one() -> None:
    table = Table(A, B)
    table.submit(single("first"))
    (busy,) = [one for one in (A, B) if table.pool.tabs[one].state is TabState.BUSY]
    idle = B if busy == A else A
    table.submit(pair())
    table.submit(single("small"))
    assert not table.told(idle, Prepare), "it is kept for the job that came first"
    table.prepare(busy)
    table.run(busy)
    assert {table.told(tab, Prepare)[-1].job for tab in (A, B)} == {"pair"}


def test_a_job_for_more_tabs_than_there_are_holds_nobody_up() -> None:
    table = Table(A)
    table.submit(pair())
    table.submit(single("small"))
    assert [one.job for one in table.told(A, Prepare)] == ["small"]


def test_the_tab_that_worked_least_comes_first() -> None:
    table = Table(A, B, C)
    order = []
    for number, model in enumerate((MODEL, OTHER, MODEL.model_copy(update={"sha256": "c" * 64}))):
        table.submit(Job(f"job-{number}", (Seat((model,)),), (Round({0: (0,)}),)))
        (tab,) = [one for one in (A, B, C) if table.pool.tabs[one].state is TabState.BUSY]
        order.append(tab)
        table.prepare(tab)
        table.run(tab)
    assert sorted(order) == [A, B, C]


def test_a_tab_that_has_the_model_loaded_is_preferred_until_that_is_unfair() -> None:
    table = Table(A, B)
    worked = []
    for number in range(40):
        table.submit(single(f"job-{number}"))
        (tab,) = [one for one in (A, B) if table.pool.tabs[one].state is TabState.BUSY]
        worked.append(tab)
        table.prepare(tab)
        table.run(tab)
    assert len(set(worked[:10])) == 1
    assert len(set(worked)) == 2


@pytest.mark.parametrize(
    ("about", "seat", "fits"),
    [
        ({"backends": ["wasm"]}, Seat((MODEL,)), True),
        ({"backends": ["wasm"]}, Seat((MODEL.model_copy(update={"backend": "webgpu"}),)), False),
        (
            {"backends": ["wasm", "webgpu"]},
            Seat((MODEL, OTHER.model_copy(update={"backend": "webgpu"}))),
            True,
        ),
        ({"browser": "firefox"}, Seat((MODEL,), lambda one, _: one.browser == "chromium"), False),
        ({"browser": "chromium"}, Seat((MODEL,), lambda one, _: one.browser == "chromium"), True),
        ({}, Seat((MODEL,), lambda _, label: label == "office"), False),
    ],
)
def test_only_tabs_that_fit_are_given_a_job(about: Any, seat: Seat, fits: bool) -> None:
    table = Table(A, **about)
    table.submit(Job("job", (seat,), (Round({0: (0,)}),)))
    assert bool(table.told(A, Prepare)) is fits


def test_a_job_that_no_tab_can_do_is_given_up_with_the_reason() -> None:
    table = Table(A)
    webgpu = MODEL.model_copy(update={"backend": "webgpu"})
    table.submit(Job("job", (Seat((webgpu,)),), (Round({0: (0,)}),), wait_seconds=5.0))
    table.say(A, Beat(type="beat"))
    table.tick(4.9)
    assert not table.ended()
    table.tick(0.2)
    (failure,) = table.ended()
    assert isinstance(failure, GivenUp)
    assert failure.code == "no_tab"
    assert "webgpu" in failure.message


@pytest.mark.parametrize("when", ["preparing", "running"])
def test_a_tab_that_is_killed_loses_its_job_to_another(when: str) -> None:
    table = Table(A, B)
    table.submit(single())
    (first,) = [one for one in (A, B) if table.pool.tabs[one].state is TabState.BUSY]
    second = B if first == A else A
    if when == "running":
        table.prepare(first)
    table.do(table.pool.left(first, "killed", table.now))
    assert table.told(second, Prepare)[0].attempt == 2
    table.prepare(second)
    table.run(second)
    (result,) = table.ended()
    assert isinstance(result, Done)
    assert result.attempt == 2
    assert "killed" in result.setbacks[0]
    assert result.seats[0].tab == second


def test_when_one_of_two_tabs_is_killed_the_other_is_taken_back() -> None:
    table = Table(A, B)
    table.submit(pair())
    table.prepare(A)
    table.do(table.pool.left(B, "killed", table.now))
    assert table.told(A, Release)
    assert table.pool.tabs[A].state is TabState.IDLE
    table.join(C)
    assert table.told(C, Prepare)[0].attempt == 2


def test_a_tab_that_hangs_loses_its_job_and_has_to_begin_anew() -> None:
    table = Table(A, B)
    table.submit(single(round_seconds=5.0))
    (first,) = [one for one in (A, B) if table.pool.tabs[one].state is TabState.BUSY]
    second = B if first == A else A
    table.prepare(first)
    for _ in range(5):
        table.tick(1.0)
        table.say(first, Beat(type="beat"))
        table.say(second, Beat(type="beat"))
    assert table.told(first, Recycle)
    assert table.told(second, Prepare)[0].attempt == 2
    late = table.say(first, lap(table.told(first, Go)[0]))
    assert not drops(late), "the words were on their way: no offence"
    table.prepare(second)
    table.run(second)
    assert len(table.ended()) == 1
    table.tick(table.pool.config.recycle_seconds)
    assert [drop.tab for drop in drops(table.effects)] == [first], "it never began anew"


def test_a_sleeping_tab_loses_its_job_gets_no_other_and_may_wake_up() -> None:
    table = Table(A)
    table.submit(single())
    table.prepare(A)
    table.tick(table.pool.config.asleep_seconds)
    assert table.pool.tabs[A].state is TabState.ASLEEP
    assert len(table.told(A, Prepare)) == 1
    table.say(A, Beat(type="beat"))
    assert len(table.told(A, Prepare)) == 2
    table.prepare(A)
    table.run(A)
    assert len(table.ended()) == 1


def test_a_tab_that_is_silent_for_too_long_is_dropped() -> None:
    table = Table(A)
    effects = table.tick(table.pool.config.gone_seconds)
    assert [drop.code for drop in drops(effects)] == [CloseCode.TIMED_OUT]
    assert not table.pool.tabs


@pytest.mark.parametrize(
    "lie",
    [
        lambda table: table.prepare(A, sha256="f" * 64),
        lambda table: table.prepare(A, requested="webgpu"),
        lambda table: (table.prepare(A), table.run(A, run_ms=1e6))[1],
        lambda table: (table.prepare(A), table.run(A, lap=7))[1],
        lambda table: (table.prepare(A), table.prepare(A))[1],
        lambda table: table.say(A, lap(Go(job="job", attempt=1, lap=0, order=[0, 0]))),
    ],
    ids=["wrong hash", "other backend", "impossible timing", "other lap", "twice", "lap too early"],
)
def test_a_tab_that_lies_is_dropped_and_its_job_done_elsewhere(lie: Any) -> None:
    table = Table(A)
    table.submit(single())
    effects = lie(table)
    assert [(drop.tab, drop.code) for drop in drops(effects)] == [(A, CloseCode.MISBEHAVED)]
    assert not table.ended()
    assert table.pool.history(A).offences == 1
    table.join(A)
    assert len(table.told(A, Prepare)) == 1, "not given the same job again"
    table.join(B)
    table.prepare(B)
    table.run(B)
    assert [one.seats[0].tab for one in table.ended() if isinstance(one, Done)] == [B]


def test_a_result_for_a_job_of_another_tab_is_a_lie() -> None:
    table = Table(A, B)
    table.submit(single())
    (busy,) = [one for one in (A, B) if table.pool.tabs[one].state is TabState.BUSY]
    other = B if busy == A else A
    effects = table.say(other, prepared(table.told(busy, Prepare)[0]))
    assert [drop.tab for drop in drops(effects)] == [other]
    assert busy in table.pool.tabs
    table.prepare(busy)
    table.run(busy)
    assert len(table.ended()) == 1


def test_a_tab_that_lied_too_often_is_not_taken_in() -> None:
    table = Table()
    for _ in range(table.pool.config.max_offences):
        table.join(A)
        table.say(A, lap(Go(job="of-nobody", attempt=1, lap=0, order=[0])))
    effects = table.join(A)
    assert [drop.code for drop in drops(effects)] == [CloseCode.MISBEHAVED]
    assert A not in table.pool.tabs


def test_a_job_that_fails_everywhere_is_given_up_with_what_happened() -> None:
    table = Table(A, B, C)
    table.submit(single(max_attempts=2))
    for attempt in (1, 2):
        (busy,) = [one for one in (A, B, C) if table.pool.tabs[one].state is TabState.BUSY]
        table.say(
            busy,
            Failed(type="failed", job="job", attempt=attempt, code="run_failed", message="no luck"),
        )
    (failure,) = table.ended()
    assert isinstance(failure, GivenUp)
    assert len(failure.setbacks) == 2
    assert "no luck" in failure.message
    assert all(tab.state is TabState.IDLE for tab in table.pool.tabs.values())


def test_a_tab_out_of_memory_begins_anew() -> None:
    table = Table(A)
    table.submit(single())
    table.say(
        A, Failed(type="failed", job="job", attempt=1, code="out_of_memory", message="too big")
    )
    assert table.told(A, Recycle)
    assert table.pool.tabs[A].state is TabState.RECYCLING


def test_a_tab_that_has_grown_begins_anew_after_its_job() -> None:
    table = Table(A, config=PoolConfig(recycle_mb=500.0))
    table.submit(single())
    table.prepare(A)
    table.run(A, circumstances=Circumstances(memory_mb=501.0))
    assert len(table.ended()) == 1
    assert "501 MB" in table.told(A, Recycle)[0].reason
    table.submit(single("next"))
    assert len(table.told(A, Prepare)) == 1, "no work before it begins anew"
    table.join(A)
    assert len(table.told(A, Prepare)) == 2


def test_memory_is_measured_in_a_tab_that_began_anew() -> None:
    table = Table(A)
    table.submit(single("first", measure_memory=True))
    assert table.told(A, Prepare)[0].measure_memory, "a new tab is as good as one begun anew"
    table.prepare(A)
    table.run(A)
    table.submit(single("second", measure_memory=True))
    assert table.told(A, Recycle)
    assert len(table.told(A, Prepare)) == 1
    table.do(table.pool.left(A, "reloaded", table.now))
    table.join(A)
    assert [one.job for one in table.told(A, Prepare)] == ["first", "second"]


def test_the_same_tab_connected_anew_replaces_itself_and_its_job_begins_again() -> None:
    table = Table(A)
    table.submit(single())
    table.prepare(A)
    table.join(A)
    assert [one.attempt for one in table.told(A, Prepare)] == [1, 2]
    assert len(table.pool.tabs) == 1


def test_a_job_is_submitted_once() -> None:
    table = Table(A)
    table.submit(single())
    with pytest.raises(BadInput, match="submitted before"):
        table.submit(single())
    table.prepare(A)
    table.run(A)
    with pytest.raises(BadInput, match="submitted before"):
        table.submit(single())


def test_no_more_jobs_wait_than_may() -> None:
    table = Table(config=PoolConfig(max_waiting=2))
    table.submit(single("one"))
    table.submit(single("two"))
    with pytest.raises(BadInput, match="2 jobs wait already"):
        table.submit(single("three"))


def test_a_job_taken_back_frees_its_tabs() -> None:
    table = Table(A)
    table.submit(single())
    table.prepare(A)
    table.do(table.pool.cancel("job", table.now))
    (failure,) = table.ended()
    assert isinstance(failure, GivenUp)
    assert failure.code == "cancelled"
    assert table.pool.tabs[A].state is TabState.IDLE
    assert table.do(table.pool.cancel("job", table.now)) == []


def test_the_pool_takes_no_more_tabs_than_it_may() -> None:
    table = Table(A, config=PoolConfig(max_tabs=1))
    assert [drop.code for drop in drops(table.join(B))] == [CloseCode.TRY_AGAIN]


@pytest.mark.parametrize(
    ("seats", "rounds"),
    [
        ((), (Round({0: (0,)}),)),
        ((Seat((MODEL,)),), ()),
        ((Seat(()),), (Round({0: (0,)}),)),
        ((Seat((MODEL,)),), (Round({1: (0,)}),)),
        ((Seat((MODEL,)),), (Round({0: (1,)}),)),
        ((Seat((MODEL,)),), (Round({0: ()}),)),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(seats: Any, rounds: Any) -> None:
    with pytest.raises(ValueError, match=r"job|round"):
        Job("job", seats, rounds)


class Chance:
    """Tabs that do what a list of numbers says: work, vanish, hang, fail, lie, come back."""

    def __init__(self, draws: list[int]) -> None:
        self.table = Table(config=PoolConfig(max_offences=1_000))
        self.draws = draws
        self.jobs = 12
        self.answered: list[Effect] = []

    def play(self) -> list[Done | GivenUp]:
        table = self.table
        for number in range(self.jobs):
            job = (
                pair(f"j{number}", max_attempts=1_000, wait_seconds=1e9)
                if number % 3 == 0
                else single(f"j{number}", rounds=2, max_attempts=1_000, wait_seconds=1e9)
            )
            table.submit(job)
        for draw in self.draws:
            self.step(draw)
        for _ in range(400):  # now everybody is honest, and all must come to an end
            if len(table.ended()) == self.jobs:
                break
            for tab in (A, B, C, "tab-fresh1", "tab-fresh2"):
                if tab not in table.pool.tabs:
                    table.join(tab)
            self.work(lambda one: True)
            table.tick(1.0)
        return table.ended()

    def step(self, draw: int) -> None:
        tab = (A, B, C)[draw % 3]
        match draw // 3 % 6:
            case 0:
                self.table.join(tab)
            case 1:
                self.table.do(self.table.pool.left(tab, "killed", self.table.now))
            case 2:
                self.table.tick(9.0)
            case 3:
                self.table.say(tab, lap(Go(job="j1", attempt=1, lap=0, order=[0, 0])))
            case _:
                self.work(lambda one: one == tab)

    def work(self, who: Any) -> None:
        """Let tabs answer the last thing they were told, where that is still wanted."""
        for tab in list(self.table.pool.tabs):
            if not who(tab):
                continue
            for effect in reversed(self.table.effects):
                if isinstance(effect, Send) and effect.tab == tab:
                    break
            else:
                continue
            if any(effect is one for one in self.answered):
                continue
            self.answered.append(effect)
            if isinstance(effect.message, Prepare):
                self.table.say(tab, prepared(effect.message))
            elif isinstance(effect.message, Go):
                self.table.now += 0.1
                self.table.say(tab, lap(effect.message))


@given(st.lists(st.integers(0, 17), max_size=60))
def test_whatever_tabs_do_each_job_ends_exactly_once(draws: list[int]) -> None:
    ended = Chance(draws).play()
    assert sorted(one.job.id for one in ended) == sorted(f"j{n}" for n in range(12))
    assert all(isinstance(one, Done) for one in ended)
    for one in ended:
        assert isinstance(one, Done)
        assert len({seat.tab for seat in one.seats}) == len(one.seats)
        assert all(
            isinstance(word, (Prepared, Lap)) and word.attempt == one.attempt
            for seat in one.seats
            for word in (seat.prepared, *seat.laps)
        )
