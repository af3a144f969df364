"""Unusual measurements: which of them are chance, and what the others are a sign of.

Each measurement has a *surprise*: how far it lay from what was predicted just before it was learnt,
in half-widths of the 90 % interval, negative where the run was slower. By it alone an outlier, the
first moment of a lasting change and a lying sensor look the same. What tells them apart is who else
sees it, under which set-ups, when it began and whether it ends:

- **poisoned_source**: one source is off on hardware on which others are not.
- **fallback_backend**: one set-up is slower, its hardware otherwise is not, and its speed is what
  is predicted of another set-up there.
- **throttling**: runs become slower the longer the hardware has been at work without a pause, and
  are as fast as ever after one.
- **drift**: everything on the hardware, or in one set-up, is off and stays so
  (`agent.learning.drift`).
- **outlier**: a single measurement is so far off as one in a thousand is, and the next are not.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, NamedTuple

import numpy as np
from river import stats

from agent.heart.cells import observation_of
from agent.heart.ledger import Happened
from agent.heart.predictor import Predictor
from agent.learning.bank import Drifted, Observation
from agent.learning.cell import Cell
from agent.learning.learner import Surprise
from schemas.measurement import MetricName
from schemas.published import Alert, AnomalyKind
from schemas.quarantine import HeldRun

UNUSUAL = 2.0
"""Surprise from which on a measurement is unusual: where intervals are right, one in a hundred to a
thousand is, by how heavy the tails are."""

_WINDOW = 80
_SOURCES, _HARDWARE = 1_024, 1_024

_IN_A_ROW = 5
_LIES = ((_IN_A_ROW, 4, UNUSUAL), (2 * _IN_A_ROW, 9, 1.0))
"""Newest measurements of a source, how many of them are off if it is poisoned, and by how much at
least. Outside of their intervals are one in ten, so nine of ten hardly ever by chance; that finds
a source whose own lies have widened them."""

_OTHERS, _ORDINARY = 5, 0.25
"""Measurements of others that must be there, and the share that may be unusual by chance."""

_AS_OTHERS = 0.5
"""Mean surprise of others within which they are as predicted: that of ten has a standard deviation
of about a fifth where intervals are right, so what befalls all is seldom laid on one source."""

_TOGETHER, _AT_MOST, _SLOWER, _CUT = 6, 12, -1.0, 3.0
"""Newest measurements of a set-up, from so many to so many, and their median surprise if it has
fallen back: where intervals are right, that of six has a standard deviation of a third. Two that
are far off do not move it."""

_CUT_AT_TURN = 1.5
"""Half-widths that count at most for when it began: one that was far off before is not to draw the
beginning back over all that was as predicted in between."""

_FITTING, _EXPLAINED = 0.6, 0.5
"""Share of them that must lie in the interval of another set-up, and share of their slowness by
which that set-up must have been slower all along: one just as fast explains nothing."""

_CHANCE, _NEWEST, _LEAST = 0.001, 4_000, 1_000
"""An outlier is further off than all but this share of the newest so many measurements, and of so
many at least. Its rank among them is all that counts: whatever the tails are like, that is the
chance that an ordinary measurement is taken for one, before it is seen whether it stands alone."""

_BY_WIDTH = 0.25
"""Weight of half-widths in how far off a measurement is; the rest is that of the error's log. What
intervals do not explain is a matter of the run, and its size hardly depends on how sure one was:
half-widths alone take a tenfold error in a wide interval for less than a twofold one in a narrow
one. Where all is predicted closely, the lesser weight still lets lesser errors stand out."""

_AFTER = 5
"""Measurements on the same hardware that show whether an outlier was alone."""

_PAUSE = timedelta(minutes=2)
"""Without a measurement for so long, hardware has paused: chips cool down in seconds to minutes."""

_BURSTS, _HOT, _LOOK_EVERY = (2, 3), 12, 5
"""Stretches of work, and measurements in each, that show throttling, and how often one looks."""

_CORRELATED, _EACH_CORRELATED = -3.7, -0.3
"""Rank correlation of speed with time at work: over the stretches, in its standard deviations
without throttling (one over the root of the measurements), and in each. Chance alone comes to the
first once in ten thousand looks."""

_QUIET = 40
"""Measurements on hardware after which the same is told of it again."""


Setting = tuple[str | None, str | None, str | None]
"""How a model was run, apart from sizes: precision, runtime, and its options."""


class Seen(NamedTuple):
    """A measurement that was just learnt.

    Attributes:
        setup: how the model was run, apart from sizes: the cell says it as well, but dozens are
            looked through for each measurement.
    """

    seq: int
    id: str
    source: str
    cell: Cell
    setup: Setting
    value: float
    error: float
    surprise: float
    at_work: timedelta

    @property
    def unusual(self) -> bool:
        """Return whether it is further off than intervals allow for."""
        return abs(self.surprise) > UNUSUAL

    @property
    def far(self) -> float:
        """Return how far off it is, by its error and by its interval."""
        return float(abs(self.error) ** (1 - _BY_WIDTH) * abs(self.surprise) ** _BY_WIDTH)


@dataclass
class _Hardware:
    """The newest measurements on one hardware.

    Attributes:
        drifted: log record of the last measurement that made a drift of all of it certain.
        slower: of set-ups, by how much more than usual they are slower of late, and over how many
            measurements; none while that is not so.
        stretch: how many measurements there are since it last paused.
        got_hot: how many stretches were long enough to get hot in, some of them forgotten since.

    Without slots, so that snapshots pickle each by itself; see `agent.pieces`.
    """

    newest: deque[Seen] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    at_work_since: datetime | None = None
    last: datetime | None = None
    outlier: Seen | None = None
    since_outlier: int = 0
    told: dict[str, int] = field(default_factory=dict)
    fallen: dict[Setting, int] = field(default_factory=dict)
    setups: dict[Setting, Setting] = field(default_factory=dict)
    count: int = 0
    drifted: int = -1
    slower: dict[Setting, tuple[float, int]] = field(default_factory=dict)
    stretch: int = 0
    got_hot: int = 0

    def note(self, seen: Seen) -> None:
        """Take a measurement, and see whether its set-up is slower than it was."""
        paused = not self.newest or seen.at_work <= self.newest[-1].at_work
        self.stretch = 1 if paused else self.stretch + 1
        self.got_hot += self.stretch == _HOT
        self.newest.append(seen)
        total, count = self.slower.pop(seen.setup, (0.0, 0))
        total += _slowness(seen)
        if total > 0.0:
            self.slower[seen.setup] = total, count + 1
            _forget_oldest(self.slower, _WINDOW)

    def without(self, source: str) -> None:
        """Forget what a source measured."""
        rest = [one for one in self.newest if one.source != source]
        self.newest.clear()
        self.slower.clear()
        self.stretch = self.got_hot = 0
        for one in rest:
            self.note(one)

    def only(self, setup: Setting) -> Setting:
        """Return the one that is equal, if there is any: to compare the same takes no time."""
        found = self.setups.setdefault(setup, setup)
        _forget_oldest(self.setups, _WINDOW)
        return found


Elsewhere = Callable[[Sequence[Cell], Sequence[Setting]], list[dict[str, tuple[float, float]]]]
"""Given cells and other set-ups, returns of each cell the predicted interval of its speed in each
set-up, by the set-up's name."""


