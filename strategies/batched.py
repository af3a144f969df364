"""Batched: waves of models, the models of one wave at the same time."""

from __future__ import annotations

from typing import ClassVar

from schemas.measurement import StrategyName
from strategies.base import register
from strategies.outcome import Evaluator
from strategies.waves import best_waves
from strategies.workload import Waves


@register
class Batched:
    """More than one wave, of as many models as is best: what lies between the other two.

    Where nothing is gained by running any two models together it comes to the waves of sequential,
    which is then preferred.
    """

    name: ClassVar[StrategyName] = "batched"
    rank: ClassVar[int] = 2

    def plan(self, evaluator: Evaluator) -> Waves:
        """Return the best partition into waves."""
        return best_waves(evaluator)
