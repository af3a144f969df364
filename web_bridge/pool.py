"""The pool, without I/O: tabs, jobs, leases.

What happens is told to it with the time (seconds of any clock that only goes forward); every
method returns what is to be done, in order. You must call `tick` about once a second.

A job takes all its tabs at once, and each phase of it has a deadline. When a tab leaves,
falls asleep, hangs, fails or lies, the attempt is void for all of its tabs, and the job begins
anew elsewhere. Words about an attempt that is over are dropped, so exactly one result counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.browser import (
    Beat,
    Circumstances,
    Failed,
    FromBridge,
    FromTab,
    Hello,
    Lap,
    Prepare,
    Prepared,
    Recycle,
    Release,
    Welcome,
)
from schemas.errors import BadInput, shown
from web_bridge.job import Done, GivenUp, Job, Seat, SeatResult
from web_bridge.protocol import CloseCode
from web_bridge.tab import History, Tab, TabState
from web_bridge.truth import wrong_lap, wrong_preparation

MAX_SETBACKS = 20
REMEMBERED_JOBS = 10_000
REMEMBERED_TABS = 4_096
UNFAIR_SECONDS = 30.0
"""How much more a tab may have worked than another, and still be taken for what it has loaded."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How patient the pool is.

    Attributes:
        beat_seconds: how often a tab says that it is alive.
        asleep_seconds: silence after which a tab gets no work, and loses what it has.
        gone_seconds: silence after which its connection is closed.
        recycle_seconds: how long a tab may take to begin anew.
        recycle_mb: a tab that grew beyond this after a job begins anew.
        max_offences: lies after which a tab is not taken in any more.
        max_tabs: how many tabs there may be.
        max_waiting: how many jobs may wait.
    """

    beat_seconds: float = 2.0
    asleep_seconds: float = 8.0
    gone_seconds: float = 60.0
    recycle_seconds: float = 15.0
    recycle_mb: float = 2_000.0
    max_offences: int = 3
    max_tabs: int = 2_000
    max_waiting: int = 10_000


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a tab."""

    tab: str
    message: FromBridge