class Anomalies:
    """Watches surprises, and names what they are a sign of. A fold over measurements.

    Attributes:
        counts: how often each kind was named.
        distrusted: sources whose measurements are set aside, and how many of them in a row were
            as predicted since.
    """

    def __init__(self) -> None:
        self.counts: dict[AnomalyKind, int] = {}
        self.distrusted: dict[str, int] = {}
        self._hardware: dict[str, _Hardware] = {}
        self._sources: dict[str, deque[Seen]] = {}
        self._told_sources: dict[str, int] = {}
        self._farthest = stats.RollingQuantile(1 - _CHANCE, _NEWEST)
        self._seen = 0

    def take(
        self,
        at: Happened,
        observation: Observation,
        surprises: Sequence[Surprise],
        drifts: Sequence[Drifted],
        elsewhere: Elsewhere,
    ) -> list[Alert]:
        """Take a measurement that was just learnt; return what is to be said.

        Args:
            at: which event it came in.
            observation: what was measured.
            surprises: of its metrics.
            drifts: lasting changes that learning it made certain.
            elsewhere: predicts what its model would do in other set-ups on the same hardware.
        """
        found = _of_speed(surprises)
        if found is None:
            return [self._drifted(one) for one in drifts]
        error, surprise = found
        cell = observation.cell
        hardware = self._on(cell.hardware)
        seen = Seen(
            at.seq,
            at.id,
            at.source,
            cell,
            hardware.only((cell.precision, cell.runtime, cell.runtime_options)),
            _speed(observation),
            error,
            surprise,
            _at_work(hardware, at.time),
        )
        alerts = list(self._name(hardware, seen, drifts, elsewhere))
        self._farthest.update(seen.far)
        self._seen += 1
        return alerts

    def _name(
        self, here: _Hardware, seen: Seen, drifts: Sequence[Drifted], elsewhere: Elsewhere
    ) -> Iterator[Alert]:
        here.note(seen)
        here.count += 1
        if seen.setup in here.fallen:
            here.fallen[seen.setup] += 1
        own = self._sources.pop(seen.source, None) or deque(maxlen=_WINDOW)
        self._sources[seen.source] = own
        own.append(seen)
        _forget_oldest(self._sources, _SOURCES)
        yield from self._outlier(here, seen)
        if any(one.setup is None for one in drifts):
            here.drifted = seen.seq
        explained = (
            self._poisoned(here, seen)
            or self._fallen_back(here, seen, drifts, elsewhere)
            or self._throttled(here, seen)
        )
        if explained is not None:
            here.outlier = None
            yield explained
        for drift in drifts:
            here.outlier = None
            known = _just_told(here, "throttling") or _of_fallen(here, seen, drift)
            if explained is None and not known:
                if drift.setup is None:
                    here.told["drift"] = here.count
                yield self._drifted(drift)

    def _outlier(self, here: _Hardware, seen: Seen) -> Iterator[Alert]:
        """Name what was far off, once what came after it is as predicted."""
        if here.outlier is not None:
            here.since_outlier += 1
            if here.since_outlier >= _AFTER:
                if _stood_alone(here.outlier, list(here.newest)[-_AFTER:]):
                    yield self._named("outlier", _alone(here.outlier), **_which(here.outlier))
                here.outlier = None
            return
        if self._seen < _LEAST or not seen.unusual:
            return
        if seen.far > (self._farthest.get() or 0.0):
            here.outlier, here.since_outlier = seen, 0

    def _poisoned(self, here: _Hardware, seen: Seen) -> Alert | None:
        if here.drifted == seen.seq:
            # It is the hardware: what was off on it until now is held against nobody.
            for source in dict.fromkeys(one.source for one in here.newest):
                theirs = self._sources.get(source, deque())
                rest = [one for one in theirs if one.cell.hardware != seen.cell.hardware]
                theirs.clear()
                theirs.extend(rest)
            return None
        if seen.source in self.distrusted:
            return None
        newest = list(self._sources[seen.source])
        for count, least, by in _LIES:
            own = newest[-count:]
            off = _off(own, by)
            if off < least:
                continue
            # Others at the same time: what befalls all of them is no fault of one.
            others = [
                one for one in here.newest if one.source != seen.source and one.seq >= own[0].seq
            ]
            if _ordinary(others, by):
                return self._distrust(seen, off, len(own))
        return None

    def _distrust(self, seen: Seen, off: int, of: int) -> Alert:
        """Set aside what a source measures from now on, and hold what it did against nothing."""
        self.distrusted[seen.source] = 0
        self._sources[seen.source].clear()
        for here in self._hardware.values():
            here.without(seen.source)
        return self._named(
            "poisoned_source",
            f"{off} of the last {of} measurements of {seen.source} are far off, those of "
            f"others on {seen.cell.hardware} are not: what it measures is set aside from now on",
            source=seen.source,
        )

    def _fallen_back(
        self, here: _Hardware, seen: Seen, drifts: Sequence[Drifted], elsewhere: Elsewhere
    ) -> Alert | None:
        if _just_told(here, "fallback_backend") or _just_told(here, "drift"):
            return None
        setup = seen.setup
        if here.drifted == seen.seq or here.slower.get(setup, (0.0, 0))[1] < _TOGETHER:
            return None
        # What was slow until it drifted was slow with all of the hardware.
        since_drift = takewhile(lambda one: one.seq > here.drifted, reversed(here.newest))
        alike = (one for one in since_drift if one.setup == setup)
        newest = list(islice(alike, _AT_MOST))[::-1]
        slow = newest[_turn(newest) :]
        drifted = any(one.setup is not None and one.factor < 1 for one in drifts)
        if len(slow) < _TOGETHER or (not drifted and _median(slow) > _SLOWER):
            return None
        # From the same moment on: what came before it would speak for others that fell since.
        since = slow[0].seq
        others = [one for one in here.newest if one.setup != setup and one.seq >= since]
        if len(others) < _OTHERS or _mean(others) < _SLOWER / 2:
            return None
        setups = list(dict.fromkeys(one.setup for one in here.newest if one.setup != setup))
        own = [one for one in here.newest if one.setup == setup]
        fit = _best_fit(slow, own[: -len(slow)], setups, elsewhere)
        if fit is None:
            return None
        here.told["fallback_backend"] = here.count
        here.fallen[setup] = 0
        _forget_oldest(here.fallen, _WINDOW)
        return self._named(
            "fallback_backend",
            f"{_words(setup)} on {seen.cell.hardware} is as slow as {fit} would be, by its "
            f"last {len(slow)} measurements: did it fall back?",
            hardware=seen.cell.hardware,
            setup=_words(setup),
            fits=fit,
        )

    def _throttled(self, here: _Hardware, seen: Seen) -> Alert | None:
        hot = here.got_hot >= _BURSTS[0]
        if not hot or here.count % _LOOK_EVERY or _just_told(here, "throttling"):
            return None
        every = _bursts(here.newest)
        found = [every[-count:] for count in _BURSTS if _falling(every[-count:], count)]
        if not found:
            return None
        bursts = found[0]
        correlation = _rank_correlation(bursts)
        here.told["throttling"] = here.count
        return self._named(
            "throttling",
            f"{seen.cell.hardware} becomes slower the longer it works, and recovers in pauses: "
            f"rank correlation {correlation:.2f} in its last {len(bursts)} stretches of work",
            hardware=seen.cell.hardware,
        )

    def _drifted(self, drift: Drifted) -> Alert:
        """Say in words what has shifted, and where."""
        scope = {"metric": drift.metric, "hardware": drift.hardware}
        where = drift.hardware
        if drift.setup is not None:
            scope["setup"] = _words(drift.setup)
            where += f", {scope['setup']}"
        return self._named(
            "drift",
            f"{drift.metric} on {where} is now {drift.factor:.2f} times what it was, "
            f"over the last {drift.events} measurements",
            **scope,
        )

    def look_again(self, source: str, held: Sequence[HeldRun], predictor: Predictor) -> list[Alert]:
        """Look at what a distrusted source measured, and nothing learnt; trust it again in time."""
        for observation in (observation_of(one.run) for one in held if one.alone):
            surprise = _against(predictor, observation)
            if surprise is not None:
                in_a_row = self.distrusted[source] + 1
                self.distrusted[source] = in_a_row if abs(surprise) <= UNUSUAL else 0
        if (in_a_row := self.distrusted[source]) < 2 * _IN_A_ROW:
            return []
        del self.distrusted[source]
        return [
            Alert(
                kind="source_trusted",
                message=f"the last {in_a_row} measurements of {source} are as predicted: it is "
                "trusted again; what was set aside stays so until it is released",
                scope={"source": source},
            )
        ]

    def _on(self, name: str) -> _Hardware:
        here = self._hardware.pop(name, None) or _Hardware()
        self._hardware[name] = here
        _forget_oldest(self._hardware, _HARDWARE)
        return here

    def _named(self, kind: AnomalyKind, message: str, **scope: str) -> Alert:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return Alert(kind=kind, message=message, scope=scope)


