"""The measurements that are remembered one by one, and where to look for like ones.

Every measurement lands in one array of rows, the oldest giving way, and in a few small rings:
of its set-up, its model, both together, and so on. Looking for neighbours reads those rings and
never searches the whole, so that it takes the same time however much was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.features import NAMES, PARTS, SIZES, WIDTH, Frame, Keys
from agent.learning.loops import memory as loops
from agent.learning.rows import Rows, fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Singles = NDArray[np.float32]
Shorts = NDArray[np.int32]

RINGS = (
    ("setup stem batch", 20),
    ("setup stem", 16),
    ("setup group size", 24),
    ("setup group", 24),
    ("setup shape", 8),
    ("setup", 24),
    ("item", 12),
    ("stem", 32),
    ("hardware stem", 12),
    ("group size", 16),
)
"""What measurements are kept together by, in the order of `Keys.rings`, and how many of each. An
item is one network with all of its sizes, whatever it runs on; size and batch are those within a
factor of about 1.6."""

BREADTH = sum(size for _, size in RINGS)
_HERE, _ITEM, _STEM = (
    number for number, (name, _) in enumerate(RINGS) if name in {"setup stem", "item", "stem"}
)

NO_SLOT = 0
"""Stands where the slot of a unit would, for a metric that was not measured."""

_LINES = ("_lines", "linear")
"""Arrays of a line for each measurement."""

_COLUMNS = ("sizes", "names", "setup", "cell", "slot", "z", "rest", "doubt", "path")


class Near(NamedTuple):
    """Pairs of cells and rows of the memory that may be like them.

    Attributes:
        rows: `(q,)`, each once for a cell.
        cells: `(q,)`, ascending.
    """

    rows: Integers
    cells: Integers


class Memory:
    """Remembers the newest measurements of all metrics.

    Args:
        metrics: how many metrics there are.
        size_weights: `(len(SIZES),)`, how much a step in each size sets measurements apart.
        part_costs: `(len(PARTS),)`, how much another value of each part sets set-ups apart.
        rows: how many measurements are remembered.
        setups: how many set-ups are told apart.

    Attributes:
        sizes: `(rows, len(SIZES))`, the weighted sizes of a frame.
        names: `(rows, len(NAMES))`, the first of a frame's.
        linear: `(rows, WIDTH)`, as in `Frame`.
        setup: `(rows,)`, the place of the set-up in `apart`.
        cell: `(rows,)`, numbers of cells.
        apart: `(setups, setups)`, how far set-ups are apart.
        slot: `(rows, metrics)`, of the metric's unit; 0 where it was not measured.
        z: `(rows, metrics)`, logs of the measured values.
        rest: `(rows, metrics)`, what the law of the domain leaves of them.
        doubt: `(rows, metrics)`, variances on top of what every measurement has.
        path: `(rows, metrics)`, the row of the set-up's offset from that law.
    """

    sizes: Singles
    names: Shorts
    setup: Integers
    cell: Integers
    slot: NDArray[np.int16]
    z: Floats
    rest: Floats
    doubt: Floats
    path: Integers

    def __init__(
        self,
        metrics: int,
        size_weights: Sequence[float],
        part_costs: Sequence[float],
        rows: int = 32_768,
        setups: int = 1024,
    ) -> None:
        self.rows = rows
        self._next = 0
        # What is looked at together lies side by side: most of the time goes into fetching it.
        line = [
            *((name, np.float64, (metrics,)) for name in ("z", "rest", "doubt")),
            ("path", np.int64, (metrics,)),
            ("setup", np.int64),
            ("cell", np.int64),
            ("sizes", np.float32, len(SIZES)),
            ("names", np.int32, len(NAMES)),
            ("slot", np.int16, (metrics,)),
        ]
        self._lines = np.zeros(rows, dtype=np.dtype(line, align=True))
        self.linear = np.zeros((rows, WIDTH))
        self._name()
        self.apart = np.zeros((8, 8), dtype=np.float32)
        self._weights = np.array(size_weights, dtype=np.float32)
        self._costs = np.array(part_costs, dtype=np.float32)
        self._parts = np.zeros((8, len(PARTS)), dtype=np.int64)
        self._places = Rows(setups, first=0)
        self._keys = [Rows(max(rows // 4, 1)) for _ in RINGS]
        # Row 0 of each table is the empty ring of a key that is not known.
        self._rings = [np.full((8, size), -1, dtype=np.int32) for _, size in RINGS]
        self._ends = np.zeros((8, len(RINGS)), dtype=np.int64)

    @property
    def used(self) -> int:
        """How many measurements are remembered."""
        return min(self._next, self.rows)

    @property
    def kept(self) -> loops.Kept:
        """What is kept of cells, for loops over many of them."""
        return loops.Kept(self.sizes, self.names, self.setup, self.apart)

    @property
    def values(self) -> loops.Values:
        """What is kept of what was measured, for loops over many of them."""
        return loops.Values(self.linear, self.slot, self.z, self.rest, self.doubt, self.path)

    @property
    def next_event(self) -> int:
        """The number of the measurement that is remembered next."""
        return self._next

    def add(
        self,
        frame: Frame,
        slots: Sequence[int],
        z: Floats,
        rest: Floats,
        path: Integers,
        doubt: Floats | float = 0.0,
        *,
        again: bool = False,
    ) -> None:
        """Remember the first row of a frame with its metrics `(metrics,)`.

        `again` says that its cell was measured before.
        """
        at = self._next % self.rows
        self._next += 1
        keys = frame.keys[0]
        self.setup[at], self.cell[at] = self._place(keys), keys.cell
        self.sizes[at], self.linear[at] = self.weighted(frame)[0], frame.linear[0]
        self.z[at], self.rest[at], self.path[at], self.doubt[at] = z, rest, path, doubt
        self.names[at], self.slot[at] = frame.names[0, : len(NAMES)], slots
        lines = []
        for ring, (rows, key) in enumerate(zip(self._keys, keys.rings, strict=True)):
            line = rows.place(key)
            lines.append(line)
            if rows.fresh:
                rows.fresh.clear()
                self._rings[ring] = fitted(self._rings[ring], line + 1, -1)
                self._ends = fitted(self._ends, line + 1)
                self._rings[ring][line], self._ends[line, ring] = -1, 0
        loops.put(tuple(self._rings), self._ends, np.array(lines), at, self.cell, again)

    def weighted(self, frame: Frame) -> Singles:
        """Return `(n, len(SIZES))` sizes of a frame as they are kept here."""
        sizes: Singles = frame.sizes * self._weights
        return sizes

    def shift(self, column: int, paths: Integers, size: float, but: Sequence[int]) -> None:
        """Move what was measured of one metric in set-ups, but for some events.

        Args:
            column: which metric.
            paths: rows of the set-ups' offsets.
            size: what to add.
            but: numbers of events, those that were measured after the shift.
        """
        moved = np.isin(self.path[:, column], paths) & (self.slot[:, column] != NO_SLOT)
        moved[[event % self.rows for event in but]] = False
        self.z[moved, column] += size
        self.rest[moved, column] += size

    def forget_paths(self, paths: Sequence[int]) -> None:
        """Forget measurements whose set-ups' offsets are forgotten."""
        self.slot[np.isin(self.path, paths)] = NO_SLOT

    def forget_slot(self, slot: int) -> None:
        """Forget what was measured in the unit of a slot."""
        self.slot[self.slot == slot] = NO_SLOT

    def near(self, keys: Sequence[Keys]) -> Near:
        """Return the rows that may be like `n` cells, at most `BREADTH` of each."""
        finds = [rows.find for rows in self._keys]
        lines = [[find(key, 0) for find, key in zip(finds, one.rings, strict=True)] for one in keys]
        rows, cells = np.empty((2, len(lines) * BREADTH), dtype=np.int64)
        count = loops.gather(rows, cells, tuple(self._rings), np.array(lines))
        return Near(rows[:count], cells[:count])

    def met(self, keys: Keys) -> bool:
        """Return whether the network was measured in the set-up, and that is remembered."""
        return self._keys[_HERE].find(keys.rings[_HERE], 0) > 0

    def kin(self, keys: Keys) -> Integers:
        """Return the rows of the same network that are kept together, each once."""
        found: set[int] = set()
        for ring in (_ITEM, _STEM):
            row = self._keys[ring].find(keys.rings[ring], 0)
            found.update(self._rings[ring][row].tolist())
        found.discard(-1)
        return np.array(sorted(found), dtype=np.int64)

    def places_of(self, keys: Sequence[Keys]) -> tuple[Integers, Singles]:
        """Return where the distances of set-ups from others are found.

        Args:
            keys: of `n` cells.

        Returns:
            `(n,)` lines in `apart`, or -1 - i for set-ups that nobody knows, whose distances are
            in line i of the second array, `(s, setups)`.
        """
        find = self._places.find
        places = []
        strange: dict[int, tuple[int, Singles]] = {}
        used = max(1, len(self._places))
        for one in keys:
            place = find(one.setup, -1)
            if place < 0:
                if one.setup not in strange:
                    strange[one.setup] = len(strange), self._distance(one, used)
                place = -1 - strange[one.setup][0]
            places.append(place)
        lines = [line for _, line in strange.values()]
        return np.array(places), np.stack(lines) if lines else self.apart[:0]

    def _distance(self, keys: Keys, used: int) -> Singles:
        """Return `(used,)`, how far set-ups are from that of keys."""
        differ = self._parts[:used] != np.array(keys.parts)
        # Not as a product of matrices, which is rounded differently by how many there are.
        distance: Singles = np.where(differ, self._costs, np.float32(0.0)).sum(axis=1)
        return distance

    def _place(self, keys: Keys) -> int:
        place = self._places.place(keys.setup)
        if self._places.fresh:
            self._places.fresh.clear()
            if len(self._places) == self._places.capacity:
                self.slot[self.setup == place] = NO_SLOT
            if place >= len(self._parts):
                self._parts = fitted(self._parts, place + 1)
                size = len(self._parts)
                apart = np.zeros((size, size), dtype=np.float32)
                apart[:place, :place] = self.apart[:place, :place]
                self.apart = apart
            self._parts[place] = keys.parts
            used = len(self._places)
            self.apart[place, :used] = self._distance(keys, used)
            self.apart[:used, place] = self.apart[place, :used]
        return place

    def _name(self) -> None:
        """Give the columns of lines their names."""
        for name in _COLUMNS:
            setattr(self, name, self._lines[name])

    def __getstate__(self) -> dict[str, object]:
        """Leave out the rows that were never used."""
        state = dict(vars(self))
        for name in _COLUMNS:
            del state[name]
        for name in _LINES:
            state[name] = state[name][: self.used]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for name in _LINES:
            used = state[name]
            whole = np.zeros((self.rows, *used.shape[1:]), used.dtype)
            whole[: len(used)] = used
            setattr(self, name, whole)
        self._name()
