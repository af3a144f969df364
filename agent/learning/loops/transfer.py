"""What cells take over from the measurements that are kept near them, in whatever set-up."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agent.learning.features import NAMES, NETWORK_SIZES, SIZES
from agent.learning.loops.compiled import (
    Floats,
    FloatTable,
    IntegerCube,
    Integers,
    IntegerTable,
    IntLine,
    IntTable,
    SingleLine,
    SingleTable,
    compiled,
)
from agent.learning.loops.gaussian import whiten
from agent.learning.loops.memory import Kept, Values
from agent.learning.loops.pairs import BASE, SEEN, SLOPE, VARIANCE, Pairs, find
from agent.learning.memory import BREADTH

_SIZES, _NAMES = len(SIZES), len(NAMES)

_REASONS = 2 + _NAMES + 1
"""For which measurements may differ: the network's sizes, the others, each name, the set-up."""

_FARTHEST = -30.0
"""Log likeness below which nothing is more unlike than anything else."""

_LEAST = 1e-8


class Likeness(NamedTuple):
    """A sum of products.

    Attributes:
        falls: `(products, reasons)`, how fast each falls.
        variances: of each.
    """

    falls: FloatTable
    variances: Floats


class Ways(NamedTuple):
    """How set-ups are taken to differ; see `transfer.Kinship`.

    Attributes:
        weights: of the squares of differences in sizes.
        common: likeness in one set-up.
        deviation: how alike set-ups deviate.
        noise: variance of one measurement.
        alone: as there.
        names: as there.
        seen: as there.
        offsets: as there.
    """

    weights: Floats
    common: Likeness
    deviation: Likeness
    noise: float
    alone: float
    names: float
    seen: float
    offsets: float


class Wanted(NamedTuple):
    """What is to be predicted of `n` cells, for `m` metrics.

    Attributes:
        metrics: `(m,)` columns of the memory.
        slots: `(n, m)`, of the metrics' units.
        paths: `(n, m, 3)` rows, of which the last are their set-ups'; 0 for what nobody knows.
        law: `(n, m)`, what the laws say of the cells.
        offset: `(n, m)`, how far their set-ups stay from that.
        offsets: of all rows of set-ups.
    """

    metrics: Integers
    slots: IntegerTable
    paths: IntegerCube
    law: FloatTable
    offset: FloatTable
    offsets: Floats


class Asked(NamedTuple):
    """The cells.

    Attributes:
        near: `(q,)` rows of the memory that may be like cells.
        near_cells: `(q,)`, which cells, ascending.
        sizes: `(n, sizes)`, as the memory keeps them.
        names: `(n, names)`; those of networks come first.
        places: `(n,)` of their set-ups in `Kept.apart`; -1 - i for one that lies in `strange[i]`.
        strange: how far set-ups that nobody knows are from others.
        wanted: what is to be predicted.
    """

    near: Integers
    near_cells: Integers
    sizes: SingleTable
    names: IntTable
    places: Integers
    strange: SingleTable
    wanted: Wanted


class Carried(NamedTuple):
    """What is taken over.

    Attributes:
        expected: `(n, m)` residuals beyond the law and the offsets of the cells.
        spread: `(n, m)`, the standard deviation that remains.
        varied: `(n, m)`, variance of what was measured of the cells themselves.
    """

    expected: FloatTable
    spread: FloatTable
    varied: FloatTable


class _Near(NamedTuple):
    """What is found of rows near one cell.

    Attributes:
        rows: of the memory.
        like: how alike they are to the cell, but for their set-ups.
        foretold: what names let expect of how their set-ups vary from the cell's.
        variance: the same, by what was seen as well.
        worth: how much they tell.
    """

    rows: Integers
    like: Floats
    foretold: Floats
    variance: Floats
    worth: Floats


@compiled
def _differ(
    reasons: Floats,
    weights: Floats,
    size: SingleLine,
    name: IntLine,
    other_size: SingleLine,
    other_name: IntLine,
    setups: float,
) -> None:
    """Find by how much two measurements differ, for each reason."""
    network, shape = 0.0, 0.0
    for f in range(NETWORK_SIZES):
        apart = size[f] - other_size[f]
        network += weights[f] * apart * apart
    for f in range(NETWORK_SIZES, _SIZES):
        apart = size[f] - other_size[f]
        shape += weights[f] * apart * apart
    reasons[0], reasons[1] = math.sqrt(network), math.sqrt(shape)
    for f in range(_NAMES):
        reasons[2 + f] = 1.0 if name[f] != other_name[f] else 0.0
    reasons[-1] = setups


@compiled
def _alike(likeness: Likeness, reasons: Floats) -> float:
    """Return how alike two measurements are that differ so much."""
    like, falls, variances = 0.0, likeness.falls, likeness.variances
    for one in range(len(variances)):
        fall = 0.0
        for f in range(_REASONS):
            fall -= falls[one, f] * reasons[f]
        like += variances[one] * math.exp(max(fall, _FARTHEST))
    return like