def elsewhere(
    predictor: Predictor,
    observation: Observation,
    cells: Sequence[Cell],
    setups: Sequence[Setting],
) -> list[dict[str, tuple[float, float]]]:
    """Return the predicted intervals of cells' speed in other set-ups, by their names."""
    metric, units = _metric_of_speed(observation)
    asked = [
        cell._replace(precision=precision, runtime=runtime, runtime_options=options)
        for cell in cells
        for precision, runtime, options in setups
    ]
    # All at once: one by one they would hold up the loop for longer than it may stand still.
    found = iter(predictor.predict(asked, (metric,), units))
    told: list[dict[str, tuple[float, float]]] = []
    for _ in cells:
        each = zip(setups, found, strict=False)
        known = ((setup, one[metric]) for setup, one in each if metric in one)
        told.append({_words(setup): _as_speed(metric, one.low, one.high) for setup, one in known})
    return told


def _against(predictor: Predictor, observation: Observation) -> float | None:
    """Return how far a speed lies from what is predicted now, in half-widths of its interval."""
    metric, units = _metric_of_speed(observation)
    found = predictor.predict([observation.cell], (metric,), units)[0].get(metric)
    if found is None:
        return None
    low, high = _as_speed(metric, found.low, found.high)
    middle = math.sqrt(low * high)
    return math.log(_speed(observation) / middle) / math.log(high / middle)


