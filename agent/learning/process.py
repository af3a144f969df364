"""A Gaussian process on what the law leaves, over the nearest measurements only.

A full process over n measurements costs n^3; one over the k nearest of each cell costs k^3, and
loses little where likeness falls off (Vecchia 1988; Datta et al. 2016, "Hierarchical
nearest-neighbour Gaussian process models"). Likeness is a sum of three products, each of how
alike two networks, two sets of sizes and two set-ups are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from agent.learning.features import SIZES, Frame
from agent.learning.memory import Memory, names_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NETWORK_SIZES = 4
"""The first columns of `Frame.sizes` describe the network, the others how it is run."""

_FARTHEST = -30.0
"""Log likeness below which nothing is more unlike than anything else."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How likeness falls off.

    Attributes:
        sizes: weights of the columns of `Frame.sizes`.
        parts: what another value of each of `features.PARTS` costs.
        noise: log noise of one measurement.
        amplitude, network, group, stem, model, shape, setup: for each product, its standard
            deviation and how fast it falls: with the distance in network sizes, with another
            group, stem or model, with the distance in the other sizes, with the set-up's parts.
    """

    sizes: tuple[float, ...]
    parts: tuple[float, ...]
    noise: float
    amplitude: tuple[float, ...]
    network: tuple[float, ...]
    group: tuple[float, ...]
    stem: tuple[float, ...]
    model: tuple[float, ...]
    shape: tuple[float, ...]
    setup: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The measurements that predict cells, and how much each counts.

    Attributes:
        rows: `(p, k)` rows of the memory; where there are fewer than `k`, any row, weight zero.
        weights: `(p, k)`, by which their residuals add up to the expected one.
        spread: `(p,)`, the standard deviation that remains, by the kernel.
        which: `(n, m)`, for each cell and metric which line of the above predicts it.
    """

    rows: Integers
    weights: Floats
    spread: Floats
    which: Integers


