"""From waves to what they will cost: time, memory, power and energy, each with its interval.

**Time.** The models of a wave start together. Each progresses at its normalised speed beside those
that still run (generalised processor sharing), and the wave ends with its last model. Interval
ends are the same schedule with every model at its fastest and least disturbed, and at its slowest
and most disturbed.

**Memory.** Models are loaded when their wave starts and released when it ends: a wave needs the
sum of its models (less what they share), a workload the largest of its waves. So sequential needs
its largest model and parallel the sum. Loading time is not counted: nothing measures it yet.

**Power** follows the work: a model draws its power times its normalised speed, and a device at
least what its hungriest model draws. **Energy** is therefore that of the models alone, whatever
runs together; its lower end leaves room for what sharing one idle device saves (down to the
hungriest model's own), its upper end for the time that contention may lose.

**Throughput** is the items of one run of each model over the total latency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from schemas.measurement import StrategyName
from schemas.replies import Estimate, Slot, StrategyOutcome
from strategies.contention import Speed, finish
from strategies.intervals import estimate, largest, total
from strategies.sharing import Portion
from strategies.words import listed, number, quantity, spread
from strategies.workload import Job, Waves, Workload

End = Literal["value", "low", "high"]
_OPPOSITE: Final[dict[End, End]] = {"value": "value", "low": "high", "high": "low"}


@dataclass(frozen=True, slots=True)
class Wave:
    """What one wave will cost. `done_ms` is counted from the wave's own start, in order of names.

    A quantity is None where it is unknown for any of the models.
    """

    names: tuple[str, ...]
    duration_ms: Estimate
    done_ms: tuple[Estimate, ...]
    memory_mb: Estimate | None
    power_w: Estimate | None
    energy_j: Estimate | None


@dataclass(frozen=True, slots=True)
class Sketch:
    """What a search needs to know of a wave: predicted values alone, without intervals.

    `done_ms` is the sum over its models of when each is done, counted from the wave's start.
    `latest_start_ms` is the latest start that meets its models' latency limits.
    """

    names: tuple[str, ...]
    duration_ms: float
    done_ms: float
    latest_start_ms: float
    memory_mb: float
    energy_j: float


class Evaluator:
    """Prices waves of one workload. Asking twice for the same wave costs nothing."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.jobs: Mapping[str, Job] = workload.by_name()
        self._sketches: dict[tuple[str, ...], Sketch] = {}
        self._speeds: dict[tuple[str, ...], Sequence[Speed]] = {}
        self._by_count = [
            workload.contention.by_count(count, workload.device)
            for count in range(1, len(workload.jobs) + 1)
        ]

    def sketch(self, names: Sequence[str]) -> Sketch:
        """Return what a search needs to know of these models as one wave."""
        key = tuple(sorted(names))
        found = self._sketches.get(key)
        if found is None:
            found = self._sketches[key] = self._draft(key)
        return found

    def fits(self, names: Sequence[str]) -> bool:
        """Return whether models can run at once under the limits on memory and power."""
        work = self.workload
        if work.memory_limit_mb is not None:
            parts = [self.jobs[name].memory_mb for name in names]
            if work.memory_stated and None in parts:
                return False
            known = {name: self.jobs[name].memory_mb for name in names}
            if self._memory(known).high > work.memory_limit_mb:
                return False
        if work.limits.power_w is None:
            return True
        power = self._power([self.jobs[name] for name in sorted(names)])
        return power is not None and power.value <= work.limits.power_w

    def outcome(self, strategy: StrategyName, waves: Waves) -> StrategyOutcome:
        """Return all that is predicted for a strategy's waves."""
        priced = [self._price(tuple(sorted(wave))) for wave in waves]
        timeline: list[Slot] = []
        done: dict[str, Estimate] = {}
        start: Estimate | None = None
        for index, wave in enumerate(priced):
            begins = start.value if start else 0.0
            for name, lasts in zip(wave.names, wave.done_ms, strict=True):
                done[name] = lasts if start is None else total([start, lasts])
                timeline.append(
                    Slot.model_construct(
                        model=name, wave=index, start_ms=begins, end_ms=done[name].value
                    )
                )
            start = total([one.duration_ms for one in priced[: index + 1]])
        assert start is not None, "a workload has at least one wave"

        memory = _combined(largest, [wave.memory_mb for wave in priced])
        power = _combined(largest, [wave.power_w for wave in priced])
        violations = self._violations(priced, start, done)
        return StrategyOutcome.model_construct(
            strategy=strategy,
            waves=[list(wave.names) for wave in priced],
            timeline=timeline,
            total_latency_ms=start,
            throughput_per_s=self._throughput(start),
            mean_latency_ms=_mean([done[name] for name in sorted(done)]),
            model_latency_ms={name: done[name] for name in sorted(done)},
            memory_mb=memory,
            power_w=power,
            energy_j=_combined(total, [wave.energy_j for wave in priced]),
            feasible=not violations,
            violations=violations,
        )

    def _throughput(self, latency: Estimate) -> Estimate:
        jobs = self.workload.jobs
        if len(jobs) == 1:
            return jobs[0].rate_per_s
        items = 1_000 * math.fsum(job.items for job in jobs)
        return estimate(
            items / latency.value,
            items / latency.high,
            items / latency.low,
            jobs[0].rate_per_s.unit,
        )

    # One wave

    def _draft(self, names: tuple[str, ...]) -> Sketch:
        jobs = [self.jobs[name] for name in names]
        done = self._finish(names, "value")
        latest = min(
            (
                job.latency_limit_ms - end
                for job, end in zip(jobs, done, strict=True)
                if job.latency_limit_ms is not None
            ),
            default=math.inf,
        )
        unknown = any(job.memory_mb is None for job in jobs)
        memory = self._memory({job.name: job.memory_mb for job in jobs}).value
        energy = [
            job.power_w.value * job.duration_ms.value if job.power_w else math.inf for job in jobs
        ]
        return Sketch(
            names,
            duration_ms=max(done),
            done_ms=math.fsum(done),
            latest_start_ms=latest,
            memory_mb=math.inf if unknown else memory,
            energy_j=math.fsum(energy) / 1_000,
        )

    def _price(self, names: tuple[str, ...]) -> Wave:
        jobs = [self.jobs[name] for name in names]
        if len(jobs) == 1:
            job = jobs[0]
            return Wave(
                names,
                job.duration_ms,
                (job.duration_ms,),
                job.memory_mb,
                job.power_w,
                _energy(jobs, job.duration_ms),
            )
        ends = (
            self._finish(names, "value"),
            self._finish(names, "low"),
            self._finish(names, "high"),
        )
        done = tuple(
            estimate(value, low, high, job.duration_ms.unit)
            for job, value, low, high in zip(jobs, *ends, strict=True)
        )
        duration = largest(done)
        return Wave(
            names,
            duration,
            done,
            self._memory_estimate(jobs),
            self._power(jobs),
            _energy(jobs, duration),
        )

    def _memory(self, parts: Mapping[str, Estimate | None]) -> Portion:
        """Return the memory of models at once, as far as it is known."""
        known = {
            name: Portion(part.value, part.low, part.high)
            for name, part in parts.items()
            if part is not None
        }
        return self.workload.sharing.memory_mb(known, self.workload.device)

    def _memory_estimate(self, jobs: Sequence[Job]) -> Estimate | None:
        if any(job.memory_mb is None for job in jobs):
            return None
        whole = self._memory({job.name: job.memory_mb for job in jobs})
        return estimate(whole.value, whole.low, whole.high)

    def _finish(self, names: tuple[str, ...], end: End) -> list[float]:
        """Return when each model is done, at one end of all intervals."""
        left = {name: getattr(self.jobs[name].duration_ms, end) for name in names}
        # Long durations go with slow speeds.
        speed_end = _OPPOSITE[end]
        if None not in self._by_count:
            done = self._finish_by_count(left, speed_end)
        else:
            done = self._finish_by_name(left, speed_end)
        return [done[name] for name in names]

    def _finish_by_count(self, left: dict[str, float], end: End) -> dict[str, float]:
        """Run models that all progress alike: they end in the order of their durations."""
        done: dict[str, float] = {}
        now = progress = 0.0
        for index, name in enumerate(sorted(left, key=lambda name: (left[name], name))):
            speed = self._by_count[len(left) - index - 1]
            now += (left[name] - progress) / getattr(speed, end)
            progress = left[name]
            done[name] = now
        return done

    def _finish_by_name(self, left: dict[str, float], end: End) -> dict[str, float]:
        """Run models that each have a speed of their own, from one end of a model to the next."""

        def speeds(names: tuple[str, ...]) -> list[float]:
            return [getattr(speed, end) for speed in self._speeds_of(names)]

        return finish(left, speeds, self.workload.contention.held(self.workload.device))

    def _speeds_of(self, names: tuple[str, ...]) -> Sequence[Speed]:
        found = self._speeds.get(names)
        if found is None:
            found = self.workload.contention.speeds(names, self.workload.device)
            self._speeds[names] = found
        return found

    def _power(self, jobs: Sequence[Job]) -> Estimate | None:
        """Return the power while all of a wave's models run."""
        alone = [job.power_w for job in jobs]
        if None in alone:
            return None
        powers = [power for power in alone if power is not None]
        speeds = self._speeds_of(tuple(job.name for job in jobs))
        together = estimate(
            math.fsum(p.value * s.value for p, s in zip(powers, speeds, strict=True)),
            math.fsum(p.low * s.low for p, s in zip(powers, speeds, strict=True)),
            math.fsum(p.high * s.high for p, s in zip(powers, speeds, strict=True)),
        )
        return largest([*powers, together])

    # Limits

    def _violations(
        self, waves: Sequence[Wave], latency: Estimate, done: Mapping[str, Estimate]
    ) -> list[str]:
        found: dict[str, None] = {}
        for wave in waves:
            found.update(dict.fromkeys(self._wave_violations(wave)))
        limit = self.workload.limits.latency_ms
        if limit is not None and latency.value > limit:
            found[
                f"the workload takes {spread('latency_ms', latency)}; "
                f"at most {quantity('latency_ms', limit)} is allowed"
            ] = None
        for job in self.workload.jobs:
            limit = job.latency_limit_ms
            if limit is not None and done[job.name].value > limit:
                found[
                    f"{job.name} is done after {spread('latency_ms', done[job.name])}; "
                    f"at most {quantity('latency_ms', limit)} is allowed"
                ] = None
        return list(found)

    def _wave_violations(self, wave: Wave) -> list[str]:
        found = []
        # Too little memory is a crash and not a delay: the upper end of the interval must fit.
        limit = self.workload.memory_limit_mb
        if limit is not None and wave.memory_mb is None and self.workload.memory_stated:
            unknown = [name for name in wave.names if self.jobs[name].memory_mb is None]
            found.append(
                f"the memory of {listed(unknown)} is unknown, so the limit of "
                f"{quantity('memory_mb', limit)} cannot be shown to hold"
            )
        memory = wave.memory_mb
        if memory is None:  # what is known of it must fit all the same
            whole = self._memory({name: self.jobs[name].memory_mb for name in wave.names})
            memory = estimate(whole.value, whole.low, whole.high) if whole.high > 0 else None
        if limit is not None and memory is not None and memory.high > limit:
            found.append(
                f"{listed(wave.names)} may need {spread('memory_mb', memory)} at once; "
                f"at most {quantity('memory_mb', limit)} is allowed"
            )
        limit = self.workload.limits.power_w
        if limit is not None and wave.power_w is None:
            unknown = [name for name in wave.names if self.jobs[name].power_w is None]
            found.append(
                f"the power of {listed(unknown)} is unknown, so the limit of "
                f"{quantity('power_w', limit)} cannot be shown to hold"
            )
        if limit is not None and wave.power_w is not None and wave.power_w.value > limit:
            found.append(
                f"{listed(wave.names)} may draw {spread('power_w', wave.power_w)}; "
                f"at most {number(limit)} W is allowed"
            )
        return found