def _metric_of_speed(observation: Observation) -> tuple[MetricName, dict[MetricName, str]]:
    metric: MetricName = (
        "throughput_per_s" if "throughput_per_s" in observation.metrics else "latency_ms"
    )
    unit = observation.units.get(metric)
    return metric, {} if unit is None else {metric: unit}


def _as_speed(metric: MetricName, low: float, high: float) -> tuple[float, float]:
    return (low, high) if metric == "throughput_per_s" else (1e3 / high, 1e3 / low)


def _of_speed(surprises: Sequence[Surprise]) -> tuple[float, float] | None:
    """Return error and surprise of throughput, else of latency turned round; None without both."""
    by_metric = {one.metric: one for one in surprises if one.half_width > 0}
    for metric, way in (("throughput_per_s", 1.0), ("latency_ms", -1.0)):
        if (one := by_metric.get(metric)) is not None:
            return way * one.error, way * one.error / one.half_width
    return None


def _speed(observation: Observation) -> float:
    if "throughput_per_s" in observation.metrics:
        return observation.metrics["throughput_per_s"]
    return 1e3 / observation.metrics["latency_ms"]


def _at_work(hardware: _Hardware, time: datetime) -> timedelta:
    """Return for how long hardware has worked without a pause. Clocks that jump count as one."""
    last = hardware.last
    if last is None or hardware.at_work_since is None or not timedelta(0) <= time - last < _PAUSE:
        hardware.at_work_since = time
    hardware.last = time
    return time - hardware.at_work_since


