"""All metrics together: what was measured goes in, predictions with intervals come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from agent.learning import bounds
from agent.learning.capacity import Find, Fitting, Largest, fittings, largest
from agent.learning.catalogue import Sheet, catalogue
from agent.learning.cell import Cell
from agent.learning.descriptors import Descriptors, HardwareDescriptors, ModelDescriptors
from agent.learning.digest import digest
from agent.learning.features import Frame, frame_of
from agent.learning.fit import Fit, reasons_of
from agent.learning.judge import impossible
from agent.learning.learner import Guesses, Learner, Surprise
from agent.learning.sustained import FIRST_S, Lasting, Sustained
from agent.learning.tried import Tried

METRICS = ("throughput_per_s", "latency_ms", "memory_mb", "power_w")

_LARGEST = 1e15
_SMALLEST = 1e-12

_FITTED = {"ok": True, "out_of_memory": False}
"""What an outcome says about memory; a run that failed otherwise says nothing."""

_SPEEDS = {"throughput_per_s": 1.0, "latency_ms": -1.0}
"""Metrics that tell speed, and whether more of them is faster."""

_SURE = 1.0
"""Half-width (log) of an interval above which a prediction is no more than a guess."""

_HEARSAY = 4.0
"""How far operations that another event told of a model may be off: of an input twice as wide."""

_DRIFTS = 100
"""How many lasting changes wait to be taken."""


@dataclass(frozen=True, slots=True)
class BankConfig:
    """How much is remembered, and what is known beforehand.

    Attributes:
        sheets: a user's own data sheets; they replace shipped ones of the same name.
        setups: set-ups that each metric remembers.
        names: models, and hardware, whose descriptions are remembered.
        rows: measurements that are remembered one by one.
    """

    sheets: tuple[Sheet, ...] = ()
    setups: int = 1024
    names: int = 16384
    rows: int = 32_768


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured cell.

    Attributes:
        metrics: metric to the measured value; what is not positive and finite is passed over.
        units: metric to its unit or kind, casefolded; may lack.
        outcome: "ok", "out_of_memory" or "failed"; only what went well is learnt as a value.
        duration_s: how long the run took; None where it was not said.
    """

    cell: Cell
    metrics: Mapping[str, float]
    units: Mapping[str, str] = field(default_factory=dict)
    outcome: str = "ok"
    duration_s: float | None = None


class Basis(NamedTuple):
    """How many measurements of the metric, in its unit, a prediction rests on."""

    cell: int
    model: int
    hardware: int
    setup: int
    total: int


class Predicted(NamedTuple):
    """What is expected of one metric of one cell.

    Attributes:
        low: lower end of the nominal 90 % interval.
        high: upper end of it.
        confidence: the calibrated chance that the measurement is within 20 % of `value`.
        unit: unit or kind of the value; None where none was ever named.
    """

    value: float
    low: float
    high: float
    confidence: float
    unit: str | None
    basis: Basis


@dataclass(frozen=True, slots=True)
class Drifted:
    """A lasting change of a metric on hardware, or in one of its set-ups only.

    Attributes:
        setup: task, precision, runtime, options and parallelism; None for the whole hardware.
        factor: what earlier measurements have to be multiplied with to hold now.
        events: how many measurements showed it.
    """

    metric: str
    hardware: str
    setup: tuple[str | None, ...] | None
    factor: float
    events: int


