"""A batch of benchmarks under limits: on each hardware, and of runs, time and energy in all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from agent.exploring.choosing import Design, Field, wanted
from schemas.exploration import BatchReply, BatchRequest, MeasuredGain


def batch(
    field: Field,
    request: BatchRequest,
    request_id: str,
    earlier: list[MeasuredGain],
    reasons: list[str],
) -> BatchReply:
    """Choose a batch that keeps all limits, what is worth most first.

    What a candidate teaches counts as much less as its hardware is seldom free, and as it is
    unlikely to fit.
    """
    fits = field.chances or [1.0] * len(field.candidates)
    chances = [
        chance * request.availability.get(cell.hardware, 1.0)
        for chance, cell in zip(fits, field.candidates, strict=True)
    ]
    design = Design(replace(field, chances=chances), request)
    before = design.spread
    limits = _Limits(field, request)
    choices = design.choose(request.size, limits.allow)
    chosen = wanted(field, choices, request_id)
    joules = [one.energy_j for one in chosen]
    known = [one for one in joules if one is not None]
    return BatchReply(
        wanted=chosen,
        candidates=len(field.candidates),
        cells=len(field.targets),
        uncertainty=before,
        expected_uncertainty=design.spread,
        measured=earlier,
        reasons=[*reasons, *limits.reasons],
        runs=len(chosen) * request.repeats,
        cost_s=sum(one.cost_s for one in chosen) * request.repeats,
        energy_j=sum(known) * request.repeats if len(known) == len(joules) else None,
        per_hardware=dict(Counter(one.hardware.name for one in chosen)),
    )


def most_on(request: BatchRequest, hardware: str) -> int:
    """Return how many benchmarks of a batch may run on some hardware."""
    limit = min(request.limits.get(hardware, request.size), request.size)
    return math.floor(limit * request.availability.get(hardware, 1.0) + 1e-9)


class _Limits:
    """Keeps the limits of a batch as it grows."""

    def __init__(self, field: Field, request: BatchRequest) -> None:
        self._field = field
        self._request = request
        self._on: Counter[str] = Counter()
        self._runs = 0
        self._seconds = self._joules = 0.0
        self._refused: Counter[str] = Counter()

    @property
    def reasons(self) -> Sequence[str]:
        """Which limits kept benchmarks out."""
        return [f"{count} benchmarks kept out by {why}" for why, count in self._refused.items()]

    def allow(self, place: int) -> bool:
        """Return whether a candidate may come in; it counts as in from then on."""
        request, cost = self._request, self._field.costs[place]
        hardware = self._field.candidates[place].hardware
        runs = self._runs + request.repeats
        seconds = self._seconds + cost.seconds * request.repeats
        joules = self._joules + (cost.joules or 0.0) * request.repeats
        broken = (
            ("the limit of " + hardware, self._on[hardware] >= most_on(request, hardware)),
            ("budget_runs", request.budget_runs is not None and runs > request.budget_runs),
            ("budget_s", request.budget_s is not None and seconds > request.budget_s),
            (
                "budget_j",
                request.budget_j is not None and (cost.joules is None or joules > request.budget_j),
            ),
        )
        for why, is_broken in broken:
            if is_broken:
                self._refused[why] += 1
                return False
        self._on[hardware] += 1
        self._runs, self._seconds, self._joules = runs, seconds, joules
        return True
