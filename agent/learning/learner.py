"""The learner of one metric: the hierarchy, and how wrong it tends to be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.effects import Effects
from agent.learning.features import BIAS, LINEAR, SPEED, TIME, WIDTH, Frame, Names
from agent.learning.intervals import Intervals
from agent.learning.recursive import HeadTree
from agent.learning.support import Support

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Domain = tuple[str, str]
"""Unit or kind, and task: only within one domain can values be compared."""

_NOISE = 0.2
"""Usual log error of a head: the unit in which prior precisions are counted."""

_SPREADS = ((0.5, 3.0), (0.3, 1.0), (0.2, 1.0))
"""How far weights, and biases, of a domain, a hardware and a set-up lie from their parent's."""

_SHRINKAGE = (5.0, 1.0, 1.0, 2.0, 1.0, 1.0)
_CLIP = 1.5
"""Log units beyond which one event's surprise moves a head that has seen some no further."""

_YOUNG = 10
_BEYOND = np.log(100.0)
"""How far outside of all measured values of its domain a prediction may lie (log)."""

REASONS = 8
_REASON_PRIOR = np.array([-1.6, -0.15, 0.6, 1.0, 0.5, -0.1, -0.1, 0.5])
_REASON_FIRMNESS = np.array([1.0, 20.0, 20.0, 60.0, 20.0, 20.0, 20.0, 40.0])


@dataclass(frozen=True, slots=True)
class Guesses:
    """What is expected of `n` cells, in log space.

    Attributes:
        centre: `(n,)`, the natural log of the value.
        half_width: `(n,)`, of the nominal interval around it.
        confidence: `(n,)`, the chance that the measurement is close.
        basis: `(n, 5)`, measurements of the cell, model, hardware, set-up, and in all.
    """

    centre: Floats
    half_width: Floats
    confidence: Floats
    basis: Integers


def physics(metric: str) -> Floats:
    """Return `(WIDTH,)` weights that the roofline alone would give a metric's log."""
    weights = np.zeros(WIDTH)
    match metric:
        case "throughput_per_s":
            weights[TIME], weights[SPEED] = -1.4, -2.0
        case "latency_ms":
            weights[TIME], weights[SPEED], weights[LINEAR.index("batch")] = 1.4, 2.0, 1.6
        case "memory_mb":
            weights[LINEAR.index("params")], weights[LINEAR.index("batch")] = 1.0, 0.6
        case _:
            pass
    return weights


