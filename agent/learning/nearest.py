"""Gaussian processes over the nearest measurements of domains, by a likeness that was learnt.

What makes cells of a domain alike is learnt from a few hundred of its measurements (`exact.py`),
and holds for all of them. A cell is predicted by those nearest to it by that likeness (Vecchia
1988), half of them of its own hardware where they are not already: a set of neighbours that says
nothing of the hardware says nothing of how fast that is, however near they are (that not all
neighbours should be the nearest: Stein, Chi and Welty 2004).

Which are nearest is looked up among all of them, and not in rings as by other processes. They are
few networks in few set-ups and shapes (batches and lengths): how far each of these is from a cell
is found once, and most networks are then too far in any.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.learning.exact import Cells
from agent.learning.features import NAMES, NETWORK_SIZES, PARTS, SIZES
from agent.learning.loops import nearest as loops
from agent.learning.loops import tell
from agent.learning.memory import Memory
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shorts = NDArray[np.int32]
_Whole = TypeVar("_Whole", int, Integers)
_Holding = TypeVar("_Holding")

_BITS = 20
"""Of the numbers of a network, a set-up and a shape, side by side."""


class Line(NamedTuple):
    """A network, a set-up or a shape: its sizes and names, and what is the same if these are."""

    sizes: Floats
    names: NDArray[Any]
    key: bytes

    @classmethod
    def of(cls, sizes: Floats, names: NDArray[Any]) -> Line:
        """Return the line of sizes and names."""
        return cls(sizes, names, sizes.tobytes() + names.tobytes())


class Parts(NamedTuple):
    """What a cell consists of."""

    network: Line
    setup: Line
    shape: Line

    @classmethod
    def of(cls, cell: Cells) -> Parts:
        """Return the parts of one cell."""
        sizes, names, own = cell.sizes[0], cell.names[0], len(NAMES)
        return cls(
            Line.of(sizes[:NETWORK_SIZES], names[:own]),
            Line.of(sizes[:0], names[own:]),
            Line.of(sizes[NETWORK_SIZES:], names[:0]),
        )


class Nearest:
    """Predicts by the nearest measurements of a domain; these themselves are in the memory.

    Domains that hold the same measurements share one.
    """

    def __init__(self) -> None:
        self._networks = _Lines(NETWORK_SIZES, len(NAMES))
        self._setups = _Lines(0, len(PARTS))
        self._shapes = _Lines(len(SIZES) - NETWORK_SIZES, 0)
        # Of measurements: their numbers, and lines as `loops/nearest.py` names them.
        self._events = np.zeros(64, dtype=np.int64)
        self._entries = np.zeros((64, 5), dtype=np.int32)
        self._first = self._end = 0
        # Of cells: network, set-up and shape, and which they are of their network, and set-up.
        self._cells = np.zeros((16, 5), dtype=np.int32)
        self._known: dict[int, int] = {}
        self._of_networks, self._of_setups = _Groups(), _Groups()

    def __len__(self) -> int:
        return self._end - self._first

    def add(self, parts: Parts, event: int, memory: Memory) -> None:
        """Add a measurement of a cell's parts; it is or will be in the memory by its number."""
        # What the memory has forgotten lies at the beginning.
        events = self._events
        while self._first < self._end and events[self._first] <= event - memory.rows:
            self._first += 1
        if 2 * self._first > max(self._end, 64):
            self._keep(np.arange(self._first, self._end))
        at, cell = self._end, self._cell(parts)
        self._events = fitted(self._events, at + 1)
        self._entries = fitted(self._entries, at + 1)
        self._events[at] = event
        loops.note(
            at,
            event % memory.rows,
            self._cells[cell],
            self._entries,
            self._of_networks.groups,
            self._of_setups.groups,
        )
        self._end += 1

    def copy(self) -> Nearest:
        """Return another that holds the same, and goes on by itself."""
        return _copied(self)

    def sweep(self, memory: Memory, told: Iterable[tuple[int, int]]) -> None:
        """Forget what the memory does not hold any more for any of some metrics.

        Args:
            memory: holds the measurements.
            told: columns of the metrics for which it holds them, and slots of their units.
        """
        places = np.arange(self._first, self._end)
        rows = self._entries[places, loops.ROW]
        held = [memory.slot[rows, metric] == slot for metric, slot in told]
        self._keep(places[np.any(held, axis=0)])

    def told(
        self,
        cells: Cells,
        rates: Floats,
        processes: tell.Processes,
        memory: Memory,
        shifted: Floats,
        *,
        without: int | None = None,
    ) -> tuple[Floats, Floats]:
        """Return means `(a, q)` of the logs of cells, and standard deviations `(a, q)`.

        What predicts a cell is chosen once, for all that is asked of it.

        Args:
            cells: `q` of them.
            rates: by which it is chosen what predicts them.
            processes: `a` of them, which hold these measurements.
            memory: holds the measurements.
            shifted: by rows of set-ups, how far (log) they have shifted, which is not told.
            without: a column of `NAMES`; what has that name of a cell does not count.
        """
        mean, spread = np.empty((2, len(processes.told), len(cells.sizes)))
        source = tell.Source(self.held(memory), memory.values, shifted)
        left_out = -1 if without is None else without
        tell.predict(mean, spread, cells, rates, processes, left_out, source)
        return mean, spread

    def held(self, memory: Memory) -> loops.Held:
        """Return all that the memory still holds, for loops over many of it."""
        first, oldest = self._first, memory.next_event - memory.rows
        if first < self._end and self._events[first] < oldest:
            first += int(np.searchsorted(self._events[first : self._end], oldest))
        return loops.Held(
            self._entries,
            first,
            len(self._known),
            self._of_networks.groups,
            self._of_setups.groups,
            self._networks.lines,
            self._setups.lines,
            self._shapes.lines,
        )

    def _cell(self, parts: Parts) -> int:
        """Return the number of a cell; it may be a new one."""
        network = self._networks.number(parts.network)
        setup = self._setups.number(parts.setup)
        shape = self._shapes.number(parts.shape)
        count = len(self._known)
        own = self._known.setdefault(_key(network, setup, shape), count)
        if own == count:
            self._cells = fitted(self._cells, own + 1)
            in_network = self._of_networks.add(network, setup, shape)
            in_setup = self._of_setups.add(setup, network, shape)
            self._cells[own] = network, setup, shape, in_network, in_setup
        return own

    def _keep(self, places: Integers) -> None:
        """Keep the measurements at some places, and what lines these have."""
        kept, count = self._entries[places], len(places)
        parts = (self._networks, self._setups, self._shapes)
        for column, lines in zip((loops.NETWORK, loops.SETUP, loops.SHAPE), parts, strict=True):
            kept[:, column] = lines.keep(kept[:, column])
        network, setup, shape = kept[:, loops.NETWORK :].T.astype(np.int64)
        keys, numbers = np.unique(_key(network, setup, shape), return_inverse=True)
        self._known = {key: number for number, key in enumerate(keys.tolist())}
        cells = np.empty((len(keys), 5), dtype=np.int32)
        cells[numbers, :3] = kept[:, loops.NETWORK :]
        for groups, own, other, column in (
            (self._of_networks, 0, 1, 3),
            (self._of_setups, 1, 0, 4),
        ):
            cells[:, column] = groups.fill(cells[:, own], cells[:, other], cells[:, 2])
        self._cells = fitted(cells, 16)
        self._events[:count] = self._events[places]
        loops.link(
            np.ascontiguousarray(kept[:, loops.ROW]),
            numbers,
            self._cells,
            self._entries,
            self._of_networks.groups,
            self._of_setups.groups,
        )
        self._first, self._end = 0, count


