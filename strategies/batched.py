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
    """What lies between parallel and sequential: some models together, and more than one wave.

    It takes three models to lie in between. Two go one after the other, and one goes alone, as
    under the other strategies.
    """

    name: ClassVar[StrategyName] = "batched"
    rank: ClassVar[int] = 2

    def plan(self, evaluator: Evaluator) -> Waves:
        """Return the best partition into waves."""
        return best_waves(evaluator)