class Learner:
    """Learns one metric's logs, event by event, for all of its domains.

    Args:
        metric: whose physics it starts from.
        capacity: how many set-ups, and how many cells in tens of them, are remembered.
    """

    def __init__(self, metric: str, capacity: int = 1024) -> None:
        precisions = []
        for weights, bias in _SPREADS:
            precision = np.full(WIDTH, (_NOISE / weights) ** 2)
            precision[BIAS] = (_NOISE / bias) ** 2
            precision[SPEED] *= 20.0
            precisions.append(precision)
        self._heads = HeadTree(physics(metric), precisions, capacity)
        self._effects = Effects(_SHRINKAGE)
        self._intervals = Intervals(_REASON_PRIOR, _REASON_FIRMNESS, capacity)
        self._support = Support(64 * capacity)
        self._total = 0
        self._range: dict[Domain, tuple[float, float]] = {}

    @property
    def total(self) -> int:
        """How many measurements were learnt."""
        return self._total

    def knows(self, domain: Domain) -> bool:
        """Return whether anything was measured in a domain."""
        return domain in self._range

    def nearest(self, domain: Domain) -> Domain | None:
        """Return the domain of the same unit, another task, that was measured most."""
        unit = domain[0]
        known = [one for one in self._range if one[0] == unit]
        return max(known, key=lambda one: self._support.of(("task", *one)), default=None)

    def learn(self, frame: Frame, row: int, domain: Domain, z: float) -> None:
        """Learn that the log of the metric of one row of a frame was `z` (finite)."""
        names, x = frame.names[row], frame.linear[row]
        path, keys = _path(domain, names), _effect_keys(domain, names)
        node = np.array([self._heads.find(path)])
        linear = float(self._heads.predict(node, x[None])[0])
        effect = self._effects.explain(keys)
        surprise = z - linear - effect
        if self.knows(domain):
            reasons = self._reasons(domain, names, float(frame.missing[row]))
            self._intervals.learn(path, np.array(reasons), surprise)
        if self._heads.count(path[-1]) >= _YOUNG:
            surprise = min(max(surprise, -_CLIP), _CLIP)
        # Each part learns what the other leaves (backfitting), so that neither explains twice.
        self._heads.learn(path, x, linear + surprise)
        node[0] = self._heads.find(path)
        after = float(self._heads.predict(node, x[None])[0])
        self._effects.learn(keys, linear + effect + surprise - after)
        self._note(domain, names, z)

    def predict(self, frame: Frame, domains: Sequence[Domain]) -> Guesses:
        """Return what is expected of each cell of a frame in a domain that is known."""
        paths = [_path(domain, one) for domain, one in zip(domains, frame.names, strict=True)]
        nodes = np.array([self._heads.find(path) for path in paths])
        centre = self._heads.predict(nodes, frame.linear) + np.array(
            [
                self._effects.explain(_effect_keys(domain, one))
                for domain, one in zip(domains, frame.names, strict=True)
            ]
        )
        bounds = np.array([self._range[domain] for domain in domains])
        centre = np.clip(centre, bounds[:, 0] - _BEYOND, bounds[:, 1] + _BEYOND)
        reasons = np.array(
            [
                self._reasons(domain, one, missing)
                for domain, one, missing in zip(
                    domains, frame.names, frame.missing.tolist(), strict=True
                )
            ]
        )
        half_width, confidence = self._intervals.half_widths(paths, reasons)
        basis = np.array(
            [self._basis(domain, one) for domain, one in zip(domains, frame.names, strict=True)]
        )
        # Nobody has measured how wrong one is where neither model nor hardware is known.
        stranger = (basis[:, 1] == 0) & (basis[:, 2] == 0)
        half_width = np.where(stranger, np.maximum(half_width, np.log(2.0)), half_width)
        confidence = np.where(stranger, np.minimum(confidence, 0.25), confidence)
        return Guesses(centre, half_width, confidence, basis)

    def support(self, unit: str, names: Names) -> tuple[int, int, int, int]:
        """Return the measurements in a unit of a model, of a hardware, of a task, and in all."""
        count = self._support.of
        return (
            count(("model", unit, names.model)),
            count(("hardware", unit, names.hardware)),
            count(("task", unit, names.task)),
            count(("unit", unit)),
        )

    def _basis(self, domain: Domain, names: Names) -> tuple[int, int, int, int, int]:
        unit, count = domain[0], self._support.of
        return (
            count(("cell", unit, names.cell)),
            count(("model", unit, names.model)),
            count(("hardware", unit, names.hardware)),
            count(("setup", unit, names.setup)),
            self._total,
        )

    def _reasons(self, domain: Domain, names: Names, missing: float) -> tuple[float, ...]:
        """Return what the size of an error may depend on; see `_REASON_PRIOR`."""
        unit, count = domain[0], self._support.of
        setup = count(("setup", unit, names.setup))
        hardware = count(("hardware", unit, names.hardware))
        stem = count(("stem", unit, names.stem))
        return (
            1.0,
            float(np.log1p(min(setup, 300))) - 3.0,
            float(setup == 0),
            float(hardware == 0),
            float(stem == 0),
            float(np.log1p(min(stem, 50))) - 2.0,
            float(count(("stem", unit, names.stem, names.hardware)) > 0),
            missing,
        )

    def _note(self, domain: Domain, names: Names, z: float) -> None:
        unit, add = domain[0], self._support.add
        for key in (
            ("unit", unit),
            ("task", unit, names.task),
            ("hardware", unit, names.hardware),
            ("setup", unit, names.setup),
            ("model", unit, names.model),
            ("stem", unit, names.stem),
            ("stem", unit, names.stem, names.hardware),
            ("cell", unit, names.cell),
        ):
            add(key)
        low, high = self._range.get(domain, (z, z))
        self._range[domain] = (min(low, z), max(high, z))
        self._total += 1


def _path(domain: Domain, names: Names) -> tuple[Hashable, ...]:
    return (domain, (domain, names.hardware), (domain, names.setup))


def _effect_keys(domain: Domain, names: Names) -> tuple[Hashable, ...]:
    return (
        (domain[0], names.group),
        (domain[0], names.stem),
        (domain[0], names.model),
        (domain, names.group, names.hardware),
        (domain, names.stem, names.hardware_class),
        (domain, names.stem, names.hardware),
    )
