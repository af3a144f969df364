"""The measurements that are remembered one by one, and where to look for like ones.

Every measurement lands in one array of rows, the oldest giving way, and in a few small rings:
of its set-up, its model, both together, and so on. Looking for neighbours reads those rings and
never searches the whole, so that it takes the same time however much was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.features import PARTS, SIZES, WIDTH, Frame, Keys

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Singles = NDArray[np.float32]

RINGS = (
    ("setup stem batch", 20),
    ("setup stem", 16),
    ("setup group size", 24),
    ("setup group", 24),
    ("setup shape", 8),
    ("setup", 24),
    ("item", 12),
    ("stem", 32),
    ("group size", 16),
)
"""What measurements are kept together by, in the order of `Keys.rings`, and how many of each. An
item is one network with all of its sizes, whatever it runs on; size and batch are those within a
factor of about 1.6."""

_NONE = [np.full(size, -1, dtype=np.int64) for _, size in RINGS]

BREADTH = sum(size for _, size in RINGS)

MARKS = (*SIZES, "group", "stem", "model")
"""The sizes of a frame, and short numbers for names: equal ones mean the same name."""

NO_UNIT = 0
"""Stands where a unit would, for a metric that was not measured."""

_BY_ROW = {"marks": 0, "linear": 0, "setup": 0, "z": 1, "law": 1, "unit": 1}
"""Which axis of an array counts the rows."""

_EXACT = 1 << 24
"""Whole numbers below this are exact in single precision."""


class Memory:
    """Remembers the newest measurements of all metrics.

    Args:
        metrics: how many metrics there are.
        part_costs: `(len(PARTS),)`, how much another value of each part sets set-ups apart.
        rows: how many measurements are remembered.
        setups: how many set-ups are told apart.

    Attributes:
        marks: `(rows, len(MARKS))`, what a measurement is recognised by; see `marks_of`.
        linear: `(rows, WIDTH)`, as in `Frame`.
        setup: `(rows,)`, the place of the set-up in `apart`.
        apart: `(setups, setups)`, how far set-ups are apart.
        z: `(metrics, rows)`, logs of the measured values.
        law: `(metrics, rows)`, the row of the mixed model's set-up.
        unit: `(metrics, rows)`, the unit; 0 for a metric that was not measured.
    """

    def __init__(
        self, metrics: int, part_costs: Sequence[float], rows: int = 32_768, setups: int = 1024
    ) -> None:
        self.rows = rows
        self._setups = setups
        self._next = 0
        self.marks = np.zeros((rows, len(MARKS)), dtype=np.float32)
        self.linear = np.zeros((rows, WIDTH))
        self.setup = np.zeros(rows, dtype=np.int64)
        self.z = np.zeros((metrics, rows))
        self.law = np.zeros((metrics, rows), dtype=np.int64)
        self.unit = np.zeros((metrics, rows), dtype=np.int64)
        self.apart = np.zeros((8, 8), dtype=np.float32)
        self._costs = np.array(part_costs, dtype=np.float32)
        self._parts = np.zeros((8, len(PARTS)), dtype=np.int64)
        self._places: dict[int, int] = {}
        self._rings: list[dict[int, Integers]] = [{} for _ in RINGS]
        self._ends: list[dict[int, int]] = [{} for _ in RINGS]

    def add(self, frame: Frame, z: Floats, law: Integers, unit: Integers) -> None:
        """Remember the first row of a frame with its metrics `(metrics,)`."""
        at = self._next % self.rows
        self._next += 1
        keys = frame.keys[0]
        self.marks[at] = marks_of(frame)[0]
        self.linear[at] = frame.linear[0]
        self.setup[at] = self._place(keys)
        self.z[:, at], self.law[:, at], self.unit[:, at] = z, law, unit
        for (_, size), rings, ends, key in zip(
            RINGS, self._rings, self._ends, keys.rings, strict=True
        ):
            ring = rings.pop(key, None)
            end = ends.pop(key, 0)
            if ring is None:
                ring = np.full(size, -1, dtype=np.int64)
                if len(rings) >= self.rows // 4:
                    oldest = next(iter(rings))
                    del rings[oldest], ends[oldest]
            ring[end % size] = at
            rings[key] = ring
            ends[key] = end + 1

    @property
    def next_event(self) -> int:
        """The number of the measurement that is remembered next."""
        return self._next

    def shift(self, column: int, laws: Integers, size: float, but: Sequence[int]) -> None:
        """Move what was measured of one metric in set-ups, but for some events.

        Args:
            column: which metric.
            laws: rows of the mixed model that stand for the set-ups.
            size: what to add.
            but: numbers of events, those that were measured after the shift.
        """
        moved = np.isin(self.law[column], laws) & (self.unit[column] != NO_UNIT)
        moved[[event % self.rows for event in but]] = False
        self.z[column, moved] += size

    def near(self, keys: Sequence[Keys]) -> Integers:
        """Return `(n, BREADTH)` rows that may be like cells, each once and in their order.

        Where there are fewer, -1 fills up.
        """
        lines = zip(*[one.rings for one in keys], strict=True)
        near = np.concatenate(
            [
                np.concatenate([rings.get(key, none) for key in line]).reshape(-1, len(none))
                for rings, none, line in zip(self._rings, _NONE, lines, strict=True)
            ],
            axis=1,
        )
        near.sort(axis=1)
        near[:, 1:][near[:, 1:] == near[:, :-1]] = -1
        return near

    def distances(self, keys: Sequence[Keys]) -> Singles:
        """Return `(n, setups)`, how far the set-ups of cells are from those in memory."""
        used = max(1, len(self._places))
        distances = np.empty((len(keys), used), dtype=np.float32)
        strange: dict[int, Singles] = {}
        for line, one in zip(distances, keys, strict=True):
            place = self._places.get(one.setup)
            if place is not None:
                line[:] = self.apart[place, :used]
                continue
            if one.setup not in strange:
                strange[one.setup] = self._distance(one, used)
            line[:] = strange[one.setup]
        return distances

    def _distance(self, keys: Keys, used: int) -> Singles:
        distance: Singles = (self._parts[:used] != np.array(keys.parts)) @ self._costs
        return distance

    def _place(self, keys: Keys) -> int:
        place = self._places.pop(keys.setup, -1)
        if place < 0:
            place = len(self._places)
            if place >= self._setups:
                place = self._places.pop(next(iter(self._places)))
                self.unit[:, self.setup == place] = NO_UNIT
            elif place >= len(self._parts):
                self._parts = np.concatenate((self._parts, np.zeros_like(self._parts)))
                apart = np.zeros((len(self._parts), len(self._parts)), dtype=np.float32)
                apart[:place, :place] = self.apart[:place, :place]
                self.apart = apart
            self._parts[place] = keys.parts
            used = len(self._places) + 1
            self.apart[place, :used] = self._distance(keys, used)
            self.apart[:used, place] = self.apart[place, :used]
        self._places[keys.setup] = place
        return place

    def __getstate__(self) -> dict[str, object]:
        """Leave out the rows that were never used."""
        used = slice(min(self._next, self.rows))
        cut = ((used,), (slice(None), used))
        return {
            name: value[cut[_BY_ROW[name]]] if name in _BY_ROW else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name, axis in _BY_ROW.items():
            used = state[name]
            more = list(used.shape)
            more[axis] = self.rows - more[axis]
            setattr(self, name, np.concatenate((used, np.zeros(more, used.dtype)), axis=axis))


def marks_of(frame: Frame) -> Singles:
    """Return `(n, len(MARKS))`, what the cells of a frame are recognised by."""
    names = [(one.group % _EXACT, one.stem % _EXACT, one.model % _EXACT) for one in frame.keys]
    return np.concatenate((frame.sizes, np.array(names, dtype=np.float32)), axis=1)
