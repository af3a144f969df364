"""How what is not known of one cell hangs together with what is not known of another.

One Gaussian process over all cells: the weights of a law and what all cells of a task have in
common (a linear mixed model, Laird and Ware 1982), and four likenesses, each a product of how alike
set-ups, sizes and networks are, as in multi-task processes (Bonilla, Chai and Williams 2007).

Its constants are not those by which the learner predicts. They describe what the learner gets
wrong: they are the most likely ones for its errors after a twentieth, a tenth and a fifth of public
tables was learnt, given which cells those were: drawn at random, or chosen by this design. So the
design knows what the learner does with a network that was measured elsewhere, and that sizes beside
each other err alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Catalogue
from agent.learning.cell import Cell
from agent.learning.features import BIAS, LINEAR, NAMES, Names, frame_of
from agent.learning.identity import number_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WEIGHED = [column for column in range(len(LINEAR)) if column != BIAS]

_COMMON, _LAW = 0.539, 2.712
"""Standard deviations (log) of what is not known before anything is measured: of all cells of a
task and family, and of the law's weights together."""


class _Part(NamedTuple):
    """One likeness, falling off with everything that two cells differ in.

    Attributes:
        amplitude: its standard deviation (log).
        setup: what another value of each of `features.PARTS` costs.
        sizes: what a step in each of `features.SIZES` costs.
        names: what another group, stem and model cost.
    """

    amplitude: float
    setup: tuple[float, ...]
    sizes: tuple[float, ...]
    names: tuple[float, ...]


_NO_SETUP, _NO_SIZES, _NO_NAMES = (0.0,) * 9, (0.0,) * 9, (0.0,) * 3
_PARTS = (
    _Part(0.497, (1.8, 0.75, 0.12, 0.36, 0.12, 0.16, 0.16, 0.12, 0.25), _NO_SIZES, _NO_NAMES),
    _Part(
        0.385,
        (0.87, 0.31, 0.04, 0.027, 0.09, 0.083, 0.09, 0.41, 2.7),
        (0.0, 0.0, 0.0, 0.022, 0.27, 0.075, 0.075, 0.5, 0.33),
        _NO_NAMES,
    ),
    _Part(
        0.163,
        _NO_SETUP,
        (0.22, 0.037, 0.042, 0.064, 0.16, 0.09, 0.09, 0.5, 0.09),
        (1.4, 0.099, 0.36),
    ),
    _Part(
        0.219,
        (1.4, 0.2, 0.044, 0.1, 0.42, 0.14, 0.4, 0.24, 2.4),
        (5.7, 0.027, 0.029, 0.034, 0.38, 0.23, 0.23, 0.5, 0.46),
        (0.99, 0.089, 0.34),
    ),
)
"""What is not known of set-ups, of set-ups at some size, of networks, and of networks in set-ups.
No public table varies concurrency: what it costs is put beside what batches do."""

_VARIANCES = np.square([part.amplitude for part in _PARTS])
_COSTS = np.array([[*part.setup, *part.sizes, *part.names] for part in _PARTS], dtype=np.float32).T

NOISE = 0.027
"""Standard deviation (log) of what stays unknown of a cell that was measured once."""


class Points(NamedTuple):
    """`n` cells as the process sees them.

    Attributes:
        law: `(n, d)` features of the law, scaled so that inner products are of about one.
        sizes: `(n, len(SIZES))`.
        names: `(n, len(NAMES))` numbers of what the network is recognised by.
        parts: `(n, len(PARTS))` numbers of what makes the set-up.
        family: `(n,)` numbers; nothing is told across them.
        domain: `(n,)` numbers of family and task; no law is shared across them.
    """

    law: Floats
    sizes: Singles
    names: Names
    parts: Names
    family: Integers
    domain: Integers

    def __len__(self) -> int:
        return len(self.law)

    def at(self, places: Sequence[int]) -> Points:
        """Return some of them."""
        some = list(places)
        return Points(
            self.law[some],
            self.sizes[some],
            self.names[some],
            self.parts[some],
            self.family[some],
            self.domain[some],
        )


def points_of(cells: Sequence[Cell], catalogue: Catalogue) -> Points:
    """Return cells, one at least, as the process sees them."""
    frame = frame_of(cells, catalogue)
    return Points(
        frame.linear[:, _WEIGHED] * (2.0 / np.sqrt(len(_WEIGHED))),
        frame.sizes,
        frame.names[:, : len(NAMES)],
        frame.names[:, len(NAMES) :],
        np.array([number_of("family", cell.family or "") for cell in cells]),
        np.array([number_of("domain", cell.task or "", cell.family or "") for cell in cells]),
    )


def covariance(one: Points, other: Points) -> Floats:
    """Return `(n, m)` covariances of what is not known of cells before anything is measured."""
    falls = np.zeros((len(_PARTS), len(one), len(other)), dtype=np.float32)
    for costs, apart in zip(_COSTS, _apart(one, other), strict=True):
        for part in np.flatnonzero(costs).tolist():
            falls[part] -= costs[part] * apart
    domain = one.domain[:, None] == other.domain
    together: Floats = domain * (_COMMON**2 + _LAW**2 * (one.law @ other.law.T))
    same = one.family[:, None] == other.family
    for variance, fall in zip(_VARIANCES.tolist(), falls, strict=True):
        together += same * (variance * np.exp(fall))
    return together


def variances(points: Points) -> Floats:
    """Return `(n,)` variances of cells: the diagonal of their covariance."""
    variance: Floats = _LAW**2 * np.vecdot(points.law, points.law)
    variance += _COMMON**2 + _VARIANCES.sum()
    return variance


def _apart(one: Points, other: Points) -> Iterator[Singles]:
    """Yield `(n, m)`, how far cells are apart in each thing that has a cost, in their order."""
    for mine, theirs in zip(one.parts.T, other.parts.T, strict=True):
        yield (mine[:, None] != theirs).astype(np.float32)
    for sizes, others in zip(one.sizes.T, other.sizes.T, strict=True):
        yield np.abs(sizes[:, None] - others)
    for mine, theirs in zip(one.names.T, other.names.T, strict=True):
        yield (mine[:, None] != theirs).astype(np.float32)
