"""Of which kind cells are, and what the size of their errors may depend on."""

from __future__ import annotations

import math

from agent.learning.features import NO_GMACS, NO_PARAMS
from agent.learning.loops.compiled import (
    FloatCube,
    Floats,
    FloatTable,
    IntCube,
    IntegerTable,
    compiled,
)
from agent.learning.support import CELL, GROUP, HARDWARE, STEM, STEM_HARDWARE, TASK

USUAL_DOUBT = 0.25
"""What neighbours usually leave (log)."""

SETTLING = 60.0
"""Measurements of a hardware in which what makes strange networks stranger fades to a third."""

LITTLE = 20.0
"""Measurements of a task after which the doubt of neighbours begins to say how wrong one is."""


@compiled
def classify(kinds: IntegerTable, counts: IntCube) -> None:
    """Fill in `(n, m)`, which of `reasons.KINDS` cells are of, by counts `(n, m, 8)`."""
    for cell in range(len(counts)):
        for at in range(counts.shape[1]):
            own = counts[cell, at]
            known = (own[STEM_HARDWARE] > 0) + (own[STEM] > 0) + (own[GROUP] > 0)
            kinds[cell, at] = 0 if own[CELL] > 0 else 4 - known


@compiled
def explain(
    reasons: FloatCube, counts: IntCube, linear: FloatTable, missing: Floats, doubts: FloatTable
) -> None:
    """Fill in `(n, m, k)`, what the size of an error may depend on; see `reasons.PRIORS`.

    Args:
        reasons: filled in.
        counts: `(n, m, 8)`, as of `Support.of`.
        linear: as of a frame.
        missing: as of a frame.
        doubts: `(n, m)`, standard deviations that neighbours leave.
    """
    for cell in range(len(counts)):
        undescribed = linear[cell, NO_PARAMS] * linear[cell, NO_GMACS] > 0.0
        for at in range(counts.shape[1]):
            own, line = counts[cell, at], reasons[cell, at]
            strange = own[STEM] == 0
            line[0] = 1.0
            line[1] = math.log(doubts[cell, at] / USUAL_DOUBT)
            line[2] = 1.0 if undescribed and strange else 0.0
            line[3] = missing[cell]
            # Networks are strange mostly where all is young: their errors are not to be put down
            # to that.
            line[4] = math.exp(own[HARDWARE] * (-1.0 / SETTLING)) if strange else 0.0
            line[5] = math.exp(own[TASK] * (-1.0 / LITTLE))
