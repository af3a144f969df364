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

from agent.learning.bounds import Usual
from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.intervals import DEVIATIONS
from agent.learning.loops.fit import WIDEST, step
from agent.learning.need import Need, need_of

Floats = NDArray[np.float64]

_SURE, _NEED, _TRAINING, _GUESS, _OWN = range(5)
_PRIOR = np.array([-0.8, -8.0, -0.5, 0.0, 0.0])
"""Physics and an assumption: what is counted is the least that is needed, and about a tenth more
is taken. At a need of half the memory a run nearly always fits, at all of it rarely. What was
guessed, and what the runtime takes for itself, is taken as guessed."""

_FIRMNESS = np.array([10.0, 1.0, 10.0, 1.0, 0.25])
_LEAST = np.array([-20.0, -40.0, -20.0, -4.0, -4.0])
_MOST = np.array([0.0, -1.0, 0.0, 4.0, 3.0])
"""Within which all that is learnt stays: more than there is never fits, a need never helps."""

_LEAST_MB = 1e-3
_OWN_MB = 400.0
"""What a runtime takes for itself on each device, to begin with: an assumption."""

_NODES = ((-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6))
"""Deviations and weights of a mean over a normal distribution (Gauss and Hermite, three nodes)."""

_ODDS_OF_NINETY = math.log(19.0)

_PEAK_ERROR = 1.1
"""How far a run needs more or less from one time to the next, by assumption."""


class Reasons(NamedTuple):
    """What fitting depends on, of all devices together.

    Attributes:
        counted_mb: needed by arithmetic, from what was said.
        guessed_mb: needed besides, by a guess; how good such guesses are, is learnt.
        own_mb: needed by the runtime itself, whatever it runs; by a guess of its own.
        held_mb: memory.
        training: 1 for training, else 0.
    """

    counted_mb: float
    guessed_mb: float
    own_mb: float
    held_mb: float
    training: float

    @property
    def share(self) -> float:
        """The need over the memory, as far as it grows with sizes; guesses as guessed."""
        return max(self.counted_mb + self.guessed_mb, _LEAST_MB) / self.held_mb


def shares_of(reasons: Floats) -> Floats:
    """Return the shares `(n,)` of reasons `(n, 5)`."""
    counted_mb, guessed_mb, _, held_mb, _ = reasons.T
    shares: Floats = np.maximum(counted_mb + guessed_mb, _LEAST_MB) / held_mb
    return shares


def at_shares(reasons: Floats, shares: Floats) -> Floats:
    """Return reasons `(n, 5)` as they would be at other shares `(n,)`."""
    others = reasons.copy()
    others[:, :2] *= (shares / shares_of(reasons))[:, None]
    return others


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
        need.counted_mb,
        need.guessed_mb,
        _OWN_MB * (cell.device_count or 1.0),
        held_mb,
        float(cell.task == "training"),
    )


class Fit:
    """Learns the probability that a cell fits."""

    def __init__(self) -> None:
        self.count = 0
        self._weights = _PRIOR.copy()
        self._covariance = np.diag(1.0 / _FIRMNESS)

    def learn(self, reasons: Reasons, *, fitted: bool) -> None:
        """Learn that a run fitted, or that it ran out of memory.

        A run that fitted though more was counted than there is was counted wrong (a runtime
        pages, or a precision was not said): it teaches nothing.
        """
        if fitted and reasons.counted_mb >= reasons.held_mb:
            return
        self.count += 1
        self._step(reasons, fitted=fitted)

    def learn_peak(self, reasons: Reasons, peak_mb: float) -> None:
        """Learn what a run took: it would just fit into a little more, and not into less.

        Args:
            reasons: of the run.
            peak_mb: measured on all devices together.
        """
        self.count += 1
        for held_mb, fitted in ((peak_mb * _PEAK_ERROR, True), (peak_mb / _PEAK_ERROR, False)):
            self._step(reasons._replace(held_mb=held_mb), fitted=fitted)

    def usual(self, cells: Sequence[Cell]) -> list[Usual | None]:
        """Return what cells usually take of each device, in MB; None where nothing is counted.

        It is where a run would fit as often as not, and nine of ten lie as far around it as the
        chance of fitting goes from one of twenty to nineteen, and as guesses may be off.
        """
        sure, need, trained, guess, own = self._weights
        spread = math.sqrt(max(self._covariance[_GUESS, _GUESS], 0.0))
        found: list[Usual | None] = []
        for cell in cells:
            needed = need_of(cell)
            if needed is None:
                found.append(None)
                continue
            count = cell.device_count or 1.0
            guessed_mb = math.exp(guess) * needed.guessed_mb
            total_mb = needed.counted_mb + guessed_mb + math.exp(own) * _OWN_MB * count
            share = -(sure + trained * (cell.task == "training")) / need
            half_width = _ODDS_OF_NINETY / -need + DEVIATIONS * spread * guessed_mb / total_mb
            found.append(Usual(total_mb * math.exp(-share) / count, half_width))
        return found

    def probability(self, reasons: Reasons) -> float:
        """Return the chance that a cell fits."""
        return float(self.probabilities([reasons])[0])

    def probabilities(self, reasons: Sequence[Reasons] | Floats) -> Floats:
        """Return the chance that each cell fits, less sure the less was learnt (MacKay 1992)."""
        return self.chances(*np.array(reasons, dtype=np.float64).T)

    def chances(
        self,
        counted_mb: Floats,
        guessed_mb: Floats,
        own_mb: Floats,
        held_mb: Floats,
        training: Floats,
    ) -> Floats:
        """Return the same for the columns of many `Reasons`."""
        sure, need, trained, guess, own = self._weights
        sure_mb = counted_mb + math.exp(own) * own_mb
        # How unsure it is, is taken where need and memory meet: were it to change with the need,
        # a greater need could look likelier to fit. Guesses may be off either way: a mean over
        # what they may come to keeps every law that holds for each.
        middle = np.stack([np.ones_like(training), training])
        known = self._covariance[np.ix_((_SURE, _TRAINING), (_SURE, _TRAINING))]
        moderation = np.sqrt(1.0 + math.pi * np.einsum("in,ij,jn->n", middle, known, middle) / 8.0)
        spread = math.sqrt(max(self._covariance[_GUESS, _GUESS], 0.0))
        found: Floats = np.zeros_like(training)
        for deviation, weight in _NODES:
            total_mb = sure_mb + math.exp(guess + deviation * spread) * guessed_mb
            shares = np.clip(np.log(np.maximum(total_mb, 1e-3) / held_mb), -WIDEST, WIDEST)
            value = (sure + trained * training + need * shares) / moderation
            found += weight / (1.0 + np.exp(-np.clip(value, -30.0, 30.0)))
        return found

    def _step(self, one: Reasons, *, fitted: bool) -> None:
        step(self._weights, self._covariance, _LEAST, _MOST, np.array(one), fitted)