class _Groups:
    """Cells, those of a network or of a set-up side by side, as loops take them."""

    def __init__(self) -> None:
        self._cells = np.zeros((64, 3), dtype=np.int32)
        self._spans = np.zeros((16, 3), dtype=np.int64)
        self._end = self._most = 0

    @property
    def groups(self) -> loops.Groups:
        """All of them, for loops."""
        return loops.Groups(self._cells, self._spans)

    def copy(self) -> _Groups:
        """Return another that holds the same, and goes on by itself."""
        return _copied(self)

    def add(self, part: int, other: int, form: int) -> int:
        """Put a cell behind those of its network or set-up; return which one it is there."""
        self._spans = fitted(self._spans, part + 1)
        self._cells = fitted(self._cells, self._end + 2 * self._most + loops.LEAST_ROOM)
        count = int(self._spans[part, loops.COUNT])
        self._end = loops.enter(self.groups, self._end, part, other, form)
        self._most = max(self._most, count + 1)
        return count

    def fill(self, parts: Shorts, others: Shorts, forms: Shorts) -> Integers:
        """Put cells, none measured so far, in place of all others; return which they are."""
        counts = np.bincount(parts)
        starts = np.cumsum(counts) - counts
        order = np.argsort(parts, kind="stable")
        among = np.empty(len(parts), dtype=np.int64)
        among[order] = np.arange(len(parts)) - starts[parts[order]]
        self._end, self._most = len(parts), int(counts.max(initial=0))
        self._spans = fitted(np.stack((starts, counts, counts), axis=1), 16)
        self._cells = np.full((max(self._end, 64), 3), -1, dtype=np.int32)
        lines = starts[parts] + among
        self._cells[lines, loops.OTHER], self._cells[lines, loops.FORM] = others, forms
        return among