def _bursts(newest: deque[Seen]) -> list[list[Seen]]:
    """Return stretches of work that are long enough to get hot in, the oldest first."""
    bursts: list[list[Seen]] = []
    for one in newest:
        if not bursts or one.at_work <= bursts[-1][-1].at_work:
            bursts.append([])
        bursts[-1].append(one)
    return [burst for burst in bursts if len(burst) >= _HOT]


def _rank_correlation(bursts: Sequence[Sequence[Seen]]) -> float:
    """Return how speed goes with time at work: Spearman's, of ranks within each stretch."""
    times: list[float] = []
    speeds: list[float] = []
    for burst in bursts:
        for values, into in (
            ([one.at_work.total_seconds() for one in burst], times),
            ([one.surprise for one in burst], speeds),
        ):
            ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
            into.extend(ranks / (len(burst) - 1) - 0.5)
    return float(np.corrcoef(times, speeds)[0, 1])


def _stood_alone(outlier: Seen, after: Sequence[Seen]) -> bool:
    """Return whether the measurements after an outlier say that it was one.

    Two of five that are unusual come by chance where tails are heavy, so that they count only if
    one of them is of the same source. It takes three to show something that goes on.
    """
    off = [one.source for one in after if one.unusual]
    return len(off) <= (1 if outlier.source in off else 2)


def _off(seen: Sequence[Seen], by: float) -> int:
    """Return how many are off by more than so many half-widths."""
    return sum(abs(one.surprise) > by for one in seen)


def _ordinary(seen: Sequence[Seen], by: float) -> bool:
    """Return whether there are enough, few of them off, and as predicted on the mean."""
    if len(seen) < _OTHERS or _off(seen, by) > _ORDINARY * len(seen):
        return False
    return abs(_mean(seen)) <= _AS_OTHERS


