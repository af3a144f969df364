"""What Placewise is measured beside: each learns rows, then predicts one metric of others.

Every rival sees the same features of a row and learns the logarithm of the metric, as Placewise
does. Rows of different units never share a model.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from river import compose, forest, linear_model, preprocessing

from agent.evaluation import Row
from agent.heart.cells import cell_of
from agent.learning.catalogue import catalogue
from agent.learning.features import SPEED, TIME, frame_of

NUMBERS = (
    "parameters_m",
    "gmacs",
    "activations_m",
    "device_count",
    "batch_size",
    "input_size",
    "sequence_in",
    "sequence_out",
    "concurrency",
)
CATEGORIES = (
    "model",
    "family",
    "architecture",
    "hardware",
    "hardware_class",
    "task",
    "precision",
    "runtime",
    "runtime_options",
    "parallelism",
)
REFIT_EVENTS = 1_000
FOREST_EVENTS = 4_000
"""Events that forests learn at most, a random sample by seed: each takes them 1 to 3 ms, and more
as they grow."""

LIMIT = 60.0


class Rival(Protocol):
    """Learns rows in their order, then predicts."""

    name: str

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Learn."""
        ...

    def predict(self, rows: Sequence[Row], metric: str) -> list[float]:
        """Predict the metric of rows, in its own unit."""
        ...


def features(row: Row) -> dict[str, Any]:
    """Return what is known of a row: logarithms of sizes, and names."""
    cell = cell_of(row.run.model, row.run.hardware, row.run.setup)
    known: dict[str, Any] = {}
    for name in NUMBERS:
        value = getattr(cell, name)
        known[name] = math.log(value) if value else None
    for name in CATEGORIES:
        known[name] = getattr(cell, name) or "-"
    return known


def unit(row: Row, metric: str) -> str:
    """Return the unit or kind within which the metric may be compared."""
    return row.run.metrics.units().get(metric, "-")


def target(row: Row, metric: str) -> float:
    """Return the logarithm of what was measured."""
    return math.log(getattr(row.run.metrics, metric))


class LightGBM:
    """Gradient boosting, fitted offline on everything at once."""

    name = "LightGBM, offline on all"

    def __init__(self, rounds: int = 800) -> None:
        self._rounds = rounds
        self._boosters: dict[str, Any] = {}
        self._levels: dict[str, pd.CategoricalDtype] = {}
        self._mean = 0.0

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Fit one booster per unit."""
        import lightgbm

        known = [features(row) for row in rows]
        for name in CATEGORIES:
            self._levels[name] = pd.CategoricalDtype(sorted({one[name] for one in known}))
        units = [unit(row, metric) for row in rows]
        y = np.array([target(row, metric) for row in rows])
        self._mean = float(y.mean())
        frame = self._frame(known)
        for one in sorted(set(units)):
            mask = np.array([each == one for each in units])
            booster = lightgbm.LGBMRegressor(
                n_estimators=self._rounds,
                learning_rate=0.05,
                num_leaves=63,
                min_child_samples=5,
                subsample=0.9,
                subsample_freq=1,
                colsample_bytree=0.8,
                verbose=-1,
                # Threads that wait for each other took fifty times as long on two busy cores.
                n_jobs=1,
                random_state=0,
                deterministic=True,
                force_row_wise=True,
            )
            self._boosters[one] = booster.fit(frame[mask], y[mask])

    def predict(self, rows: Sequence[Row], metric: str) -> list[float]:
        """Predict by the unit's booster."""
        frame = self._frame([features(row) for row in rows])
        units = np.array([unit(row, metric) for row in rows])
        result = np.full(len(rows), self._mean)
        for one in set(units.tolist()):
            if one in self._boosters:
                mask = units == one
                result[mask] = self._boosters[one].predict(frame[mask])
        return [float(value) for value in np.exp(np.clip(result, -LIMIT, LIMIT))]

    def _frame(self, known: list[dict[str, Any]]) -> pd.DataFrame:
        frame = pd.DataFrame(known)
        for name in NUMBERS:
            frame[name] = frame[name].astype(float)
        for name, levels in self._levels.items():
            frame[name] = pd.Series(pd.Categorical(frame[name], dtype=levels), index=frame.index)
        return frame