class _Lines:
    """Different networks, set-ups or shapes, numbered in the order in which they came.

    Args:
        sizes: how many sizes a line has.
        names: how many names.

    Attributes:
        sizes: a column for each line; there is room for more.
        names: the same.
    """

    def __init__(self, sizes: int, names: int) -> None:
        self.sizes = np.zeros((sizes, 16), dtype=np.float32)
        self.names = np.zeros((names, 16), dtype=np.int32)
        self._known: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def copy(self) -> _Lines:
        """Return another that holds the same, and goes on by itself."""
        return _copied(self)

    @property
    def lines(self) -> loops.Lines:
        """All of them, for loops."""
        return loops.Lines(self.sizes, self.names, len(self._known))

    def number(self, line: Line) -> int:
        """Return which line this is; it may be a new one."""
        count = len(self._known)
        at = self._known.setdefault(line.key, count)
        if at == count:
            if at == self.names.shape[1]:
                self.sizes, self.names = _widened(self.sizes), _widened(self.names)
            self.sizes[:, at], self.names[:, at] = line.sizes, line.names
        return at

    def keep(self, lines: Shorts) -> Integers:
        """Keep the lines that are named, and return their numbers anew."""
        kept, numbers = np.unique(lines, return_inverse=True)
        keys = list(self._known)
        self._known = {keys[one]: at for at, one in enumerate(kept.tolist())}
        self.sizes[:, : len(kept)] = self.sizes[:, kept]
        self.names[:, : len(kept)] = self.names[:, kept]
        return numbers


def _copied(one: _Holding) -> _Holding:
    """Return another object whose arrays and tables are its own."""
    other = copy.copy(one)
    for name, value in vars(one).items():
        setattr(other, name, value if isinstance(value, int) else value.copy())
    return other


def _key(network: _Whole, setup: _Whole, shape: _Whole) -> _Whole:
    """Return one number for the three of a cell."""
    return (network << _BITS | setup) << _BITS | shape


def _widened(columns: NDArray[Any]) -> NDArray[Any]:
    """Return columns with room for as many again."""
    return np.concatenate((columns, np.zeros_like(columns)), axis=1)
