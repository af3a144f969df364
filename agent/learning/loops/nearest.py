"""Which of many measurements are the nearest to cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.learning.exact import Cells
from agent.learning.features import NETWORK_SIZES
from agent.learning.loops.compiled import (
    Floats,
    Integers,
    IntegerTable,
    Ints,
    IntTable,
    SingleTable,
    compiled,
    natural,
)
from agent.learning.loops.gaussian import CELL_SIZES, NETWORK_NAMES

NEAREST = 32
"""Measurements that predict a cell."""

_LOOKED = 48
"""Nearest of all that are looked at: mostly there are enough of the hardware among them."""

ROW, OLDER, NETWORK, SETUP, SHAPE = range(5)
"""Of a measurement: its row in the memory, the one before it of the same cell, and its lines."""

OTHER, FORM, NEWEST = range(3)
"""Of a cell among those of a network: its set-up and its shape; among those of a set-up its network
and its shape; and its newest measurement, where it is looked for."""

START, COUNT, ROOM = range(3)
"""Of the cells of a network or a set-up: where they begin, how many there are, and for how many
there is room before those of another."""

_MANY_IN_ONE = 4
"""If no more than one in so many cells is of some set-ups, these are looked at sooner than most
networks."""

_HEADS = 12
"""Networks that are looked at first: most others are then seen to be too far."""

_POOL = 192
"""Cells among which the nearest are found at a time. (From 96 to 320 of them take as long.)"""

_REPEATS = 2
"""Newest measurements of a cell that predict another one: more would tell no more than these, and
stand in the way of other cells."""

_FINITE = 1e300
"""Farther than anything that counts."""

LEAST_ROOM = 4
"""Cells of a network or a set-up for which there is room at first."""


class Lines(NamedTuple):
    """Different parts of cells: `(sizes, room)` and `(names, room)`, and how many there are."""

    sizes: SingleTable
    names: IntTable
    used: int


class Groups(NamedTuple):
    """Cells, those of a network or of a set-up side by side.

    Attributes:
        cells: a line for each; room for others lies in between.
        spans: a line for each network or set-up.
    """

    cells: IntTable
    spans: IntegerTable


class Held(NamedTuple):
    """Measurements, and what they are of.

    Attributes:
        entries: a line for each measurement.
        first: the first that is still there.
        cell_count: how many different cells there are.
        of_networks: these, by networks.
        of_setups: the same, by set-ups.
        networks: their sizes and names.
        setups: names of set-ups, of which the first is the hardware.
        shapes: the other sizes.
    """

    entries: IntTable
    first: int
    cell_count: int
    of_networks: Groups
    of_setups: Groups
    networks: Lines
    setups: Lines
    shapes: Lines


class _Apart(NamedTuple):
    """How far networks, set-ups and shapes are from a cell."""

    by_network: Floats
    by_setup: Floats
    by_shape: Floats


class _Best(NamedTuple):
    """The nearest so far: how far they are, nearer first, and their places, the later first."""

    fars: Floats
    places: Integers


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


class _Pool(NamedTuple):
    """Cells that may be among the nearest: how far they are, and their newest measurements."""

    fars: Floats
    places: Integers


@compiled
def _insert(best: _Best, count: int, far: float, place: int) -> int:
    """Put a place among the nearest; return how many there are."""
    fars, places = best
    at = min(count, len(fars) - 1)
    while at > 0 and (far < fars[at - 1] or (far == fars[at - 1] and place > places[at - 1])):
        fars[at], places[at] = fars[at - 1], places[at - 1]
        at -= 1
    fars[at], places[at] = far, place
    return min(count + 1, len(fars))


@compiled
def _sift(pool: _Pool, count: int, most: int) -> tuple[int, float]:
    """Keep the nearest in a pool, in any order; return how many, and how far others may be.

    By Hoare's selection (1961). Of cells that are as far, those count whose newest measurements are
    later.
    """
    if count < most:
        return count, _FINITE
    fars, places = pool
    low, high = 0, count - 1
    while low < high:
        far, place = fars[(low + high) // 2], places[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while fars[i] < far or (fars[i] == far and places[i] > place):
                i += 1
            while fars[j] > far or (fars[j] == far and places[j] < place):
                j -= 1
            if i <= j:
                fars[i], fars[j] = fars[j], fars[i]
                places[i], places[j] = places[j], places[i]
                i += 1
                j -= 1
        if most - 1 <= j:
            high = j
        elif most - 1 >= i:
            low = i
        else:
            break
    return most, fars[most - 1]


@compiled
def _scan(
    pool: _Pool,
    count: int,
    reach: float,
    most: int,
    groups: Groups,
    part: int,
    own: float,
    by_other: Floats,
    by_shape: Floats,
    first: int,
) -> tuple[int, float]:
    """Put the cells of a network or a set-up into a pool, but for those that are too far.

    Args:
        pool: when it is full, all but the nearest leave it.
        count: how many are in it.
        reach: how far they may be.
        most: how many of the nearest matter.
        groups: cells by networks, or by set-ups.
        part: which network, or set-up.
        own: how far that is.
        by_other: how far set-ups are, or networks.
        by_shape: how far shapes are.
        first: the first measurement that is still there.

    Returns:
        How many are in the pool, and how far others may be.
    """
    fars, places, cells = pool.fars, pool.places, groups.cells
    start = groups.spans[part, START]
    end = start + groups.spans[part, COUNT]
    while start < end:
        if count == len(fars):
            count, reach = _sift(pool, count, most)
        stop = min(end, start + len(fars) - count)
        for cell in range(start, stop):
            line = natural(cell)
            other, form = natural(cells[line, OTHER]), natural(cells[line, FORM])
            far, newest = own + by_other[other] + by_shape[form], cells[line, NEWEST]
            # All are put behind the last, and stay there if they count: a branch for each would be
            # guessed wrong too often.
            fars[natural(count)], places[natural(count)] = far, newest
            count += (far <= reach) & (newest >= first)
        start = stop
    return count, reach


@compiled
def _measured_in(best: _Best, pool: _Pool, count: int, held: Held) -> int:
    """Put the measurements of the cells in a pool among the nearest; return how many there are."""
    fars, places = best
    count, _ = _sift(pool, count, len(fars))
    found, last = 0, len(fars) - 1
    for at in range(count):
        far, place = pool.fars[at], pool.places[at]
        # Of the cell itself, all of them count: they say how far one of them is to be believed.
        for _ in range(last + 1 if far == 0.0 else _REPEATS):
            if place < held.first:
                break
            if found > last and (far > fars[last] or (far == fars[last] and place < places[last])):
                break
            found = _insert(best, found, far, place)
            place = int(held.entries[place, OLDER])
    return found


@compiled
def _least(values: Floats) -> float:
    """Return the least of values, infinite if there are none."""
    least = np.inf
    for value in values:
        least = min(least, value)
    return least


@compiled
def _nearest(best: _Best, pool: _Pool, heads: _Best, apart: _Apart, held: Held) -> int:
    """Find the nearest of what was measured; return how many there are.

    Args:
        best: filled in.
        pool: used for it.
        heads: the nearest networks.
        apart: how far parts of cells are; infinite for what does not count.
        held: the measurements.
    """
    by_network, by_setup, by_shape = apart
    of_networks, of_setups, first = held.of_networks, held.of_setups, held.first
    least, most = _least(by_setup) + _least(by_shape), len(best.fars)
    if least == np.inf:
        return 0
    count, reach = 0, _FINITE
    for network in heads.places:
        if by_network[network] + least <= reach:
            count, reach = _scan(
                pool,
                count,
                reach,
                most,
                of_networks,
                network,
                by_network[network],
                by_setup,
                by_shape,
                first,
            )
    # What was looked at is out of reach until the end.
    by_network[heads.places] = np.inf
    # Networks that are alike were mostly measured in other set-ups: what was measured in the
    # nearest of these says better how far one has to look.
    setup = int(np.argmin(by_setup))
    setup_far = by_setup[setup]
    if _MANY_IN_ONE * of_setups.spans[setup, COUNT] <= held.cell_count:
        count, reach = _scan(
            pool, count, reach, most, of_setups, setup, setup_far, by_network, by_shape, first
        )
        by_setup[setup] = np.inf
    count, reach = _sift(pool, count, most)
    # What is left of the networks cannot be nearer than their own distance and the least of others.
    for network, own in enumerate(by_network):
        if own + least <= reach:
            count, reach = _scan(
                pool, count, reach, most, of_networks, network, own, by_setup, by_shape, first
            )
    by_network[heads.places], by_setup[setup] = heads.fars, setup_far
    return _measured_in(best, pool, count, held)


@compiled
def _nearest_in(best: _Best, pool: _Pool, apart: _Apart, held: Held) -> int:
    """Find the nearest of what was measured in set-ups that count; return how many there are."""
    count, reach = 0, _FINITE
    for setup, own in enumerate(apart.by_setup):
        if own <= reach:
            count, reach = _scan(
                pool,
                count,
                reach,
                len(best.fars),
                held.of_setups,
                setup,
                own,
                apart.by_network,
                apart.by_shape,
                held.first,
            )
    return _measured_in(best, pool, count, held)


@compiled
def _cells_in(by_setup: Floats, held: Held) -> int:
    """Return how many cells the set-ups that count have."""
    count, spans = 0, held.of_setups.spans
    for setup, far in enumerate(by_setup):
        count += spans[setup, COUNT] if far < np.inf else 0
    return count


@compiled
def _choose(own: Integers, best: _Best, count: int, here: Floats, entries: IntTable) -> int:
    """Choose the first half of the nearest, and of the others those on the hardware.

    Return how many these are.
    """
    half = len(own) // 2
    kept = min(count, half)
    own[:kept] = best.places[:kept]
    found = 0
    for place in best.places[half:count]:
        if found < half and here[entries[place, SETUP]] < np.inf:
            own[kept + found] = place
            found += 1
    return found


@compiled
def _fill(
    own: Integers, kept: int, best: _Best, count: int, here: Floats, entries: IntTable
) -> None:
    """Fill up what was chosen by the nearest that are not on the hardware."""
    for place in best.places[len(own) // 2 : count]:
        if kept < len(own) and here[entries[place, SETUP]] == np.inf:
            own[kept] = place
            kept += 1
    own[kept:] = -1
    own.sort()


@compiled
def _network_again(at: int, asked: Cells) -> bool:
    """Return whether a cell has the network of the one before."""
    if at == 0:
        return False
    same = (asked.sizes[at, :NETWORK_SIZES] == asked.sizes[at - 1, :NETWORK_SIZES]).all()
    names = asked.names[at, :NETWORK_NAMES] == asked.names[at - 1, :NETWORK_NAMES]
    return same and names.all()


@compiled
def _shape_again(at: int, asked: Cells) -> bool:
    """Return whether a cell has the shape of the one before."""
    sizes = asked.sizes
    return at > 0 and (sizes[at, NETWORK_SIZES:] == sizes[at - 1, NETWORK_SIZES:]).all()


@compiled
def _setup_again(at: int, asked: Cells) -> bool:
    """Return whether a cell has the set-up of the one before."""
    names = asked.names
    return at > 0 and (names[at, NETWORK_NAMES:] == names[at - 1, NETWORK_NAMES:]).all()


@compiled
def _room(count: int) -> _Best:
    """Return room for so many."""
    return _Best(np.empty(count), np.empty(count, dtype=np.int64))


@compiled
def _first(heads: _Best, by_network: Floats) -> None:
    """Find the nearest networks."""
    many, fars = 0, heads.fars
    for network, far in enumerate(by_network):
        if many < len(fars) or far < fars[-1]:
            many = _insert(heads, many, far, network)


@compiled
def search(chosen: IntegerTable, asked: Cells, rates: Floats, without: int, held: Held) -> None:
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
    networks, setups, shapes = held.networks, held.setups, held.shapes
    named = CELL_SIZES + NETWORK_NAMES
    network_rates = np.concatenate((rates[:NETWORK_SIZES], rates[CELL_SIZES:named]))
    shape_rates, setup_rates = rates[NETWORK_SIZES:CELL_SIZES], rates[named:]
    by_network, by_setup, here = (
        np.empty(networks.used),
        np.empty(setups.used),
        np.empty(setups.used),
    )
    by_shape, hardware = np.empty(shapes.used), setups.names[0]
    apart = _Apart(by_network, by_setup, by_shape)
    apart_here = _Apart(by_network, here, by_shape)
    heads, looked = _room(min(_HEADS, networks.used)), max(k, _LOOKED)
    best, own, entries = _room(looked), _room(k), held.entries
    pool = _Pool(np.empty(_POOL), np.empty(_POOL, dtype=np.int64))
    for at in range(len(chosen)):
        size, name = asked.sizes[at], asked.names[at]
        own_name = name[:NETWORK_NAMES]
        if not _network_again(at, asked):
            _measure(by_network, size[:NETWORK_SIZES], own_name, network_rates, networks)
            if without >= 0:
                by_network[networks.names[without, : networks.used] == name[without]] = np.inf
            _first(heads, by_network)
        if not _shape_again(at, asked):
            _measure(by_shape, size[NETWORK_SIZES:], name[:0], shape_rates, shapes)
        if not _setup_again(at, asked):
            _measure(by_setup, size[:0], name[NETWORK_NAMES:], setup_rates, setups)
            for i in range(setups.used):
                here[i] = by_setup[i] if hardware[i] == name[NETWORK_NAMES] else np.inf
        count = _nearest(best, pool, heads, apart, held)
        line, kept = chosen[at], min(count, k // 2)
        found = _choose(line, best, count, here, entries)
        if found < k // 2 and count == looked:
            if _MANY_IN_ONE * _cells_in(here, held) <= held.cell_count:
                own_count = _nearest_in(own, pool, apart_here, held)
            else:
                own_count = _nearest(own, pool, heads, apart_here, held)
            # Those that are among the first of all are the first of these.
            among = 0
            for place in best.places[:kept]:
                among += here[entries[place, SETUP]] < np.inf
            found = min(own_count - among, k // 2)
            line[kept : kept + found] = own.places[among : among + found]
        _fill(line, kept + found, best, count, here, entries)


@compiled
def note(
    place: int, row: int, cell: Ints, entries: IntTable, of_networks: Groups, of_setups: Groups
) -> None:
    """Put a measurement, in a row of the memory, at its place, as the newest of its cell.

    Args:
        place: of the measurement.
        row: of the memory.
        cell: its network, set-up and shape, and which it is of its network, and of its set-up.
        entries: of measurements.
        of_networks: cells.
        of_setups: the same.
    """
    network, setup, shape, in_network, in_setup = cell
    older = -1
    for groups, part, at in ((of_networks, network, in_network), (of_setups, setup, in_setup)):
        line = groups.cells[groups.spans[part, START] + at]
        older = line[NEWEST]
        line[NEWEST] = place
    entry = entries[place]
    entry[ROW], entry[OLDER] = row, older
    entry[NETWORK], entry[SETUP], entry[SHAPE] = network, setup, shape


@compiled
def enter(groups: Groups, end: int, part: int, other: int, form: int) -> int:
    """Put a cell, not measured so far, behind those of its network or its set-up.

    Args:
        groups: has room behind `end` for twice as many as any has, and a few more.
        end: where room begins that is nobody's.
        part: the network, or the set-up.
        other: the set-up, or the network.
        form: the shape.

    Returns:
        Where it begins now.
    """
    span, cells = groups.spans[part], groups.cells
    if span[COUNT] == span[ROOM]:
        room = max(LEAST_ROOM, 2 * span[ROOM])
        for at in range(span[COUNT]):
            cells[end + at] = cells[span[START] + at]
        span[START], span[ROOM] = end, room
        end += room
    line = cells[span[START] + span[COUNT]]
    line[OTHER], line[FORM], line[NEWEST] = other, form, -1
    span[COUNT] += 1
    return end


@compiled
def link(
    rows: Ints,
    numbers: Integers,
    cells: IntTable,
    entries: IntTable,
    of_networks: Groups,
    of_setups: Groups,
) -> None:
    """Put measurements of cells that were not measured so far at the first places, in this order.

    Args:
        rows: of the memory.
        numbers: of the cells.
        cells: a line for each, as `note` takes it.
        entries: as of `note`.
        of_networks: the same.
        of_setups: the same.
    """
    for place, row in enumerate(rows):
        note(place, row, cells[numbers[place]], entries, of_networks, of_setups)
