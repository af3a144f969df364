"""Whether a cell fits into memory, learnt from runs that did and from runs that did not.

A run out of memory bounds the need from below, a good one from above: both are one answer to
"does it fit?". A logistic regression on how the need compares with what the device has, made
Bayesian by a Laplace step for each event (Spiegelhalter and Lauritzen 1990), starts from physics
and learns how much of the memory is really to be had.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.roofline import bytes_per_weight

Floats = NDArray[np.float64]

_REASONS = ("sure", "need", "activations", "training")
_PRIOR = np.array([1.5, -4.0, 0.0, -0.5])
"""At a need of half the memory a run nearly always fits, at twice it nearly never does."""

_FIRMNESS = np.array([1.0, 1.0, 4.0, 2.0])


def need_mb(cell: Cell) -> float | None:
    """Return the bytes that a cell needs by its weights and activations, or None if unknown."""
    if cell.parameters_m is None:
        return None
    size = bytes_per_weight(cell.precision) or 2.0
    training = cell.task == "training"
    # Training holds gradients and two moments beside the weights.
    weights = cell.parameters_m * size * (4.0 if training else 1.0)
    items = cell.batch_size or 1.0
    alive = 2.0 if training else 0.25
    return weights + items * (cell.activations_m or 0.0) * max(size, 2.0) * alive


def reasons_of(cell: Cell, sheet: Sheet | None) -> Floats | None:
    """Return what fitting depends on, or None where need or memory is unknown."""
    need = need_mb(cell)
    if need is None or sheet is None or sheet.memory_gb is None:
        return None
    held_mb = sheet.memory_gb * 1e3 * (cell.device_count or 1.0)
    share = math.log(max(need, 1e-3) / held_mb)
    context = math.log1p((cell.batch_size or 1.0) * (cell.sequence_in or 0.0)) / 5.0
    return np.array([1.0, min(max(share, -6.0), 6.0), -context, float(cell.task == "training")])


class Fit:
    """Learns the probability that a cell fits."""

    def __init__(self) -> None:
        self.count = 0
        self._weights = _PRIOR.copy()
        self._covariance = np.diag(1.0 / _FIRMNESS)

    def learn(self, reasons: Floats, *, fitted: bool) -> None:
        """Learn that a run fitted, or that it ran out of memory."""
        self.count += 1
        expected = _logistic(float(self._weights @ reasons))
        spread = max(expected * (1.0 - expected), 1e-4)
        projected = self._covariance @ reasons
        gain = projected / (1.0 + spread * float(reasons @ projected))
        self._covariance -= spread * np.outer(gain, projected)
        self._weights += gain * (float(fitted) - expected)

    def probability(self, reasons: Floats) -> float:
        """Return the chance that a cell fits, less sure the less was learnt (MacKay 1992)."""
        spread = float(reasons @ self._covariance @ reasons)
        moderation = math.sqrt(1.0 + math.pi * spread / 8.0)
        return _logistic(float(self._weights @ reasons) / moderation)


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -30.0), 30.0)))
