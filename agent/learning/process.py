"""A Gaussian process on what the law leaves, over the nearest measurements only.

A full process over n measurements costs n^3; one over the k nearest of each cell costs k^3, and
loses little where likeness falls off (Vecchia 1988; Datta et al. 2016, "Hierarchical
nearest-neighbour Gaussian process models"). Likeness is a sum of three products, each of how
alike two networks, two sets of sizes and two set-ups are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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

_PAIR_BITS = 32
_PAIR = (1 << _PAIR_BITS) - 1

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


class Likeness:
    """How alike measurements are, by the reasons for which they may differ.

    Args:
        kernel: how likeness falls off.
        kept: the weights by which sizes are multiplied where they are kept; none of them zero.

    Attributes:
        variance: the likeness of a measurement to itself.
    """

    def __init__(self, kernel: Kernel, kept: Sequence[float]) -> None:
        # Sums of squares over the sizes of the network, and over the others.
        weights = np.square(np.array(kernel.sizes) / np.array(kept))
        self._sums = np.zeros((len(SIZES), 2), dtype=np.float32)
        self._sums[:_NETWORK_SIZES, 0] = weights[:_NETWORK_SIZES]
        self._sums[_NETWORK_SIZES:, 1] = weights[_NETWORK_SIZES:]
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
        self.variance = float(self._variances.sum())

    def sizes(self, apart: Singles) -> Singles:
        """Return `(2, q)` distances in sizes by differences `(q, len(SIZES))`, which it squares."""
        squares: Singles = (np.square(apart, out=apart) @ self._sums).T
        return np.sqrt(squares)

    def of(self, reasons: Singles) -> Singles:
        """Return `(q,)` likenesses of pairs by reasons `(6, q)`.

        Reasons are distances in the network's sizes and in the others, whether the group, the stem
        and the model differ, and how far set-ups are apart.
        """
        falls = self._falls @ reasons
        # Denormal numbers would take many times as long.
        np.maximum(falls, _FARTHEST, out=falls)
        likeness: Singles = self._variances @ np.exp(falls, out=falls)
        return likeness


class Process:
    """Finds and weighs neighbours.

    Args:
        kernel: how likeness falls off.
        nearest: how many neighbours predict a cell.
    """

    def __init__(self, kernel: Kernel, nearest: int = 16) -> None:
        self.nearest = nearest
        self._noise = kernel.noise
        self._likeness = Likeness(kernel, kernel.sizes)
        self._pairs = pairs_of(nearest)

    def weigh(
        self, memory: Memory, frame: Frame, near: Near, metrics: Integers, slots: Integers
    ) -> Neighbours:
        """Weigh the rows of a memory that may be like the `n` cells of a frame.

        The neighbours of a cell for one metric serve another as well when all of them have it,
        and hardly any other row has it besides.

        Args:
            memory: holds the rows.
            frame: the cells.
            near: those rows.
            metrics: `(m,)`, their columns in the memory.
            slots: `(n, m)`, of their units.
        """
        likes = self._likeness.of(to_cells(self._likeness, memory, frame, near, 0))
        likes = likes[: len(near.rows)]
        chosen = choose(memory, near, likes, metrics, slots, self.nearest)
        rows = chosen.of(near.rows)
        right = chosen.of(likes).astype(float)
        reasons = among(self._likeness, memory, rows, self._pairs, 0)
        p, k = rows.shape
        like = self._likeness.of(reasons).reshape(p, -1)
        matrices = covariances(like, chosen.pairs >= 0, self._pairs)
        matrices.reshape(p, k * k)[:, :: k + 1] = self._likeness.variance + self._noise**2
        weights = solved(matrices, right)
        left = self._likeness.variance - np.vecdot(right, weights)
        return Neighbours(rows, weights, np.sqrt(np.maximum(left, self._noise**2)), chosen.which)


class Chosen(NamedTuple):
    """Which pairs of a cell and a row predict.

    Attributes:
        pairs: `(p, k)` places in `Near`; -1 where there are no more.
        which: `(n, m)`, for each cell and metric which line of the above predicts it.
    """

    pairs: Integers
    which: Integers

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return `(p, k)` values `(q,)` of the pairs; 0 where there are no more."""
        if not len(values):
            return np.zeros(self.pairs.shape, values.dtype)
        taken = values.take(self.pairs, mode="clip")
        taken[self.pairs < 0] = 0
        return taken