def _combined(
    how: Callable[[Sequence[Estimate]], Estimate], parts: Sequence[Estimate | None]
) -> Estimate | None:
    """Return the parts combined, or None if any is unknown."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return how(known)


def _mean(parts: Sequence[Estimate]) -> Estimate:
    if len(parts) == 1:
        return parts[0]
    whole, count = total(parts), len(parts)
    return estimate(whole.value / count, whole.low / count, whole.high / count, whole.unit)


def _energy(jobs: Sequence[Job], duration: Estimate) -> Estimate | None:
    """Return the energy of one run of each job, in joules."""
    parts = []
    for job in jobs:
        power, lasts = job.power_w, job.duration_ms
        if power is None:
            return None
        parts.append(
            estimate(
                power.value * lasts.value / 1_000,
                power.low * lasts.low / 1_000,
                power.high * lasts.high / 1_000,
            )
        )
    if len(parts) == 1:
        return parts[0]
    whole = total(parts)
    # What contention adds to the time of one after the other, at the power of the hungriest.
    lost = duration.high - math.fsum(job.duration_ms.high for job in jobs)
    hungriest = max(job.power_w.high for job in jobs if job.power_w)
    return estimate(
        whole.value,
        max(part.low for part in parts),
        whole.high + max(0.0, lost) * hungriest / 1_000,
    )
