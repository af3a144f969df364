"""Models beside others: what executions teach about that, and what requests are told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from agent.heart.cells import cell_of
from agent.heart.predictor import Predictor
from agent.learning.contention import ContentionLearner, Learnt, Traits
from agent.learning.roofline import bytes_per_weight
from agent.learning.sharing import SharingLearner
from schemas.measurement import Benchmark, Execution, MetricName, ModelRun, ModelSpec, Setup
from schemas.replies import Estimates
from schemas.requests import WorkItem
from strategies.contention import Contention, Untaught
from strategies.sharing import Encoder, Sharing, WithSharing

_BYTES = 4.0
"""Of one weight, where the precision does not say."""


class Company:
    """What was learnt of models that ran together. Owned by the heart; a fold over executions."""

    def __init__(self) -> None:
        self.contention = ContentionLearner()
        self.sharing = SharingLearner()
        self.decisions = 0
        self.regret = 0.0

    def decided(self, reply: Mapping[str, Any]) -> None:
        """Take note of a logged decision: exploring costs, and its budget is an average."""
        if reply.get("chosen") is not None:
            self.decisions += 1
            explored = reply.get("explored")
            self.regret += explored["predicted_regret"] if explored else 0.0

    def allowance(self, budget: float) -> float:
        """Return how much the next decision may be predicted to lose by exploring.

        Then all of them together have lost no more than `budget` on average.
        """
        return max(0.0, budget * (self.decisions + 1) - self.regret) if budget > 0 else 0.0

    def digest(self) -> str:
        """Return a fingerprint of what was learnt: equal if and only if it is."""
        whole = f"{self.contention.digest()}{self.sharing.digest()}{self.decisions}{self.regret!r}"
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def learn(self, data: Benchmark | Execution, predictor: Predictor) -> None:
        """Take what a measurement says of models alone and beside others.

        Must come before the bank learns it: models beside others are held against what they are
        predicted to be alone.
        """
        if isinstance(data, Benchmark):
            self._alone(data)
            return
        for run in data.alone():
            self._alone(run)
        whole = [[run.model.name for run in data.runs]] if data.strategy == "parallel" else []
        for wave in data.waves or whole:
            runs = [run for run in data.runs if run.model.name in wave]
            if len(runs) > 1 and all(run.result == "ok" for run in runs):
                self._together(runs, data, predictor)

    def _alone(self, run: ModelRun) -> None:
        latency = run.metrics.latency_ms
        if latency is not None:
            traits = _traits(run.model, run.setup, latency)
            self.contention.note_alone(run.hardware.name, traits)

    def _together(self, runs: Sequence[ModelRun], data: Execution, predictor: Predictor) -> None:
        predicted = [_alone_ms(run, predictor) for run in runs]
        measured = [run.metrics.latency_ms for run in runs]
        if None in predicted or None in measured:
            return
        alone = [one * run.batches for one, run in zip(predicted, runs, strict=True) if one]
        took = [one * run.batches for one, run in zip(measured, runs, strict=True) if one]
        groups: dict[Hashable, list[int]] = {}
        for index, run in enumerate(runs):
            groups.setdefault(_group(run.model.name, run.shared_encoder, ""), []).append(index)
        hardware = runs[0].hardware.name
        if len(groups) == 1:
            key = runs[0].shared_encoder
            assert key is not None, "models that are one group share an encoder"
            self.sharing.learn_time(hardware, key, alone, max(took))
            memory = [_memory_mb(run, predictor) for run in runs]
            known = [one for one in memory if one is not None]
            if data.peak_memory_mb and len(known) == len(runs) == len(data.runs):
                self.sharing.learn_memory(hardware, key, known, data.peak_memory_mb)
            return
        if len(groups) < len(runs):
            return  # sharing and contention at once: which of them it was can't be told
        traits = [
            _traits(run.model, run.setup, one)
            for run, one in zip(runs, predicted, strict=True)
            if one
        ]
        self.contention.learn_wave(hardware, traits, alone, took)

    # What requests are told

    def contention_for(
        self,
        items: Sequence[WorkItem],
        predictions: Mapping[tuple[str, str], Estimates],
        capacities_mb: Mapping[str, float],
        before: Contention | None = None,
    ) -> tuple[Contention, Sharing]:
        """Return what the models of a request do to each other, and what they share.

        Args:
            items: the models.
            predictions: of each alone, by its name and the hardware's.
            capacities_mb: memory, by hardware.
            before: what is said of hardware on which no company was seen.
        """
        by_name = {item.model.name: item for item in items}
        traits: dict[tuple[str, str], Traits] = {}
        alone: dict[tuple[str, str], float] = {}
        for (name, hardware), estimates in predictions.items():
            item = by_name[name]
            batch_ms = _batch_ms(estimates, item.setup)
            if batch_ms is None:
                continue
            alone[name, hardware] = batch_ms * (item.batches or 1)
            memory, capacity = estimates.get("memory_mb"), capacities_mb.get(hardware)
            share = memory.value / capacity if memory and capacity else None
            traits[name, hardware] = _traits(item.model, item.setup, batch_ms, share)
        learnt = Learnt(self.contention, traits, None, before or Untaught())
        sharing = self._sharing(items, {hardware for _, hardware in predictions})
        return WithSharing(learnt, sharing, alone), sharing

    def _sharing(self, items: Sequence[WorkItem], hardware: set[str]) -> Sharing:
        groups = {
            item.model.name: _group(
                item.model.name,
                item.model.shares,
                f"{item.setup.batch_size or 1}x{item.batches or 1}",
            )
            for item in items
            if item.model.shares is not None
        }
        encoders: dict[tuple[Hashable, str], Encoder] = {}
        for item in items:
            if item.model.shares is not None:
                for one in hardware:
                    found = self.sharing.encoder(one, item.model.shares)
                    encoders[groups[item.model.name], one] = found
        return Sharing(groups, encoders)


def _group(name: str, shares: str | None, fed: str) -> Hashable:
    return ("alone", name) if shares is None else ("shared", shares, fed)


def _traits(
    model: ModelSpec, setup: Setup, batch_ms: float, memory_share: float | None = None
) -> Traits:
    weights = None
    if model.parameters_m is not None:
        weights = model.parameters_m * (bytes_per_weight(setup.precision) or _BYTES)
    return Traits(
        model=model.name,
        batch=float(setup.batch_size or 1),
        batch_ms=batch_ms,
        gmacs=model.gmacs,
        weights_mb=weights,
        memory_share=memory_share,
    )


def _batch_ms(estimates: Estimates, setup: Setup) -> float | None:
    """Return how long one batch takes alone, from latency, or from throughput where it is not."""
    latency, throughput = estimates.get("latency_ms"), estimates.get("throughput_per_s")
    if latency is not None:
        return latency.value
    return 1e3 * (setup.batch_size or 1) / throughput.value if throughput is not None else None


def _alone_ms(run: ModelRun, predictor: Predictor) -> float | None:
    """Return how long a batch of a run takes alone; None if the model was never seen at all."""
    found = _predicted(run, predictor, "latency_ms")
    known = found.get("latency_ms")
    if known is None or known.basis is None or known.basis.model == 0:
        return None
    return known.value if math.isfinite(known.value) else None


def _memory_mb(run: ModelRun, predictor: Predictor) -> float | None:
    found = _predicted(run, predictor, "memory_mb").get("memory_mb")
    return None if found is None or found.basis is None or not found.basis.model else found.value


def _predicted(run: ModelRun, predictor: Predictor, metric: MetricName) -> Estimates:
    unit = run.metrics.units().get(metric)
    units = {} if unit is None else {metric: unit}
    return predictor.predict([cell_of(run.model, run.hardware, run.setup)], (metric,), units)[0]
