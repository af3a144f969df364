"""Predictions in the words of the contract, each computed once per state of knowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import TypeAdapter

from agent.learning.bank import Bank, Predicted
from agent.learning.capacity import Find, Fitting, Largest
from agent.learning.catalogue import Sheet, catalogue
from agent.learning.cell import Cell
from agent.learning.sustained import Lasting
from schemas.measurement import METRICS, MetricName
from schemas.replies import Basis, Estimate, Estimates

REMEMBERED_CELLS = 4_096
_AT_ONCE = 256
"""Cells in one pass: more would take memory, and no less time for each."""

_ESTIMATES: TypeAdapter[list[Estimate]] = TypeAdapter(list[Estimate])
_BASES: TypeAdapter[list[Basis]] = TypeAdapter(list[Basis])

_Units = Mapping[MetricName, str]
_Asked = tuple[tuple[MetricName, ...], tuple[tuple[MetricName, str], ...]]
"""Metrics, and the units to predict them in."""


class Predictor:
    """Asks the bank, and remembers its answers until it learns something.

    Schedulers ask for the same cells over and over between two events. What is remembered is
    no state: it is left out of snapshots, and changes no answer.

    Args:
        bank: what was learnt.
        met: names of hardware that was measured here, rather than where public tables come from.
    """

    def __init__(self, bank: Bank, met: Mapping[str, object] | None = None) -> None:
        self._bank = bank
        self._met = met if met is not None else {}
        self._remembered: dict[_Asked, dict[Cell, Estimates]] = {}
        self._count = 0
        self._as_of = -1

    def __getstate__(self) -> dict[str, Any]:
        fresh = {"_remembered": {}, "_count": 0, "_as_of": -1}
        return {"_bank": self._bank, "_met": self._met, **fresh}

    def predict(
        self,
        cells: Sequence[Cell],
        metrics: Sequence[MetricName] = METRICS,
        units: _Units | None = None,
    ) -> list[Estimates]:
        """Predict cells in the order given; those not remembered in one vectorised pass."""
        if self._bank.observed_count != self._as_of or self._count > REMEMBERED_CELLS:
            self._remembered, self._count = {}, 0
            self._as_of = self._bank.observed_count
        asked: _Asked = tuple(metrics), tuple(sorted((units or {}).items()))
        remembered = self._remembered.setdefault(asked, {})
        found = list(map(remembered.get, cells))
        if None in found:
            new = list({cell: None for cell, one in zip(cells, found, strict=True) if one is None})
            for start in range(0, len(new), _AT_ONCE):
                some = new[start : start + _AT_ONCE]
                predicted = self._bank.predict(some, metrics, dict(asked[1]))
                remembered.update(zip(some, estimates(predicted), strict=True))
            self._count += len(new)
            found = list(map(remembered.__getitem__, cells))
        return cast("list[Estimates]", found)

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """Data sheets of the user's own."""
        return self._bank.config.sheets

    def filled(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return cells with what they leave out put in from what is known."""
        return self._bank.filled(cells)

    def fittings(self, cells: Sequence[Cell]) -> list[Fitting | None]:
        """Return whether each cell fits, and what it takes; None where that is unknown."""
        return self._bank.fittings(cells)

    def assumed(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        """Return which lengths each cell was taken to have without saying so, by name."""
        return self._bank.assumed(cells)

    def largest(
        self, cells: Sequence[Cell], find: Find, probability: float, memory_mb: float | None
    ) -> list[Largest | None]:
        """Return the largest batch or context with which each cell fits, so probably."""
        return self._bank.largest(cells, find, probability, memory_mb)

    def lasting(self, cell: Cell, duration_s: float | None) -> Lasting | None:
        """Return what a duration does to a cell's speed; None if no duration was measured."""
        return self._bank.lasting(cell, duration_s)

    def known_hardware(self) -> list[str]:
        """Return the names of all hardware that was measured here, else of all that is known."""
        return list(self._met) or self._bank.known_hardware()

    def capacity_mb(self, hardware: str) -> float | None:
        """Return the memory of one device by its data sheet, if there is one."""
        sheet = catalogue(self._bank.config.sheets).find(hardware)
        return None if sheet is None or sheet.memory_gb is None else sheet.memory_gb * 1_000

    def each_comparable(self, groups: Sequence[Sequence[Cell]]) -> list[Estimates]:
        """Predict groups of cells, each as by `comparable`, all in one pass; return them in order.

        Only groups in which units differ are predicted once more.
        """
        self.predict([cell for group in groups for cell in group])
        return [one for group in groups for one in self.comparable(group)]

    def comparable(self, cells: Sequence[Cell]) -> list[Estimates]:
        """Predict cells of one model in one unit each, so that they can be held side by side.

        Where the best supported units differ from cell to cell, all are predicted in the one
        that rests on the most measurements of the model.
        """
        first = self.predict(cells)
        units = _units_to_share(first)
        if not units:
            return first
        again = self.predict(cells, list(units), units)
        return [{**one, **other} for one, other in zip(first, again, strict=True)]


def _units_to_share(predicted: Sequence[Estimates]) -> dict[MetricName, str]:
    """Return, where units of a metric differ, the one that rests on most measurements."""
    units: dict[MetricName, str] = {}
    for metric in METRICS:
        found: dict[str, int] = {}
        for one in predicted:
            estimate = one.get(metric)
            if estimate is not None and estimate.unit is not None and estimate.basis:
                found[estimate.unit] = estimate.basis.model
        if len(found) > 1:
            units[metric] = max(found, key=lambda unit: (found[unit], unit))
    return units


def estimates(predicted: Sequence[Mapping[str, Predicted]]) -> list[Estimates]:
    """Return learners' predictions in the words of the contract.

    One validation of them all, in pydantic's compiled core, takes a quarter of what building
    the objects one by one in Python does. What metrics rest on is mostly the same for several.
    """
    every = [one for line in predicted for one in line.values()]
    bases = list(dict.fromkeys(one.basis for one in every))
    known = dict(zip(bases, _BASES.validate_python(bases, from_attributes=True), strict=True))
    fields = [
        {
            "value": value,
            "low": low,
            "high": high,
            "confidence": confidence,
            "unit": unit,
            "basis": known[basis],
        }
        for value, low, high, confidence, unit, basis in every
    ]
    found = iter(_ESTIMATES.validate_python(fields))
    return [cast("Estimates", dict(zip(line, found, strict=False))) for line in predicted]
