"""What the usual size of an error may depend on.

Errors of one kind of cell, by its network, say little of those of another. Within a kind, how wrong
a prediction is hangs on a few reasons, whose weights `intervals.py` learns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.learning.features import Frame
from agent.learning.loops import reasons as loops
from agent.learning.support import Counts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KINDS = ("measured", "known there", "known elsewhere", "of a known group", "never seen")
"""Of cells: measured themselves, or by their network: errors of one kind say little of those of
another. Least of all does what is measured again and again say of what never was."""

STRANGE = KINDS.index("of a known group")

PRIORS = np.array(
    [
        [-3.4, 0.9, 1.0, 0.2, 0.0, 1.5],
        [-3.4, 0.9, 1.0, 0.2, 0.0, 1.5],
        [-3.2, 0.9, 1.0, 0.2, 0.0, 1.5],
        [-1.4, 0.9, 0.5, 0.2, 1.0, 1.5],
        [-1.1, 0.9, 0.5, 0.2, 1.0, 1.5],
    ]
)
FIRMNESS = np.array(
    [
        [1.0, 30.0, 10.0, 50.0, 1.0, 20.0],
        [1.0, 30.0, 10.0, 50.0, 1.0, 20.0],
        [1.0, 30.0, 10.0, 50.0, 1.0, 20.0],
        [8.0, 100.0, 10.0, 50.0, 60.0, 20.0],
        [8.0, 100.0, 10.0, 50.0, 60.0, 20.0],
    ]
)
"""For each kind of cell, what its usual error (log) is put down to before errors say more, and how
firmly: nothing, the doubt that its neighbours leave, that nobody described the network, that its
sizes are guessed, that it was met while all of its hardware was young, and that hardly anything
was learnt of the task.

No count of its set-up, model or hardware is among them. What a stream teaches about counts is how
errors shrank while everything was young; held-out hardware, met by an experienced learner, erred up
to three times as much as that foretold, but no more than the doubt of its neighbours did. Networks
never seen are each met once: where a task has a few, the prior says how wrong one is."""

LEAST_DOUBT, MOST_DOUBT = 0.1, 1.5
"""What neighbours leave (log), at the ends: beyond, likeness knows nothing more."""


def kinds_of(counts: Counts) -> Integers:
    """Return `(n, m)`, which of `KINDS` cells are of, by counts `(n, m, 8)`."""
    kinds = np.empty(counts.shape[:2], dtype=np.int64)
    loops.classify(kinds, counts)
    return kinds


def reasons_of(counts: Counts, frame: Frame, doubts: Floats) -> Floats:
    """Return `(n, m, k)`, what the size of an error may depend on; see `PRIORS`.

    Args:
        counts: `(n, m, 8)`, as of `Support.of`.
        frame: of `n` cells.
        doubts: `(n, m)`, standard deviations that neighbours leave.
    """
    reasons = np.empty((*doubts.shape, PRIORS.shape[1]))
    loops.explain(reasons, counts, frame.linear, frame.missing, doubts)
    return reasons
