"""A workload on one device: what is known of each model alone, and what is asked of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.replies import Estimate, Estimates
from schemas.requests import Goal, StrategyLimits, StrategyRequest, WorkItem
from strategies.contention import Contention, Untaught
from strategies.intervals import estimate
from strategies.sharing import NOTHING, Sharing
from strategies.words import listed

Waves = tuple[tuple[str, ...], ...]
"""Models by name: waves run one after another, the models of one wave at the same time."""

RUNS = "items/s"
"""What a sum of throughputs counts when its models count different things: items of batches."""


@dataclass(frozen=True, slots=True)
class Job:
    """One model of a workload, run once (one batch), as it is predicted to be alone.

    `rate_per_s` is its throughput alone, in a unit that all jobs of a workload share.
    """

    name: str
    duration_ms: Estimate
    rate_per_s: Estimate
    memory_mb: Estimate | None
    power_w: Estimate | None
    latency_limit_ms: float | None = None

    @property
    def items(self) -> float:
        """How many items one run brings forth."""
        return self.rate_per_s.value * self.duration_ms.value / 1_000


@dataclass(frozen=True)
class Workload:
    """Models that are to run on one device, ordered by name, with goal, limits and contention.

    `memory_stated` says that the request itself limits the memory: a model whose memory is
    unknown then cannot be shown to fit. A capacity that was merely looked up does not exclude
    what is unknown.
    """

    jobs: tuple[Job, ...]
    device: str
    goal: Goal = "throughput"
    limits: StrategyLimits = field(default_factory=StrategyLimits)
    capacity_mb: float | None = None
    memory_stated: bool = False
    contention: Contention = field(default_factory=Untaught)
    sharing: Sharing = NOTHING

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, in order."""
        return tuple(job.name for job in self.jobs)

    @property
    def memory_limit_mb(self) -> float | None:
        """The smaller of the device's capacity and the request's limit."""
        known = [limit for limit in (self.capacity_mb, self.limits.memory_mb) if limit is not None]
        return min(known, default=None)

    def by_name(self) -> dict[str, Job]:
        """Return the jobs by the names of their models."""
        return {job.name: job for job in self.jobs}


def workload(
    request: StrategyRequest,
    predictions: Mapping[str, Estimates],
    capacity_mb: float | None,
    contention: Contention,
    sharing: Sharing = NOTHING,
) -> Workload | str:
    """Return the request as a workload, or the sentence that says why it can't be planned."""
    items = sorted(request.models, key=lambda item: item.model.name)
    unknown = [
        item.model.name
        for item in items
        if not {"latency_ms", "throughput_per_s"} & set(predictions.get(item.model.name, {}))
    ]
    if unknown:
        return (
            f"neither latency nor throughput is known for {listed(unknown)} on "
            f"{request.hardware.name}: publish one benchmark event for each, then ask again"
        )
    same_unit = _same_unit([predictions[item.model.name] for item in items])
    return Workload(
        jobs=tuple(_job(item, predictions[item.model.name], same_unit) for item in items),
        device=request.hardware.name,
        goal=request.goal,
        limits=request.limits,
        capacity_mb=request.memory_mb if request.memory_mb is not None else capacity_mb,
        memory_stated=request.memory_mb is not None or request.limits.memory_mb is not None,
        contention=contention,
        sharing=sharing,
    )


def _same_unit(predictions: list[Estimates]) -> bool:
    """Return whether all throughputs are known and count the same thing."""
    found = [one.get("throughput_per_s") for one in predictions]
    return all(found) and len({one.unit for one in found if one is not None}) == 1


def _job(item: WorkItem, predicted: Estimates, same_unit: bool) -> Job:
    """Return one model's job.

    A run takes the latency of its batches, one after another. Where only a throughput is known, a
    batch takes as long as its items do. A sum over models needs one unit: where their throughputs
    count different things, or one is unknown, the items of their batches are counted instead.
    """
    batch = float(item.setup.batch_size or 1)
    latency, throughput = predicted.get("latency_ms"), predicted.get("throughput_per_s")
    if latency is not None:
        duration = latency
    else:
        assert throughput is not None
        duration = _inverse(throughput, 1_000 * batch)
    if same_unit and throughput is not None:
        rate = throughput
    else:
        rate = _inverse(duration, 1_000 * batch, RUNS)
    batches = item.batches or 1
    if batches > 1:
        duration = estimate(
            batches * duration.value, batches * duration.low, batches * duration.high, duration.unit
        )
    return Job(
        name=item.model.name,
        duration_ms=duration,
        rate_per_s=rate,
        memory_mb=predicted.get("memory_mb"),
        power_w=predicted.get("power_w"),
        latency_limit_ms=item.latency_limit_ms,
    )


def _inverse(one: Estimate, scale: float, unit: str | None = None) -> Estimate:
    return estimate(scale / one.value, scale / one.high, scale / one.low, unit)
