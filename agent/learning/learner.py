"""The learner of all metrics: a law, a process on what it leaves, and how wrong both are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.learning.drift import Drift, Shift
from agent.learning.features import (
    BIAS,
    LINEAR,
    NO_GMACS,
    NO_PARAMS,
    SPEED,
    TIME,
    WIDTH,
    Frame,
    Keys,
)
from agent.learning.identity import number_of
from agent.learning.intervals import Intervals
from agent.learning.memory import NO_UNIT, Memory
from agent.learning.mixed import MixedModel, Path
from agent.learning.process import Kernel, Neighbours, Process
from agent.learning.support import HARDWARE, MODEL, SETUP, STEM, STEM_HARDWARE, Support

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Domain:
    """A unit or kind, and a task: only within one domain can values be compared."""

    unit: str
    unit_key: int
    task: int
    key: int


_LAW_FIRMNESS = 0.16
_BIAS_FIRMNESS = 0.004
_SPEED_FIRMNESS = 20.0
"""How firmly a law's weights are drawn to physics, in events' information: the bias hardly, the
speed of hardware much, because only other hardware can teach it."""

_CLIP = 0.7
_CLIP_WIDTHS = 3.0
"""How far, in log units and in half-widths, one event may surprise a set-up that is no longer
young; the larger counts. What lies beyond is learnt as if it were there."""

_YOUNG = 10
_DEVIATIONS = 1.645
"""Standard deviations in a nominal half-width, were errors normal."""

_SHIFT = 0.05
"""The smallest shift (log) that is worth an announcement."""

_BEYOND = np.log(100.0)
"""How far outside of all measured values of its domain a prediction may lie (log)."""

_CORRECTION = 3.0
"""How far the process may move what the law says (log)."""

KERNEL = Kernel(
    sizes=(17.05, 0.15, 0.15, 10.51, 20.87, 0.15, 0.1527, 0.5, 10.96),
    parts=(0.8123, 2.57, 0.3, 0.06, 0.5683, 0.3003, 2.958),
    noise=0.01,
    amplitude=(6.048, 0.129, 0.1605),
    network=(0.02659, 0.006258, 22.12),
    group=(5.782, 1.322, 0.1198),
    stem=(1.744e-05, 0.1398, 17.26),
    model=(0.0002806, 0.01152, 0.4562),
    shape=(0.002968, 0.3662, 0.01499),
    setup=(0.2239, 1.659, 2.467),
)
"""Set by minimising the error on held-out rows, models, architectures and hardware of public vision
and language benchmarks, with floors where those say little (sequence lengths, precision)."""

_REASON_PRIOR = np.array([-1.6, -0.15, 0.6, 1.0, 1.0, -0.1, -0.1, 0.5, 0.5, 1.5])
_REASON_FIRMNESS = np.array([1.0, 20.0, 20.0, 60.0, 30.0, 20.0, 20.0, 40.0, 20.0, 10.0])


@dataclass(frozen=True, slots=True)
class Guesses:
    """What is expected of one metric of `n` cells, in log space.

    Attributes:
        centre: `(n,)`, the natural log of the value.
        half_width: `(n,)`, of the nominal interval around it.
        confidence: `(n,)`, the chance that the measurement is close.
        basis: `(n, 5)`, measurements of the cell, model, hardware, set-up, and in all.
    """

    centre: Floats
    half_width: Floats
    confidence: Floats
    basis: Integers


def physics(metric: str) -> Floats:
    """Return `(WIDTH,)` weights that the roofline alone would give a metric's log."""
    weights = np.zeros(WIDTH)
    match metric:
        case "throughput_per_s":
            weights[TIME], weights[SPEED] = -1.4, -2.0
        case "latency_ms":
            weights[TIME], weights[SPEED], weights[LINEAR.index("batch")] = 1.4, 2.0, 1.6
        case "memory_mb":
            weights[LINEAR.index("params")], weights[LINEAR.index("batch")] = 1.0, 0.6
        case _:
            pass
    return weights


