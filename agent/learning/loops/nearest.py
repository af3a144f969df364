"""The nearest of many measurements, and what a Gaussian process over them predicts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agent.learning.features import NETWORK_SIZES, PARTS, SIZES
from agent.learning.loops.compiled import (
    Flags,
    Floats,
    FloatTable,
    Integers,
    IntegerTable,
    Ints,
    IntTable,
    SingleTable,
    compiled,
    summed_in_any_order,
)
from agent.learning.loops.memory import Values
from agent.learning.memory import NAMES

EVENT, CELL, OLDER = range(3)
"""Of a measurement: its number, its cell, and the one before it of the same cell."""

NETWORK, WAY, NEWEST, BESIDE = range(4)
"""Of a cell: its lines, its newest measurement, and the cell of the same network before it."""

CELLS, LAST = range(2)
"""Of a network: how many cells it has, and the last of them."""

_SIZES, _NAMES, _NETWORK_NAMES = len(SIZES), len(NAMES) + len(PARTS), len(NAMES)
"""Of a cell, and of these its network's. Loops are faster for knowing beforehand how many."""

_MANY = 2
"""If more than one in so many cells has to be looked at, all are, in the order that they lie in."""

_HEADS = 12
"""Networks that are looked at first: most others are then seen to be too far."""


class Lines(NamedTuple):
    """Networks, or ways to run one: `(sizes, room)` and `(names, room)`, and how many there are."""

    sizes: SingleTable
    names: IntTable
    used: int


class Held(NamedTuple):
    """Measurements, and what they are of.

    Attributes:
        entries: a line for each measurement.
        first: the first that is still there.
        cells: a line for each different cell.
        cell_count: how many there are.
        last: a line for each network.
        networks: sizes and names of networks.
        ways: sizes and names of ways to run one, of which the first is the hardware.
    """

    entries: IntegerTable
    first: int
    cells: IntTable
    cell_count: int
    last: IntegerTable
    networks: Lines
    ways: Lines


class Asked(NamedTuple):
    """Cells: `(q, sizes)`, those of the network first; `(q, names)`, the same; `(q, WIDTH)`."""

    sizes: FloatTable
    names: IntTable
    linear: FloatTable


class Learnt(NamedTuple):
    """What makes cells alike, as in `exact.Hyperparameters`; `roots` are usual weights of laws."""

    variance: float
    noise: float
    rates: Floats
    laws: Floats
    roots: Floats


class Meant(NamedTuple):
    """Which measurements count: a column of the memory, a slot in it, and the oldest event."""

    metric: int
    slot: int
    oldest: int


class _Apart(NamedTuple):
    """How far networks and ways are from a cell."""

    by_network: Floats
    by_way: Floats


class _Best(NamedTuple):
    """The nearest so far: how far they are, nearer first, and their places, the later first."""

    fars: Floats
    places: Integers


class _Some(NamedTuple):
    """What predicts one cell, a line each.

    Attributes:
        sizes: of the cells.
        names: of the cells.
        features: of the law.
        rest: what was measured.
        doubt: its variance on top of what every measurement has.
    """

    sizes: FloatTable
    names: IntTable
    features: FloatTable
    rest: Floats
    doubt: Floats


@compiled
def _measure(far: Floats, size: Floats, name: Ints, rates: Floats, lines: Lines) -> None:
    """Find how far lines are from one of a size and a name."""
    count = lines.used
    far[:count] = 0.0
    for f in range(len(size)):
        rate, own, column = rates[f], size[f], lines.sizes[f]
        for i in range(count):
            far[i] += rate * abs(column[i] - own)
    for f in range(len(name)):
        rate, called, other = rates[len(size) + f], name[f], lines.names[f]
        for i in range(count):
            far[i] += rate if other[i] != called else 0.0


@compiled
def _insert(best: _Best, count: int, far: float, place: int) -> int:
    """Put a place among the nearest; return how many there are."""
    fars, places = best.fars, best.places
    at = min(count, len(fars) - 1)
    while at > 0 and (far < fars[at - 1] or (far == fars[at - 1] and place > places[at - 1])):
        fars[at], places[at] = fars[at - 1], places[at - 1]
        at -= 1
    fars[at], places[at] = far, place
    return min(count + 1, len(fars))


@compiled
def _take(
    best: _Best, count: int, far: float, place: int, entries: IntegerTable, first: int
) -> int:
    """Put the newest measurements of a cell among the nearest; return how many there are."""
    fars, places = best.fars, best.places
    last = len(fars) - 1
    while place >= first:
        if count > last and (far > fars[last] or (far == fars[last] and place < places[last])):
            break
        count = _insert(best, count, far, place)
        place = entries[place, OLDER]
    return count