@compiled
def _variance(foretold: float, here: int, there: int, pairs: Pairs, ways: Ways) -> float:
    """Return how one set-up varies from another, by what names let expect and what was seen."""
    pair = find(pairs, here, there) if here > 0 else 0
    count = max(pairs.found[pair, SEEN] - 1.0, 0.0) if pair > 0 else 0.0
    logs = ways.names * math.log(foretold + _LEAST)
    if count > 0.0:
        logs += count * math.log(ways.seen * (pairs.found[pair, VARIANCE] + _LEAST))
    return math.exp(logs / (ways.names + count))


@compiled
def _look(
    near: _Near, asked: Asked, cell: int, kept: Kept, values: Values, pairs: Pairs, ways: Ways
) -> None:
    """Find how much rows tell of a cell."""
    reasons, place, weights = np.empty(_REASONS), asked.places[cell], ways.weights
    common, deviation = ways.common.variances.sum(), ways.deviation.variances.sum()
    size, name, here = asked.sizes[cell], asked.names[cell], asked.wanted.paths[cell, 0, 2]
    sizes, names, setups, paths = kept.sizes, kept.names, kept.setup, values.path
    metric, likeness = asked.wanted.metrics[0], ways.common
    apart = kept.apart[place] if place >= 0 else asked.strange[-1 - place]
    rows, likes, foretold, variances, worth = near
    # Many rows are of few set-ups: what those come to is found once.
    met, of_met = np.full(len(apart), -1, dtype=np.int64), np.zeros(len(apart))
    for i, row in enumerate(rows):
        setup, path = setups[row], paths[row, metric]
        far = apart[setup]
        _differ(reasons, weights, size, name, sizes[row], names[row], far)
        like, variance = _alike(likeness, reasons), 0.0
        if far > 0.0:
            if met[setup] != path:
                met[setup], of_met[setup] = path, _variance(far, here, path, pairs, ways)
            variance = of_met[setup]
        likes[i], foretold[i], variances[i] = like, far, variance
        worth[i] = like * like / (common + deviation * variance)


@compiled
def _rank(chosen: Integers, near: _Near, values: Values, metric: int, slot: int) -> int:
    """Choose the rows of most worth that have a slot, of equals the later; return how many."""
    count, most, slots, worth = 0, len(chosen), values.slot, near.worth
    for i, row in enumerate(near.rows):
        if slots[row, metric] != slot:
            continue
        if count == most and worth[i] < worth[chosen[most - 1]]:
            continue
        at = min(count, most - 1)
        while at > 0 and worth[i] >= worth[chosen[at - 1]]:
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = i
        count = min(count + 1, most)
    return count


@compiled
def _serve(chosen: Integers, near: _Near, values: Values, metric: int, slot: int) -> bool:
    """Return whether all that were chosen have a slot."""
    slots, rows = values.slot, near.rows
    for i in chosen:
        if slots[rows[i], metric] != slot:
            return False
    return True


@compiled
def _usable(near: _Near, values: Values, metric: int, slot: int) -> int:
    """Return how many rows have a slot."""
    count, slots = 0, values.slot
    for row in near.rows:
        count += slots[row, metric] == slot
    return count


@compiled
def _solve(right: Floats, matrix: FloatTable, least: float) -> float:
    """Solve for the column behind a square; return its product with the solution.

    Args:
        right: filled with the solution.
        matrix: the square and that column, as of `whiten`, which is written over.
        least: as of `whiten`.
    """
    explained, count = 0.0, len(right)
    whiten(matrix, count, count + 1, least)
    for i in range(count):
        explained += matrix[i, count] * matrix[i, count]
    for i in range(count - 1, -1, -1):
        right[i] = matrix[i, count]
        for j in range(i + 1, count):
            right[i] -= matrix[i, j] * right[j]
        right[i] /= matrix[i, i]
    return explained