class Refitted(LightGBM):
    """Gradient boosting refitted every 1,000 events: what came since is not known to it."""

    name = "LightGBM, refitted every 1,000"

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Fit on the events up to the last refit."""
        known = len(rows) // REFIT_EVENTS * REFIT_EVENTS
        super().fit(rows[: known or len(rows)], metric)


class OnRiver:
    """A River regressor on log targets, one per unit, in one pass.

    Args:
        name: in the table.
        make: returns a new regressor.
        events: how many events are learnt at most, a random sample; None for all.
    """

    def __init__(self, name: str, make: Callable[[], Any], events: int | None = None) -> None:
        self.name = name if events is None else f"{name}, of {events:,} rows"
        self._make = make
        self._most = events
        self._models: dict[str, Any] = {}
        self._means: defaultdict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Learn one row at a time, as what it differs from the running mean."""
        if self._most is not None and len(rows) > self._most:
            kept = sorted(random.Random(0).sample(range(len(rows)), self._most))
            rows = [rows[index] for index in kept]
        for row in rows:
            one, y = unit(row, metric), target(row, metric)
            model = self._models.setdefault(one, self._make())
            count, mean = self._means[one]
            if count:
                model.learn_one(_filled(features(row)), y - mean)
            self._means[one] = (count + 1, mean + (y - mean) / (count + 1))

    def predict(self, rows: Sequence[Row], metric: str) -> list[float]:
        """Predict by the unit's model."""
        result = []
        for row in rows:
            one = unit(row, metric)
            model, (_, mean) = self._models.get(one), self._means[one]
            value = mean + (model.predict_one(_filled(features(row))) if model else 0.0)
            result.append(math.exp(max(-LIMIT, min(LIMIT, value))))
        return result


class Roofline:
    """The roofline's time for an item, times a factor learnt for each set-up."""

    name = "roofline and a factor per set-up"

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[Any, ...], tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Average what the roofline leaves, in log space."""
        for row, line in zip(rows, self._lines(rows), strict=True):
            for key in self._keys(row, metric):
                count, total = self._sums[key]
                self._sums[key] = (count + 1, total + target(row, metric) - line)

    def predict(self, rows: Sequence[Row], metric: str) -> list[float]:
        """Predict by the factor of the set-up, else of the hardware, else of all."""
        result = []
        for row, line in zip(rows, self._lines(rows), strict=True):
            known = [self._sums[key] for key in self._keys(row, metric) if key in self._sums]
            count, total = known[0] if known else (1, 0.0)
            result.append(math.exp(max(-LIMIT, min(LIMIT, line + total / count))))
        return result

    def _lines(self, rows: Sequence[Row]) -> list[float]:
        """Return the log of items per second by the roofline."""
        cells = [cell_of(row.run.model, row.run.hardware, row.run.setup) for row in rows]
        linear = frame_of(cells, catalogue(())).linear
        lines: list[float] = (-2.0 * (linear[:, TIME] + linear[:, SPEED])).tolist()
        return lines

    def _keys(self, row: Row, metric: str) -> list[tuple[Any, ...]]:
        one, run = unit(row, metric), row.run
        return [(one, row.setup), (one, run.hardware.name), (one, run.setup.task), (one,)]


class NearestCell:
    """The last value seen for the nearest cell: the most names and sizes in common."""

    name = "last value of the nearest cell"
    _LEVELS = (
        (
            "model",
            "hardware",
            "runtime",
            "runtime_options",
            "precision",
            "batch_size",
            "sequence_in",
        ),
        ("model", "hardware", "runtime", "precision", "batch_size"),
        ("model", "hardware", "batch_size"),
        ("model", "hardware"),
        ("architecture", "hardware"),
        ("model",),
        ("hardware",),
        (),
    )

    def __init__(self) -> None:
        self._last: dict[tuple[Any, ...], float] = {}

    def fit(self, rows: Sequence[Row], metric: str) -> None:
        """Remember the last value at each level of nearness."""
        for row in rows:
            for key in self._keys(row, metric):
                self._last[key] = getattr(row.run.metrics, metric)

    def predict(self, rows: Sequence[Row], metric: str) -> list[float]:
        """Return the nearest one's value."""
        result = []
        for row in rows:
            found = [self._last[key] for key in self._keys(row, metric) if key in self._last]
            result.append(found[0] if found else 1.0)
        return result

    def _keys(self, row: Row, metric: str) -> list[tuple[Any, ...]]:
        known = features(row)
        return [
            (unit(row, metric), *names, *[known[name] for name in names]) for names in self._LEVELS
        ]


def _filled(known: dict[str, Any]) -> dict[str, Any]:
    """River's regressors have no missing numbers: a flag says that one was, zero stands for it."""
    filled = {}
    for name, value in known.items():
        if value is None:
            filled[f"no {name}"] = 1.0
        else:
            filled[name] = value
    return filled


def _one_hot() -> Any:
    return (compose.SelectType((int, float)) | preprocessing.StandardScaler()) + (
        compose.SelectType(str) | preprocessing.OneHotEncoder()
    )


def rivals() -> list[Rival]:
    """Return a new one of each."""
    return [
        LightGBM(),
        Refitted(),
        OnRiver(
            "River LinearRegression, one-hot", lambda: _one_hot() | linear_model.LinearRegression()
        ),
        OnRiver(
            "River AMF(10)",
            lambda: _one_hot() | forest.AMFRegressor(n_estimators=10, seed=1),
            FOREST_EVENTS,
        ),
        # Its leaves' linear models, the default, take no names; its splits do.
        OnRiver(
            "River ARF(10)",
            lambda: forest.ARFRegressor(n_models=10, leaf_prediction="mean", seed=1),
            FOREST_EVENTS,
        ),
        Roofline(),
        NearestCell(),
    ]