@compiled
def _take_networks(best: _Best, count: int, networks: Integers, apart: _Apart, held: Held) -> int:
    """Put what was measured of networks among the nearest; return how many there are."""
    fars, by_network, by_way = best.fars, apart.by_network, apart.by_way
    cells, entries, first, most = held.cells, held.entries, held.first, len(best.fars)
    last = held.last
    for network in networks:
        cell, own = last[network, LAST], by_network[network]
        while cell >= 0:
            far = own + by_way[cells[cell, WAY]]
            if far < np.inf and (count < most or far <= fars[most - 1]):
                count = _take(best, count, far, cells[cell, NEWEST], entries, first)
            cell = cells[cell, BESIDE]
    return count


@compiled
def _take_all(best: _Best, count: int, met: Flags, apart: _Apart, held: Held) -> int:
    """Put what was measured of networks not met among the nearest; return how many there are."""
    fars, by_network, by_way = best.fars, apart.by_network, apart.by_way
    cells, entries, first, most = held.cells, held.entries, held.first, len(best.fars)
    for cell in range(held.cell_count):
        network = cells[cell, NETWORK]
        far = by_network[network] + by_way[cells[cell, WAY]]
        if far < np.inf and (count < most or far <= fars[most - 1]) and not met[network]:
            count = _take(best, count, far, cells[cell, NEWEST], entries, first)
    return count


@compiled
def _nearest(best: _Best, heads: Integers, met: Flags, apart: _Apart, held: Held) -> int:
    """Find the nearest of what was measured; return how many there are.

    Args:
        best: filled in.
        heads: the nearest networks.
        met: of all networks, false; it is so again in the end.
        apart: how far networks and ways are; infinite for what does not count.
        held: the measurements.
    """
    by_network, least = apart.by_network, np.inf
    for far in apart.by_way:
        least = min(least, far)
    if least == np.inf:
        return 0
    count = _take_networks(best, 0, heads, apart, held)
    met[heads] = True
    # What is left of the networks cannot be nearer than their own distance and the least of ways.
    reach = best.fars[-1] if count == len(best.fars) else np.inf
    networks, some, left, last = np.empty(len(met), dtype=np.int64), 0, 0, held.last
    for network in range(len(met)):
        if by_network[network] + least <= reach and not met[network]:
            networks[some] = network
            some += 1
            left += last[network, CELLS]
    if _MANY * left > held.cell_count:
        count = _take_all(best, count, met, apart, held)
    else:
        count = _take_networks(best, count, networks[:some], apart, held)
    met[heads] = False
    return count


@compiled
def _choose(own: Integers, best: _Best, count: int, by_way_here: Floats, held: Held) -> int:
    """Choose the first half of the nearest, and of the others those on the hardware.

    Return how many these are.
    """
    half, cells, entries = len(own) // 2, held.cells, held.entries
    kept = min(count, half)
    own[:kept] = best.places[:kept]
    here = 0
    for place in best.places[half:count]:
        if by_way_here[cells[entries[place, CELL], WAY]] < np.inf:
            own[kept + here] = place
            here += 1
    return here


