"""What a set-up that was hardly measured takes over from others.

A Gaussian process in which every other set-up is the cell's own set-up, and a deviation of its
own: a measurement of the same network elsewhere tells nearly all where deviations are small. How
large they are is learnt from the networks measured in both (`Paired`), beginning with what the
names of the set-ups say; so is the difference that all networks have in common. Deviations of two
set-ups are as alike as their parts are. (Transfer by a process in which sources are noisy versions
of the target is known since Cao, Pan, Zhang, Yeung and Yang, "Adaptive transfer learning", 2010.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.features import Frame
from agent.learning.memory import Memory, Near
from agent.learning.paired import Paired
from agent.learning.process import (
    Kernel,
    Likeness,
    among,
    choose,
    covariances,
    pairs_of,
    solved,
    to_cells,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MEASURE = 1
"""Which distance between set-ups of a memory is the variance that their parts let expect."""

_LEAST = 1e-8
_NUGGET = 0.08


@dataclass(frozen=True, slots=True)
class Kinship:
    """How set-ups are taken to differ.

    Attributes:
        common: likeness of measurements in one set-up; its `parts` are the variances that other
            parts of a set-up add, its `setup` stands for nothing.
        deviation: likeness of deviations, relative to their variance.
        names: measurements in two set-ups that their names are worth in saying how they vary.
        seen: what of the variance that was seen is taken for that of a deviation; the likeness
            of deviations comes on top.
        offsets: measurements in two set-ups that their offsets are worth in saying how they differ.
    """

    common: Kernel
    deviation: Kernel
    names: float
    seen: float
    offsets: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The `n` cells that are to be predicted for `m` metrics.

    Attributes:
        frame: their features.
        near: the measurements that may be like them.
        metrics: `(m,)`, columns of the memory.
        slots: `(n, m)`, of the metrics' units.
        setups: `(n, m)` rows of their set-ups, 0 for those that nobody knows.
        law: `(n, m)`, what the laws say of them.
        offset: `(n, m)`, how far their set-ups stay from that.
        offsets: of all rows of set-ups.
    """

    frame: Frame
    near: Near
    metrics: Integers
    slots: Integers
    setups: Integers
    law: Floats
    offset: Floats
    offsets: Floats

    def only(self, cells: Flags) -> Asked:
        """Return some of the cells `(n,)`."""
        if cells.all():
            return self
        return Asked(
            self.frame.only(np.flatnonzero(cells)),
            self.near.only(cells),
            self.metrics,
            self.slots[cells],
            self.setups[cells],
            self.law[cells],
            self.offset[cells],
            self.offsets,
        )


@dataclass(frozen=True, slots=True)
class Carried:
    """What is taken over.

    Attributes:
        expected: `(n, m)` residuals beyond the law and the offsets of the cells.
        spread: `(n, m)`, the standard deviation that remains.
    """

    expected: Floats
    spread: Floats