@compiled
def _weigh(
    weights: Floats,
    matrix: FloatTable,
    chosen: Integers,
    near: _Near,
    kept: Kept,
    values: Values,
    metric: int,
    ways: Ways,
) -> float:
    """Fill in the weights of what was chosen; return the variance that they leave."""
    reasons, by_size = np.empty(_REASONS), ways.weights
    common, deviation = ways.common, ways.deviation
    whole = common.variances.sum() + ways.noise
    own = (1.0 + ways.alone) * deviation.variances.sum()
    sizes, names, setups, far = kept.sizes, kept.names, kept.setup, kept.apart
    rows, like, foretold, variance, _ = near
    doubts = values.doubt
    for i, a in enumerate(chosen):
        row = rows[a]
        scale = math.sqrt(variance[a] / max(foretold[a], _LEAST))
        for j, b in enumerate(chosen[:i]):
            other = rows[b]
            apart = far[setups[row], setups[other]]
            _differ(reasons, by_size, sizes[row], names[row], sizes[other], names[other], apart)
            # By the law of cosines: parts that differ from the cell's in both, and are alike.
            shared = 0.5 * (foretold[a] + foretold[b] - apart) * scale
            shared *= math.sqrt(variance[b] / max(foretold[b], _LEAST))
            matrix[j, i] = _alike(common, reasons)
            if shared != 0.0:
                matrix[j, i] += shared * _alike(deviation, reasons)
        matrix[i, i] = whole + own * variance[a] + doubts[row, metric]
        matrix[i, len(chosen)] = like[a]
    return whole - _solve(weights, matrix, ways.noise)


@compiled
def _rest(
    row: int, wanted: Wanted, cell: int, at: int, values: Values, pairs: Pairs, ways: Ways
) -> float:
    """Return what a row would leave of the law and the offset in the set-up of a cell."""
    metric, here = wanted.metrics[at], wanted.paths[cell, at, 2]
    rest, there = values.rest[row, metric], values.path[row, metric]
    pair = find(pairs, here, there) if here > 0 and here != there else 0
    trust, carried = 0.0, 0.0
    if pair > 0:
        found = pairs.found[pair]
        trust = found[SEEN] / (found[SEEN] + ways.offsets)
        base = found[BASE] if here < there else -found[BASE]
        by_law = wanted.law[cell, at] - (values.z[row, metric] - rest)
        carried = base + (found[SLOPE] - 1.0) * by_law - wanted.offset[cell, at]
    return rest + trust * carried - (1.0 - trust) * wanted.offsets[there]


@compiled
def _varied(near: _Near, whole: float, values: Values, metric: int, slot: int) -> float:
    """Return the variance of what was measured of a cell itself; `whole` is perfect likeness.

    As if it had been measured twice more, without any: two that differ may do so by chance.
    """
    count, mean, squares = 0, 0.0, 0.0
    for i, row in enumerate(near.rows):
        same = near.foretold[i] == 0.0 and near.like[i] >= whole
        if same and values.slot[row, metric] == slot:
            count += 1
            apart = values.z[row, metric] - mean
            mean += apart / count
            squares += apart * (values.z[row, metric] - mean) + values.doubt[row, metric]
    return squares / (count + 1.0) if count > 1 else 0.0


@compiled
def carry(
    carried: Carried,
    nearest: int,
    asked: Asked,
    kept: Kept,
    values: Values,
    pairs: Pairs,
    ways: Ways,
) -> None:
    """Predict `n` cells by what was measured near them in any set-up.

    What is chosen for the first metric serves the others as well where they were measured, too.

    Args:
        carried: filled in.
        nearest: how many measurements predict a cell.
        asked: the cells.
        kept: of the memory.
        values: of the memory.
        pairs: how set-ups differ.
        ways: the same, by their names.
    """
    numbers = np.empty((4, BREADTH))
    first, chosen = np.empty(nearest, dtype=np.int64), np.empty(nearest, dtype=np.int64)
    matrix, weights = np.empty((nearest, nearest + 1)), np.empty(nearest)
    start, whole = 0, (1.0 - 1e-9) * ways.common.variances.sum()
    for cell in range(len(carried.expected)):
        end = start
        while end < len(asked.near) and asked.near_cells[end] == cell:
            end += 1
        rows = asked.near[start:end]
        near = _Near(rows, numbers[0], numbers[1], numbers[2], numbers[3])
        _look(near, asked, cell, kept, values, pairs, ways)
        start, left, count, many, usable, stands = end, 0.0, 0, 0, 0, False
        for at, metric in enumerate(asked.wanted.metrics):
            slot = asked.wanted.slots[cell, at]
            have = _usable(near, values, metric, slot)
            same = at > 0 and have <= 1.1 * usable + 1.0
            same = same and _serve(first[:many], near, values, metric, slot)
            if not (same and stands):
                if same:
                    count = many
                    chosen[:count] = first[:count]
                else:
                    count = _rank(chosen, near, values, metric, slot)
                if at == 0:
                    many, usable = count, have
                    first[:count] = chosen[:count]
                left = _weigh(
                    weights[:count],
                    matrix,
                    chosen[:count],
                    near,
                    kept,
                    values,
                    metric,
                    ways,
                )
                stands = same or at == 0
            total = 0.0
            for i in range(count):
                row = near.rows[chosen[i]]
                total += weights[i] * _rest(row, asked.wanted, cell, at, values, pairs, ways)
            carried.expected[cell, at] = total
            carried.spread[cell, at] = math.sqrt(max(left, ways.noise))
            carried.varied[cell, at] = _varied(near, whole, values, metric, slot)
