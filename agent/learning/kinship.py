"""How alike measurements are taken to be, in one set-up and across set-ups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.learning.loops import transfer as loops


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

    @property
    def likeness(self) -> loops.Likeness:
        """Return it for loops: how fast each product falls for each reason, and its variance."""
        reasons = self.network, self.shape, self.group, self.stem, self.model, self.setup
        return loops.Likeness(np.array(reasons).T.copy(), np.square(np.array(self.amplitude)))


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


KINSHIP = Kinship(
    common=Kernel(
        sizes=(1.682, 0.0064, 0.149, 1.278, 3.517, 0.15, 0.15, 1.0, 4.569),
        parts=(0.106, 0.1, 0.0157, 0.0504, 0.08, 0.08, 0.08, 0.05, 0.1175),
        noise=0.0204,
        amplitude=(0.517, 0.1458, 0.0252),
        network=(0.0694, 1.776, 11.65),
        group=(15.18, 0.2387, 0.01704),
        stem=(0.000927, 0.0144, 19.32),
        model=(0.000927, 0.00144, 2.01),
        shape=(0.03036, 0.1122, 0.0),
        setup=(0.0, 0.0, 0.0),
    ),
    deviation=Kernel(
        sizes=(1.682, 0.0064, 0.149, 1.278, 3.517, 0.15, 0.15, 1.0, 4.569),
        parts=(0.106, 0.1, 0.0157, 0.0504, 0.08, 0.08, 0.08, 0.05, 0.1175),
        noise=0.0,
        amplitude=(0.583, 1.83),
        network=(0.0, 1.341),
        group=(0.3, 1.0),
        stem=(0.0, 0.0192),
        model=(0.0, 0.00381),
        shape=(0.5833, 54.57),
        setup=(0.0, 0.0),
    ),
    alone=0.08,
    names=4.33,
    seen=0.16,
    offsets=0.126,
)
"""Set by minimising the error on held-out hardware, above all, of public vision and language
benchmarks, with floors where those say little (sequence lengths, precision)."""