class Transfer:
    """Predicts cells by what was measured of like networks in any set-up.

    Args:
        kinship: how set-ups are taken to differ.
        kept: the weights by which the memory multiplies sizes.
        nearest: how many measurements predict a cell.
    """

    def __init__(self, kinship: Kinship, kept: tuple[float, ...], nearest: int = 12) -> None:
        self._kinship = kinship
        self._nearest = nearest
        self._common = Likeness(kinship.common, kept)
        self._deviation = Likeness(kinship.deviation, kept)
        self._pairs = pairs_of(nearest)

    def carry(
        self,
        memory: Memory,
        paired: Paired,
        asked: Asked,
    ) -> Carried:
        """Return what measurements anywhere let expect of the `n` cells of a frame.

        Args:
            memory: holds the measurements.
            paired: how their set-ups differ.
            asked: the cells.
        """
        near, metrics = asked.near, asked.metrics
        q = len(near.rows)
        reasons = to_cells(self._common, memory, asked.frame, near, _MEASURE)
        like, foretold = self._common.of(reasons)[:q], reasons[5, :q].astype(float)
        variance = self._variance(
            memory, paired, near, int(metrics[0]), asked.setups[:, 0], foretold
        )
        whole = self._common.variance + self._deviation.variance * variance
        worth = (like * like / whole).astype(np.float32)
        chosen = choose(memory, near, worth, metrics, asked.slots, self._nearest)
        rows = chosen.of(near.rows)
        weights, left = self._weights(
            memory,
            rows,
            chosen.pairs >= 0,
            chosen.of(like).astype(float),
            chosen.of(foretold),
            chosen.of(variance),
        )
        noise = self._kinship.common.noise**2
        spread = np.sqrt(np.maximum(left, noise))
        expected = np.empty(asked.slots.shape)
        for at in range(len(metrics)):
            lines = chosen.which[:, at]
            rest = self._rests(memory, paired, asked, at, rows[lines])
            expected[:, at] = np.vecdot(weights[lines], rest)
        return Carried(expected, spread[chosen.which])

    def _variance(
        self,
        memory: Memory,
        paired: Paired,
        near: Near,
        metric: int,
        here: Integers,
        foretold: Floats,
    ) -> Floats:
        """Return `(q,)` variances of deviations of near rows' set-ups from those of cells.

        Args:
            memory: holds the rows.
            paired: what was seen of deviations.
            near: the rows and their cells.
            metric: of which metric.
            here: `(n,)` rows of the cells' set-ups, 0 for those that nobody knows.
            foretold: `(q,)`, the variances that names let expect; 0 within one set-up.
        """
        mine, there = here.take(near.cells), memory.path[near.rows, metric]
        seen = paired.of(mine, there)
        count = np.where(mine > 0, np.maximum(seen.seen - 1.0, 0.0), 0.0)
        logs = self._kinship.names * np.log(foretold + _LEAST)
        logs += count * np.log(self._kinship.seen * (seen.variance + _LEAST))
        variance: Floats = np.exp(logs / (self._kinship.names + count))
        return np.where(foretold > 0.0, variance, 0.0)

    def _weights(
        self,
        memory: Memory,
        rows: Integers,
        usable: Flags,
        right: Floats,
        prior: Floats,
        variance: Floats,
    ) -> tuple[Floats, Floats]:
        """Return weights `(p, k)` of rows, and the variance `(p,)` that they leave.

        Args:
            memory: holds the rows.
            rows: `(p, k)`.
            usable: `(p, k)`, which of them stand for anything.
            right: `(p, k)`, likenesses to what is to be predicted.
            prior: `(p, k)`, variances of deviations by the names of set-ups.
            variance: `(p, k)`, variances of deviations.
        """
        one, other = self._pairs
        p, k = rows.shape
        reasons = among(self._common, memory, rows, self._pairs, _MEASURE)
        like = self._common.of(reasons).reshape(p, -1).astype(float)
        deviation = self._deviation.of(reasons).reshape(p, -1)
        # By the law of cosines: parts that differ from the cell's in both, and are alike.
        shared = prior.take(one, axis=1) + prior.take(other, axis=1)
        shared -= reasons[5].reshape(p, -1)
        scale = np.sqrt(variance / np.maximum(prior, _LEAST))
        like += 0.5 * shared * scale.take(one, axis=1) * scale.take(other, axis=1) * deviation
        matrices = covariances(like, usable, self._pairs)
        matrices.reshape(p, k * k)[:, :: k + 1] = (
            self._common.variance
            + self._kinship.common.noise**2
            + _NUGGET * self._deviation.variance * variance
            + self._deviation.variance * variance
        )
        weights = solved(matrices, right)
        left: Floats = (
            self._common.variance + self._kinship.common.noise**2 - np.vecdot(right, weights)
        )
        return weights, left

    def _rests(
        self, memory: Memory, paired: Paired, asked: Asked, at: int, rows: Integers
    ) -> Floats:
        """Return `(n, k)`, what rows would leave of the law and the offset in the cells' set-ups.

        Args:
            memory: holds the rows.
            paired: by how much set-ups differ.
            asked: the cells.
            at: place of the metric among those asked for.
            rows: `(n, k)`.
        """
        metric, here = asked.metrics[at], asked.setups[:, at, None]
        there, rest = memory.path[rows, metric], memory.rest[rows, metric]
        mine = np.broadcast_to(here, there.shape)
        seen = paired.of(mine.reshape(-1), there.reshape(-1))
        count, base, slope = (one.reshape(there.shape) for one in seen[:3])
        count = np.where((mine > 0) & (mine != there), count, 0.0)
        trust = count / (count + self._kinship.offsets)
        apart = asked.law[:, at, None] - (memory.z[rows, metric] - rest)
        carried = base + (slope - 1.0) * apart - asked.offset[:, at, None]
        rests: Floats = rest + trust * carried - (1.0 - trust) * asked.offsets[there]
        return rests
