"""Whether a cell fits into memory, learnt from runs that did and from runs that did not.

A run out of memory bounds the need from below, a good one from above, and a measured peak from
both sides: all are answers to "does it fit?". A logistic regression on how the need compares with
what the device has, made Bayesian by a Laplace step for each event (Spiegelhalter and Lauritzen
1990), starts from physics and learns how much of the memory is really to be had.

Laws that hold whatever was learnt: more memory, fewer bits, a smaller batch or a shorter context
never make it less likely to fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.need import Need, load_of, need_of

Floats = NDArray[np.float64]

_REASONS = ("sure", "need", "load", "training")
_PRIOR = np.array([-0.8, -8.0, 0.0, -0.5])
"""Physics and an assumption: what is counted is the least that is needed, and about a tenth more
is taken. At a need of half the memory a run nearly always fits, at all of it rarely."""

_FIRMNESS = np.array([1.0, 1.0, 4.0, 2.0])

_FLATTEST = -1.0
"""However the outcomes fall, a greater need never helps; it counts at least this much."""

_WIDEST = 6.0
"""Log of need over memory beyond which it makes no difference."""

_GUESSED_CACHE = 2.0
"""Logit by which a guessed key-value cache may be off: by grouping alone, up to eight times."""

_PEAK_ERROR = 1.1
"""How far a run needs more or less from one time to the next, by assumption."""


class Reasons(NamedTuple):
    """What fitting depends on.

    Attributes:
        need_mb: by arithmetic, of all devices together.
        held_mb: memory of all devices together.
        load: tokens, or where there are none items, of one batch.
        training: 1 for training, else 0.
        guessed: 1 where the key-value cache was guessed, else 0.
    """

    need_mb: float
    held_mb: float
    load: float
    training: float
    guessed: float


def memory_mb(cell: Cell, sheet: Sheet | None) -> float | None:
    """Return the memory of all devices of a cell together, or None if unknown."""
    if sheet is None or sheet.memory_gb is None:
        return None
    return sheet.memory_gb * 1e3 * (cell.device_count or 1.0)


def reasons_of(cell: Cell, sheet: Sheet | None, need: Need | None = None) -> Reasons | None:
    """Return what fitting depends on, or None where need or memory is unknown."""
    need = need or need_of(cell)
    held_mb = memory_mb(cell, sheet)
    if need is None or held_mb is None:
        return None
    return Reasons(
        need.total_mb,
        held_mb,
        load_of(cell),
        float(cell.task == "training"),
        float(need.kv_estimated),
    )


class Fit:
    """Learns the probability that a cell fits."""

    def __init__(self) -> None:
        self.count = 0
        self._weights = _PRIOR.copy()
        self._covariance = np.diag(1.0 / _FIRMNESS)

    def learn(self, reasons: Reasons, *, fitted: bool) -> None:
        """Learn that a run fitted, or that it ran out of memory."""
        self.count += 1
        self._step(_row(reasons), fitted=fitted)

    def learn_peak(self, reasons: Reasons, peak_mb: float) -> None:
        """Learn what a run took: it would just fit into a little more, and not into less.

        Args:
            reasons: of the run.
            peak_mb: measured on all devices together.
        """
        self.count += 1
        for held_mb, fitted in ((peak_mb * _PEAK_ERROR, True), (peak_mb / _PEAK_ERROR, False)):
            self._step(_row(reasons._replace(held_mb=held_mb)), fitted=fitted)

    def probability(self, reasons: Reasons) -> float:
        """Return the chance that a cell fits."""
        return float(self.probabilities([reasons])[0])

    def probabilities(self, reasons: Sequence[Reasons]) -> Floats:
        """Return the chance that each cell fits, less sure the less was learnt (MacKay 1992)."""
        return self.chances(*np.array(reasons, dtype=np.float64).T)

    def chances(
        self, need_mb: Floats, held_mb: Floats, load: Floats, training: Floats, guessed: Floats
    ) -> Floats:
        """Return the same for the columns of many `Reasons`."""
        sure, need, burden, trained = self._weights
        value = sure + min(need, _FLATTEST) * _shares(need_mb, held_mb)
        value += max(burden, 0.0) * _burdens(load) + trained * training
        # How unsure it is, is taken where need and memory meet: were it to change with the need,
        # a greater need could look likelier to fit.
        middle = np.stack([np.ones_like(training), training])
        firmness = self._covariance[np.ix_((0, 3), (0, 3))]
        spread = np.einsum("in,ij,jn->n", middle, firmness, middle)
        spread += (_GUESSED_CACHE * guessed) ** 2
        value /= np.sqrt(1.0 + math.pi * spread / 8.0)
        found: Floats = 1.0 / (1.0 + np.exp(-np.clip(value, -30.0, 30.0)))
        return found

    def _step(self, row: Floats, *, fitted: bool) -> None:
        expected = _logistic(float(self._weights @ row))
        spread = max(expected * (1.0 - expected), 1e-4)
        projected = self._covariance @ row
        gain = projected / (1.0 + spread * float(row @ projected))
        self._covariance -= spread * np.outer(gain, projected)
        self._weights += gain * (float(fitted) - expected)


def _row(one: Reasons) -> Floats:
    need_mb, held_mb, load = np.array([one.need_mb]), np.array([one.held_mb]), np.array([one.load])
    share, burden = _shares(need_mb, held_mb), _burdens(load)
    return np.array([1.0, share[0], burden[0], one.training])


def _shares(need_mb: Floats, held_mb: Floats) -> Floats:
    shares: Floats = np.clip(np.log(np.maximum(need_mb, 1e-3) / held_mb), -_WIDEST, _WIDEST)
    return shares


def _burdens(load: Floats) -> Floats:
    burdens: Floats = -np.log1p(load) / 5.0
    return burdens


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -30.0), 30.0)))
