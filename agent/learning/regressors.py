"""Learners of cells as River estimators: `x` is a cell's fields by name, `y` its metric.

River's own tools (metrics, pipelines, `evaluate.progressive_val_score`) work on them as on any
other regressor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from river import base

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import Frame, frame_of
from agent.learning.learner import Learner, physics

_TEXTS = frozenset(
    {
        "model",
        "hardware",
        "family",
        "architecture",
        "hardware_class",
        "task",
        "precision",
        "runtime",
        "runtime_options",
        "parallelism",
    }
)


def cell_of_mapping(x: Mapping[str, Any]) -> Cell:
    """Return the cell that a mapping describes; what is no field of a cell is passed over."""
    known: dict[str, Any] = {"model": "", "hardware": ""}
    for name in Cell._fields:
        value = x.get(name)
        if value is None:
            continue
        if name in _TEXTS:
            known[name] = str(value)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            known[name] = float(value)
    return Cell(**known)


def _usable(y: float) -> bool:
    return 0.0 < y < math.inf


class CellRegressor(base.Regressor):
    """Predicts one metric of cells with the full learner.

    Values that are not positive and finite are passed over: no metric can have them.

    Args:
        metric: whose physics it starts from; one of `bank.METRICS`.
        unit: key of `x` that names the unit or kind of the metric.

    Examples:
        >>> learner = CellRegressor("throughput_per_s")
        >>> x = {"model": "resnet50", "hardware": "nvidia-t4", "gmacs": 4.1, "batch_size": 8}
        >>> learner.learn_one(x, 1000.0)
        >>> 500 < learner.predict_one(x) < 2000
        True
    """

    def __init__(self, metric: str = "throughput_per_s", unit: str = "unit") -> None:
        self.metric = metric
        self.unit = unit
        self._learner = Learner((metric,))

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.RegTarget) -> None:
        """Learn that the cell `x` was measured at `y`."""
        if _usable(y):
            unit = str(x.get(self.unit) or "")
            self._learner.learn(self._frame(x), {self.metric: (unit, math.log(y))})

    def predict_one(self, x: dict[base.typing.FeatureName, Any]) -> base.typing.RegTarget:
        """Return the value to expect of the cell `x`; zero before anything was learnt."""
        frame = self._frame(x)
        unit = str(x.get(self.unit) or "")
        centre = self._learner.predict(frame, [self.metric], {self.metric: unit}).centre
        return math.exp(float(centre[0, 0])) if centre.size else 0.0

    @staticmethod
    def _frame(x: Mapping[Any, Any]) -> Frame:
        return frame_of([cell_of_mapping(x)], catalogue())


class RooflineOffset(base.Regressor):
    """The baseline to beat: the roofline, and how far each set-up stays from it.

    Args:
        metric: whose physics it follows.

    Examples:
        >>> learner = RooflineOffset()
        >>> x = {"model": "resnet50", "hardware": "nvidia-t4", "gmacs": 4.1}
        >>> learner.learn_one(x, 1000.0)
        >>> round(learner.predict_one(x))
        1000
    """

    def __init__(self, metric: str = "throughput_per_s") -> None:
        self.metric = metric
        self._weights = physics(metric)
        self._offsets: dict[int, tuple[float, int]] = {}
        self._all = (0.0, 0)

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.RegTarget) -> None:
        """Learn how far from the roofline a set-up is."""
        if not _usable(y):
            return
        setup, roofline = self._roofline(x)
        gap = math.log(y) - roofline
        self._offsets[setup] = _mean(self._offsets.get(setup, (0.0, 0)), gap)
        self._all = _mean(self._all, gap)

    def predict_one(self, x: dict[base.typing.FeatureName, Any]) -> base.typing.RegTarget:
        """Return the roofline moved by the set-up's offset; zero before anything was learnt."""
        if not self._all[1]:
            return 0.0
        setup, roofline = self._roofline(x)
        return math.exp(roofline + self._offsets.get(setup, self._all)[0])

    def _roofline(self, x: Mapping[Any, Any]) -> tuple[int, float]:
        frame = frame_of([cell_of_mapping(x)], catalogue())
        return frame.keys[0].setup, float(np.dot(self._weights, frame.linear[0]))


def _mean(known: tuple[float, int], value: float) -> tuple[float, int]:
    mean, count = known
    return mean + (value - mean) / (count + 1), count + 1
