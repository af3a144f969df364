"""The largest batch, or the longest context, that fits into memory with a given probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Sheet
from agent.learning.cell import Cell
from agent.learning.fit import Fit, Floats, Reasons, at_shares, reasons_of, shares_of
from agent.learning.need import Need, need_of, with_batch, with_context
from agent.learning.tried import Bounds, Shares, Tried, agreeing

Integers = NDArray[np.int64]

Find = Literal["batch_size", "context"]

MOST = 10_000_000
"""As large as a count may be in a request."""

_GROWS = {"batch_size": with_batch, "context": with_context}


class Fitting(NamedTuple):
    """Whether a cell fits, and what it takes.

    Attributes:
        chance: that it fits.
        need: what it takes by arithmetic; of all devices together.
        memory_mb: what the hardware has; of all devices together.
    """

    chance: float
    need: Need
    memory_mb: float


class Largest(NamedTuple):
    """The largest size at which a cell fits with the probability asked for.

    Attributes:
        size: 0 where not even 1 fits; None where nothing that is known grows with it.
        fitting: at that size; at 1 where `size` is 0 or None.
        next_chance: that one more fits.
    """

    size: int | None
    fitting: Fitting
    next_chance: float


def fittings(
    fit: Fit, tried: Tried, cells: Sequence[Cell], sheets: Sequence[Sheet | None]
) -> list[Fitting | None]:
    """Return how cells fit; None where the model's size or the hardware's memory is unknown."""
    needs = [need_of(cell) for cell in cells]
    reasons = [reasons_of(*one) for one in zip(cells, sheets, needs, strict=True)]
    known = [place for place, one in enumerate(reasons) if one is not None]
    found: list[Fitting | None] = [None] * len(cells)
    if not known:
        return found
    table = np.array([reasons[place] for place in known], dtype=np.float64)
    bounds = _bounds(fit, table, [tried.of(cells[place]) for place in known])
    chances = agreeing(fit.probabilities(table), shares_of(table), bounds)
    for place, chance in zip(known, chances.tolist(), strict=True):
        need, one = needs[place], reasons[place]
        assert need is not None
        assert one is not None
        found[place] = Fitting(chance, need, one.held_mb)
    return found


def _bounds(fit: Fit, reasons: Floats, tried: Sequence[Shares]) -> Bounds:
    """Return what was tried of cells, by reasons `(n, 5)` of each at any size."""
    fitted, failed = np.array(tried).T
    # Where nothing was tried, any share will do.
    at_fitted = fit.probabilities(at_shares(reasons, np.where(fitted > 0.0, fitted, 1.0)))
    at_failed = fit.probabilities(at_shares(reasons, np.where(np.isfinite(failed), failed, 1.0)))
    return Bounds.of(tried, at_fitted, at_failed)


def largest(
    fit: Fit,
    tried: Tried,
    cells: Sequence[Cell],
    sheets: Sequence[Sheet | None],
    find: Find,
    probability: float,
) -> list[Largest | None]:
    """Return the largest size of each cell that fits; None where it can't be told at all.

    Args:
        fit: what was learnt about fitting.
        tried: which sizes were tried, and how that ended.
        cells: each at its other sizes.
        sheets: of their hardware.
        find: what is to be as large as possible.
        probability: with which it has to fit.
    """
    grow = _GROWS[find]
    results: list[Largest | None] = [None] * len(cells)
    known: list[int] = []
    ones: list[Reasons] = []
    twos: list[Reasons] = []
    for index, (cell, sheet) in enumerate(zip(cells, sheets, strict=True)):
        one = reasons_of(grow(cell, 1.0), sheet)
        two = reasons_of(grow(cell, 2.0), sheet)
        if one is not None and two is not None:
            known.append(index)
            ones.append(one)
            twos.append(two)
    if not known:
        return results
    of_cells = [tried.of(cells[index]) for index in known]
    line = _Line(fit, np.array(ones), np.array(twos), of_cells)
    sizes = line.largest(probability)
    after = line.chances(np.minimum(sizes + 1, MOST))
    shown = np.where((sizes > 0) & (sizes < MOST), sizes, 1).tolist()
    grown = [grow(cells[index], float(size)) for index, size in zip(known, shown, strict=True)]
    here = fittings(fit, tried, grown, [sheets[index] for index in known])
    for index, size, fitting, chance in zip(known, sizes.tolist(), here, after, strict=True):
        assert fitting is not None, "its need and its memory are known"
        results[index] = Largest(None if size >= MOST else size, fitting, float(chance))
    return results


class _Line:
    """Cells whose need grows in a straight line with a size, as weights, cache and load do."""

    def __init__(self, fit: Fit, ones: Floats, twos: Floats, tried: Sequence[Shares]) -> None:
        self._fit = fit
        self._ones = ones
        self._step = twos - ones
        self._bounds = _bounds(fit, ones, tried)

    def chances(self, sizes: Integers) -> Floats:
        """Return the chance that each cell fits at its size, 1 or more."""
        reasons = self._ones + (sizes - 1.0)[:, None] * self._step
        return agreeing(self._fit.probabilities(reasons), shares_of(reasons), self._bounds)

    def largest(self, probability: float) -> Integers:
        """Halve in on the largest size of each cell; 0 where not even 1 fits."""
        fits = np.zeros(len(self._ones), dtype=np.int64)
        fails = np.full(len(self._ones), MOST + 1)
        while (fails - fits > 1).any():
            middle = (fits + fails) // 2
            good = self.chances(np.maximum(middle, 1)) >= probability
            open_ = fails - fits > 1
            fits = np.where(open_ & good, middle, fits)
            fails = np.where(open_ & ~good, middle, fails)
        return fits
