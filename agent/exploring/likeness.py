"""How what is not known of one cell hangs together with what is not known of another.

The learner predicts a cell by a law, an offset of its hardware and set-up, and its neighbours. Read
as one Gaussian process over all cells, the same parts give a covariance between any two of them:
that of the weights of the law and of the offsets (a linear mixed model, Laird and Ware 1982), and
half and half, as the learner weighs them in a young set-up, its likeness of neighbours, with its
widest part scaled to what is really left there, and that by which set-ups take over from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Catalogue
from agent.learning.cell import Cell
from agent.learning.features import BIAS, LINEAR, SIZES, frame_of
from agent.learning.identity import number_of
from agent.learning.learner import KERNEL, KINSHIP
from agent.learning.process import Kernel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WEIGHED = [column for column in range(len(LINEAR)) if column != BIAS]
_NETWORK_SIZES = 4

_COMMON, _LAW, _HARDWARE, _SETUP = 1.0, 1.0, 0.5, 0.35
_NEIGHBOURS = (0.3, KERNEL.amplitude[1], KERNEL.amplitude[2])
"""Standard deviations (log) of what is not known before anything is measured: of all cells of a
task and family, of the law's weights together, of hardware, of a set-up; and of the three parts
of likeness. The learner's own first amplitude only has to be large; this is how far an
architecture really stays from the law."""

_TAKEN = 0.5
"""Share of the likeness by which set-ups take over from each other."""

_OTHER_SIZES = np.array(KINSHIP.common.sizes) / np.array(KERNEL.sizes)

NOISE = 0.1
"""Standard deviation (log) of what stays unknown of a cell that was measured once."""


class Points(NamedTuple):
    """`n` cells as the process sees them.

    Attributes:
        law: `(n, d)` features of the law, scaled so that inner products are of about one.
        network: `(n, 4)` weighted sizes of the network.
        shape: `(n, 5)` weighted sizes of how it is run.
        names: `(n, 6)` numbers: domain, architecture, network, model, hardware, set-up.
        parts: `(n, len(PARTS))` numbers of what makes the set-up.
    """

    law: Floats
    network: Floats
    shape: Floats
    names: Integers
    parts: Integers

    def __len__(self) -> int:
        return len(self.law)

    def at(self, places: Sequence[int]) -> Points:
        """Return some of them."""
        some = list(places)
        return Points(
            self.law[some], self.network[some], self.shape[some], self.names[some], self.parts[some]
        )


def points_of(cells: Sequence[Cell], catalogue: Catalogue) -> Points:
    """Return cells, one at least, as the process sees them."""
    frame = frame_of(cells, catalogue)
    sizes = frame.sizes.astype(float) * np.array(KERNEL.sizes)
    names = [
        (
            number_of("domain", cell.task or "", cell.family or ""),
            keys.group,
            keys.stem,
            keys.model,
            keys.hardware,
            keys.setup,
        )
        for keys, cell in zip(frame.keys, cells, strict=True)
    ]
    return Points(
        frame.linear[:, _WEIGHED] * (2.0 / np.sqrt(len(_WEIGHED))),
        sizes[:, :_NETWORK_SIZES],
        sizes[:, _NETWORK_SIZES : len(SIZES)],
        np.array(names),
        np.array([keys.parts for keys in frame.keys]),
    )


def covariance(one: Points, other: Points) -> Floats:
    """Return `(n, m)` covariances of what is not known of cells before anything is measured."""
    domain, group, stem, model, hardware, setup = one.names.T[:, :, None] == other.names.T[:, None]
    names = ~group, ~stem, ~model
    apart, shared = np.zeros(domain.shape), np.zeros(domain.shape)
    for cost, variance, own, others in zip(
        KERNEL.parts, KINSHIP.common.parts, one.parts.T, other.parts.T, strict=True
    ):
        differ = own[:, None] != others
        apart += cost * differ
        # Two set-ups that differ in a part deviate from what is common by half of it each.
        shared += 0.5 * variance * ~differ
    near = _distances(one.network, other.network), _distances(one.shape, other.shape)
    like = _likeness(KERNEL, _NEIGHBOURS, near, names, apart)
    sizes, rest = _OTHER_SIZES[:_NETWORK_SIZES], _OTHER_SIZES[_NETWORK_SIZES:]
    near = (
        _distances(one.network * sizes, other.network * sizes),
        _distances(one.shape * rest, other.shape * rest),
    )
    common, deviation = (
        _likeness(kernel, kernel.amplitude, near, names, apart)
        for kernel in (KINSHIP.common, KINSHIP.deviation)
    )
    together = _COMMON**2 + _LAW**2 * (one.law @ other.law.T)
    together += _HARDWARE**2 * hardware + _SETUP**2 * setup
    together += (1.0 - _TAKEN) * like + _TAKEN * (common + shared * deviation)
    covariances: Floats = domain * together
    return covariances


def variances(points: Points) -> Floats:
    """Return `(n,)` variances of cells: the diagonal of their covariance."""
    same = sum(one**2 for one in (_COMMON, _HARDWARE, _SETUP))
    common = sum(one**2 for one in KINSHIP.common.amplitude)
    deviation = sum(one**2 for one in KINSHIP.deviation.amplitude)
    taken = common + 0.5 * sum(KINSHIP.common.parts) * deviation
    same += (1.0 - _TAKEN) * sum(one**2 for one in _NEIGHBOURS) + _TAKEN * taken
    variance: Floats = same + _LAW**2 * np.vecdot(points.law, points.law)
    return variance


def _likeness(
    kernel: Kernel,
    amplitudes: Sequence[float],
    near: tuple[Floats, Floats],
    names: tuple[Flags, Flags, Flags],
    apart: Floats,
) -> Floats:
    """Return `(n, m)` likenesses by a kernel's falls.

    Args:
        kernel: how likeness falls off.
        amplitudes: of its parts.
        near: distances in the network's sizes, and in the others.
        names: whether group, stem and model differ.
        apart: how far set-ups are apart.
    """
    network, shape = near
    group, stem, model = names
    like = np.zeros(apart.shape)
    for part, amplitude in enumerate(amplitudes):
        fall = (
            kernel.network[part] * network
            + kernel.group[part] * group
            + kernel.stem[part] * stem
            + kernel.model[part] * model
            + kernel.shape[part] * shape
            + kernel.setup[part] * apart
        )
        like += amplitude**2 * np.exp(-fall)
    return like


def _distances(one: Floats, other: Floats) -> Floats:
    """Return `(n, m)` distances."""
    squares = np.vecdot(one, one)[:, None] + np.vecdot(other, other) - 2.0 * one @ other.T
    distances: Floats = np.sqrt(np.maximum(squares, 0.0))
    return distances
