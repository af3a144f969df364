"""How far what a domain learns by itself counts beside what serves all of them."""

from __future__ import annotations

import math
from typing import NamedTuple

from agent.learning.loops.compiled import (
    Floats,
    FloatTable,
    IntCube,
    IntegerCube,
    Integers,
    compiled,
)
from agent.learning.reasons import LEAST_DOUBT, MOST_DOUBT
from agent.learning.support import SETUP

USUAL_ODDS = 2.0
_FIRMNESS, _SURE = 0.03, 4.0
_MEMORY = 200.0
_CLIP, _STRIDE = 0.7, 0.5
"""Log odds by which a process usually counts, how firmly (a second derivative of squared errors,
log units), and how far they go; over how many errors of late they are learnt; and how much (log)
one of these may say, and how far it may move them."""

_CORRECTION = 6.0
"""How far what is taken over may move what the law says (log)."""

_DOUBT_TAKEN = 2.5
"""Doubt of neighbours that goes with the deviation left by what is taken over."""

_FLOOR = 0.02
"""Added to doubts before one is compared with another."""

_BEYOND = math.log(100.0)
"""How far outside of all measured values of its domain a prediction may lie (log)."""


class Learnt(NamedTuple):
    """By domains and kinds: log odds by which processes count, and how firmly that is known."""

    odds: FloatTable
    curved: FloatTable


class Wrong(NamedTuple):
    """How wrong the parts of predictions were.

    Attributes:
        errors: log of measured over what other learners predicted.
        apart: log of what the processes predicted over what they did.
        less: log of how many times less doubt the processes left.
        weights: for how much of an error each counts.
    """

    errors: Floats
    apart: Floats
    less: Floats
    weights: Floats


class Told(NamedTuple):
    """What processes say of the `m` metrics of `n` cells.

    Attributes:
        mean: `(n, m)` logs.
        spread: `(n, m)`, the standard deviation that remains; 0 where the domain has no process.
        odds: `(n, m)`, log odds by which they count beside other learners in their domains.
    """

    mean: FloatTable
    spread: FloatTable
    odds: FloatTable


class Others(NamedTuple):
    """What all other learners say of the `m` metrics of `n` cells.

    Attributes:
        law: `(n, m)` logs, by the laws of domains.
        offset: `(n, m)`, how far set-ups stay from them.
        carried: `(n, m)`, what is taken over of what that leaves.
        spread: `(n, m)`, the standard deviation that remains then.
    """

    law: FloatTable
    offset: FloatTable
    carried: FloatTable
    spread: FloatTable


class Expected(NamedTuple):
    """What is expected of `m` metrics of `n` cells, in log space.

    Attributes:
        centre: `(n, m)`.
        doubts: `(n, m)`, what neighbours leave, within bounds.
        others: `(n, m)`, what would be expected without the processes of the domains.
        alone: `(n, m)`, what those say; the same where there are none.
        less: `(n, m)`, log of how many times less doubt they leave.
        varied: `(n, m)`, variance of what was measured of the cells themselves; 0 where that is
            little or nothing. Whoever knows it fills it in.
    """

    centre: FloatTable
    doubts: FloatTable
    others: FloatTable
    alone: FloatTable
    less: FloatTable
    varied: FloatTable


@compiled
def mix(
    expected: Expected,
    others: Others,
    told: Told,
    counts: IntCube,
    paths: IntegerCube,
    ranges: FloatTable,
) -> None:
    """Put together what is expected of cells.

    Args:
        expected: filled in.
        others: what is known without processes of domains.
        told: what these say.
        counts: `(n, m, 8)`, as of `Support.of`.
        paths: `(n, m, 3)`.
        ranges: by rows of domains, the least and the greatest that were measured (log).
    """
    cells, metrics = told.mean.shape
    for cell in range(cells):
        for at in range(metrics):
            moved = min(max(others.carried[cell, at], -_CORRECTION), _CORRECTION)
            centre = others.law[cell, at] + others.offset[cell, at] + moved
            spread = _DOUBT_TAKEN * others.spread[cell, at]
            own, own_spread, less = centre, told.spread[cell, at], 0.0
            expected.others[cell, at] = centre
            if own_spread > 0.0:
                own = told.mean[cell, at]
                less = math.log((spread + _FLOOR) / (own_spread + _FLOOR))
                share = 1.0 / (1.0 + math.exp(-told.odds[cell, at] - less))
                centre += share * (own - centre)
                mixed = spread ** (1.0 - share) * own_spread**share
                # Where nothing of the set-up was measured, none of the two makes the other surer.
                known = counts[cell, at, SETUP] > 0
                spread = mixed if known else max(spread, mixed)
            low, high = ranges[paths[cell, at, 0]]
            expected.centre[cell, at] = min(max(centre, low - _BEYOND), high + _BEYOND)
            expected.doubts[cell, at] = min(max(spread, LEAST_DOUBT), MOST_DOUBT)
            expected.alone[cell, at], expected.less[cell, at] = own, less


@compiled
def judge(learnt: Learnt, domains: Integers, kinds: Integers, wrong: Wrong) -> None:
    """Learn of metrics of one cell how far processes are to count.

    Args:
        learnt: by the rows of domains.
        domains: `(m,)`.
        kinds: `(m,)`, of the cell.
        wrong: `(m,)` each.
    """
    for at, domain in enumerate(domains):
        kind, weight = kinds[at], wrong.weights[at]
        odds = learnt.odds[domain, kind]
        error = min(max(wrong.errors[at], -_CLIP), _CLIP)
        apart = min(max(wrong.apart[at], -_CLIP), _CLIP)
        share = 1.0 / (1.0 + math.exp(-odds - wrong.less[at]))
        slope = apart * share * (1.0 - share)
        fade = 1.0 - weight / _MEMORY
        curved = fade * learnt.curved[domain, kind] + weight * slope * slope
        pull = weight * slope * (error - share * apart)
        pull += (1.0 - fade) * _FIRMNESS * (USUAL_ODDS - odds)
        step = pull / (curved + _FIRMNESS)
        moved = odds + min(max(step, -_STRIDE), _STRIDE)
        learnt.odds[domain, kind] = min(max(moved, -_SURE), _SURE)
        learnt.curved[domain, kind] = curved
