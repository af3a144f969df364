"""What a Gaussian process over the nearest measurements takes.

A full process over n measurements costs n^3; one over the k nearest of each cell costs k^3, and
loses little where likeness falls off (Vecchia 1988; Datta et al. 2016, "Hierarchical
nearest-neighbour Gaussian process models"). Likeness is a sum of products, each of how alike two
networks, two sets of sizes and two set-ups are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from agent.learning.features import SIZES, Frame
from agent.learning.memory import BREADTH, NAMES, Memory, Near, names_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NETWORK_SIZES = 4
"""The first columns of `Frame.sizes` describe the network, the others how it is run."""

_FARTHEST = -30.0
"""Log likeness below which nothing is more unlike than anything else."""

_PAIR_BITS = 32
_PAIR = (1 << _PAIR_BITS) - 1

_REASONS = 2 + len(NAMES) + 1
"""For which measurements may differ: the network's sizes, the others, each name, the set-up."""

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
        self._sums = np.zeros((2, len(SIZES)), dtype=np.float32)
        self._sums[0, :NETWORK_SIZES] = weights[:NETWORK_SIZES]
        self._sums[1, NETWORK_SIZES:] = weights[NETWORK_SIZES:]
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

    def of(self, apart: Apart) -> Singles:
        """Return `(q,)` likenesses of pairs by what they differ in."""
        reasons = np.empty((_REASONS, apart.squares.shape[1]), dtype=np.float32)
        distances = reasons[:2]
        np.sqrt(np.matmul(self._sums, apart.squares, out=distances), out=distances)
        reasons[2:-1] = apart.names
        reasons[-1] = apart.setups
        falls = self._falls @ reasons
        # Denormal numbers would take many times as long.
        np.maximum(falls, _FARTHEST, out=falls)
        likeness: Singles = self._variances @ np.exp(falls, out=falls)
        return likeness


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
    slot, first = memory.slot.reshape(-1), near.rows * memory.slot.shape[1]
    wanted = slots.T.astype(slot.dtype)
    usable = np.empty((m, len(worth)), dtype=bool)
    for metric, one in enumerate(metrics.tolist()):
        np.equal(slot.take(first + one), wanted[metric].take(near.cells), out=usable[metric])
    pairs = _nearest(order, usable[0], near.places, n, nearest)
    which = np.empty((n, m), dtype=np.int64)
    which[:] = np.arange(n)[:, None]
    met: dict[bytes, int] = {}
    for metric, own in enumerate(usable):
        alike = met.setdefault(own.tobytes(), metric)
        if alike < metric:
            which[:, metric] = which[:, alike]
        if alike < metric or not metric:
            continue
        others = np.bincount(near.cells, own, n) > 1.1 * np.bincount(near.cells, usable[0], n) + 1.0
        others |= ((pairs[:n] >= 0) & ~own.take(pairs[:n], mode="clip")).any(axis=1)
        cells = np.flatnonzero(others)
        if len(cells):
            which[cells, metric] = np.arange(len(pairs), len(pairs) + len(cells))
            found = _nearest(order, own, near.places, n, nearest)
            pairs = np.concatenate((pairs, found[cells]))
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


class Apart(NamedTuple):
    """What pairs of measurements differ in, before a kernel says how much that counts.

    Attributes:
        squares: `(len(SIZES), q)`, of the differences in weighted sizes.
        names: `(len(NAMES), q)`, whether the names differ.
        setups: `(q,)`, how far set-ups are apart.
    """

    squares: Singles
    names: Flags
    setups: Singles


def to_cells(memory: Memory, frame: Frame, near: Near) -> Apart:
    """Return what `q` near rows differ in from their cells.

    There are more than `q`, to fill the lanes.
    """
    rows, cells, _ = near
    q, width = len(rows), _filled(len(rows))
    squares = np.zeros((len(SIZES), width), dtype=np.float32)
    apart = memory.sizes.take(rows, axis=0)
    apart -= memory.weighted(frame).take(cells, axis=0)
    np.square(apart.T, out=squares[:, :q])
    names = np.zeros((len(NAMES), width), dtype=bool)
    differ = memory.names.take(rows, axis=0) != names_of(frame).take(cells, axis=0)
    names[:, :q] = differ.T
    setups = np.zeros(width, dtype=np.float32)
    setups[:q] = memory.distances(frame.keys, rows, cells)
    return Apart(squares, names, setups)


def pairs_of(count: int) -> tuple[Integers, Integers]:
    """Return each pair of so many once; the first of them again, to fill up the lanes."""
    one, other = (np.resize(each, _filled(len(each))) for each in np.tril_indices(count, -1))
    return one, other


def among(memory: Memory, rows: Integers, pairs: tuple[Integers, Integers]) -> Apart:
    """Return what rows `(p, k)` differ in among each other: all lines of a pair, then the next."""
    one, other = pairs
    # What is compared lies side by side for all lines.
    turned = rows.T.copy()
    sizes = memory.sizes.take(turned, axis=0).transpose(2, 0, 1).copy()
    squares = sizes.take(one, axis=1)
    squares -= sizes.take(other, axis=1)
    np.square(squares, out=squares)
    names = memory.names.take(turned, axis=0).transpose(2, 0, 1).copy()
    differ = names.take(one, axis=1) != names.take(other, axis=1)
    places = memory.setup.take(turned)
    table = memory.apart
    flat = places.take(one, axis=0) * len(table) + places.take(other, axis=0)
    return Apart(
        squares.reshape(len(squares), -1),
        differ.reshape(len(differ), -1),
        table.reshape(-1).take(flat.reshape(-1), mode="clip"),
    )


def covariances(
    like: NDArray[np.floating[Any]], usable: Flags, pairs: tuple[Integers, Integers]
) -> Floats:
    """Return `(p, k, k)` covariances of what is usable `(p, k)`, by likenesses `(pairs, p)`.

    Only what lies below the diagonal is filled in.
    """
    one, other = pairs
    p, k = usable.shape
    if not usable.all():
        turned = usable.T.copy()
        like = like * (turned.take(one, axis=0) & turned.take(other, axis=0))
    matrices = np.zeros((k * k, p))
    matrices[one * k + other] = like
    return np.ascontiguousarray(matrices.T).reshape(p, k, k)


def _filled(count: int) -> int:
    """Return the least multiple of `_LANES` that holds so many, and is not nothing."""
    return max(-(-count // _LANES), 1) * _LANES


def solved(matrices: Floats, right: Floats) -> Floats:
    """Return `(p, k)` solutions for positive definite matrices `(p, k, k)`, each on its own.

    Read is what lies on the diagonal and below.
    """
    factors, solutions = matrices.copy(), right.copy()
    for at, (factor, solution) in enumerate(zip(factors, solutions, strict=True)):
        # What stands in lines is for Fortran what lies above the diagonal. Both are written over.
        failed = dposv(factor.T, solution, overwrite_a=True, overwrite_b=True)[2]
        if failed:
            whole = np.tril(matrices[at]) + np.tril(matrices[at], -1).T
            solutions[at] = np.linalg.solve(whole, right[at])
    return solutions
