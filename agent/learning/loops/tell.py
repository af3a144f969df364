"""What Gaussian processes predict by the nearest of many measurements.

Likeness falls by steps in sizes and other names, each by itself. So it is a product of how alike
two networks, two set-ups and two shapes are; and what predicts a cell is of few of each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agent.learning.exact import Cells
from agent.learning.features import NETWORK_SIZES
from agent.learning.loops.compiled import (
    Floats,
    FloatTable,
    Integers,
    IntegerTable,
    IntTable,
    compiled,
    natural,
)
from agent.learning.loops.gaussian import CELL_SIZES, NETWORK_NAMES, whiten
from agent.learning.loops.memory import Values
from agent.learning.loops.nearest import (
    NEAREST,
    NETWORK,
    ROW,
    SETUP,
    SHAPE,
    Held,
    Lines,
    search,
)

_ROOM = NEAREST + 1
"""Of what predicts a cell, and the cell itself."""


class Processes(NamedTuple):
    """What makes cells alike by each of several processes, and what they tell.

    Attributes:
        variances: of what likeness explains.
        noises: of a measurement.
        rates: a line for each.
        laws: the same, variances of weights of the law.
        roots: the same, usual weights of the law.
        told: a line for each: a column of the memory, and a slot in it.
    """

    variances: Floats
    noises: Floats
    rates: FloatTable
    laws: FloatTable
    roots: FloatTable
    told: IntegerTable


class Source(NamedTuple):
    """Where measurements are found.

    Attributes:
        held: the measurements.
        values: of the memory.
        shifted: by rows of set-ups, how far (log) they have shifted, which is not told.
    """

    held: Held
    values: Values
    shifted: Floats


class _Parts(NamedTuple):
    """The different networks, set-ups or shapes of what predicts a cell, and the cell's own.

    Attributes:
        sizes: a line for each.
        names: the same.
        lines: which lines of all that is held they are.
        like: `(room, room)`, how alike they are.
    """

    sizes: FloatTable
    names: IntTable
    lines: Integers
    like: FloatTable


class _Chosen(NamedTuple):
    """What predicts a cell, a line each; behind the last comes the cell itself.

    Attributes:
        rows: of the memory.
        networks: places in `_Parts` of networks.
        setups: the same, of set-ups.
        shapes: the same, of shapes.
        features: of the law.
    """

    rows: Integers
    networks: Integers
    setups: Integers
    shapes: Integers
    features: FloatTable


@compiled
def _room(sizes: int, names: int) -> _Parts:
    """Return room for parts of so many sizes and names."""
    return _Parts(
        np.empty((_ROOM, sizes)),
        np.empty((_ROOM, names), dtype=np.int32),
        np.empty(_ROOM, dtype=np.int64),
        np.empty((_ROOM, _ROOM)),
    )


@compiled
def _number(line: int, parts: _Parts, count: int, lines: Lines) -> int:
    """Return at which place among parts a line is; it is put behind them if it is not."""
    for place in range(count):
        if parts.lines[place] == line:
            return place
    parts.lines[count] = line
    for f in range(parts.sizes.shape[1]):
        parts.sizes[count, f] = lines.sizes[f, line]
    for f in range(parts.names.shape[1]):
        parts.names[count, f] = lines.names[f, line]
    return count


@compiled
def _compare(parts: _Parts, count: int, size_rates: Floats, name_rates: Floats) -> None:
    """Find how alike so many parts are to each other."""
    sizes, names, like = parts.sizes, parts.names, parts.like
    for i in range(count):
        like[i, i] = 1.0
        for j in range(i):
            far = 0.0
            for f in range(len(size_rates)):
                far += size_rates[f] * abs(sizes[i, f] - sizes[j, f])
            for f in range(len(name_rates)):
                far += name_rates[f] if names[i, f] != names[j, f] else 0.0
            like[i, j] = like[j, i] = math.exp(-far)


@compiled
def _gather(
    chosen: _Chosen,
    places: Integers,
    asked: Cells,
    at: int,
    source: Source,
    networks: _Parts,
    setups: _Parts,
    shapes: _Parts,
) -> tuple[int, int, int, int]:
    """Gather what was chosen for a cell, and the cell behind it.

    Return how much was, and how many networks, set-ups and shapes there are with the cell's.
    """
    held, linear = source.held, source.values.linear
    entries = held.entries
    n = network_count = setup_count = shape_count = 0
    for place in places:
        if place < 0:
            continue
        entry = entries[place]
        network = _number(entry[NETWORK], networks, network_count, held.networks)
        setup = _number(entry[SETUP], setups, setup_count, held.setups)
        shape = _number(entry[SHAPE], shapes, shape_count, held.shapes)
        network_count = max(network_count, network + 1)
        setup_count = max(setup_count, setup + 1)
        shape_count = max(shape_count, shape + 1)
        chosen.rows[n], chosen.features[n] = entry[ROW], linear[entry[ROW]]
        chosen.networks[n], chosen.setups[n], chosen.shapes[n] = network, setup, shape
        n += 1
    size, name = asked.sizes[at], asked.names[at]
    networks.sizes[network_count] = size[:NETWORK_SIZES]
    networks.names[network_count] = name[:NETWORK_NAMES]
    setups.names[setup_count] = name[NETWORK_NAMES:]
    shapes.sizes[shape_count] = size[NETWORK_SIZES:]
    chosen.networks[n], chosen.setups[n], chosen.shapes[n] = network_count, setup_count, shape_count
    chosen.features[n] = asked.linear[at]
    return n, network_count + 1, setup_count + 1, shape_count + 1


@compiled
def _keep(
    usable: _Chosen, chosen: _Chosen, count: int, values: Values, metric: int, slot: int
) -> int:
    """Copy what counts for a metric, and the cell behind it; return how much does."""
    n, slots = 0, values.slot
    for i in range(count + 1):
        # The cell itself is asked for, whatever was measured.
        if i == count or slots[chosen.rows[i], metric] == slot:
            usable.rows[n], usable.features[n] = chosen.rows[i], chosen.features[i]
            usable.networks[n], usable.setups[n] = chosen.networks[i], chosen.setups[i]
            usable.shapes[n] = chosen.shapes[i]
            n += 1
    return n - 1


@compiled
def _all_count(chosen: _Chosen, count: int, values: Values, metric: int, slot: int) -> bool:
    """Return whether all that was chosen counts for a metric."""
    slots = values.slot
    for row in chosen.rows[:count]:
        if slots[row, metric] != slot:
            return False
    return True


@compiled
def _covary(
    matrix: FloatTable,
    n: int,
    chosen: _Chosen,
    networks: FloatTable,
    setups: FloatTable,
    shapes: FloatTable,
    variance: float,
    laws: Floats,
) -> None:
    """Find the covariances of `n` measurements, and behind them those with the cell."""
    features = chosen.features
    law = features[: n + 1] * laws
    among = np.dot(law, features[: n + 1].T)
    for i in range(n):
        by_network, by_setup = networks[chosen.networks[i]], setups[chosen.setups[i]]
        by_shape, line = shapes[chosen.shapes[i]], among[i]
        for j in range(i, n + 1):
            network, setup = natural(chosen.networks[j]), natural(chosen.setups[j])
            like = by_network[network] * by_setup[setup]
            matrix[i, j] = variance * like * by_shape[natural(chosen.shapes[j])] + line[j]


@compiled
def predict(
    mean: FloatTable,
    spread: FloatTable,
    asked: Cells,
    rates: Floats,
    processes: Processes,
    without: int,
    source: Source,
) -> None:
    """Predict `q` cells by the nearest measurements, for `a` processes that hold the same ones.

    Args:
        mean: `(a, q)`, filled with what is expected.
        spread: `(a, q)`, filled with standard deviations.
        asked: the cells.
        rates: as of `search`.
        processes: what makes cells alike.
        without: as of `search`.
        source: the measurements.
    """
    cells, width, k = len(asked.sizes), asked.linear.shape[1], NEAREST
    places = np.empty((cells, k), dtype=np.int64)
    search(places, asked, rates, without, source.held)
    numbers = np.empty((8, _ROOM), dtype=np.int64)
    features = np.empty((2, _ROOM, width))
    chosen = _Chosen(numbers[0], numbers[1], numbers[2], numbers[3], features[0])
    usable = _Chosen(numbers[4], numbers[5], numbers[6], numbers[7], features[1])
    networks = _room(NETWORK_SIZES, NETWORK_NAMES)
    setups = _room(0, asked.names.shape[1] - NETWORK_NAMES)
    shapes = _room(CELL_SIZES - NETWORK_SIZES, 0)
    # Beside the covariances, what is to be whitened: those with the cell, and what was measured.
    matrix = np.empty((k, k + 2))
    named, values = CELL_SIZES + NETWORK_NAMES, source.values
    for at in range(cells):
        count, network_count, setup_count, shape_count = _gather(
            chosen, places[at], asked, at, source, networks, setups, shapes
        )
        linear = asked.linear[at]
        for one, (metric, slot) in enumerate(processes.told):
            by, laws, roots = processes.rates[one], processes.laws[one], processes.roots[one]
            variance, noise = processes.variances[one], processes.noises[one]
            _compare(networks, network_count, by[:NETWORK_SIZES], by[CELL_SIZES:named])
            _compare(setups, setup_count, by[:0], by[named:])
            _compare(shapes, shape_count, by[NETWORK_SIZES:CELL_SIZES], by[:0])
            some, n = chosen, count
            if not _all_count(chosen, count, values, metric, slot):
                some, n = usable, _keep(usable, chosen, count, values, metric, slot)
            _covary(matrix, n, some, networks.like, setups.like, shapes.like, variance, laws)
            usual = np.dot(some.features[:n], roots)
            for i in range(n):
                row = some.rows[i]
                matrix[i, i] += noise + values.doubt[row, metric]
                rest = values.z[row, metric] - source.shifted[values.path[row, metric]]
                matrix[i, n + 1] = rest - usual[i]
            whiten(matrix, n, n + 2, noise)
            centre = np.dot(linear, roots)
            left = variance + np.dot(linear * laws, linear)
            for i in range(n):
                centre += matrix[i, n] * matrix[i, n + 1]
                left -= matrix[i, n] * matrix[i, n]
            mean[one, at] = centre
            spread[one, at] = math.sqrt(max(left, 0.0) + noise)
