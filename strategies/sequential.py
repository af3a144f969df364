"""Sequential: one model after another, each with the device to itself."""

from __future__ import annotations

import math
from typing import ClassVar

from schemas.measurement import StrategyName
from strategies.base import register
from strategies.outcome import Evaluator
from strategies.workload import Waves


@register
class Sequential:
    """Waves of one model each. Needs the least memory, and its prediction is the surest.

    Order: Smith's rule (W. E. Smith, Various optimizers for single-stage production, 1956). From
    the last place to the first, the longest model whose latency limit lets it end that late. That
    order meets every limit if any order does, and among those has the smallest mean latency;
    without limits it is the shortest first. Where no order meets the limits, the model with the
    latest limit goes last.
    """

    name: ClassVar[StrategyName] = "sequential"
    rank: ClassVar[int] = 0

    def plan(self, evaluator: Evaluator) -> Waves:
        """Return the waves in the order of Smith's rule."""
        left = {job.name: job for job in evaluator.workload.jobs}
        limits = {
            name: math.inf if job.latency_limit_ms is None else job.latency_limit_ms
            for name, job in left.items()
        }
        backwards: list[str] = []
        while left:
            ends = math.fsum(job.duration_ms.value for job in left.values())
            in_time = [name for name in left if limits[name] >= ends]
            if in_time:
                last = max(in_time, key=lambda name: (left[name].duration_ms.value, name))
            else:
                last = max(left, key=lambda name: (limits[name], name))
            backwards.append(last)
            del left[last]
        return tuple((name,) for name in reversed(backwards))