@dataclass(frozen=True, slots=True)
class Shifted:
    """A lasting change that an event made certain.

    Attributes:
        metric: of which metric.
        whole: whether of all the hardware, or of the event's set-up only.
        shift: how far, and which events showed it.
    """

    metric: str
    whole: bool
    shift: Shift


@dataclass(frozen=True, slots=True)
class Surprise:
    """How wrong the prediction of one metric was, just before it was learnt.

    Attributes:
        error: log of measured over predicted.
        half_width: of the interval that was given, in log space.
    """

    metric: str
    error: float
    half_width: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one event came to.

    Attributes:
        surprises: of each metric that could be predicted.
        shifts: the lasting changes that the event made certain.
    """

    surprises: list[Surprise] = field(default_factory=list)
    shifts: list[Shifted] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Query:
    """A frame in the light of what is remembered, shared by the metrics.

    Attributes:
        near: `(n, BREADTH)` rows of the memory that may be like the cells.
        weighed: which of `near` could be used, and what came of it.
        learnt: what the event came to, so far.
    """

    frame: Frame
    near: Integers
    weighed: list[tuple[Flags, Neighbours]] = field(default_factory=list)
    learnt: Learnt = field(default_factory=Learnt)


class _Metric:
    """What is kept for one metric alone."""

    def __init__(self, metric: str, setups: int) -> None:
        precision = np.full(WIDTH, _LAW_FIRMNESS)
        precision[BIAS] = _BIAS_FIRMNESS
        precision[SPEED] = _SPEED_FIRMNESS
        self.law = MixedModel(physics(metric), precision, setups)
        self.intervals = Intervals(_REASON_PRIOR, _REASON_FIRMNESS, setups)
        self.support = Support(64 * setups)
        self.drift = Drift(setups)
        self.total = 0
        self.ranges: dict[int, tuple[float, float]] = {}
        self.domains: dict[int, Domain] = {}

    def reasons(self, counts: Integers, frame: Frame, spread: Floats) -> Floats:
        """Return `(n, k)`, what the size of an error may depend on; see `_REASON_PRIOR`."""
        reasons = np.empty((len(counts), len(_REASON_PRIOR)))
        reasons[:, 0] = 1.0
        nameless = frame.linear[:, (NO_PARAMS, NO_GMACS)].all(axis=1) & (counts[:, STEM] == 0)
        # However well a set-up is known, it says nothing of a network that nobody described.
        reasons[:, 1] = (np.log1p(np.minimum(counts[:, SETUP], 300)) - 3.0) * ~nameless
        reasons[:, 2:5] = counts[:, (SETUP, HARDWARE, STEM)] == 0
        reasons[:, 5] = (np.log1p(np.minimum(counts[:, STEM], 50)) - 2.0) * (counts[:, STEM] > 0)
        reasons[:, 6] = counts[:, STEM_HARDWARE] > 0
        reasons[:, 7] = frame.missing
        # Beyond the process's own prior, likeness knows nothing more.
        reasons[:, 8] = np.log(np.minimum(spread, 1.0)) + 2.0
        reasons[:, 9] = nameless
        return reasons

    def note(self, domain: Domain, keys: Keys, z: float) -> None:
        self.support.add(domain.unit_key, keys)
        low, high = self.ranges.get(domain.key, (z, z))
        self.ranges[domain.key] = (min(low, z), max(high, z))
        self.domains[domain.key] = domain
        self.total += 1


class Learner:
    """Learns the logs of metrics, event by event, for all of their domains.

    Args:
        metrics: which metrics; each starts from its own physics.
        setups: how many set-ups are told apart.
        rows: how many measurements are remembered one by one.
    """

    def __init__(self, metrics: Sequence[str], setups: int = 1024, rows: int = 32_768) -> None:
        self.metrics = tuple(metrics)
        self._each = {metric: _Metric(metric, setups) for metric in self.metrics}
        self._memory = Memory(len(self.metrics), KERNEL.parts, rows, setups)
        self._process = Process(KERNEL)

    def total(self, metric: str) -> int:
        """Return how many measurements of a metric were learnt."""
        return self._each[metric].total

    def domain(self, metric: str, unit: str, task: int) -> Domain | None:
        """Return the domain of a unit and a task, or else the unit's most measured task.

        None when nothing was ever measured in the unit.
        """
        one, wanted = self._each[metric], domain_of(unit, task)
        if wanted.key in one.domains:
            return wanted
        known = [other for other in one.domains.values() if other.unit == unit]
        return max(
            known, key=lambda other: one.support.task(other.unit_key, other.task), default=None
        )

    def best_unit(self, metric: str, units: Sequence[str], keys: Keys) -> str:
        """Return the unit with the best support for a model, a hardware and a task."""
        support = self._each[metric].support

        def strength(unit: str) -> tuple[bool, bool, bool, int]:
            number = number_of(unit)
            counts = support.of(number, keys)
            model, hardware = counts[MODEL] > 0, counts[HARDWARE] > 0
            task = support.task(number, keys.task) > 0
            return model and hardware, model or hardware, task, support.unit(number)

        return max(units, key=strength)

    def learn(self, frame: Frame, values: Mapping[str, tuple[str, float]]) -> Learnt:
        """Learn the first row of a frame of one.

        Args:
            frame: of one cell.
            values: metric to the unit and the log of the measured value (finite).
        """
        keys, x = frame.keys[0], frame.linear[0]
        query = _Query(frame, self._memory.near(frame.keys))
        count = len(self.metrics)
        logs, laws = np.zeros(count), np.zeros(count, dtype=np.int64)
        units = np.full(count, NO_UNIT)
        for column, metric in enumerate(self.metrics):
            if metric not in values:
                continue
            unit, z = values[metric]
            domain, one = domain_of(unit, keys.task), self._each[metric]
            path = _path(domain, keys)
            if domain.key in one.domains:
                z = self._surprise(query, column, domain, path, z)
            laws[column] = one.law.learn(path, x, z)
            units[column] = domain.unit_key
            logs[column] = z
            one.note(domain, keys, z)
        self._memory.add(frame, logs, laws, units)
        return query.learnt

    def predict(
        self, frame: Frame, domains: Mapping[str, Sequence[Domain | None]]
    ) -> dict[str, Guesses]:
        """Return what is expected of each cell of a frame.

        Args:
            frame: of `n` cells.
            domains: metric to `n` domains, each known, or None for no prediction (the guess in
                its place means nothing).
        """
        query = _Query(frame, self._memory.near(frame.keys))
        guesses = {}
        for column, metric in enumerate(self.metrics):
            if metric not in domains:
                continue
            one = self._each[metric]
            fallback = next(iter(one.domains.values()))
            chosen = [domain or fallback for domain in domains[metric]]
            paths = [_path(*each) for each in zip(chosen, frame.keys, strict=True)]
            centre, spread = self._centre(query, column, chosen, paths)
            each = zip(chosen, frame.keys, strict=True)
            counts = np.array([one.support.of(domain.unit_key, keys) for domain, keys in each])
            guesses[metric] = _guesses(one, frame, paths, counts, centre, spread)
        return guesses

    def _surprise(self, query: _Query, column: int, domain: Domain, path: Path, z: float) -> float:
        """Learn how wrong the prediction of one cell was; return the value to learn."""
        one, keys = self._each[self.metrics[column]], query.frame.keys[0]
        centre, spread = self._centre(query, column, [domain], [path])
        guess = float(centre[0])
        counts = np.array([one.support.of(domain.unit_key, keys)])
        reasons = one.reasons(counts, query.frame, spread)[0]
        half_width = one.intervals.learn(path, reasons, z - guess)
        query.learnt.surprises.append(Surprise(self.metrics[column], z - guess, half_width))
        if self._shifted(query, column, path, z - guess, half_width / _DEVIATIONS):
            # What stood in the way of this event has moved: it is no surprise any more.
            return z
        if counts[0, SETUP] < _YOUNG:
            return z
        reach = max(_CLIP, _CLIP_WIDTHS * half_width)
        return min(max(z, guess - reach), guess + reach)

    def _shifted(self, query: _Query, column: int, path: Path, error: float, usual: float) -> bool:
        """Watch for a shift of the hardware or the set-up; move what was measured before it."""
        metric, event = self.metrics[column], self._memory.next_event
        one = self._each[metric]
        for level in (1, 2):
            shift = one.drift.add(path[level], error, usual, event)
            if shift is not None and abs(shift.size) > _SHIFT:
                whole = level == 1
                setups = one.law.setups_of(path, hardware=whole)
                self._memory.shift(column, setups, shift.size, shift.events[:-1])
                one.law.shift(setups, shift.size)
                one.drift.calm([path[1], *one.law.keys_of(setups)])
                query.learnt.shifts.append(Shifted(metric, whole, shift))
                return True
        return False

    def _centre(
        self,
        query: _Query,
        column: int,
        domains: Sequence[Domain],
        paths: Sequence[Path],
    ) -> tuple[Floats, Floats]:
        """Return `(n,)` centres and `(n,)` spreads of one metric."""
        one, frame, memory = self._each[self.metrics[column]], query.frame, self._memory
        rows = np.array([one.law.find(path) for path in paths])
        centre = one.law.predict(rows, frame.linear)
        units = np.array([[domain.unit_key] for domain in domains])
        usable = (query.near >= 0) & (memory.unit[column].take(query.near) == units)
        found = self._neighbours(query, column, units, usable)
        expected = one.law.of_setups(
            memory.law[column].take(found.rows), memory.linear.take(found.rows, axis=0)
        )
        left = memory.z[column].take(found.rows) - expected
        correction = np.einsum("nk,nk->n", found.weights, left)
        centre += np.clip(correction, -_CORRECTION, _CORRECTION)
        bounds = np.array([one.ranges[domain.key] for domain in domains])
        return np.clip(centre, bounds[:, 0] - _BEYOND, bounds[:, 1] + _BEYOND), found.spread

    def _neighbours(self, query: _Query, column: int, units: Integers, usable: Flags) -> Neighbours:
        """Weigh what may be used, or take over what was weighed for a metric of the same runs.

        A cell's neighbours for one metric serve another as well when all of them have it, and
        hardly any other row has it besides.
        """
        memory, frame = self._memory, query.frame
        if not query.weighed:
            found = self._process.weigh(memory, frame, query.near, usable)
            query.weighed.append((usable, found))
            return found
        others, found = query.weighed[0]
        serves = memory.unit[column].take(found.rows) == units
        fits = (serves | (found.weights == 0.0)).all(axis=1)
        more = usable.sum(axis=1) > 1.1 * others.sum(axis=1) + 1.0
        again = np.flatnonzero(~fits | more)
        if not len(again):
            return found
        anew = self._process.weigh(
            memory, frame.take(again.tolist()), query.near[again], usable[again]
        )
        rows, weights, spread = found.rows.copy(), found.weights.copy(), found.spread.copy()
        rows[again], weights[again], spread[again] = anew.rows, anew.weights, anew.spread
        return Neighbours(rows, weights, spread)


@lru_cache(maxsize=4096)
def domain_of(unit: str, task: int) -> Domain:
    """Return the domain of a unit or kind and the key of a task."""
    number = number_of(unit)
    return Domain(unit, number, task, hash((number, task)))


def _guesses(
    one: _Metric,
    frame: Frame,
    paths: Sequence[Path],
    counts: Integers,
    centre: Floats,
    spread: Floats,
) -> Guesses:
    reasons = one.reasons(counts, frame, spread)
    half_width, confidence = one.intervals.half_widths(paths, reasons)
    # Nobody has measured how wrong one is where neither model nor hardware is known.
    stranger = (counts[:, MODEL] == 0) & (counts[:, HARDWARE] == 0)
    half_width = np.where(stranger, np.maximum(half_width, np.log(2.0)), half_width)
    confidence = np.where(stranger, np.minimum(confidence, 0.25), confidence)
    counts[:, SETUP + 1] = one.total
    return Guesses(centre, half_width, confidence, counts[:, : SETUP + 2])


def _path(domain: Domain, keys: Keys) -> Path:
    key = domain.key
    return key, key ^ keys.hardware, key ^ keys.setup