class Bank:
    """Learns every metric of every cell; one owner, no I/O, no chance, no clock.

    Two banks that learnt the same observations in the same order are equal: same `digest`,
    same predictions. It can be pickled.
    """

    def __init__(self, config: BankConfig | None = None) -> None:
        self.config = config or BankConfig()
        self.observed_count = 0
        self._descriptors = Descriptors(self.config.names)
        self._learner = Learner(METRICS, self.config.setups, self.config.rows)
        self._drifts: list[Drifted] = []
        self._fit = Fit()
        self._tried = Tried(self.config.names)
        self._sustained = Sustained(self.config.names)

    def learn(self, observation: Observation, *, shipped: bool = False) -> list[Surprise]:
        """Learn from one observation, in constant time; return how wrong each prediction was.

        What `shipped` was measured elsewhere; what is measured here outweighs it.
        """
        self.observed_count += 1
        cell = self._descriptors.learn(observation.cell)
        self._learn_fit(cell, observation)
        if observation.outcome != "ok":
            return []
        values = {}
        for metric, value in observation.metrics.items():
            if metric in METRICS and learnable(value):
                slowing = self._slowing(cell, metric, observation.duration_s)
                values[metric] = (observation.units.get(metric, ""), math.log(value) - slowing)
        if not values:
            return []
        learnt = self._learner.learn(self._frame([cell]), values, shipped=shipped)
        self._learn_duration(cell, observation.duration_s, learnt.surprises)
        for one in learnt.shifts:
            way = (cell.task, cell.precision, cell.runtime, cell.runtime_options)
            self._drifts.append(
                Drifted(
                    one.metric,
                    cell.hardware,
                    None if one.whole else (*way, cell.parallelism),
                    math.exp(one.shift.size),
                    len(one.shift.events),
                )
            )
        del self._drifts[:-_DRIFTS]
        return learnt.surprises

    def judge(self, observation: Observation) -> str | None:
        """Return why an observation is impossible, or None; learning it is the caller's choice."""
        cell = self._descriptors.fill(observation.cell)
        if observation.cell.gmacs is None and cell.gmacs is not None:
            cell = cell._replace(gmacs=cell.gmacs / _HEARSAY)
        known = catalogue(self.config.sheets)
        return impossible(cell, observation.metrics, observation.units, known)

    def take_drifts(self) -> list[Drifted]:
        """Return the lasting changes found since the last call, the oldest first."""
        drifts, self._drifts = self._drifts, []
        return drifts

    def predict(
        self,
        cells: Sequence[Cell],
        metrics: Sequence[str] = METRICS,
        units: Mapping[str, str] | None = None,
    ) -> list[dict[str, Predicted]]:
        """Predict metrics of cells in one vectorised pass.

        Args:
            cells: what to predict; what they leave out is filled in where the name is known.
            metrics: which metrics; one with nothing to stand on is absent from the result.
            units: metric to the unit or kind to predict in; where it does not say, the one with
                the best support for the cell's model, hardware and task is taken.
        """
        if not cells:
            return []
        filled = self._completed(cells)
        told = _told(self._learner.predict(self._frame(filled), metrics, units))
        sheets = self._sheets(filled)
        usual = self._fit.usual(filled) if "memory_mb" in metrics else [None] * len(filled)
        for one, cell, sheet, memory in zip(told, filled, sheets, usual, strict=True):
            _bound(one, cell, sheet, memory)
        return told

    def assumed(self, cells: Sequence[Cell]) -> list[dict[str, float]]:
        """Return which lengths each cell was taken to have without saying so, by name."""
        return [self._descriptors.assumed(cell) for cell in cells]

    def filled(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return cells with what they leave out put in from what was last said of their names."""
        return [self._descriptors.fill(cell) for cell in cells]

    def fittings(self, cells: Sequence[Cell]) -> list[Fitting | None]:
        """Return whether each cell fits into the memory of its hardware, and what it takes.

        None where the model's size or the hardware's memory is unknown.
        """
        filled = self._completed(cells)
        return fittings(self._fit, self._tried, filled, self._sheets(filled))

    def largest(
        self, cells: Sequence[Cell], find: Find, probability: float, memory_mb: float | None = None
    ) -> list[Largest | None]:
        """Return the largest batch or context with which each cell fits, so probably.

        None where the model's size or the hardware's memory is unknown.

        Args:
            cells: each at its other sizes.
            find: what is to be as large as possible.
            probability: with which it has to fit.
            memory_mb: of one device; by its data sheet if None.
        """
        filled = [self._descriptors.fill(cell) for cell in cells]
        sheets = self._sheets(filled)
        if memory_mb is not None:
            sheets = [Sheet("as said", memory_gb=memory_mb / 1e3) for _ in filled]
        return largest(self._fit, self._tried, filled, sheets, find, probability)

    def lasting(self, cell: Cell, duration_s: float | None) -> Lasting | None:
        """Return what a duration does to the speed that is predicted of a cell.

        None where no run on its hardware ever told its duration. Without a duration, what is
        predicted holds for the first minute.
        """
        if self._sustained.known_for_s(cell.hardware) is None:
            return None
        cell = self._descriptors.fill(cell)
        return self._sustained.lasting(
            cell.hardware, cell.hardware_class, FIRST_S if duration_s is None else duration_s
        )

    def known_hardware(self) -> list[str]:
        """Return the names of all hardware that was met."""
        return self._descriptors.hardware

    def known_models(self) -> list[str]:
        """Return the names of all models that were met."""
        return self._descriptors.models

    def describe_model(self, name: str) -> ModelDescriptors | None:
        """Return what was last said about a model; None when it was never met."""
        return self._descriptors.model(name)

    def describe_hardware(self, name: str) -> HardwareDescriptors | None:
        """Return what was last said about hardware; None when it was never met."""
        return self._descriptors.of_hardware(name)

    def digest(self) -> str:
        """Return the SHA-256 of the learned state; equal if and only if the state is."""
        return digest(self)

    def _completed(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return cells that are asked for with what they leave out, lengths included."""
        fill, assume = self._descriptors.fill, self._descriptors.assume
        return [assume(fill(cell)) for cell in cells]

    def _sheets(self, cells: Sequence[Cell]) -> list[Sheet | None]:
        known = catalogue(self.config.sheets)
        return [known.find(cell.hardware) for cell in cells]

    def _learn_fit(self, cell: Cell, observation: Observation) -> None:
        """Learn from a run that fitted or did not, and from what it took at its peak."""
        if observation.outcome not in _FITTED:
            return
        reasons = reasons_of(cell, catalogue(self.config.sheets).find(cell.hardware))
        if reasons is None:
            return
        peak_mb = observation.metrics.get("memory_mb", 0.0)
        if observation.outcome == "ok" and learnable(peak_mb):
            # Measured on one device; the need is of all of them.
            self._tried.learn(cell, reasons.share, fitted=True)
            self._fit.learn_peak(reasons, peak_mb * (cell.device_count or 1.0))
            return
        fitted = _FITTED[observation.outcome]
        # What one network does over and over says no more of others than once.
        if self._tried.learn(cell, reasons.share, fitted=fitted):
            self._fit.learn(reasons, fitted=fitted)

    def _slowing(self, cell: Cell, metric: str, duration_s: float | None) -> float:
        """Return by how much (log) a long run's value differs from that of its first minute."""
        if metric not in _SPEEDS or duration_s is None or duration_s <= FIRST_S:
            return 0.0
        lasting = self._sustained.lasting(cell.hardware, cell.hardware_class, duration_s)
        return 0.0 if lasting is None else _SPEEDS[metric] * lasting.log_speed

    def _learn_duration(
        self, cell: Cell, duration_s: float | None, surprises: Sequence[Surprise]
    ) -> None:
        """Learn from a run that told its duration how speed changes with it."""
        if duration_s is None:
            return
        error = None
        for one in surprises:
            # Where the learners know little, their error says little of the duration.
            if one.metric in _SPEEDS and one.half_width < _SURE:
                slowing = self._slowing(cell, one.metric, duration_s)
                error = _SPEEDS[one.metric] * (one.error + slowing)
                break
        self._sustained.learn(cell.hardware, cell.hardware_class, duration_s, error)

    def _frame(self, cells: Sequence[Cell]) -> Frame:
        return frame_of(cells, catalogue(self.config.sheets))


def learnable(value: float) -> bool:
    """Return whether a value is one that something real may have, in any unit."""
    return _SMALLEST < value < _LARGEST


def _told(guesses: Guesses) -> list[dict[str, Predicted]]:
    """Return what was guessed of each cell, out of log space."""
    value = np.exp(guesses.centre)
    low = np.exp(guesses.centre - guesses.half_width)
    high = np.exp(guesses.centre + guesses.half_width)
    numbers = (each.ravel().tolist() for each in (value, low, high, guesses.confidence))
    basis = map(Basis._make, guesses.basis.reshape(-1, len(Basis._fields)).tolist())
    told = map(Predicted, *numbers, chain.from_iterable(guesses.units), basis)
    return [dict(zip(guesses.metrics, told, strict=False)) for _ in guesses.units]


def _bound(
    result: dict[str, Predicted], cell: Cell, sheet: Sheet | None, usual: bounds.Usual | None
) -> None:
    """Keep predictions within what is physically possible."""
    if rate := result.get("throughput_per_s"):
        result["throughput_per_s"] = _with(rate, bounds.throughput(rate, cell, sheet, rate.unit))
    if memory := result.get("memory_mb"):
        result["memory_mb"] = _with(memory, bounds.memory(memory, cell, usual))
    if power := result.get("power_w"):
        measured = power.basis.hardware > 0
        result["power_w"] = _with(power, bounds.power(power, cell, sheet, measured=measured))


def _with(one: Predicted, bounded: bounds.Interval) -> Predicted:
    if bounded is one:
        return one
    return one._replace(
        value=bounded.value,
        low=bounded.low,
        high=bounded.high,
        confidence=bounded.confidence,
    )
