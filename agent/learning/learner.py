"""The learner of all metrics: a law, what cells take over, processes, and how wrong all that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.learning.bounds import chance_within_20_percent
from agent.learning.drift import Drift, Shift
from agent.learning.features import (
    BIAS,
    LINEAR,
    NAMES,
    SPEED,
    TIME,
    WIDTH,
    Frame,
    Keys,
)
from agent.learning.intervals import DEVIATIONS, Intervals, Standing
from agent.learning.kinship import KINSHIP
from agent.learning.loops import pairs
from agent.learning.loops.own import Expected, Others, Wrong, mix
from agent.learning.loops.transfer import Wanted
from agent.learning.memory import NO_SLOT, Memory, Near
from agent.learning.mixed import MixedModel
from agent.learning.own import Measured, Own
from agent.learning.paired import Paired
from agent.learning.reasons import (
    FIRMNESS,
    KINDS,
    PRIORS,
    STRANGE,
    kinds_of,
    reasons_of,
)
from agent.learning.rows import Rows, fitted
from agent.learning.site import Site
from agent.learning.support import (
    CELL,
    GROUP,
    HARDWARE,
    MODEL,
    SETUP,
    STEM,
    TASK,
    Counts,
    Support,
)
from agent.learning.transfer import Asked, Transfer
from agent.learning.units import Domain, Units

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


_LAW_FIRMNESS = 0.16
_BIAS_FIRMNESS = 0.004
_SPEED_FIRMNESS = 20.0
"""How firmly a law's weights are drawn to physics, in events' information: the bias hardly, the
speed of hardware much, because only other hardware can teach it."""

_READS = {LINEAR.index("touched"): 0.4, LINEAR.index("cached"): 0.5}
"""Columns of what is read besides the weights that run: by which share of what theory says they
usually lengthen a run. Items do not choose experts independently, and a run does more than read.
Of five shares and of three, each of six models of LLM-Inference-Bench left out errs within
hundredths (log) of the least, and models with a key and a value for each head err least."""

_CLIP = 0.7
_CLIP_WIDTHS = 3.0
"""How far, in log units and in half-widths, one event may surprise a set-up that is no longer
young; the larger counts. What lies beyond is learnt as if it were there."""

_BELIEVED = 2.0
"""So many times as far as that, one event is as likely a network that is odd as a measurement that
is; what lies beyond is a standard deviation of its own. (Doubting all that is cut off made errors
of timm's strange networks a twentieth larger.)"""

_YOUNG = 10

_SHIFT = 0.05
"""The smallest shift (log) that is worth an announcement."""

_APART = 0.4
"""How fast a pair of measurements loses weight with the distance of their sizes."""

_UP = 400
"""Measurements of a set-up from which on nothing is learnt of how it differs from its like."""

_PRETEND = 11
"""Of so many events, one is predicted as if its network, and as if all of its group, had never
been measured. A prime, so that it is not always the same network's turn in a table that is read
line by line."""

_AGAIN = 10.0
"""Measurements of a network, or of one cell, above which one more error of it tells the less of
others the more there are: what is odd about a network is odd in all of them."""

_STEMS, _GROUPS = NAMES.index("stem"), NAMES.index("group")


@dataclass(frozen=True, slots=True)
class Guesses:
    """What is expected of `m` metrics of `n` cells, in log space.

    Attributes:
        metrics: names of the `m` metrics.
        units: `n` lines of `m`, the unit of each; None where none was ever named.
        centre: `(n, m)`, the natural log of the value.
        half_width: `(n, m)`, of the nominal interval around it.
        confidence: `(n, m)`, the chance that the measurement is close.
        basis: `(n, m, 5)`, measurements of the cell, model, hardware, set-up, and in all.
    """

    metrics: list[str]
    units: list[list[str | None]]
    centre: Floats
    half_width: Floats
    confidence: Floats
    basis: Counts


def physics(metric: str) -> Floats:
    """Return `(WIDTH,)` weights that the roofline alone would give a metric's log."""
    weights = np.zeros(WIDTH)
    match metric:
        case "throughput_per_s":
            weights[TIME], weights[SPEED] = -1.4, -2.0
            weights[list(_READS)] = [-1.4 * share for share in _READS.values()]
        case "latency_ms":
            weights[TIME], weights[SPEED], weights[LINEAR.index("batch")] = 1.4, 2.0, 1.6
            weights[list(_READS)] = [1.4 * share for share in _READS.values()]
        case "memory_mb":
            weights[LINEAR.index("params")], weights[LINEAR.index("idle")] = 1.0, 1.0
            weights[LINEAR.index("batch")] = 0.6
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
class _Event:
    """One measured cell on its way into the learner.

    Attributes:
        domains: of the `m` metrics that were measured.
        metrics: `(m,)`, their numbers.
        slots: `(m,)`, of their units.
        paths: `(m, 3)`, rows of domain, hardware and set-up.
        z: `(m,)`, logs of the measured values.
        doubt: `(m,)`, variances on top of what every measurement has.
    """

    domains: list[Domain]
    metrics: Integers
    slots: Integers
    paths: Integers
    z: Floats
    doubt: Floats


class Learner:
    """Learns the logs of metrics, event by event, for all of their domains.

    All metrics of an event, and of many cells, go through each step together.

    Args:
        metrics: which metrics; each starts from its own physics.
        setups: how many set-ups are told apart.
        rows: how many measurements are remembered one by one.
    """

    def __init__(self, metrics: Sequence[str], setups: int = 1024, rows: int = 32_768) -> None:
        self.metrics = tuple(metrics)
        count = len(self.metrics)
        self.totals = [0] * count
        self._numbers = {metric: number for number, metric in enumerate(self.metrics)}
        precision = np.full(WIDTH, _LAW_FIRMNESS)
        precision[BIAS] = _BIAS_FIRMNESS
        precision[SPEED] = _SPEED_FIRMNESS
        self._law = MixedModel(np.array([physics(metric) for metric in self.metrics]), precision)
        self._intervals = Intervals(PRIORS, FIRMNESS)
        # A domain, its hardware and their set-ups; a path is used from its end to its start, so
        # that nothing is forgotten before what hangs on it.
        self._scopes = Rows(max(2 * setups * count, 8 * count))
        self._ranges = np.zeros((16, 2))
        self._support = Support(64 * setups)
        self._units = Units(count)
        self._drift = Drift()
        self._site = Site()
        self._sizes = np.array(KINSHIP.common.sizes, dtype=np.float32)
        self._shipping = False
        kept = KINSHIP.common
        self._memory = Memory(count, kept.sizes, kept.parts, rows, setups)
        self._paired = Paired()
        self._transfer = Transfer(KINSHIP, kept.sizes)
        self._own = Own(self._memory, len(KINDS))

    def total(self, metric: str) -> int:
        """Return how many measurements of a metric were learnt."""
        return self.totals[self._numbers[metric]]

    def learn(
        self, frame: Frame, values: Mapping[str, tuple[str, float]], *, shipped: bool = False
    ) -> Learnt:
        """Learn the first row of a frame of one.

        Args:
            frame: of one cell.
            values: metric to the unit and the log of the measured value (finite); at least one.
            shipped: whether it was measured elsewhere, and came with the package.
        """
        self._shipping = shipped
        event, new = self._begin(frame.keys[0], values)
        learnt = Learnt()
        known = [at for at, is_new in enumerate(new) if not is_new]
        if known:
            learnt = self._surprise(frame, event, np.array(known))
        x, domains = frame.linear[0], event.paths[:, 0]
        new_here = not self._memory.met(frame.keys[0])
        for at in self._law.learn(event.paths, x, event.z, new=new_here):
            self._rest(int(event.metrics[at]), int(domains[at]))
        count = len(self.metrics)
        slots, path = [NO_SLOT] * count, np.zeros(count, dtype=np.int64)
        z, rest, doubt = np.zeros((3, count))
        for domain in event.domains:
            slots[domain.metric] = domain.slot
        path[event.metrics] = event.paths[:, 2]
        z[event.metrics], doubt[event.metrics] = event.z, event.doubt
        law = self._law.law(frame.linear, event.paths[None])[0]
        rest[event.metrics] = event.z - law
        kin = self._memory.kin(frame.keys[0])
        number = self._memory.next_event
        measured = Measured(event.z, event.doubt)
        self._own.learn(frame, domains.tolist(), event.paths[:, 2].tolist(), measured, number)
        again = self._support.met(frame.keys[0].cell)
        self._memory.add(frame, slots, z, rest, path, doubt, again=again)
        self._pair(frame, event, law, kin)
        if shipped:
            for setup in event.paths[:, 2].tolist():
                self._site.ship(setup)
        self._support.add(event.slots, frame.keys[0])
        if len(known) < len(new):
            self._ranges[domains[np.array(new)]] = np.inf, -np.inf
        low, high = self._ranges[domains].T
        self._ranges[domains, 0] = np.minimum(low, event.z)
        self._ranges[domains, 1] = np.maximum(high, event.z)
        return learnt

    def predict(
        self, frame: Frame, metrics: Sequence[str], units: Mapping[str, str] | None = None
    ) -> Guesses:
        """Return what is expected of each cell of a frame.

        Args:
            frame: of `n` cells, one at least.
            metrics: which metrics; those never measured, or not in the unit asked for, are left
                out.
            units: metric to the unit or kind to predict in; where it does not say, the one with
                the best support for a cell's model, hardware and task is taken.
        """
        wanted = units or {}
        counts = self._support.of(frame.keys)
        chosen: list[tuple[int, Integers]] = []
        for metric in dict.fromkeys(metrics):
            number = self._numbers.get(metric, -1)
            if number < 0 or not self.totals[number]:
                continue
            slots = self._slots(number, wanted.get(metric), counts)
            if slots is not None:
                chosen.append((number, slots))
        if not chosen:
            return _nothing(len(frame))
        numbers = np.array([number for number, _ in chosen])
        slots = np.stack([one for _, one in chosen], axis=1)
        named, paths = self._paths(frame.keys, slots)
        line = np.arange(len(counts))[:, None]
        own = np.ascontiguousarray(counts.transpose(0, 2, 1)[line, slots])
        kinds = kinds_of(own)
        expected = self._centre(frame, numbers, slots, paths, own, kinds)
        centre = expected.centre
        reasons = reasons_of(own, frame, expected.doubts)
        standing = Standing(self._law.numbers(paths[..., 0]), kinds)
        half_width, confidence = self._intervals.half_widths(standing, paths, reasons)
        # Nobody has measured how wrong one is where neither model nor hardware is known.
        stranger = (own[..., MODEL] == 0) & (own[..., HARDWARE] == 0)
        # Nor what other lengths than those that were assumed come to.
        stranger |= frame.assumed[:, None]
        half_width[stranger] = np.maximum(half_width[stranger], np.log(2.0))
        confidence[stranger] = np.minimum(confidence[stranger], 0.25)
        # Others of the set-up may repeat well where this one does not.
        contradicted = DEVIATIONS * np.sqrt(expected.varied)
        wider = contradicted > half_width
        half_width[wider] = contradicted[wider]
        chances = [chance_within_20_percent(width) for width in half_width[wider].tolist()]
        confidence[wider] = np.minimum(confidence[wider], chances)
        basis = own[..., : SETUP + 2]
        basis[..., SETUP + 1] = np.array(self.totals)[numbers]
        names = [self.metrics[number] for number in numbers.tolist()]
        return Guesses(names, named, centre, half_width, confidence, basis)

    def _begin(
        self, keys: Keys, values: Mapping[str, tuple[str, float]]
    ) -> tuple[_Event, list[bool]]:
        """Give an event its places; say of each metric whether its domain is new."""
        domains, new, paths = [], [], []
        place = self._scopes.place
        for metric, (unit, _) in values.items():
            number = self._numbers[metric]
            self.totals[number] += 1
            domain, first, reused = self._units.add(number, unit, keys.task)
            if reused:
                self._support.forget(domain.slot)
                self._memory.forget_slot(domain.slot)
            key = domain.key
            setup, hardware = place(key ^ keys.setup), place(key ^ keys.hardware)
            path = (place(key), hardware, setup)
            if self._scopes.fresh:
                self._start(path, domain)
            domains.append(domain)
            new.append(first)
            paths.append(path)
        event = _Event(
            domains,
            np.array([domain.metric for domain in domains]),
            np.array([domain.slot for domain in domains]),
            np.array(paths),
            np.array([z for _, z in values.values()]),
            np.zeros(len(values)),
        )
        return event, new

    def _start(self, path: tuple[int, int, int], domain: Domain) -> None:
        """Forget what the fresh rows of a path in a domain stood for."""
        fresh = self._scopes.fresh
        self._ranges = fitted(self._ranges, self._scopes.end)
        for level, row in enumerate(path):
            if row in fresh:
                self._law.start(row, level, path, domain.metric)
                self._intervals.start(row)
                if level == 0:
                    self._intervals.begin(int(self._law.numbers(np.array(row))))
                    roots = physics(self.metrics[domain.metric])
                    self._own.start(row, domain.metric, domain.slot, roots)
                else:
                    self._own.begin(row, path[1] if level == 2 else 0)
                self._drift.forget(row)
                self._site.forget(row)
        if len(self._scopes) >= self._scopes.capacity:
            self._memory.forget_paths(fresh)
            self._own.forget(fresh)
            self._paired.forget(fresh)
        fresh.clear()

    def _slots(self, metric: int, unit: str | None, counts: Counts) -> Integers | None:
        """Return `(n,)` slots to predict a metric in: of a unit, or of the best supported one."""
        if unit is not None:
            slot = self._units.slot(metric, unit)
            return np.full(len(counts), slot) if slot else None
        slots = self._units.slots(metric)
        if len(slots) == 1:
            return np.full(len(counts), slots[0])
        totals = np.array([self._units.totals[slot] for slot in slots])
        known = counts[:, :, slots] > 0
        model, hardware = known[:, MODEL], known[:, HARDWARE]
        # First what both were measured in, then what the model was, or its like, then the hardware:
        # of another kind of model, it would be another kind of work. At last what the task was.
        strength = 8.0 * (model & hardware) + 8.0 * model + 4.0 * known[:, GROUP]
        strength += 2.0 * hardware + known[:, TASK]
        best = (strength + totals / (1.0 + totals.sum())).argmax(axis=1)
        chosen: Integers = np.array(slots)[best]
        return chosen

    def _paths(
        self, keys: Sequence[Keys], slots: Integers
    ) -> tuple[list[list[str | None]], Integers]:
        """Return the units `(n, m)`, and rows `(n, m, 3)` of the paths of cells."""
        find = self._scopes.find
        known: dict[tuple[int, ...], tuple[list[str | None], list[int]]] = {}
        units: list[list[str | None]] = []
        rows: list[int] = []
        for one, line in zip(keys, slots.tolist(), strict=True):
            asked = (one.setup, *line)
            found = known.get(asked)
            if found is None:
                domains = [self._units.find(slot, one.task) for slot in line]
                path: list[int] = []
                for domain in domains:
                    key = domain.key
                    path += find(key, 0), find(key ^ one.hardware, 0), find(key ^ one.setup, 0)
                found = known[asked] = [domain.unit or None for domain in domains], path
            units.append(found[0])
            rows += found[1]
        return units, np.array(rows).reshape(*slots.shape, 3)

    def _centre(
        self,
        frame: Frame,
        metrics: Integers,
        slots: Integers,
        paths: Integers,
        own: Counts,
        kinds: Integers,
        *,
        without: int | None = None,
    ) -> Expected:
        """Return what is expected of cells, of whose like `(n, m, 8)` so many were measured.

        Of a frame of one, also what would be expected `without` what has one of its names, given
        as a column of `NAMES`; laws and offsets still rest on that.
        """
        near = self._memory.near(frame.keys)
        if without is not None:
            left = self._memory.names[near.rows, without] != frame.names[0, without]
            near = Near(*(each[left] for each in near))
        law, offset = self._law.law(frame.linear, paths), self._law.offset_of(paths)
        # Compiled loops take what lies one behind the other.
        slots = np.ascontiguousarray(slots)
        wanted = Wanted(metrics, slots, paths, law, offset, self._law.offset)
        carried = self._transfer.carry(self._memory, self._paired, Asked(frame, near, wanted))
        told = self._own.told(frame, paths, kinds, without=without)
        expected = Expected(*np.empty((len(Expected._fields), *law.shape)))
        others = Others(law, offset, carried.expected, carried.spread)
        mix(expected, others, told, own, paths, self._ranges)
        expected.varied[:] = carried.varied
        return expected

    def _pair(self, frame: Frame, event: _Event, law: Floats, kin: Integers) -> None:
        """Learn from the same network in other set-ups, `kin`, how this one differs from them.

        Of the event's metrics, `law (m,)` is what their laws say.
        """
        memory = self._memory
        here = memory.setup[(memory.next_event - 1) % memory.rows]
        if self._law.events[event.paths[0, 2]] >= _UP:
            # Nothing is taken over between set-ups that are both grown up.
            kin = kin[self._law.events[memory.path[kin, event.metrics[0]]] < _UP]
        measured = pairs.Measured(
            kin, here, memory.weighted(frame)[0], self._sizes, event.metrics, event.slots
        )
        rows, at = np.empty((2, len(kin) * len(event.metrics)), dtype=np.int64)
        weights = np.empty(len(at))
        count = pairs.beside(rows, at, weights, measured, memory.kept, memory.values, _APART)
        if not count:
            return
        there, at = rows[:count], at[:count]
        number = event.metrics[at]
        z, rest = memory.z[there, number], memory.rest[there, number]
        self._paired.learn(
            event.paths[at, 2],
            memory.path[there, number],
            event.z[at] - z,
            law[at] - (z - rest),
            weights[:count],
        )

    def _surprise(self, frame: Frame, event: _Event, at: Integers) -> Learnt:
        """Learn how wrong the predictions of an event's metrics were; bound what they teach.

        Args:
            frame: of the event's cell.
            event: its `z` is moved to what is to be learnt; what was far off is doubted.
            at: `(p,)`, which of its metrics are predicted.
        """
        metrics, slots, paths = event.metrics[at], event.slots[at], event.paths[at]
        own = self._support.of_one(frame.keys[0], slots)[None]
        kinds = kinds_of(own)
        expected = self._centre(frame, metrics, slots[None], paths[None], own, kinds)
        centre, doubts = expected.centre, expected.doubts
        reasons = reasons_of(own, frame, doubts)[0]
        error = event.z[at] - centre[0]
        standing = Standing(self._law.numbers(paths[:, 0]), kinds[0])
        # What is measured over and over says the less of others the more often it was.
        shares = np.minimum(1.0, _AGAIN / np.maximum(own[0, :, CELL], 1))
        half_width = self._intervals.learn(standing, paths, reasons, error, shares)
        if not self._memory.next_event % _PRETEND:
            self._pretend(frame, metrics, slots, paths, own, event.z[at])
        self._judge(paths, kinds[0], expected, event.z[at], np.ones(len(at)))
        learnt = Learnt()
        reach = np.maximum(_CLIP, _CLIP_WIDTHS * half_width)
        bounded = own[0, :, SETUP] >= _YOUNG
        for one, (metric, path, wrong, width, doubt) in enumerate(
            zip(
                metrics.tolist(),
                paths.tolist(),
                error.tolist(),
                half_width.tolist(),
                doubts[0].tolist(),
                strict=True,
            )
        ):
            learnt.surprises.append(Surprise(self.metrics[metric], wrong, width))
            shifted = self._shifted(metric, path, wrong, width / DEVIATIONS, doubt)
            if shifted is not None:
                learnt.shifts.append(shifted)
                if shifted.whole:
                    self._drift.warn(self._other_tasks(event.domains[at[one]], frame.keys[0]))
                # What stood in the way of this event has moved: it is no surprise any more.
                bounded[one] = False
        reach[~bounded] = np.inf
        taken = np.minimum(np.maximum(error, -reach), reach)
        event.z[at] = centre[0] + taken
        event.doubt[at] = np.square(np.maximum(np.abs(error) - _BELIEVED * reach, 0.0))
        return learnt

    def _other_tasks(self, domain: Domain, keys: Keys) -> list[int]:
        """Return the rows of an event's hardware for other tasks than its own."""
        tasks = self._units.tasks(domain.slot)
        found = [self._scopes.find(task.key ^ keys.hardware, 0) for task in tasks if task != domain]
        return [row for row in found if row]

    def _pretend(
        self,
        frame: Frame,
        metrics: Integers,
        slots: Integers,
        paths: Integers,
        own: Counts,
        z: Floats,
    ) -> None:
        """Learn how wrong one would have been, had the network never been measured.

        A network is met for the first time once, mostly by a learner that knows little. What is
        asked later, an experienced one is asked: so it takes networks for strange that it knows,
        as the jackknife+ does (Barber, Candes, Ramdas and Tibshirani 2021).

        Args:
            frame: of one cell.
            metrics: `(m,)`, those that were measured.
            slots: `(m,)`, of their units.
            paths: `(m, 3)`.
            own: `(1, m, 8)`, as of `Support.of`.
            z: `(m,)`, logs of the measured values.
        """
        unknown = own.copy()
        unknown[..., STEM] = 0
        stems, groups = own[0, :, STEM], own[0, :, GROUP]
        # There has to be something to leave out, and of a group more than the network itself. Laws
        # and offsets rest on it still: where it is most of what was measured, they tell.
        most = own[0, :, TASK] // 2
        for column, known, left_out in (
            (_STEMS, stems > 0, stems),
            (_GROUPS, groups > stems, groups),
        ):
            at = np.flatnonzero(known & (left_out <= most))
            if not len(at):
                continue
            path, strange = paths[at], np.full(len(at), STRANGE)
            counts = np.ascontiguousarray(unknown[:, at])
            expected = self._centre(
                frame,
                metrics[at],
                slots[None, at],
                path[None],
                counts,
                strange[None],
                without=column,
            )
            reasons = reasons_of(counts, frame, expected.doubts)[0]
            weights = np.minimum(1.0, _AGAIN / np.maximum(stems[at], 1))
            errors = z[at] - expected.centre[0]
            standing = Standing(self._law.numbers(path[:, 0]), strange)
            self._intervals.pretend(standing, path, reasons, errors, weights)
            self._judge(path, strange, expected, z[at], weights)

    def _judge(
        self, paths: Integers, kinds: Integers, expected: Expected, z: Floats, weights: Floats
    ) -> None:
        """Learn of one cell how far its domains' own processes are to count."""
        others = expected.others[0]
        wrong = Wrong(z - others, expected.alone[0] - others, expected.less[0], weights)
        self._own.judge(np.ascontiguousarray(paths[:, 0]), kinds, wrong)

    def _shifted(
        self, metric: int, path: Sequence[int], error: float, usual: float, doubt: float
    ) -> Shifted | None:
        """Watch for a shift of the hardware or the set-up; move what was measured before it."""
        event = self._memory.next_event
        moved = None if self._shipping else self._site.add(path[2], error, usual, event)
        if moved is not None:
            self._move(metric, np.array([path[2]]), moved)
            error -= moved.size
        for level in (1, 2):
            shift = self._drift.add(path[level], error, usual, doubt, event, path[2])
            if shift is not None and (shift.again or abs(shift.size) > _SHIFT):
                whole = level == 1
                setups = self._law.setups_of(path, hardware=whole)
                self._move(metric, setups, shift, path[1] if whole else None)
                if shift.most:
                    self._drift.calm([path[1], *setups.tolist()])
                return None if shift.again else Shifted(self.metrics[metric], whole, shift)
        return None

    def _move(
        self, metric: int, setups: Integers, shift: Shift, hardware: int | None = None
    ) -> None:
        """Move what was measured of set-ups but in the events that showed the shift.

        They may be all of the row of a hardware.
        """
        self._memory.shift(metric, setups, shift.size, shift.events[:-1])
        self._law.shift(setups, shift.size)
        self._paired.shift(setups, shift.size)
        rows = setups if hardware is None else np.append(setups, hardware)
        self._own.shift(rows, shift.size)

    def _rest(self, metric: int, domain: int) -> None:
        """Find anew what a law that has changed leaves of the measurements in memory."""
        memory = self._memory
        used = memory.used
        laws = self._law.laws_of(memory.path[:used, metric])
        rows = np.flatnonzero(laws == self._law.numbers(np.array(domain)))
        if 4 * len(rows) < used:
            values = self._law.law_at(memory.linear.take(rows, axis=0), domain)
        else:
            values = self._law.law_at(memory.linear[:used], domain)[rows]
        memory.rest[rows, metric] = memory.z[rows, metric] - values


def _nothing(cells: int) -> Guesses:
    none = np.zeros((cells, 0))
    return Guesses([], [[]] * cells, none, none, none, np.zeros((cells, 0, 5), dtype=np.int32))