@compiled
def _fill(own: Integers, kept: int, best: _Best, count: int, here: Floats, held: Held) -> None:
    """Fill up what was chosen by the nearest that are not on the hardware."""
    cells, entries = held.cells, held.entries
    for place in best.places[len(own) // 2 : count]:
        if kept < len(own) and here[cells[entries[place, CELL], WAY]] == np.inf:
            own[kept] = place
            kept += 1
    own[kept:] = -1
    own.sort()


@compiled
def _network_again(at: int, asked: Asked) -> bool:
    """Return whether a cell has the network of the one before."""
    if at == 0:
        return False
    same = (asked.sizes[at, :NETWORK_SIZES] == asked.sizes[at - 1, :NETWORK_SIZES]).all()
    names = asked.names[at, :_NETWORK_NAMES] == asked.names[at - 1, :_NETWORK_NAMES]
    return same and names.all()


@compiled
def _way_again(at: int, asked: Asked) -> bool:
    """Return whether a cell is run as the one before."""
    if at == 0:
        return False
    same = (asked.sizes[at, NETWORK_SIZES:] == asked.sizes[at - 1, NETWORK_SIZES:]).all()
    names = asked.names[at, _NETWORK_NAMES:] == asked.names[at - 1, _NETWORK_NAMES:]
    return same and names.all()


@compiled
def search(chosen: IntegerTable, asked: Asked, rates: Floats, without: int, held: Held) -> None:
    """Find what predicts cells: the nearest of all, and the nearest of their own hardware.

    Half are the nearest of all, the others those that come next on the hardware; where there are
    not as many on it, more of all.

    Args:
        chosen: `(q, k)`, filled with places of measurements, ascending; -1 where there is none.
        asked: the cells.
        rates: what a step in each size and what other names cost.
        without: a name of networks; those that have it in common do not count. -1 for none.
        held: the measurements.
    """
    k = chosen.shape[1]
    networks, ways = held.networks, held.ways
    names = _SIZES + _NETWORK_NAMES
    network_rates = np.concatenate((rates[:NETWORK_SIZES], rates[_SIZES:names]))
    way_rates = np.concatenate((rates[NETWORK_SIZES:_SIZES], rates[names:]))
    apart = _Apart(np.empty(networks.used), np.empty(ways.used))
    by_way_here, hardware, far_heads = np.empty(ways.used), ways.names[0], np.empty(_HEADS)
    here = _Apart(apart.by_network, by_way_here)
    cells, entries, network_names = held.cells, held.entries, networks.names
    heads = _Best(far_heads, np.empty(_HEADS, dtype=np.int64))
    best = _Best(np.empty(k), np.empty(k, dtype=np.int64))
    own = _Best(np.empty(k), np.empty(k, dtype=np.int64))
    met = np.zeros(networks.used, dtype=np.bool_)
    many = 0
    for at in range(len(chosen)):
        size, name = asked.sizes[at], asked.names[at]
        if not _network_again(at, asked):
            far = apart.by_network
            _measure(far, size[:NETWORK_SIZES], name[:_NETWORK_NAMES], network_rates, networks)
            many = 0
            for i in range(networks.used):
                if without >= 0 and network_names[without, i] == name[without]:
                    far[i] = np.inf
                if many < _HEADS or far[i] < far_heads[_HEADS - 1]:
                    many = _insert(heads, many, far[i], i)
        if not _way_again(at, asked):
            far = apart.by_way
            _measure(far, size[NETWORK_SIZES:], name[_NETWORK_NAMES:], way_rates, ways)
            for i in range(ways.used):
                by_way_here[i] = far[i] if hardware[i] == name[_NETWORK_NAMES] else np.inf
        count = _nearest(best, heads.places[:many], met, apart, held)
        line, kept = chosen[at], min(count, k // 2)
        found = _choose(line, best, count, by_way_here, held)
        if found < k - kept:
            own_count = _nearest(own, heads.places[:many], met, here, held)
            # Those that are among the first of all are the first of these.
            among = 0
            for place in best.places[:kept]:
                among += by_way_here[cells[entries[place, CELL], WAY]] < np.inf
            found = min(own_count - among, k // 2)
            line[kept : kept + found] = own.places[among : among + found]
        _fill(line, kept + found, best, count, by_way_here, held)


@compiled
def link(entries: IntegerTable, cells: IntTable, last: IntegerTable) -> None:
    """Find anew which measurement and which cell comes before which; no array has more room."""
    cells[:, NEWEST] = -1
    for place in range(len(entries)):
        cell = entries[place, CELL]
        entries[place, OLDER], cells[cell, NEWEST] = cells[cell, NEWEST], place
    last[:, CELLS], last[:, LAST] = 0, -1
    for cell in range(len(cells)):
        network = cells[cell, NETWORK]
        cells[cell, BESIDE], last[network, LAST] = last[network, LAST], cell
        last[network, CELLS] += 1


@compiled
def _gather(
    some: _Some, chosen: Integers, held: Held, values: Values, meant: Meant, shifted: Floats
) -> int:
    """Gather what is known of what was chosen and counts; return how much that is."""
    sizes, names, features, rest, doubt = some
    entries, cells, oldest = held.entries, held.cells, meant.oldest
    network_sizes, network_names = held.networks.sizes, held.networks.names
    way_sizes, way_names = held.ways.sizes, held.ways.names
    slots, z, linear, path, metric = (
        values.slot,
        values.z,
        values.linear,
        values.path,
        meant.metric,
    )
    doubts = values.doubt
    n = 0
    for place in chosen:
        if place < 0 or entries[place, EVENT] < oldest:
            continue
        row = entries[place, EVENT] % len(slots)
        if slots[row, metric] != meant.slot:
            continue
        network, way = cells[entries[place, CELL], NETWORK], cells[entries[place, CELL], WAY]
        sizes[n, :NETWORK_SIZES] = network_sizes[:, network]
        sizes[n, NETWORK_SIZES:] = way_sizes[:, way]
        names[n, :_NETWORK_NAMES] = network_names[:, network]
        names[n, _NETWORK_NAMES:] = way_names[:, way]
        features[n] = linear[row]
        rest[n] = z[row, metric] - shifted[path[row, metric]]
        doubt[n] = doubts[row, metric]
        n += 1
    return n


@summed_in_any_order
def _alike(
    matrix: FloatTable, count: int, some: _Some, size: Floats, name: Ints, learnt: Learnt
) -> None:
    """Find how alike lines are among each other, and in the last column but one, to a cell."""
    rates, sizes, names, variance = learnt.rates, some.sizes, some.names, learnt.variance
    for i in range(count):
        for j in range(i, count):
            apart = 0.0
            for f in range(_SIZES):
                apart += rates[f] * abs(sizes[i, f] - sizes[j, f])
            for f in range(_NAMES):
                apart += rates[_SIZES + f] if names[i, f] != names[j, f] else 0.0
            matrix[i, j] = variance * math.exp(-apart)
        apart = 0.0
        for f in range(_SIZES):
            apart += rates[f] * abs(sizes[i, f] - size[f])
        for f in range(_NAMES):
            apart += rates[_SIZES + f] if names[i, f] != name[f] else 0.0
        matrix[i, -2] = variance * math.exp(-apart)


@compiled
def _whiten(matrix: FloatTable, count: int, noise: float) -> None:
    """Whiten the last two columns by the others, of which those on and above the diagonal count.

    By Cholesky's decomposition, line by line. No measurement is surer than its noise, whatever is
    rounded.
    """
    last = matrix.shape[1] - 1
    for i in range(count):
        line = matrix[i]
        scale = 1.0 / math.sqrt(max(line[i], noise))
        for j in range(i, count):
            line[j] *= scale
        line[last - 1] *= scale
        line[last] *= scale
        for j in range(i + 1, count):
            below, weight = matrix[j], line[j]
            for other in range(j, count):
                below[other] -= weight * line[other]
            below[last - 1] -= weight * line[last - 1]
            below[last] -= weight * line[last]


@compiled
def tell(
    mean: Floats,
    spread: Floats,
    chosen: IntegerTable,
    asked: Asked,
    learnt: Learnt,
    held: Held,
    values: Values,
    meant: Meant,
    shifted: Floats,
) -> None:
    """Predict cells by a Gaussian process over what was chosen for each.

    Args:
        mean: `(q,)`, filled with what is expected.
        spread: `(q,)`, filled with standard deviations.
        chosen: `(q, k)` places of measurements; -1 where there is none.
        asked: the cells.
        learnt: what makes cells alike.
        held: the measurements.
        values: of the memory.
        meant: which of its measurements count.
        shifted: by rows of set-ups, how far they have shifted, which is not told.
    """
    k, roots, laws, noise = chosen.shape[1], learnt.roots, learnt.laws, learnt.noise
    features, rest, doubt = np.empty((k, len(roots))), np.empty(k), np.empty(k)
    some = _Some(
        np.empty((k, _SIZES)), np.empty((k, _NAMES), dtype=np.int32), features, rest, doubt
    )
    # Beside the covariances, what is to be whitened: those with the cell, and what was measured.
    matrix = np.empty((k, k + 2))
    for at in range(len(chosen)):
        linear = asked.linear[at]
        n = _gather(some, chosen[at], held, values, meant, shifted)
        _alike(matrix, n, some, asked.sizes[at], asked.names[at], learnt)
        law = features[:n] * laws
        among, to_cell = np.dot(law, features[:n].T), np.dot(law, linear)
        usual = np.dot(features[:n], roots)
        for i in range(n):
            for j in range(i, n):
                matrix[i, j] += among[i, j]
            matrix[i, i] += noise + doubt[i]
            matrix[i, k] += to_cell[i]
            matrix[i, k + 1] = rest[i] - usual[i]
        _whiten(matrix, n, noise)
        centre = np.dot(linear, roots)
        left = learnt.variance + np.dot(linear * laws, linear)
        for i in range(n):
            centre += matrix[i, k] * matrix[i, k + 1]
            left -= matrix[i, k] * matrix[i, k]
        mean[at] = centre
        spread[at] = math.sqrt(max(left, 0.0) + noise)