@dataclass(frozen=True, slots=True)
class Drop:
    """Close a tab's connection."""

    tab: str
    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job is over, with its only result."""

    outcome: Done | GivenUp


Effect = Send | Drop | Ended


@dataclass(slots=True)
class Counts:
    """What happened since the pool was made."""

    tabs_joined: int = 0
    tabs_left: int = 0
    jobs_done: int = 0
    jobs_failed: int = 0
    attempts_void: int = 0
    words_stale: int = 0
    offences: int = 0
    recycled: int = 0


@dataclass(slots=True)
class _Running:
    """A job that waits or runs. `tabs` is empty while it waits."""

    job: Job
    submitted_at: float
    waits_until: float
    attempt: int = 0
    tabs: list[str] = field(default_factory=list)
    began_at: float = 0.0
    deadline: float = 0.0
    round: int = -1  # -1: preparing
    round_began_at: float = 0.0
    busy_tabs: int = 0
    results: dict[int, SeatResult] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    setbacks: list[str] = field(default_factory=list)


class Pool:
    """Tabs and the work that they are given.

    Attributes:
        tabs: those that are connected, by id.
        counts: what happened so far.
    """

    def __init__(self, config: PoolConfig | None = None) -> None:
        self.config = config or PoolConfig()
        self.tabs: dict[str, Tab] = {}
        self.counts = Counts()
        self._jobs: OrderedDict[str, _Running] = OrderedDict()  # in the order of their turns
        self._over: OrderedDict[str, None] = OrderedDict()
        self._history: OrderedDict[str, History] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many jobs wait for tabs."""
        return sum(not running.tabs for running in self._jobs.values())

    @property
    def running(self) -> int:
        """How many jobs are being run."""
        return sum(bool(running.tabs) for running in self._jobs.values())

    def history(self, tab: str) -> History:
        """Return what is remembered of a tab, over all its connections."""
        return self._history.get(tab, History())

    # Tabs

    def joined(self, hello: Hello, now: float, host: str = "") -> list[Effect]:
        """Take a tab in, connected from `host`. One of the same id that is there is replaced."""
        effects: list[Effect] = []
        if hello.tab in self.tabs:
            effects += self.left(hello.tab, "connected anew", now)
        history = self._remember(hello.tab)
        if history.offences >= self.config.max_offences:
            return [*effects, Drop(hello.tab, CloseCode.MISBEHAVED, "misbehaved before")]
        if len(self.tabs) >= self.config.max_tabs:
            return [*effects, Drop(hello.tab, CloseCode.TRY_AGAIN, "the pool is full")]
        tab = self.tabs[hello.tab] = Tab.of(hello, now, host)
        tab.busy_seconds = history.busy_seconds
        tab.jobs_done, tab.jobs_failed = history.jobs_done, history.jobs_failed
        self.counts.tabs_joined += 1
        welcome = Welcome(tab=tab.id, beat_seconds=self.config.beat_seconds)
        return [*effects, Send(tab.id, welcome), *self._hand_out(now)]

    def left(self, tab_id: str, reason: str, now: float) -> list[Effect]:
        """A tab's connection is gone. Harmless if the tab is not known."""
        tab = self.tabs.pop(tab_id, None)
        if tab is None:
            return []
        self.counts.tabs_left += 1
        effects = self._void_of(tab, f"tab {tab_id}: {reason}", now, at_fault=False)
        self._keep(tab)
        return [*effects, *self._hand_out(now)]

    def said(self, tab_id: str, message: FromTab, now: float) -> list[Effect]:
        """A tab said something. What an unknown tab says is dropped."""
        tab = self.tabs.get(tab_id)
        if tab is None:
            return []
        tab.heard_at = now
        effects: list[Effect] = []
        if tab.state is TabState.ASLEEP:
            tab.state = TabState.IDLE
            effects += self._hand_out(now)
        match message:
            case Beat():
                tab.circumstances = _newer(tab.circumstances, message.circumstances)
            case Prepared() | Lap() | Failed():
                effects += self._worked(tab, message, now)
            case _:
                effects += self._offence(tab, f"said {message.type} out of turn", now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: see to silent tabs, deadlines and jobs that waited too long."""
        effects: list[Effect] = []
        for tab in list(self.tabs.values()):
            effects += self._watch(tab, now)
        for running in list(self._jobs.values()):
            if running.tabs and now >= running.deadline:
                effects += self._overdue(running, now)
            elif not running.tabs and now >= running.waits_until:
                effects += self._give_up(running, "no_tab", self._why_waiting(running))
        return [*effects, *self._hand_out(now)]

    # Jobs

    def submit(self, job: Job, now: float) -> list[Effect]:
        """Queue a job.

        Raises:
            BadInput: a job of this id was submitted before, or too many wait.
        """
        if job.id in self._jobs or job.id in self._over:
            raise BadInput.of_field("job", f"{shown(job.id)} was submitted before", "a new id")
        if self.waiting >= self.config.max_waiting:
            raise BadInput.of_field(
                "job", f"{self.waiting} jobs wait already", f"at most {self.config.max_waiting}"
            )
        self._jobs[job.id] = _Running(job, now, now + job.wait_seconds)
        return self._hand_out(now)

    def cancel(self, job_id: str, now: float) -> list[Effect]:
        """Take a job back, wherever it is. Harmless if it is over."""
        running = self._jobs.get(job_id)
        if running is None:
            return []
        effects = self._release(running, now)
        return [*effects, *self._give_up(running, "cancelled", "cancelled"), *self._hand_out(now)]

    # Handing out

    def _hand_out(self, now: float) -> list[Effect]:
        """Give waiting jobs, in their order, the tabs that have worked least."""
        effects: list[Effect] = []
        free = {tab.id for tab in self.tabs.values() if tab.state is TabState.IDLE}
        for running in list(self._jobs.values()):
            if not free:
                break
            if running.tabs:
                continue
            chosen = self._choose(running, free)
            if chosen is not None and running.job.measure_memory:
                used = [tab_id for tab_id in chosen if self.tabs[tab_id].loaded]
                if used:
                    free -= set(chosen)
                    for tab_id in used:
                        effects += self._recycle(self.tabs[tab_id], "for a measurement", now)
                    continue
            if chosen is None and self._choose(running, self._awake()) is None:
                continue  # there are not enough tabs, however long it waits for those at work
            if chosen is None:
                # Tabs that it could use are kept for it, or jobs for one tab would starve it.
                for seat in running.job.seats:
                    free -= {one for one in free if self._fits(running, seat, self.tabs[one])}
                continue
            free -= set(chosen)
            effects += self._begin(running, chosen, now)
        return effects

    def _awake(self) -> set[str]:
        working = {TabState.IDLE, TabState.BUSY}
        return {tab.id for tab in self.tabs.values() if tab.state in working}

    def _choose(self, running: _Running, free: set[str]) -> list[str] | None:
        """Return one of `free` per seat, all of one host, or None if there are not enough.

        Models that run at the same time share a machine, and its clock.
        """
        left = sorted(
            (self.tabs[tab_id] for tab_id in free), key=lambda tab: (tab.busy_seconds, tab.id)
        )
        seats = running.job.seats
        for host in dict.fromkeys(tab.host for tab in left):
            here = [tab for tab in left if tab.host == host]
            options = [[tab for tab in here if self._fits(running, seat, tab)] for seat in seats]
            chosen = _assigned(seats, options)
            if chosen is not None:
                return chosen
        return None

    def _fits(self, running: _Running, seat: Seat, tab: Tab) -> bool:
        return (
            tab.id not in running.excluded
            and (seat.fits is None or seat.fits(tab.capabilities, tab.label))
            and seat.backends <= set(tab.capabilities.backends())
        )

    def _begin(self, running: _Running, tabs: list[str], now: float) -> list[Effect]:
        job = running.job
        running.attempt += 1
        running.tabs, running.round = tabs, -1
        running.began_at, running.deadline = now, now + job.prepare_seconds
        running.results, running.pending = {}, set(range(len(tabs)))
        effects: list[Effect] = []
        for tab_id, seat in zip(tabs, job.seats, strict=True):
            tab = self.tabs[tab_id]
            tab.state, tab.busy_since = TabState.BUSY, now
            tab.leases.append((job.id, running.attempt))
            tab.loaded = frozenset(model.sha256 for model in seat.models)
            prepare = Prepare(
                job=job.id,
                attempt=running.attempt,
                models=list(seat.models),
                samples=job.samples,
                measure_memory=job.measure_memory,
            )
            effects.append(Send(tab_id, prepare))
        return effects

    # Work

    def _worked(self, tab: Tab, message: Prepared | Lap | Failed, now: float) -> list[Effect]:
        running = self._jobs.get(message.job)
        current = (
            running is not None and message.attempt == running.attempt and tab.id in running.tabs
        )
        if running is None or not current:
            if (message.job, message.attempt) in tab.leases:
                self.counts.words_stale += 1  # it was taken away while the words were on their way
                return []
            return self._offence(tab, "a result for a job that is not its own", now)
        seat = running.tabs.index(tab.id)
        if seat not in running.pending:
            return self._offence(tab, f"said {message.type} twice", now)
        match message:
            case Failed():
                return self._failed(running, tab, message, now)
            case Prepared():
                return self._prepared(running, tab, seat, message, now)
            case Lap():
                return self._lapped(running, tab, seat, message, now)

    def _prepared(
        self, running: _Running, tab: Tab, seat: int, message: Prepared, now: float
    ) -> list[Effect]:
        if running.round >= 0:
            return self._offence(tab, "prepared in the middle of a job", now)
        wrong = wrong_preparation(running.job.seats[seat].models, message)
        if wrong is not None:
            return self._offence(tab, wrong, now)
        tab.circumstances = _newer(tab.circumstances, message.circumstances)
        running.results[seat] = SeatResult(tab.id, tab.label, tab.capabilities, message)
        return self._arrived(running, seat, now)

    def _lapped(
        self, running: _Running, tab: Tab, seat: int, message: Lap, now: float
    ) -> list[Effect]:
        if message.lap != running.round:
            return self._offence(tab, f"lap {message.lap} while lap {running.round} runs", now)
        go = running.job.go(running.attempt, running.round, seat)
        tasks = running.job.seats[seat].models
        wrong = wrong_lap(tasks, go, message, (now - running.round_began_at) * 1_000)
        if wrong is not None:
            return self._offence(tab, wrong, now)
        tab.circumstances = _newer(tab.circumstances, message.circumstances)
        running.results[seat].laps.append(message)
        return self._arrived(running, seat, now)

    def _arrived(self, running: _Running, seat: int, now: float) -> list[Effect]:
        """One seat is done with its phase; the next begins once all are."""
        running.pending.discard(seat)
        if running.pending:
            return []
        running.round += 1
        if running.round == len(running.job.rounds):
            return self._done(running, now)
        if running.round == 0:
            busy = sum(tab.state is TabState.BUSY for tab in self.tabs.values())
            running.busy_tabs = busy - len(running.tabs)
        running.pending = set(running.job.rounds[running.round].orders)
        running.round_began_at, running.deadline = now, now + running.job.round_seconds
        return [
            Send(running.tabs[one], running.job.go(running.attempt, running.round, one))
            for one in sorted(running.pending)
        ]

    def _done(self, running: _Running, now: float) -> list[Effect]:
        job, tabs = running.job, list(running.tabs)
        result = Done(
            job=job,
            attempt=running.attempt,
            seats=tuple(running.results[seat] for seat in range(len(job.seats))),
            waited_seconds=running.began_at - running.submitted_at,
            took_seconds=now - running.began_at,
            busy_tabs=running.busy_tabs,
            setbacks=tuple(running.setbacks),
        )
        effects = self._release(running, now)
        self._close(job.id)
        self.counts.jobs_done += 1
        for tab_id in tabs:
            tab = self.tabs[tab_id]
            tab.jobs_done += 1
            effects += self._recycle_if_grown(tab, now)
        return [*effects, Ended(result), *self._hand_out(now)]

    # Trouble

    def _failed(self, running: _Running, tab: Tab, message: Failed, now: float) -> list[Effect]:
        effects = self._void(
            running, tab, f"tab {tab.id}: {message.code}: {shown(message.message)}", now
        )
        if message.code in {"out_of_memory", "worker_died"}:
            effects += self._recycle(tab, message.code, now)
        return [*effects, *self._hand_out(now)]

    def _offence(self, tab: Tab, what: str, now: float) -> list[Effect]:
        """A tab said what can't be true: what it did is void, and it is dropped."""
        self.counts.offences += 1
        self._remember(tab.id).offences += 1
        del self.tabs[tab.id]
        self.counts.tabs_left += 1
        effects = self._void_of(tab, f"tab {tab.id}: {what}", now, at_fault=True)
        self._keep(tab)
        return [Drop(tab.id, CloseCode.MISBEHAVED, what), *effects, *self._hand_out(now)]

    def _watch(self, tab: Tab, now: float) -> list[Effect]:
        silent = now - tab.heard_at
        if silent >= self.config.gone_seconds:
            return self._dropped(tab, f"silent for {silent:.0f} s", now)
        if tab.recycled_at is not None:
            if now - tab.recycled_at >= self.config.recycle_seconds:
                return self._dropped(tab, "did not begin anew", now)
            return []
        if silent >= self.config.asleep_seconds and tab.state is not TabState.ASLEEP:
            effects = self._void_of(
                tab, f"tab {tab.id}: asleep for {silent:.0f} s", now, at_fault=False
            )
            tab.state = TabState.ASLEEP
            return effects
        return []

    def _dropped(self, tab: Tab, reason: str, now: float) -> list[Effect]:
        return [Drop(tab.id, CloseCode.TIMED_OUT, reason), *self.left(tab.id, reason, now)]

    def _overdue(self, running: _Running, now: float) -> list[Effect]:
        """The deadline of a phase has passed: those that are not done hang."""
        phase = "preparing" if running.round < 0 else f"lap {running.round}"
        hung = [self.tabs[running.tabs[seat]] for seat in sorted(running.pending)]
        effects = self._void(running, hung[0], f"tab {hung[0].id}: hung while {phase}", now)
        for tab in hung:
            effects += self._recycle(tab, f"hung while {phase}", now)
        return effects

    def _void_of(self, tab: Tab, what: str, now: float, *, at_fault: bool) -> list[Effect]:
        """Void the attempt that a tab takes part in, if it does."""
        for running in self._jobs.values():
            if tab.id in running.tabs:
                return self._void(running, tab, what, now, at_fault=at_fault)
        return []

    def _void(
        self, running: _Running, tab: Tab, what: str, now: float, *, at_fault: bool = True
    ) -> list[Effect]:
        """End an attempt: the job is queued again, before all that came later, or given up."""
        self.counts.attempts_void += 1
        tab.jobs_failed += 1
        if len(running.setbacks) < MAX_SETBACKS:
            running.setbacks.append(what)
        if at_fault:
            running.excluded.add(tab.id)
        effects = self._release(running, now)
        if running.attempt >= running.job.max_attempts:
            return [*effects, *self._give_up(running, "failed", what)]
        running.waits_until = now + running.job.wait_seconds
        return effects

    def _release(self, running: _Running, now: float) -> list[Effect]:
        """Take the tabs of a job back; those that are still there are told."""
        effects: list[Effect] = []
        for tab_id in running.tabs:
            tab = self.tabs.get(tab_id)
            if tab is None:
                continue
            if tab.busy_since is not None:
                tab.busy_seconds += now - tab.busy_since
                tab.busy_since = None
            if tab.state is TabState.BUSY:
                tab.state = TabState.IDLE
            effects.append(Send(tab_id, Release(job=running.job.id, attempt=running.attempt)))
        running.tabs = []
        return effects

    def _give_up(self, running: _Running, code: str, message: str) -> list[Effect]:
        self._close(running.job.id)
        self.counts.jobs_failed += 1
        return [Ended(GivenUp(running.job, code, message, tuple(running.setbacks)))]

    def _why_waiting(self, running: _Running) -> str:
        for number, seat in enumerate(running.job.seats):
            if not any(self._fits(running, seat, tab) for tab in self.tabs.values()):
                needs = ", ".join(sorted(seat.backends))
                of = f" of {seat.wanted}" if seat.wanted else ""
                return f"no tab{of} offers {needs} (seat {number}; {len(self.tabs)} tabs connected)"
        return (
            f"{len(running.job.seats)} tabs were not free at once within "
            f"{running.job.wait_seconds:g} s ({len(self.tabs)} connected)"
        )

    def _recycle_if_grown(self, tab: Tab, now: float) -> list[Effect]:
        memory = tab.circumstances.memory_mb
        if memory is None or memory <= self.config.recycle_mb:
            return []
        return self._recycle(tab, f"grew to {memory:.0f} MB", now)

    def _recycle(self, tab: Tab, reason: str, now: float) -> list[Effect]:
        if tab.id not in self.tabs or tab.state is TabState.RECYCLING:
            return []
        self.counts.recycled += 1
        tab.state, tab.recycled_at = TabState.RECYCLING, now
        return [Send(tab.id, Recycle(reason=shown(reason)))]

    # Memory

    def _close(self, job_id: str) -> None:
        del self._jobs[job_id]
        self._over[job_id] = None
        if len(self._over) > REMEMBERED_JOBS:
            self._over.popitem(last=False)

    def _remember(self, tab_id: str) -> History:
        history = self._history.setdefault(tab_id, History())
        self._history.move_to_end(tab_id)
        if len(self._history) > REMEMBERED_TABS:
            self._history.popitem(last=False)
        return history

    def _keep(self, tab: Tab) -> None:
        history = self._remember(tab.id)
        history.busy_seconds = tab.busy_seconds
        history.jobs_done, history.jobs_failed = tab.jobs_done, tab.jobs_failed


def _assigned(seats: Iterable[Seat], options: list[list[Tab]]) -> list[str] | None:
    """Return a different tab for each seat, or None. Seats with the fewest options go first.

    A tab that has the seat's models loaded comes before those that worked a little less:
    nothing has to be fetched and compiled anew.
    """
    wanted = [frozenset(model.sha256 for model in seat.models) for seat in seats]
    chosen: dict[int, str] = {}
    for seat in sorted(range(len(options)), key=lambda one: len(options[one])):
        free = [tab for tab in options[seat] if tab.id not in chosen.values()]
        if not free:
            return None
        most = free[0].busy_seconds + UNFAIR_SECONDS
        loaded = [tab for tab in free if wanted[seat] <= tab.loaded and tab.busy_seconds <= most]
        chosen[seat] = (loaded or free)[0].id
    return [chosen[seat] for seat in range(len(options))]


def _newer(known: Circumstances, told: Circumstances) -> Circumstances:
    """Return what was told; what was left out stays as it was known."""
    if told.memory_mb is None and known.memory_mb is not None:
        return told.model_copy(update={"memory_mb": known.memory_mb})
    return told
