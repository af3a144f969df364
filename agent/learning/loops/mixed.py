"""Sums that a linear mixed model is fitted to, and the offsets that fit them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.learning.loops.compiled import (
    FloatCube,
    Floats,
    FloatTable,
    IntegerCube,
    Integers,
    compiled,
)

_SHARE_AFTER = 100.0
"""Events of one offset after which its further events count less and less for the weights: the
law is to hold for the next set-up, and not for the one that was measured most."""

_MEMORY = 1.0 - 1.0 / 400.0
"""What an offset keeps of its past with every event, so that it follows slow change."""

_NETWORK_SHARE = 0.9
"""Of the variance of one event, what its network brings, and the same network brings again."""

_LEAST = 1e-9


class Sums(NamedTuple):
    """What is kept of events, by the rows of domains, hardware and set-ups, and by laws.

    Attributes:
        sums: `(rows, w)`, of events; of hardware only how many.
        shares: `(rows, w)`, of events as they count for the weights.
        parts: `(rows, w)`; of a set-up what counts for its hardware, and of that their sum.
        events: `(rows,)`, how many.
        networks: `(rows,)`, how many a set-up was measured with.
        offset: `(rows,)`, how far a set-up or a hardware stays from its law.
        law: `(rows,)`.
        gram: `(laws, w, w)`, sums of products.
        weights: `(laws, w)`, whose last is -1 to stand for the value.
        firmness: `(laws, 2)`, how firmly set-ups are drawn to hardware, and that to the law.
    """

    sums: FloatTable
    shares: FloatTable
    parts: FloatTable
    events: Floats
    networks: Floats
    offset: Floats
    law: Integers
    gram: FloatCube
    weights: FloatTable
    firmness: FloatTable


@compiled
def laws(values: FloatTable, x: FloatTable, paths: IntegerCube, kept: Sums) -> None:
    """Fill in `(n, m)` values of laws alone at features `(n, d)`, of rows of paths `(n, m, 3)`."""
    for cell in range(len(values)):
        for at in range(values.shape[1]):
            weights, value = kept.weights[kept.law[paths[cell, at, 0]]], 0.0
            for f in range(x.shape[1]):
                value += x[cell, f] * weights[f]
            values[cell, at] = value


@compiled
def at_paths(found: FloatTable, by_row: Floats, paths: IntegerCube) -> None:
    """Fill in `(n, m)`, what rows have for paths: of the set-up or, failing that, the hardware."""
    for cell in range(len(found)):
        for at in range(found.shape[1]):
            setup = paths[cell, at, 2]
            found[cell, at] = by_row[setup if setup > 0 else paths[cell, at, 1]]


@compiled
def precision(row: int, kept: Sums) -> float:
    """Return how many independent events the mean of a set-up is worth.

    Two events of one network tell of that network, not twice of the set-up.
    """
    events = max(kept.sums[row, 0], _LEAST)
    networks = min(max(kept.networks[row], 1.0), events)
    return 1.0 / ((1.0 - _NETWORK_SHARE) / events + _NETWORK_SHARE / networks)


@compiled
def count(setups: Integers, hardware: Integers, kept: Sums) -> None:
    """Count set-ups `(m,)` for their hardware anew, by how much each tells of it.

    By the precision of its mean: a set-up that was measured a thousand times tells hardly more of
    the others than one that was measured ten times.
    """
    for at, row in enumerate(setups):
        above, worth = hardware[at], precision(row, kept)
        firm = kept.firmness[kept.law[row], 0]
        share = worth * firm / (worth + firm) / max(kept.sums[row, 0], _LEAST)
        for f in range(kept.sums.shape[1]):
            told = kept.sums[row, f] * share
            kept.parts[above, f] += told - kept.parts[row, f]
            kept.parts[row, f] = told


@compiled
def settle(setups: Integers, hardware: Integers, kept: Sums) -> None:
    """Fit the offsets of set-ups `(m,)`, and of their hardware, to the weights of their laws."""
    for at, row in enumerate(setups):
        above, own, firm = hardware[at], kept.weights[kept.law[row]], kept.firmness[kept.law[row]]
        start, mean = 0.0, 0.0
        for f in range(len(own)):
            start -= kept.parts[above, f] * own[f]
            mean -= kept.sums[row, f] * own[f]
        start /= kept.parts[above, 0] + firm[1]
        kept.offset[above] = start
        mean = mean / max(kept.sums[row, 0], _LEAST) - start
        worth = precision(row, kept)
        kept.offset[row] = start + mean * worth / (worth + firm[0])


@compiled
def _add(
    setups: Integers, hardware: Integers, x: Floats, z: Floats, new: float, kept: Sums
) -> None:
    """Add one event to what is kept of the set-ups of its values.

    Args:
        setups: `(m,)` rows.
        hardware: `(m,)`, theirs.
        x: `(w - 1,)`, features, of which the first is 1.
        z: `(m,)`, values.
        new: 1 if its network was never measured there before, else 0.
        kept: what is added to.
    """
    width = len(x) + 1
    event = np.empty(width)
    event[:-1] = x
    for at, row in enumerate(setups):
        above, own = hardware[at], kept.gram[kept.law[row]]
        event[-1] = z[at]
        share = min(1.0, _SHARE_AFTER / (1.0 + kept.events[row]))
        share *= min(1.0, 3.0 * _SHARE_AFTER / (1.0 + kept.sums[above, 0]))
        for i in range(width):
            part = share * event[i]
            kept.shares[row, i] += part
            kept.sums[row, i] = kept.sums[row, i] * _MEMORY + event[i]
            if part != 0.0:
                for j in range(width):
                    own[i, j] += part * event[j]
        kept.events[row] += 1.0
        kept.networks[row] += new
        # Of a hardware only how often it was measured: the rest is in what its set-ups add up to.
        kept.sums[above, 0] = kept.sums[above, 0] * _MEMORY + 1.0


@compiled
def learn(
    setups: Integers, hardware: Integers, x: Floats, z: Floats, new: float, kept: Sums
) -> None:
    """Add one event, as `_add` does, and fit the offsets of its set-ups and their hardware."""
    _add(setups, hardware, x, z, new, kept)
    count(setups, hardware, kept)
    settle(setups, hardware, kept)
