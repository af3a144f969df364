"""All metrics together: what was measured goes in, predictions with intervals come out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from agent.learning.catalogue import Sheet, catalogue
from agent.learning.cell import Cell
from agent.learning.descriptors import Descriptors, HardwareDescriptors, ModelDescriptors
from agent.learning.digest import digest
from agent.learning.features import Frame, frame_of
from agent.learning.fit import Fit, reasons_of
from agent.learning.judge import impossible
from agent.learning.learner import Guesses, Learner, Surprise

METRICS = ("throughput_per_s", "latency_ms", "memory_mb", "power_w")

_LARGEST = 1e15
_SMALLEST = 1e-12

_FITTED = {"ok": True, "out_of_memory": False}
"""What an outcome says about memory; a run that failed otherwise says nothing."""

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
    """

    cell: Cell
    metrics: Mapping[str, float]
    units: Mapping[str, str] = field(default_factory=dict)
    outcome: str = "ok"


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

    def learn(self, observation: Observation) -> list[Surprise]:
        """Learn from one observation, in constant time; return how wrong each prediction was."""
        self.observed_count += 1
        cell = self._descriptors.learn(observation.cell)
        if observation.outcome in _FITTED:
            reasons = reasons_of(cell, catalogue(self.config.sheets).find(cell.hardware))
            if reasons is not None:
                self._fit.learn(reasons, fitted=_FITTED[observation.outcome])
        if observation.outcome != "ok":
            return []
        values = {}
        for metric, value in observation.metrics.items():
            if metric in METRICS and _SMALLEST < value < _LARGEST:
                values[metric] = (observation.units.get(metric, ""), math.log(value))
        if not values:
            return []
        learnt = self._learner.learn(self._frame([cell]), values)
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
        frame = self._frame([self._descriptors.fill(cell) for cell in cells])
        return _told(self._learner.predict(frame, metrics, units))

    def fit_probabilities(self, cells: Sequence[Cell]) -> list[float | None]:
        """Return the chance that each cell fits into the memory of its hardware.

        None where the model's size or the hardware's memory is unknown.
        """
        known = catalogue(self.config.sheets)
        chances: list[float | None] = []
        for cell in cells:
            reasons = reasons_of(self._descriptors.fill(cell), known.find(cell.hardware))
            chances.append(None if reasons is None else self._fit.probability(reasons))
        return chances

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

    def _frame(self, cells: Sequence[Cell]) -> Frame:
        return frame_of(cells, catalogue(self.config.sheets))


def _told(guesses: Guesses) -> list[dict[str, Predicted]]:
    """Return what was guessed of each cell, out of log space."""
    value = np.exp(guesses.centre)
    low = np.exp(guesses.centre - guesses.half_width)
    high = np.exp(guesses.centre + guesses.half_width)
    told: list[dict[str, Predicted]] = []
    for units, basis, *numbers in zip(
        guesses.units,
        guesses.basis.tolist(),
        value.tolist(),
        low.tolist(),
        high.tolist(),
        guesses.confidence.tolist(),
        strict=True,
    ):
        each = map(Predicted, *numbers, units, map(Basis._make, basis))
        told.append(dict(zip(guesses.metrics, each, strict=True)))
    return told
