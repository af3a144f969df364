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
from agent.learning.kinship import Kinship
from agent.learning.loops import transfer as loops
from agent.learning.loops.transfer import Carried, Wanted
from agent.learning.memory import Memory, Near
from agent.learning.paired import Paired

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """The cells that are to be predicted.

    Attributes:
        frame: of them.
        near: the measurements that may be like them.
        wanted: what is to be predicted of them.
    """

    frame: Frame
    near: Near
    wanted: Wanted


class Transfer:
    """Predicts cells by what was measured of like networks in any set-up.

    Args:
        kinship: how set-ups are taken to differ.
        kept: the weights by which the memory multiplies sizes.
        nearest: how many measurements predict a cell.
    """

    def __init__(self, kinship: Kinship, kept: tuple[float, ...], nearest: int = 12) -> None:
        self._nearest = nearest
        weights = np.square(np.array(kinship.common.sizes) / np.array(kept))
        self._ways = loops.Ways(
            weights,
            kinship.common.likeness,
            kinship.deviation.likeness,
            kinship.common.noise**2,
            kinship.alone,
            kinship.names,
            kinship.seen,
            kinship.offsets,
        )

    def carry(self, memory: Memory, paired: Paired, asked: Asked) -> Carried:
        """Return what measurements anywhere let expect of the `n` cells of a frame.

        Args:
            memory: holds the measurements.
            paired: how their set-ups differ.
            asked: the cells.
        """
        carried = Carried(*np.empty((3, *asked.wanted.slots.shape)))
        places, strange = memory.places_of(asked.frame.keys)
        cells = loops.Asked(
            asked.near.rows,
            asked.near.cells,
            memory.weighted(asked.frame),
            asked.frame.names,
            places,
            strange,
            asked.wanted,
        )
        loops.carry(
            carried,
            self._nearest,
            cells,
            memory.kept,
            memory.values,
            paired.pairs,
            self._ways,
        )
        return carried
