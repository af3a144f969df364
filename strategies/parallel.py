"""Parallel: all models at once, in one wave."""

from __future__ import annotations

from typing import ClassVar

from schemas.measurement import StrategyName
from strategies.base import register
from strategies.outcome import Evaluator
from strategies.workload import Waves


@register
class Parallel:
    """One wave of all models. The fastest where the device has room for them all."""

    name: ClassVar[StrategyName] = "parallel"
    rank: ClassVar[int] = 1

    def plan(self, evaluator: Evaluator) -> Waves:
        """Return the one wave there is."""
        return (evaluator.workload.names,)
