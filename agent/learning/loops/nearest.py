"""Which of many measurements are the nearest to cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.learning.exact import Cells
from agent.learning.features import NETWORK_SIZES
from agent.learning.loops.compiled import (
    Flags,
    Floats,
    Integers,
    IntegerTable,
    Ints,
    IntTable,
    SingleTable,
    compiled,
)
from agent.learning.loops.gaussian import CELL_SIZES, NETWORK_NAMES

NEAREST = 32
"""Measurements that predict a cell."""

_LOOKED = 48
"""Nearest of all that are looked at: mostly there are enough of the hardware among them."""

ROW, OLDER, NETWORK, SETUP, SHAPE = range(5)
"""Of a measurement: its row in the memory, the one before it of the same cell, and its lines."""

OTHER, FORM, NEWEST, BEFORE = range(4)
"""Of a cell among those of a network: its set-up and its shape; among those of a set-up its network
and its shape; and its newest measurement and the one before that, where they are looked for."""

START, COUNT, ROOM = range(3)
"""Of the cells of a network or a set-up: where they begin, how many there are, and for how many
there is room before those of another."""

_FEW = 512
"""Cells of a hardware that are all looked at, sooner than among all networks."""

_MANY_IN_ONE = 4
"""If no more than one in so many cells is of the nearest set-up, these are looked at first."""

_HEADS = 12
"""Networks that are looked at first: most others are then seen to be too far."""

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
def _take(best: _Best, count: int, far: float, cell: Ints, entries: IntTable, first: int) -> int:
    """Put the newest measurements of a cell among the nearest; return how many there are."""
    fars, places = best
    last, place, older = len(fars) - 1, int(cell[NEWEST]), int(cell[BEFORE])
    while place >= first:
        if count > last and (far > fars[last] or (far == fars[last] and place < places[last])):
            break
        count = _insert(best, count, far, place)
        place = older
        if place >= first:
            older = int(entries[place, OLDER])
    return count


@compiled
def _take_networks(
    best: _Best,
    count: int,
    networks: Integers,
    done: int,
    apart: _Apart,
    least: float,
    held: Held,
) -> int:
    """Put what was measured of networks among the nearest; return how many there are.

    Passed over are networks that with the `least` distance of set-ups and shapes are too far, and
    the set-up that is `done`.
    """
    fars, most, cells, spans = (
        best.fars,
        len(best.fars),
        held.of_networks.cells,
        held.of_networks.spans,
    )
    by_network, by_setup, by_shape = apart
    for network in networks:
        own = by_network[network]
        if count == most and own + least > fars[most - 1]:
            continue
        start = spans[network, START]
        for cell in range(start, start + spans[network, COUNT]):
            setup = cells[cell, OTHER]
            far = own + by_setup[setup] + by_shape[cells[cell, FORM]]
            nearer = far < np.inf and (count < most or far <= fars[most - 1])
            if nearer and setup != done:
                count = _take(best, count, far, cells[cell], held.entries, held.first)
    return count


@compiled
def _take_setup(best: _Best, count: int, setup: int, met: Flags, apart: _Apart, held: Held) -> int:
    """Put what was measured in a set-up, of networks not met, among the nearest.

    Return how many there are.
    """
    fars, most, own = best.fars, len(best.fars), apart.by_setup[setup]
    by_network, by_shape = apart.by_network, apart.by_shape
    cells, start = held.of_setups.cells, held.of_setups.spans[setup, START]
    for cell in range(start, start + held.of_setups.spans[setup, COUNT]):
        network = cells[cell, OTHER]
        far = by_network[network] + own + by_shape[cells[cell, FORM]]
        nearer = far < np.inf and (count < most or far <= fars[most - 1])
        if nearer and not met[network]:
            count = _take(best, count, far, cells[cell], held.entries, held.first)
    return count


@compiled
def _take_setups(best: _Best, met: Flags, apart: _Apart, held: Held) -> int:
    """Put what was measured in set-ups that count, of networks not met, among the nearest.

    Return how many there are.
    """
    count = 0
    for setup, own in enumerate(apart.by_setup):
        if own < np.inf:
            count = _take_setup(best, count, setup, met, apart, held)
    return count


@compiled
def _cells_in(by_setup: Floats, held: Held) -> int:
    """Return how many cells the set-ups that count have."""
    count, spans = 0, held.of_setups.spans
    for setup, far in enumerate(by_setup):
        count += spans[setup, COUNT] if far < np.inf else 0
    return count


@compiled
def _least(values: Floats) -> float:
    """Return the least of values, infinite if there are none."""
    least = np.inf
    for value in values:
        least = min(least, value)
    return least


@compiled
def _nearest(best: _Best, heads: Integers, met: Flags, apart: _Apart, held: Held) -> int:
    """Find the nearest of what was measured; return how many there are.

    Args:
        best: filled in.
        heads: the nearest networks, nearest first.
        met: of all networks, false; it is so again in the end.
        apart: how far parts of cells are; infinite for what does not count.
        held: the measurements.
    """
    least = _least(apart.by_setup) + _least(apart.by_shape)
    if least == np.inf:
        return 0
    count, done = _take_networks(best, 0, heads, -1, apart, least, held), -1
    met[heads] = True
    # Networks that are alike were mostly measured in other set-ups: what was measured in the
    # nearest of these says better how far one has to look.
    setup = int(np.argmin(apart.by_setup))
    if _MANY_IN_ONE * held.of_setups.spans[setup, COUNT] <= held.cell_count:
        count, done = _take_setup(best, count, setup, met, apart, held), setup
    # What is left of the networks cannot be nearer than their own distance and the least of others.
    reach = best.fars[-1] if count == len(best.fars) else np.inf
    networks, some = np.empty(len(met), dtype=np.int64), 0
    for network, own in enumerate(apart.by_network):
        if own + least <= reach and not met[network]:
            networks[some] = network
            some += 1
    met[heads] = False
    return _take_networks(best, count, networks[:some], done, apart, least, held)


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
def _first(heads: _Best, by_network: Floats) -> int:
    """Find the nearest networks; return how many."""
    many, fars = 0, heads.fars
    for network, far in enumerate(by_network):
        if many < _HEADS or far < fars[_HEADS - 1]:
            many = _insert(heads, many, far, network)
    return many


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
    heads, looked = _room(_HEADS), max(k, _LOOKED)
    best, own = _room(looked), _room(k)
    met, many, entries = np.zeros(networks.used, dtype=np.bool_), 0, held.entries
    for at in range(len(chosen)):
        size, name = asked.sizes[at], asked.names[at]
        own_name = name[:NETWORK_NAMES]
        if not _network_again(at, asked):
            _measure(by_network, size[:NETWORK_SIZES], own_name, network_rates, networks)
            if without >= 0:
                by_network[networks.names[without, : networks.used] == name[without]] = np.inf
            many = _first(heads, by_network)
        if not _shape_again(at, asked):
            _measure(by_shape, size[NETWORK_SIZES:], name[:0], shape_rates, shapes)
        if not _setup_again(at, asked):
            _measure(by_setup, size[:0], name[NETWORK_NAMES:], setup_rates, setups)
            for i in range(setups.used):
                here[i] = by_setup[i] if hardware[i] == name[NETWORK_NAMES] else np.inf
        count = _nearest(best, heads.places[:many], met, apart, held)
        line, kept = chosen[at], min(count, k // 2)
        found = _choose(line, best, count, here, entries)
        if found < k // 2 and count == looked:
            if _cells_in(here, held) <= _FEW:
                own_count = _take_setups(own, met, apart_here, held)
            else:
                own_count = _nearest(own, heads.places[:many], met, apart_here, held)
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
        line[NEWEST], line[BEFORE] = place, older
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
    line[OTHER], line[FORM], line[NEWEST], line[BEFORE] = other, form, -1, -1
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