def choose(
    memory: Memory, near: Near, worth: Singles, metrics: Integers, slots: Integers, nearest: int
) -> Chosen:
    """Return the pairs of most worth `(q,)` for each of `n` cells, in slots `(n, m)`."""
    n, m = slots.shape
    # What a pair is chosen by: its worth, and among equals that it is later in memory.
    order = worth.view(np.int32).astype(np.int64)
    order <<= _PAIR_BITS
    order |= np.arange(len(worth))
    usable = memory.slot.take(near.rows, axis=0)[:, metrics] == slots.take(near.cells, axis=0)
    pairs = _nearest(order, usable[:, 0], near.places, n, nearest)
    which = np.empty((n, m), dtype=np.int64)
    which[:] = np.arange(n)[:, None]
    if m > 1 and (usable != usable[:, :1]).any():
        counts = np.stack([np.bincount(near.cells, one, n) for one in usable.T], axis=1)
        others = counts > 1.1 * counts[:, :1] + 1.0
        has = usable.take(pairs, axis=0, mode="clip") if len(usable) else pairs[..., None] >= 0
        others |= ((pairs >= 0)[..., None] & ~has).any(axis=1)
        for metric in np.flatnonzero(others.any(axis=0)).tolist():
            cells = np.flatnonzero(others[:, metric])
            own = _nearest(order, usable[:, metric], near.places, n, nearest)
            which[cells, metric] = np.arange(len(pairs), len(pairs) + len(cells))
            pairs = np.concatenate((pairs, own[cells]))
    return Chosen(pairs, which)


def _nearest(order: Integers, usable: Flags, places: Integers, n: int, nearest: int) -> Integers:
    """Return `(n, nearest)` pairs, -1 where there are no more."""
    every = np.full((n, BREADTH), -1, dtype=np.int64)
    every.reshape(-1)[places] = np.where(usable, order, -1)
    every.partition(BREADTH - nearest, axis=1)
    best = every[:, -nearest:]
    best.sort(axis=1)
    pairs: Integers = np.where(best < 0, -1, best & _PAIR)
    return pairs


def to_cells(likeness: Likeness, memory: Memory, frame: Frame, near: Near, measure: int) -> Singles:
    """Return `(6, q)`, and more to fill the lanes, for what near rows differ from their cells."""
    rows, cells, _ = near
    apart = np.zeros((_filled(len(rows)), len(SIZES)), dtype=np.float32)
    np.subtract(
        memory.sizes.take(rows, axis=0),
        memory.weighted(frame).take(cells, axis=0),
        out=apart[: len(rows)],
    )
    reasons = np.zeros((6, len(apart)), dtype=np.float32)
    reasons[:2] = likeness.sizes(apart)
    differ = memory.names.take(rows, axis=0) != names_of(frame).take(cells, axis=0)
    reasons[2:5, : len(rows)] = differ.T
    reasons[5, : len(rows)] = memory.distances(frame.keys, rows, cells, measure)
    return reasons


def pairs_of(count: int) -> tuple[Integers, Integers]:
    """Return each pair of so many once; the first of them again, to fill up the lanes."""
    one, other = (np.resize(each, _filled(len(each))) for each in np.tril_indices(count, -1))
    return one, other


def among(
    likeness: Likeness,
    memory: Memory,
    rows: Integers,
    pairs: tuple[Integers, Integers],
    measure: int,
) -> Singles:
    """Return `(6, p * len(pairs))`, for what rows `(p, k)` differ among each other."""
    one, other = pairs
    sizes = memory.sizes.take(rows, axis=0)
    apart = sizes.take(one, axis=1)
    apart -= sizes.take(other, axis=1)
    reasons = np.empty((6, len(rows) * len(one)), dtype=np.float32)
    reasons[:2] = likeness.sizes(apart.reshape(-1, len(SIZES)))
    names = memory.names.take(rows, axis=0)
    differ = names.take(one, axis=1) != names.take(other, axis=1)
    reasons[2:5] = differ.reshape(-1, differ.shape[-1]).T
    setups = memory.setup.take(rows)
    table = memory.apart[measure]
    flat = setups.take(one, axis=1) * len(table) + setups.take(other, axis=1)
    table.reshape(-1).take(flat.reshape(-1), out=reasons[5], mode="clip")
    return reasons


def covariances(like: Singles, usable: Flags, pairs: tuple[Integers, Integers]) -> Floats:
    """Return `(p, k, k)` covariances of what is usable `(p, k)`, by likenesses of its pairs.

    Only what lies below the diagonal is filled in.
    """
    one, other = pairs
    p, k = usable.shape
    if not usable.all():
        like = like * (usable.take(one, axis=1) & usable.take(other, axis=1))
    matrices = np.zeros((p, k * k))
    matrices[:, one * k + other] = like
    return matrices.reshape(p, k, k)


def _filled(count: int) -> int:
    """Return the least multiple of `_LANES` that holds so many, and is not nothing."""
    return max(-(-count // _LANES), 1) * _LANES


def solved(matrices: Floats, right: Floats) -> Floats:
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