def _mean(seen: Sequence[Seen]) -> float:
    """Return the mean surprise, each cut where it would outweigh the others."""
    return statistics.fmean(min(max(one.surprise, -_CUT), _CUT) for one in seen)


def _median(seen: Sequence[Seen]) -> float:
    return statistics.median(one.surprise for one in seen)


def _slowness(seen: Seen) -> float:
    """Return by how much more than usual a measurement is slower (half-widths, cut)."""
    return _SLOWER / 2 - max(min(seen.surprise, _CUT_AT_TURN), -_CUT_AT_TURN)


def _turn(own: Sequence[Seen]) -> int:
    """Return from which measurement on a set-up has been slower, if it has: where it most is.

    That is the likeliest moment of a change (Page 1954).
    """
    total, best, turn = 0.0, 0.0, len(own)
    for at in range(len(own) - 1, -1, -1):
        total += _slowness(own[at])
        if total > best:
            best, turn = total, at
    return turn


def _falling(bursts: Sequence[Sequence[Seen]], count: int) -> bool:
    """Return whether so many stretches of work were all of them slower the longer they lasted."""
    if len(bursts) < count:
        return False
    deviations = _rank_correlation(bursts) * math.sqrt(sum(len(burst) for burst in bursts) - 1)
    return deviations <= _CORRELATED and all(
        _rank_correlation([burst]) <= _EACH_CORRELATED for burst in bursts
    )


def _best_fit(
    slow: Sequence[Seen], before: Sequence[Seen], setups: Sequence[Setting], elsewhere: Elsewhere
) -> str | None:
    """Return the other set-up whose predictions come closest, if they explain the slowness.

    Args:
        slow: measurements that are slower than predicted.
        before: those of the same set-up that came before them.
        setups: the other ones.
        elsewhere: predicts in them.
    """
    apart: dict[str, list[float]] = {}
    hits: dict[str, int] = {}
    before = before[-_AT_MOST:]
    told = elsewhere([one.cell for one in (*slow, *before)], setups)
    for one, intervals in zip(slow, told, strict=False):
        for name, (low, high) in intervals.items():
            apart.setdefault(name, []).append(abs(math.log(one.value / math.sqrt(low * high))))
            hits[name] = hits.get(name, 0) + (low <= one.value <= high)
    # Predictions of the slow cells have followed them by now; those of earlier ones have less.
    slower: dict[str, list[float]] = {}
    for one, intervals in zip(before, told[len(slow) :], strict=True):
        for name, (low, high) in intervals.items():
            slower.setdefault(name, []).append(math.log(math.sqrt(low * high) / one.value))
    enough = _EXPLAINED * statistics.median(one.error for one in slow)
    fitting = [
        name
        for name, count in hits.items()
        if count >= _FITTING * len(slow)
        and name in slower
        and statistics.median(slower[name]) <= enough
    ]
    return min(fitting, key=lambda name: statistics.median(apart[name]), default=None)


def _of_fallen(here: _Hardware, seen: Seen, drift: Drifted) -> bool:
    """Return whether a drift is that of a set-up that fell back before the drift was sure."""
    since = here.fallen.get(seen.setup)
    return drift.setup is not None and since is not None and drift.events > since


def _just_told(here: _Hardware, what: str) -> bool:
    return here.count - here.told.get(what, -_QUIET) < _QUIET


def _alone(seen: Seen) -> str:
    way = "slower" if seen.surprise < 0 else "faster"
    return (
        f"{seen.cell.model} on {seen.cell.hardware} came out {abs(seen.surprise):.0f} half-widths "
        f"of its interval {way} than predicted, and most of the next {_AFTER} measurements there "
        "are as predicted: an outlier"
    )


def _which(seen: Seen) -> dict[str, str]:
    return {
        "hardware": seen.cell.hardware,
        "model": seen.cell.model,
        "source": seen.source,
        "id": seen.id,
    }


def _words(setup: Sequence[str | None]) -> str:
    return " / ".join(part for part in setup if part) or "the set-up"


def _forget_oldest(held: dict[Any, Any], capacity: int) -> None:
    for name in list(islice(held, max(0, len(held) - capacity))):
        del held[name]
