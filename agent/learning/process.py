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
from agent.learning.memory import BREADTH, Memory, Near, names_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_NETWORK_SIZES = 4
"""The first columns of `Frame.sizes` describe the network, the others how it is run."""

_FARTHEST = -30.0
"""Log likeness below which nothing is more unlike than anything else."""

_ROW_BITS = 32
_ROW = (1 << _ROW_BITS) - 1

_LANES = 16
"""Pairs are weighed in multiples of as many numbers as processors work on at once: what is left
over of a product may be rounded differently, and an answer must not depend on what is asked
beside it."""


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
        # Each pair of neighbours once; the first of them again, to fill up the lanes.
        pairs = np.tril_indices(nearest, -1)
        self._one, self._other = (np.resize(one, _filled(len(one))) for one in pairs)

    def weigh(self, memory: Memory, frame: Frame, metrics: Integers, slots: Integers) -> Neighbours:
        """Weigh the rows of a memory that may be like the `n` cells of a frame.

        The neighbours of a cell for one metric serve another as well when all of them have it,
        and hardly any other row has it besides.

        Args:
            memory: holds the rows.
            frame: the cells.
            metrics: `(m,)`, their columns in the memory.
            slots: `(n, m)`, of their units.
        """
        n, m = slots.shape
        near = memory.near(frame.keys)
        # What a row is chosen by: how like it is, and among equals that it is later in memory.
        order = self._to_cells(memory, frame, near).view(np.int32).astype(np.int64)
        order <<= _ROW_BITS
        order |= near.rows
        usable = memory.slot.take(near.rows, axis=0)[:, metrics] == slots.take(near.cells, axis=0)
        rows, likes = self._nearest(order * usable[:, 0], near.places, n)
        which = np.empty((n, m), dtype=np.int64)
        which[:] = np.arange(n)[:, None]
        if m > 1 and (usable != usable[:, :1]).any():
            counts = np.stack([np.bincount(near.cells, one, n) for one in usable.T], axis=1)
            others = counts > 1.1 * counts[:, :1] + 1.0
            chosen = memory.slot.take(rows, axis=0)[..., metrics] == slots[:, None]
            others |= ((likes > 0.0)[..., None] & ~chosen).any(axis=1)
            for metric in np.flatnonzero(others.any(axis=0)).tolist():
                cells = np.flatnonzero(others[:, metric])
                own_rows, own_likes = self._nearest(order * usable[:, metric], near.places, n)
                which[cells, metric] = np.arange(len(rows), len(rows) + len(cells))
                rows = np.concatenate((rows, own_rows[cells]))
                likes = np.concatenate((likes, own_likes[cells]))
        among = self._among(memory, rows, likes > 0.0)
        right = likes.astype(float)
        weights = _solved(among, right)
        left = self._variance - np.vecdot(right, weights)
        return Neighbours(rows, weights, np.sqrt(np.maximum(left, self._noise**2)), which)

    def _nearest(self, order: Integers, places: Integers, n: int) -> tuple[Integers, Singles]:
        """Return `(n, nearest)` rows and their likenesses, zero where there are no more."""
        every = np.zeros((n, BREADTH), dtype=np.int64)
        every.reshape(-1)[places] = order
        every.partition(BREADTH - self.nearest, axis=1)
        best = every[:, -self.nearest :]
        best.sort(axis=1)
        likes = (best >> _ROW_BITS).astype(np.int32).view(np.float32)
        return best & _ROW, likes

    def _to_cells(self, memory: Memory, frame: Frame, near: Near) -> Singles:
        """Return `(q,)` likenesses of rows to the cells of a frame that they are near to."""
        rows, cells, _ = near
        apart = np.zeros((_filled(len(rows)), len(SIZES)), dtype=np.float32)
        own = apart[: len(rows)]
        np.subtract(
            memory.sizes.take(rows, axis=0), memory.weighted(frame).take(cells, axis=0), out=own
        )
        reasons = np.zeros((6, len(apart)), dtype=np.float32)
        reasons[:2] = (np.square(apart, out=apart) @ self._sums).T
        differ = memory.names.take(rows, axis=0) != names_of(frame).take(cells, axis=0)
        reasons[2:5, : len(rows)] = differ.T
        reasons[5, : len(rows)] = memory.distances(frame.keys, rows, cells)
        return self._likeness(reasons)[: len(rows)]

    def _among(self, memory: Memory, rows: Integers, usable: Flags) -> Floats:
        """Return `(p, k, k)` covariances of rows `(p, k)` among each other, with noise.

        Only what lies below the diagonal, and on it, is filled in.
        """
        p, k = rows.shape
        one, other = self._one, self._other
        sizes = memory.sizes.take(rows, axis=0)
        apart = sizes.take(one, axis=1)
        apart -= sizes.take(other, axis=1)
        np.square(apart, out=apart)
        reasons = np.empty((6, p * len(one)), dtype=np.float32)
        reasons[:2] = (apart.reshape(-1, len(SIZES)) @ self._sums).T
        names = memory.names.take(rows, axis=0)
        differ = names.take(one, axis=1) != names.take(other, axis=1)
        reasons[2:5] = differ.reshape(-1, differ.shape[-1]).T
        setups = memory.setup.take(rows)
        flat = setups.take(one, axis=1) * memory.apart.shape[1] + setups.take(other, axis=1)
        memory.apart.reshape(-1).take(flat.reshape(-1), out=reasons[5], mode="clip")
        like = self._likeness(reasons).reshape(p, -1)
        if not usable.all():
            like *= usable.take(one, axis=1) & usable.take(other, axis=1)
        among = np.zeros((p, k * k))
        among[:, one * k + other] = like
        among[:, :: k + 1] = self._variance + self._noise**2
        return among.reshape(p, k, k)

    def _likeness(self, reasons: Singles) -> Singles:
        """Return `(q,)` likenesses of pairs by reasons `(6, q)`, the first two squared."""
        np.sqrt(reasons[:2], out=reasons[:2])
        falls = self._falls @ reasons
        # Denormal numbers would take many times as long.
        np.maximum(falls, _FARTHEST, out=falls)
        likeness: Singles = self._variances @ np.exp(falls, out=falls)
        return likeness


def _filled(count: int) -> int:
    """Return the least multiple of `_LANES` that holds so many, and is not nothing."""
    return max(-(-count // _LANES), 1) * _LANES


def _solved(matrices: Floats, right: Floats) -> Floats:
    """Return `(p, k)` solutions for positive definite matrices `(p, k, k)`, each on its own.

    Read is what lies on the diagonal and below.
    """
    solutions = np.empty_like(right)
    for at, (matrix, one) in enumerate(zip(matrices, right, strict=True)):
        # What stands in lines is for Fortran what lies above the diagonal.
        _, solutions[at], failed = dposv(matrix.T, one)
        if failed:
            whole = np.tril(matrix) + np.tril(matrix, -1).T
            solutions[at] = np.linalg.solve(whole, one)
    return solutions
