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

from agent.learning.memory import Memory, Near
from agent.learning.paired import Paired, distinct
from agent.learning.process import (
    Apart,
    Kernel,
    Likeness,
    among,
    choose,
    covariances,
    pairs_of,
    solved,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LEAST = 1e-8


@dataclass(frozen=True, slots=True)
class Kinship:
    """How set-ups are taken to differ.

    Attributes:
        common: likeness of measurements in one set-up; its `parts` are the variances that other
            parts of a set-up add, its `setup` stands for nothing.
        deviation: likeness of deviations, relative to their variance.
        alone: what comes on top of the variance of a deviation, and no other measurement shares:
            without it, a few that nearly agree in what they differ by are carried on to anywhere.
        names: measurements in two set-ups that their names are worth in saying how they vary.
        seen: what of the variance that was seen is taken for that of a deviation; the likeness
            of deviations comes on top.
        offsets: measurements in two set-ups that their offsets are worth in saying how they differ.
    """

    common: Kernel
    deviation: Kernel
    alone: float
    names: float
    seen: float
    offsets: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The `n` cells that are to be predicted for `m` metrics.

    Attributes:
        near: the measurements that may be like them.
        apart: what these differ in from them.
        metrics: `(m,)`, columns of the memory.
        slots: `(n, m)`, of the metrics' units.
        setups: `(n, m)` rows of their set-ups, 0 for those that nobody knows.
        law: `(n, m)`, what the laws say of them.
        offset: `(n, m)`, how far their set-ups stay from that.
        offsets: of all rows of set-ups.
    """

    near: Near
    apart: Apart
    metrics: Integers
    slots: Integers
    setups: Integers
    law: Floats
    offset: Floats
    offsets: Floats


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
        like, foretold = self._common.of(asked.apart)[:q], asked.apart.setups[:q].astype(float)
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
        rest = self._rests(memory, paired, asked, rows.take(chosen.which, axis=0))
        expected = np.vecdot(weights.take(chosen.which, axis=0), rest)
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
        flat = near.rows * memory.path.shape[1] + metric
        mine, there = here.take(near.cells), memory.path.reshape(-1).take(flat)
        pairs, numbers = distinct(mine, there)
        known = mine.take(pairs)
        seen = paired.of(known, there.take(pairs))
        count = np.where(known > 0, np.maximum(seen.seen - 1.0, 0.0), 0.0)
        shown = count * np.log(self._kinship.seen * (seen.variance + _LEAST))
        logs = self._kinship.names * np.log(foretold + _LEAST)
        logs += shown.take(numbers)
        logs /= (self._kinship.names + count).take(numbers)
        variance: Floats = np.exp(logs, out=logs)
        variance[foretold <= 0.0] = 0.0
        return variance

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
        apart = among(memory, rows, self._pairs)
        like = self._common.of(apart).reshape(-1, p).astype(float)
        deviation = self._deviation.of(apart).reshape(-1, p)
        # By the law of cosines: parts that differ from the cell's in both, and are alike.
        expected = prior.T.copy()
        shared = expected.take(one, axis=0) + expected.take(other, axis=0)
        shared -= apart.setups.reshape(-1, p)
        scale = np.sqrt(variance.T / np.maximum(expected, _LEAST))
        like += 0.5 * shared * scale.take(one, axis=0) * scale.take(other, axis=0) * deviation
        matrices = covariances(like, usable, self._pairs)
        matrices.reshape(p, k * k)[:, :: k + 1] = (
            self._common.variance
            + self._kinship.common.noise**2
            + (1.0 + self._kinship.alone) * self._deviation.variance * variance
        )
        weights = solved(matrices, right)
        left: Floats = (
            self._common.variance + self._kinship.common.noise**2 - np.vecdot(right, weights)
        )
        return weights, left

    def _rests(self, memory: Memory, paired: Paired, asked: Asked, rows: Integers) -> Floats:
        """Return `(n, m, k)`, what rows would leave of the law and the offset in cells' set-ups.

        Args:
            memory: holds the rows.
            paired: by how much set-ups differ.
            asked: the cells.
            rows: `(n, m, k)`.
        """
        flat = rows * memory.path.shape[1] + asked.metrics[:, None]
        there, rest = memory.path.reshape(-1).take(flat), memory.rest.reshape(-1).take(flat)
        mine = np.empty_like(there)
        mine[:] = asked.setups[..., None]
        pairs, numbers = distinct(mine.reshape(-1), there.reshape(-1))
        numbers = numbers.reshape(there.shape)
        here, others = mine.reshape(-1).take(pairs), there.reshape(-1).take(pairs)
        seen = paired.of(here, others)
        count = np.where((here > 0) & (here != others), seen.seen, 0.0)
        trust = count / (count + self._kinship.offsets)
        apart = asked.law[..., None] - (memory.z.reshape(-1).take(flat) - rest)
        carried = seen.base.take(numbers) + (seen.slope - 1.0).take(numbers) * apart
        carried -= asked.offset[..., None]
        rest += trust.take(numbers) * carried
        rest -= ((1.0 - trust) * asked.offsets.take(others)).take(numbers)
        return rest
