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

from agent.learning.features import SIZES, Frame
from agent.learning.memory import MARKS, Memory, marks_of

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
    """The measurements that predict `n` cells, and how much each counts.

    Attributes:
        rows: `(n, k)` rows of the memory; where there are fewer than `k`, any row, weight zero.
        weights: `(n, k)`, by which their residuals add up to the expected one.
        spread: `(n,)`, the standard deviation that remains, by the kernel.
    """

    rows: Integers
    weights: Floats
    spread: Floats


class Process:
    """Finds and weighs neighbours.

    Args:
        kernel: how likeness falls off.
        nearest: how many neighbours predict a cell.
    """

    def __init__(self, kernel: Kernel, nearest: int = 20) -> None:
        self.nearest = nearest
        self._noise = kernel.noise
        self._scale = np.ones((len(MARKS), 1), dtype=np.float32)
        self._scale[: len(SIZES), 0] = np.square(kernel.sizes)
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
        self._pairs = np.triu_indices(nearest, 1)

    def weigh(self, memory: Memory, frame: Frame, near: Integers, usable: Flags) -> Neighbours:
        """Weigh the rows of a memory that may be like the `n` cells of a frame.

        Args:
            memory: holds the rows.
            frame: the cells.
            near: `(n, b)` different rows, b at least `nearest`; -1 for none.
            usable: `(n, b)`, which of them may be used.
        """
        rows, like = self._choose(memory, frame, near, usable)
        among = self._among(memory, rows, like > 0.0)
        solved: Floats = np.asarray(np.linalg.solve(among, like[..., None])[..., 0], dtype=float)
        left = self._variance - np.einsum("nk,nk->n", like, solved)
        return Neighbours(rows, solved, np.sqrt(np.maximum(left, self._noise**2)))

    def _choose(
        self, memory: Memory, frame: Frame, near: Integers, usable: Flags
    ) -> tuple[Integers, Floats]:
        line = np.arange(len(near))[:, None]
        apart = memory.distances(frame.keys)[line, memory.setup.take(near)]
        like = self._likeness(marks_of(frame)[:, None, :] - memory.marks.take(near, axis=0), apart)
        like *= usable
        best = np.argpartition(like, -self.nearest, axis=1)[:, -self.nearest :]
        return near[line, best], like[line, best].astype(float)

    def _among(self, memory: Memory, rows: Integers, usable: Flags) -> Floats:
        one, other = self._pairs
        marks, setup = memory.marks.take(rows, axis=0), memory.setup.take(rows)
        like = self._likeness(
            marks[:, one] - marks[:, other], memory.apart[setup[:, one], setup[:, other]]
        )
        like *= usable[:, one] & usable[:, other]
        among = np.empty((*rows.shape, self.nearest))
        among[:, one, other] = like
        among[:, other, one] = like
        diagonal = np.arange(self.nearest)
        among[:, diagonal, diagonal] = self._variance + self._noise**2
        return among

    def _likeness(self, difference: Singles, apart: Singles) -> Singles:
        """Return `(n, m)` likenesses of pairs by their marks' differences `(n, m, len(MARKS))`."""
        # Columns in lines: every step then runs over long, contiguous memory.
        lines = difference.reshape(-1, len(MARKS)).T.copy()
        sizes = lines[: len(SIZES)]
        np.square(sizes, out=sizes)
        sizes *= self._scale[: len(SIZES)]
        reasons = np.empty((6, lines.shape[1]), dtype=np.float32)
        sizes[:_NETWORK_SIZES].sum(axis=0, out=reasons[0])
        sizes[_NETWORK_SIZES:].sum(axis=0, out=reasons[1])
        np.sqrt(reasons[:2], out=reasons[:2])
        reasons[2:5] = lines[len(SIZES) :] != 0.0
        reasons[5] = apart.reshape(-1)
        falls = self._falls @ reasons
        # Denormal numbers would take many times as long.
        np.maximum(falls, _FARTHEST, out=falls)
        likeness: Singles = self._variances @ np.exp(falls, out=falls)
        return likeness.reshape(apart.shape)
