"""Which of the benchmarks that can be run comes first: the one that is known least."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence

from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import RequestReceived
from agent.runnable import Runnable
from schemas.exploration import ActiveLearningReply, WantedBenchmark
from schemas.replies import Estimates, PredictReply
from schemas.requests import MAX_CANDIDATES, Candidate, PredictRequest

_Z = 3.29
"""Standard deviations that a 90 % interval spans."""

_RUNS = 4


def rank(heart: Heart, cells: Sequence[Runnable]) -> ActiveLearningReply:
    """Return benchmarks by the width of their predicted intervals, the widest first.

    What was never predicted counts as wide as the widest.
    """
    variances = [_variance(one) for one in _predicted(heart, cells)]
    widest = max((one for one, _ in variances if one is not None), default=1.0)
    known = [widest if one is None else one for one, _ in variances]
    total = math.fsum(known)
    order = sorted(range(len(cells)), key=lambda i: (-known[i], cells[i].setup.batch_size or 1, i))
    return ActiveLearningReply(
        wanted=[
            WantedBenchmark(
                id=uuid.uuid4().hex,
                model=cells[i].model,
                hardware=cells[i].hardware,
                setup=cells[i].setup,
                priority=priority,
                expected_gain=known[i] / total if total else 0.0,
                cost_s=variances[i][1],
            )
            for priority, i in enumerate(order, 1)
        ],
        candidates=len(cells),
        cells=len(cells),
        uncertainty=math.sqrt(total / max(1, len(cells))),
        expected_uncertainty=0.0,
    )


def _predicted(heart: Heart, cells: Sequence[Runnable]) -> list[Estimates]:
    found: list[Estimates] = []
    for start in range(0, len(cells), MAX_CANDIDATES):
        some = cells[start : start + MAX_CANDIDATES]
        asked = [Candidate(model=c.model, hardware=c.hardware, setup=c.setup) for c in some]
        stimulus = RequestReceived("ranking", "predict", PredictRequest(candidates=asked))
        for effect in heart.handle(stimulus):
            if isinstance(effect, Answer) and isinstance(effect.reply, PredictReply):
                found += [one.metrics for one in effect.reply.predictions]
    return found


def _variance(metrics: Estimates) -> tuple[float | None, float]:
    """Return the variance of the log, of the mean metric, and how long a benchmark takes."""
    latency = metrics.get("latency_ms")
    seconds = 0.0 if latency is None else _RUNS * latency.value / 1_000
    timed = [metrics[name] for name in ("throughput_per_s", "latency_ms") if name in metrics]
    if not timed:
        return None, seconds
    widths = [math.log(one.high / max(one.low, 1e-12)) / _Z for one in timed]
    return math.fsum(width**2 for width in widths) / len(widths), seconds
