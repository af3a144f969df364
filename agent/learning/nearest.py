"""A Gaussian process over the nearest measurements of a domain, by a likeness that was learnt.

What makes cells of a domain alike is learnt from a few hundred of its measurements (`exact.py`),
and holds for all of them. A cell is predicted by those nearest to it by that likeness (Vecchia
1988), half of them of its own hardware where they are not already: a set of neighbours that says
nothing of the hardware says nothing of how fast that is, however near they are (that not all
neighbours should be the nearest: Stein, Chi and Welty 2004).

Which are nearest is looked up among all of them, and not in rings as by other processes. They are
few networks in few ways to run one, and how far each of these is from a cell is found once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.exact import Cells, Hyperparameters
from agent.learning.features import PARTS, SIZES
from agent.learning.memory import NAMES, Memory
from agent.learning.process import NETWORK_SIZES, solved
from agent.learning.rows import fitted

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NEAREST = 32
"""Measurements that predict a cell."""

_NAMED = len(NAMES)
"""So many of what is named are of the network, the others of how it is run."""

_HARDWARE = 0
"""Of `PARTS`."""

_SAMPLE, _AT_LEAST, _TIMES = 512, 4, 4
"""The least of many values are looked for below a bound, that is guessed from so many of them:
so that so many of these lie below it, and about so many times as many of all as are looked for."""

_ONE, _OTHER = np.tril_indices(_NEAREST, -1)
_BELOW = _ONE * _NEAREST + _OTHER
"""Pairs of what predicts a cell, and where these stand in a matrix, below its diagonal."""


class Nearest:
    """Predicts by the nearest measurements of a domain; these themselves are in the memory.

    Args:
        roots: `(WIDTH,)`, weights of the law by physics.
        metric: the metric's column in the memory.
        slot: of its unit.

    Attributes:
        metric: as given.
        mark: a number that others have as well if they hold the same measurements.
    """

    def __init__(self, roots: Floats, metric: int, slot: int) -> None:
        self._roots = roots
        self.metric, self._slot = metric, slot
        self._networks = _Lines(NETWORK_SIZES, _NAMED)
        self._ways = _Lines(len(SIZES) - NETWORK_SIZES, len(PARTS))
        # Of each measurement its number, and those of its network and its way to run.
        self._events = np.zeros(64, dtype=np.int64)
        self._of = np.zeros((2, 64), dtype=np.int64)
        self._first = self._end = 0
        self.mark = 0

    def __len__(self) -> int:
        return self._end - self._first

    def add(self, cell: Cells, event: int, memory: Memory) -> None:
        """Add a measurement of one cell, which is or will be in the memory by its number."""
        # What the memory has forgotten lies at the beginning.
        while self._first < self._end and self._events[self._first] <= event - memory.rows:
            self._first += 1
        if 2 * self._first > max(self._end, 64):
            self._keep(np.arange(self._first, self._end))
        self.mark = hash((self.mark, event))
        if self._end == len(self._events):
            self._events = fitted(self._events, self._end + 1)
            self._of = _widened(self._of)
        at = self._end
        self._events[at] = event
        sizes, names = cell.sizes[0], cell.names[0].astype(np.int64)
        self._of[0, at] = self._networks.number(_Line(sizes[:NETWORK_SIZES], names))
        self._of[1, at] = self._ways.number(_Line(sizes[NETWORK_SIZES:], cell.parts[0]))
        self._end += 1

    def sweep(self, memory: Memory) -> None:
        """Forget what the memory does not hold any more."""
        places = np.arange(self._first, self._end)
        rows = self._events[places] % memory.rows
        self._keep(places[memory.slot[rows, self.metric] == self._slot])

    def chosen(
        self, cells: Cells, learnt: Hyperparameters, *, without: int | None = None
    ) -> Neighbours:
        """Return what predicts cells.

        Args:
            cells: what is asked for.
            learnt: what makes cells alike.
            without: a column of `NAMES`; what has that name of a cell does not count.
        """
        names: Integers = np.concatenate((cells.names, cells.parts), axis=1, dtype=np.int64)
        places = self._places(cells.sizes, names, learnt, without)
        asked = _Features(cells.sizes[..., None], names[..., None])
        near = self._features(places)
        return Neighbours(
            self._events.take(places, mode="clip"),
            places >= 0,
            near.apart(asked),
            near.at(_ONE).apart(near.at(_OTHER)),
        )

    def told(
        self,
        cells: Cells,
        chosen: Neighbours,
        learnt: Hyperparameters,
        memory: Memory,
        shifted: Floats,
    ) -> tuple[Floats, Floats]:
        """Return means `(q,)` of the logs of cells, and standard deviations `(q,)`.

        Args:
            cells: what is asked for.
            chosen: what predicts them, of these measurements or the same ones of another metric.
            learnt: what makes cells alike.
            memory: holds the measurements.
            shifted: by rows of set-ups, how far (log) they have shifted, which is not told.
        """
        rows = chosen.events % memory.rows
        flat = rows * memory.slot.shape[1] + self.metric
        usable = memory.slot.reshape(-1).take(flat) == self._slot
        usable &= chosen.known & (chosen.events >= memory.next_event - memory.rows)
        linear = cells.linear
        there = memory.linear.take(rows, axis=0)
        weighted = there * learnt.laws
        right = chosen.to_cells.alike(learnt)
        right += np.matmul(weighted, linear[..., None])[..., 0]
        matrices = np.matmul(weighted, there.swapaxes(1, 2))
        lines = matrices.reshape(len(rows), -1)
        lines[:, _BELOW] += chosen.among.alike(learnt)
        lines[:, :: _NEAREST + 1] += learnt.variance + learnt.noise
        if not usable.all():
            right *= usable
            matrices *= usable[:, None] & usable[:, :, None]
            lines[:, :: _NEAREST + 1] += ~usable
        weights = solved(matrices, right)
        rest = memory.z.reshape(-1).take(flat) - np.matmul(there, self._roots)
        rest -= shifted.take(memory.path.reshape(-1).take(flat), mode="clip")
        mean = np.vecdot(weights, np.where(usable, rest, 0.0)) + np.vecdot(linear, self._roots)
        left = np.vecdot(np.square(linear), learnt.laws) - np.vecdot(right, weights)
        left += learnt.variance
        return mean, np.sqrt(np.maximum(left, 0.0) + learnt.noise)

    def _features(self, places: Integers) -> _Features:
        """Return what is known of measurements at places `(q, k)`."""
        network, way = self._of.take(places, axis=1, mode="clip")
        sizes = np.concatenate((self._networks.sizes(network), self._ways.sizes(way)))
        names = np.concatenate((self._networks.names(network), self._ways.names(way)))
        return _Features(sizes.swapaxes(0, 1), names.swapaxes(0, 1))

    def _places(
        self, sizes: Floats, names: Integers, learnt: Hyperparameters, without: int | None
    ) -> Integers:
        """Return `(q, _NEAREST)` places of what predicts cells, ascending; -1 for none."""
        of_network, of_way = self._of[:, self._first : self._end]
        of_sizes, of_names = np.split(learnt.rates.astype(np.float32), [len(SIZES)])
        networks: dict[bytes, Singles] = {}
        ways: dict[bytes, Singles] = {}
        hardware: dict[int, tuple[Flags, Integers]] = {}
        chosen = np.full((len(sizes), _NEAREST), -1)
        for own, size, name in zip(chosen, sizes, names, strict=True):
            network, way = (
                _Line(size[:NETWORK_SIZES], name[:_NAMED]),
                _Line(size[NETWORK_SIZES:], name[_NAMED:]),
            )
            by_network = networks.get(network.key)
            if by_network is None:
                far = self._networks.distances(network, of_sizes[:NETWORK_SIZES], of_names[:_NAMED])
                if without is not None:
                    far[self._networks.alike(network, without)] = np.inf
                by_network = networks[network.key] = far.take(of_network)
            by_way = ways.get(way.key)
            if by_way is None:
                far = self._ways.distances(way, of_sizes[NETWORK_SIZES:], of_names[_NAMED:])
                by_way = ways[way.key] = far.take(of_way)
            number = int(way.names[_HARDWARE])
            here = hardware.get(number)
            if here is None:
                is_here = self._ways.alike(way, _HARDWARE).take(of_way)
                here = hardware[number] = is_here, np.flatnonzero(is_here)
            far = by_network + by_way
            places = _of_both(far, *here)
            if without is not None:
                places = places[far.take(places) < np.inf]
            own[_NEAREST - len(places) :] = places
        chosen[chosen >= 0] += self._first
        return chosen

    def _keep(self, places: Integers) -> None:
        """Keep the measurements at some places, and what lines these have."""
        self._events[: len(places)] = self._events[places]
        for own, lines in zip(self._of, (self._networks, self._ways), strict=True):
            own[: len(places)] = lines.keep(own[places])
        self._first, self._end = 0, len(places)
        self.mark = hash((self.mark, len(places), *places[:: max(len(places) // 64, 1)].tolist()))


class _Apart(NamedTuple):
    """What `k` pairs of cells differ in, for each of `q`: `(q, sizes, k)` and `(q, names, k)`."""

    sizes: Floats
    names: Floats

    def alike(self, learnt: Hyperparameters) -> Floats:
        """Return `(q, k)` covariances, but for those of the law."""
        far = np.matmul(learnt.rates[: len(SIZES)], self.sizes)
        far += np.matmul(learnt.rates[len(SIZES) :], self.names)
        alike: Floats = np.exp(np.negative(far, out=far), out=far)
        alike *= learnt.variance
        return alike


class _Features(NamedTuple):
    """Sizes `(q, sizes, k)` and names `(q, names, k)` of `k` cells for each of `q`."""

    sizes: Floats
    names: Integers

    def at(self, places: Integers) -> _Features:
        """Return those of some of the `k`."""
        return _Features(self.sizes.take(places, axis=2), self.names.take(places, axis=2))

    def apart(self, other: _Features) -> _Apart:
        """Return what they differ in from others."""
        apart = self.sizes - other.sizes
        return _Apart(np.abs(apart, out=apart), (self.names != other.names).astype(float))


class Neighbours(NamedTuple):
    """The `k` measurements that predict each of `q` cells.

    Attributes:
        events: `(q, k)`, their numbers.
        known: `(q, k)`, whether there are so many.
        to_cells: what they differ in from the cells.
        among: what they differ in among each other.
    """

    events: Integers
    known: Flags
    to_cells: _Apart
    among: _Apart


class _Line(NamedTuple):
    """Sizes and names of a network, or of a way to run one."""

    sizes: Floats
    names: Integers

    @property
    def key(self) -> bytes:
        """What it is recognised by."""
        return self.sizes.tobytes() + self.names.tobytes()


class _Lines:
    """Different lines, numbered in the order in which they came.

    Args:
        sizes: how many sizes a line has.
        names: how many names.
    """

    def __init__(self, sizes: int, names: int) -> None:
        # A column for each.
        self._sizes = np.zeros((sizes, 16))
        self._singles = self._sizes.astype(np.float32)
        self._names = np.zeros((names, 16), dtype=np.int64)
        self._known: dict[bytes, int] = {}

    def number(self, line: _Line) -> int:
        """Return which line this is; it may be a new one."""
        count = len(self._known)
        at = self._known.setdefault(line.key, count)
        if at == count:
            if at == self._names.shape[1]:
                self._sizes = _widened(self._sizes)
                self._singles = _widened(self._singles)
                self._names = _widened(self._names)
            self._sizes[:, at] = self._singles[:, at] = line.sizes
            self._names[:, at] = line.names
        return at

    def sizes(self, lines: Integers) -> Floats:
        """Return `(sizes, ...)` of lines."""
        return self._sizes.take(lines, axis=1)

    def names(self, lines: Integers) -> Integers:
        """Return `(names, ...)` of lines."""
        return self._names.take(lines, axis=1)

    def distances(self, line: _Line, of_sizes: Singles, of_names: Singles) -> Singles:
        """Return `(n,)`, how far all lines are from one, by what steps and other names cost."""
        n = len(self._known)
        apart = self._singles[:, :n] - line.sizes[:, None].astype(np.float32)
        far: Singles = np.matmul(of_sizes, np.abs(apart, out=apart))
        differ = self._names[:, :n] != line.names[:, None]
        far += np.matmul(of_names, differ.astype(np.float32))
        return far

    def alike(self, line: _Line, column: int) -> Flags:
        """Return `(n,)`, which lines have a name of this one."""
        has: Flags = self._names[column, : len(self._known)] == line.names[column]
        return has

    def keep(self, lines: Integers) -> Integers:
        """Keep the lines that are named, and return their numbers anew."""
        kept, places = np.unique(lines, return_inverse=True)
        keys = list(self._known)
        self._known = {keys[one]: at for at, one in enumerate(kept.tolist())}
        self._sizes[:, : len(kept)] = self._sizes[:, kept]
        self._singles[:, : len(kept)] = self._singles[:, kept]
        self._names[:, : len(kept)] = self._names[:, kept]
        return places


def _widened(columns: NDArray[Any]) -> NDArray[Any]:
    """Return columns with room for as many again."""
    return np.concatenate((columns, np.zeros_like(columns)), axis=1)


def _of_both(far: Singles, is_here: Flags, here: Integers) -> Integers:
    """Return places, ascending: those nearest of all, and those nearest of what `is_here`."""
    half = _NEAREST // 2
    nearest = _least(far, _NEAREST)
    first, more = nearest[:half], nearest[half:_NEAREST]
    others = nearest[half:]
    own = others[is_here.take(others)]
    if len(own) < half:
        # Those that are among the first of all are the first of them.
        met = np.count_nonzero(is_here.take(first))
        own = here[_least(far.take(here), _NEAREST)][met:]
    own = own[:half]
    if len(own) < half:
        # All that is here is in already.
        more = more[~is_here.take(more)]
        own = np.concatenate((own, more[: half - len(own)]))
    both = np.concatenate((first, own))
    both.sort()
    return both


def _least(values: Singles, count: int) -> Integers:
    """Return the places of so many of the least values, or more; in their order, the later first.

    All values that are less than one of them are among them.
    """
    places = np.arange(len(values))
    if len(values) > 2 * _TIMES * count:
        step = max(len(values) // _SAMPLE, 1)
        some, rank = values[::step], _AT_LEAST + _TIMES * count // step
        bound = np.partition(some, rank)[rank]
        places = np.flatnonzero(values <= bound)
        if len(places) < count:
            bound = np.partition(values, count - 1)[count - 1]
            places = np.flatnonzero(values <= bound)
        if len(places) > 4 * _TIMES * count:
            # Of what is as far as the bound, the last are enough.
            below, equal = np.flatnonzero(values < bound), np.flatnonzero(values == bound)
            places = np.concatenate((below, equal[-count:]))
            places.sort()
    places = places[::-1]
    least: Integers = places[values.take(places).argsort(kind="stable")]
    return least