class Process:
    """Finds and weighs neighbours.

    Args:
        kernel: how likeness falls off.
        nearest: how many neighbours predict a cell.
    """

    def __init__(self, kernel: Kernel, nearest: int = 16) -> None:
        self.nearest = nearest
        self._noise = kernel.noise
        # Sums of squares over the sizes of the network, and over the others.
        self._sums = np.zeros((len(SIZES), 2), dtype=np.float32)
        self._sums[:_NETWORK_SIZES, 0] = 1.0
        self._sums[_NETWORK_SIZES:, 1] = 1.0
        self._falls = -np.array(
            [
                kernel.network,
                kernel.shape,
                kernel.group,
                kernel.stem,
                kernel.model,
                kernel.setup,
            ],
            dtype=np.float32,
        ).T.copy()
        self._variances = np.square(np.array(kernel.amplitude, dtype=np.float32))
        self._variance = float(self._variances.sum())
        self._diagonal = np.arange(nearest)

    def weigh(self, memory: Memory, frame: Frame, near: Integers, usable: Flags) -> Neighbours:
        """Weigh the rows of a memory that may be like the `n` cells of a frame.

        The neighbours of a cell for one metric serve another as well when all of them have it,
        and hardly any other row has it besides.

        Args:
            memory: holds the rows.
            frame: the cells.
            near: `(n, b)` different rows, b at least `nearest`; -1 for none.
            usable: `(m, n, b)`, which of them may be used for each metric.
        """
        m, n, _ = usable.shape
        like = self._to_cells(memory, frame, near)
        line = np.arange(n)[:, None]
        which = np.empty((n, m), dtype=np.int64)
        which[:] = line
        first = like * usable[0]
        best = np.argpartition(first, -self.nearest, axis=1)[:, -self.nearest :]
        rows, likes = near[line, best], first[line, best]
        if m > 1:
            # No more than 255 are near, so that short numbers count them.
            counts = np.add.reduce(usable.view(np.uint8), axis=2, dtype=np.uint8)
            others = counts > 1.1 * counts[0] + 1.0
            others |= ((likes > 0.0) & ~usable[:, line, best]).any(axis=2)
            metrics, cells = np.nonzero(others)
            if len(cells):
                own = like[cells] * usable[metrics, cells]
                best = np.argpartition(own, -self.nearest, axis=1)[:, -self.nearest :]
                rows = np.concatenate((rows, near[cells[:, None], best]))
                likes = np.concatenate((likes, own[np.arange(len(cells))[:, None], best]))
                which[cells, metrics] = np.arange(n, n + len(cells))
        among = self._among(memory, rows, likes > 0.0)
        right = likes.astype(float)
        weights = _solved(among, right)
        left = self._variance - np.vecdot(right, weights)
        return Neighbours(rows, weights, np.sqrt(np.maximum(left, self._noise**2)), which)

    def _to_cells(self, memory: Memory, frame: Frame, near: Integers) -> Singles:
        """Return `(n, b)` likenesses of rows to the cells of a frame."""
        apart = memory.sizes.take(near, axis=0)
        apart -= memory.weighted(frame)[:, None]
        np.square(apart, out=apart)
        sums = apart.reshape(-1, len(SIZES)) @ self._sums
        reasons = np.empty((6, len(sums)), dtype=np.float32)
        reasons[:2] = sums.T
        for at, (plane, name) in enumerate(zip(memory.names, names_of(frame), strict=True), 2):
            np.not_equal(
                plane.take(near),
                name[:, None],
                out=reasons[at].reshape(near.shape),
                casting="unsafe",
            )
        reasons[5] = memory.distances(frame.keys, near).reshape(-1)
        return self._likeness(reasons).reshape(near.shape)

    def _among(self, memory: Memory, rows: Integers, usable: Flags) -> Floats:
        """Return `(p, k, k)` covariances of rows `(p, k)` among each other, with noise."""
        p, k = rows.shape
        reasons = np.empty((6, p, k, k), dtype=np.float32)
        sizes = memory.sizes.take(rows, axis=0).astype(float)
        for at, part in enumerate((sizes[..., :_NETWORK_SIZES], sizes[..., _NETWORK_SIZES:])):
            dots = part @ part.transpose(0, 2, 1)
            squares = dots[:, self._diagonal, self._diagonal]
            dots *= -2.0
            dots += squares[:, :, None]
            dots += squares[:, None, :]
            np.maximum(dots, 0.0, out=reasons[at], casting="same_kind")
        for at, plane in enumerate(memory.names, 2):
            name = plane.take(rows)
            np.not_equal(name[:, :, None], name[:, None, :], out=reasons[at], casting="unsafe")
        setups = memory.setup.take(rows)
        flat = setups[:, :, None] * memory.apart.shape[1] + setups[:, None, :]
        memory.apart.reshape(-1).take(flat, out=reasons[5], mode="clip")
        like = self._likeness(reasons.reshape(6, -1)).reshape(p, k, k)
        if not usable.all():
            like *= usable[:, :, None] & usable[:, None, :]
        among = like.astype(float)
        among[:, self._diagonal, self._diagonal] = self._variance + self._noise**2
        return among

    def _likeness(self, reasons: Singles) -> Singles:
        """Return `(q,)` likenesses of pairs by reasons `(6, q)`, the first two squared."""
        np.sqrt(reasons[:2], out=reasons[:2])
        falls = self._falls @ reasons
        # Denormal numbers would take many times as long.
        np.maximum(falls, _FARTHEST, out=falls)
        likeness: Singles = self._variances @ np.exp(falls, out=falls)
        return likeness


def _solved(matrices: Floats, right: Floats) -> Floats:
    """Return `(p, k)` solutions for positive definite matrices `(p, k, k)`, each on its own."""
    solutions = np.empty_like(right)
    for at, (matrix, one) in enumerate(zip(matrices, right, strict=True)):
        # Symmetric: what Fortran reads in columns may as well stand in lines.
        _, solution, failed = dposv(matrix.T, one, overwrite_a=True)
        solutions[at] = np.linalg.solve(matrix, one) if failed else solution
    return solutions
