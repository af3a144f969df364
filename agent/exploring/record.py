"""What was measured and what was asked for: from which what is wanted next follows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from agent.exploring.space import Known
from agent.heart.cells import cell_of
from agent.heart.predictor import Predictor
from agent.learning.bank import Observation
from agent.learning.cell import Cell
from agent.learning.digest import digest
from schemas.exploration import WantedBenchmark
from schemas.measurement import METRICS, MetricName
from schemas.topics import RequestKind

Identity = tuple[str | float | None, ...]

MEASURED = 32_768
"""Cells that are remembered: as many as the learner remembers measurements, one by one."""

NAMES = 16_384
"""Models, and hardware, that are remembered: as many as the learner knows descriptions of. Of most
of them many cells are, so that these would be forgotten first."""

HOPELESS = 0.05
"""Chance below which a cell is not expected to fit into memory: it is neither wanted nor matters,
and a question about it is none about what can be run."""

_ASKED = 1_024
_AWAITED = 1_024
_GAINS = 100
_SAMPLE = 64
"""Cells that matter over which a gain is measured when it comes."""

_TOGETHER = 0.9
"""Share of the cells of a metric in which all others were measured too, for it to be weighed by
these alone."""

_RECENT = 4_096
"""The newest cells, of which that sample is taken: an event takes no longer for it, however many
are remembered."""

WANTING: frozenset[RequestKind] = frozenset({"active_learning", "batch", "integrate"})
"""Requests whose answers say which benchmarks are wanted."""

_IDENTIFYING = attrgetter(
    "task",
    "precision",
    "runtime",
    "runtime_options",
    "parallelism",
    "batch_size",
    "input_size",
    "sequence_in",
    "sequence_out",
    "concurrency",
    "kv_precision",
)


class Mattering(NamedTuple):
    """Cells that matter.

    Attributes:
        cells: not more than were wanted.
        weights: how much each matters.
        of: how many there are, of which these were taken.
        asked: whether they matter because they were asked for.
    """

    cells: list[Cell]
    weights: list[float]
    of: int
    asked: bool


@dataclass(frozen=True, slots=True)
class Came:
    """A wanted benchmark that was measured.

    Attributes:
        expected: share of the uncertainty over the cells that matter that it was to remove.
        came: the share by which the variance told there really fell when it was learnt.
    """

    id: str
    expected: float
    came: float


class Record:
    """Remembers, bounded: the newest cells and names, what was asked for, and what is wanted.

    An event takes constant time.

    Attributes:
        asked: how often model and hardware were asked for together.
        gains: of wanted benchmarks that were measured, the newest last.
    """

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], int] = {}
        self.gains: list[Came] = []
        self._measured: dict[Identity, tuple[Cell, tuple[str, ...]]] = {}
        self._models: dict[str, Cell] = {}
        self._hardware: dict[str, None] = {}
        self._durations: dict[str, tuple[int, float]] = {}
        self._awaited: dict[Identity, tuple[str, float]] = {}

    def digest(self) -> str:
        """Return a fingerprint: equal if and only if what is remembered is."""
        return digest(self)

    @property
    def known(self) -> Known:
        """What is known to combine: all cells that were measured, models and hardware."""
        return Known([cell for cell, _ in self._measured.values()], self._models, self._hardware)

    def weighed(
        self, metrics: Sequence[MetricName], count: int, matter: Sequence[Cell]
    ) -> dict[Cell, tuple[str, ...]]:
        """Return cells from which a choice knows what is known, each with metrics, oldest first.

        Those that matter and were measured; of the others the newest, and older ones evenly spread
        over all tasks of all families. The newest alone may be of one table, and tell nothing of
        any other. A metric that is nearly always measured with all others is weighed by the cells
        of which all were: what hangs together in the same cells is worked out once.

        Args:
            metrics: those that are wanted of cells.
            count: cells of each metric, at most.
            matter: the cells that matter, fewer than `count`.
        """
        mine = set(map(identity, matter))
        order = list(self._measured.values())
        own = {place for place, key in enumerate(self._measured) if key in mine}
        every = set(metrics)
        together = [place for place, (_, names) in enumerate(order) if every.issubset(names)]
        chosen: dict[int, list[str]] = {}
        for metric in metrics:
            having = [place for place, (_, names) in enumerate(order) if metric in names]
            if len(together) >= max(count, _TOGETHER * len(having)):
                having = together
            places = [place for place in having if place in own]
            others = [place for place in having if place not in own]
            left = max(0, count - len(places))
            newest = len(others) if len(others) <= left else left // 2
            places += others[len(others) - newest :]
            places += _spread(others[: len(others) - newest], left - newest, order)
            for place in places:
                chosen.setdefault(place, []).append(metric)
        return {order[place][0]: tuple(chosen[place]) for place in sorted(chosen)}

    def usual_metrics(self) -> list[MetricName]:
        """Return the metrics that are measured of a tenth of the cells or more, else all."""
        counts = Counter(name for _, names in self._measured.values() for name in names)
        return [one for one in METRICS if 10 * counts[one] >= len(self._measured)] or list(METRICS)

    def is_measured(self, cell: Cell) -> bool:
        """Return whether this very cell was measured."""
        return identity(cell) in self._measured

    def is_failed(self, cell: Cell) -> bool:
        """Return whether this very cell was tried, and nothing could be measured of it."""
        known = self._measured.get(identity(cell))
        return known is not None and not known[1]

    def note(self, cell: Cell, observation: Observation) -> None:
        """Remember that a cell, filled in, was measured; that it fails is known as well."""
        key = identity(cell)
        _, before = self._measured.pop(key, (cell, ()))
        self._measured[key] = cell, tuple(sorted({*before, *observation.metrics}))
        _bound(self._measured, MEASURED)
        self._models.pop(cell.model, None)
        self._models[cell.model] = cell
        _bound(self._models, NAMES)
        self._hardware.pop(cell.hardware, None)
        self._hardware[cell.hardware] = None
        _bound(self._hardware, NAMES)
        if observation.duration_s is not None:
            count, mean = self._durations.pop(cell.hardware, (0, 0.0))
            count += 1
            mean += (observation.duration_s - mean) / count
            self._durations[cell.hardware] = count, mean
            _bound(self._durations, _ASKED)

    def duration_s(self, hardware: str) -> float | None:
        """Return how long measurements took on hardware, else anywhere; None if nobody said."""
        if hardware in self._durations:
            return self._durations[hardware][1]
        count = sum(one for one, _ in self._durations.values())
        return sum(one * mean for one, mean in self._durations.values()) / count if count else None

    def answered(self, kind: RequestKind, reply: Mapping[str, Any]) -> None:
        """Remember what a logged answer was about, or which benchmarks it called wanted.

        A cell that was asked for and does not fit is none that anybody will run.
        """
        if kind in WANTING:
            for one in map(WantedBenchmark.model_validate, reply["wanted"]):
                key = identity(cell_of(one.model, one.hardware, one.setup))
                self._awaited.pop(key, None)
                self._awaited[key] = one.id, one.expected_gain
            _bound(self._awaited, _AWAITED)
            return
        model = reply.get("model")
        rows = [
            *reply.get("predictions", ()),
            *reply.get("rows", ()),
            *reply.get("placed", ()),
            *reply.get("runners_up", ()),
            *([reply["recommended"]] if isinstance(reply.get("recommended"), dict) else ()),
        ]
        for row in rows:
            fits = row.get("fits")
            if fits is not None and fits < HOPELESS:
                continue
            pair = row.get("model", model), row.get("hardware")
            if None not in pair:
                self.asked[pair] = self.asked.pop(pair, 0) + 1
        _bound(self.asked, _ASKED)

    def unknown(self, observation: Observation, predictor: Predictor) -> float | None:
        """Return what is not known of a sample of the cells that matter, if this was wanted.

        Returns:
            The weighted mean square of the half-widths (log) of intervals; None if it is not.
        """
        if not self._awaited:
            return None
        (cell,) = predictor.filled([observation.cell])
        if identity(cell) not in self._awaited:
            return None
        sample = self.mattering(_SAMPLE, newest=_RECENT)
        predicted = predictor.predict(sample.cells)
        squares = [
            (weight, math.log(estimate.high / estimate.value) ** 2)
            for weight, estimates in zip(sample.weights, predicted, strict=True)
            for estimate in estimates.values()
        ]
        total = sum(weight for weight, _ in squares)
        return sum(weight * square for weight, square in squares) / total if total else None

    def learnt(self, observation: Observation, before: float | None, predictor: Predictor) -> None:
        """Remember what was learnt; where it was wanted, by how much less is unknown than before.

        Args:
            observation: what was measured.
            before: of `unknown`, from before it was learnt.
            predictor: predicts from what is learnt now.
        """
        (cell,) = predictor.filled([observation.cell])
        if before:
            after = self.unknown(observation, predictor)
            name, expected = self._awaited.pop(identity(cell))
            self.gains.append(Came(name, expected, 1.0 - (after or 0.0) / before))
            del self.gains[:-_GAINS]
        self.note(cell, observation)

    def mattering(
        self, count: int, others: Sequence[Cell] = (), *, newest: int = MEASURED
    ) -> Mattering:
        """Return at most so many cells that matter, and how much each does.

        Cells of what was asked for, as often as it was; if nothing was, or none of it is among
        them, all alike. Where there are more, cells evenly spread over the order of their arrival.
        What was tried and could not be measured matters to nobody.

        Args:
            count: how many, two at least.
            others: cells that were never measured and may matter as well, as much as those that
                were; half of the cells at least, if there are enough.
            newest: of the measured ones, so many are looked at.
        """
        recent = islice(reversed(self._measured.values()), newest)
        measured = [cell for cell, names in recent if names][::-1]
        every = measured, others
        wanted = [
            [one for one in cells if (one.model, one.hardware) in self.asked] for cells in every
        ]
        asked = any(wanted)
        here, there = wanted if asked else every
        cells = _thinned(here, count // 2 if there else count)
        cells += _thinned(there, count - len(cells))
        counts = [self.asked[one.model, one.hardware] if asked else 1 for one in cells]
        return Mattering(cells, [float(one) for one in counts], len(here) + len(there), asked)


def identity(cell: Cell) -> Identity:
    """Return all that identifies a cell: what is run, on what, and how; not what describes it."""
    return (
        cell.model,
        cell.hardware,
        cell.device_count or 1.0,
        *_IDENTIFYING(cell),
    )


def _spread(
    places: Sequence[int], count: int, order: Sequence[tuple[Cell, tuple[str, ...]]]
) -> list[int]:
    """Return at most so many places of cells, of each task of each family as many if it has them.

    Of each, evenly spread over the order of their arrival.
    """
    domains: dict[tuple[str | None, str | None], list[int]] = {}
    for place in places:
        cell = order[place][0]
        domains.setdefault((cell.family, cell.task), []).append(place)
    found: list[int] = []
    # What small ones do not take is left for the larger ones.
    for after, some in enumerate(sorted(domains.values(), key=len)):
        share = min(len(some), (count - len(found)) // (len(domains) - after))
        found += [some[at * len(some) // share] for at in range(share)]
    return found


def _thinned(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Return at most so many cells, evenly spread over all of them."""
    return list(cells[:: max(1, -(-len(cells) // max(1, count)))])


def _bound(remembered: dict[Any, Any], count: int) -> None:
    """Forget the oldest beyond so many."""
    while len(remembered) > count:
        del remembered[next(iter(remembered))]
