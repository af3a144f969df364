"""The best hardware for one model: hard limits first, then a weighted score.

**Limits.** A candidate that breaks a limit is out, whatever its score. A limit on a value that is
unknown cannot be shown to hold, so it excludes too. Memory is held to the upper end of its
interval, because too little of it is a crash and not a delay; everything else to its predicted
value.

**Score.** The weighted mean of up to five parts, each the ratio to the best qualifying candidate,
so that units cancel: `value / best` where more is better (throughput, availability),
`best / value` where less is (latency, power, memory, cost). An unknown value scores half of the
lowest known score in its part (half of 1 if nobody's is known), and the reasons say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from schemas.replies import (
    Estimate,
    Estimates,
    ExcludedHardware,
    RankedHardware,
    RecommendReply,
    ScorePart,
)
from schemas.requests import HardwareOption, RecommendRequest
from strategies.compare import common_unit
from strategies.words import HIGHER_IS_BETTER, NAMES, listed, number, percent, quantity, spread

Criterion = Literal["performance", "power", "memory", "cost", "availability"]
_CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

UNKNOWN_FACTOR = 0.5
"""What an unknown value scores, relative to the lowest known score in its part."""


@dataclass(frozen=True, slots=True)
class HardwareCandidate:
    """Hardware that may be chosen, in one precision, with what was predicted for it there."""

    option: HardwareOption
    precision: str | None
    prediction_id: str
    estimates: Estimates

    @property
    def label(self) -> str:
        """Hardware and precision, as a sentence names them."""
        name = self.option.name
        return name if self.precision is None else f"{name} in {self.precision}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What orders candidates that are otherwise equal."""
        return (self.option.name, self.precision or "", self.prediction_id)


@dataclass(frozen=True, slots=True)
class _Broken:
    """A limit that a candidate breaks. `overshoot` is relative; None if no relaxation is known."""

    candidate: HardwareCandidate
    limit: str
    value: float | str | None
    allowed: float | str | list[str]
    reason: str
    relaxation: str | None
    overshoot: float | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """A criterion's value for one candidate, with its interval's ends (equal where it is exact)."""

    value: float
    low: float
    high: float


@dataclass(slots=True)
class _Scored:
    """A qualifying candidate while its score grows."""

    candidate: HardwareCandidate
    parts: list[ScorePart] = field(default_factory=list)
    score: float = 0.0
    low: float = 0.0
    high: float = 0.0
    notes: list[str] = field(default_factory=list)


def recommend(
    request: RecommendRequest, candidates: Sequence[HardwareCandidate], decision_id: str
) -> RecommendReply:
    """Rank `candidates` for the request.

    Returns:
        The best one, the runners-up in order, and one entry in `excluded` for each limit that a
        candidate breaks. When nothing qualifies `recommended` is None, and the reasons say which
        limit excluded how many and which change would admit the first one.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.key)
    broken = [_broken_limits(request, candidate) for candidate in ordered]
    qualifying = [candidate for candidate, found in zip(ordered, broken, strict=True) if not found]
    excluded = [_excluded(one) for found in broken for one in found]

    if not qualifying:
        return RecommendReply(
            decision_id=decision_id,
            model=request.model.name,
            recommended=None,
            runners_up=[],
            excluded=excluded,
            reasons=_why_nothing(broken),
        )

    scored = _score(request, qualifying)
    ranked = [
        _ranked(one, scored[index + 1] if index + 1 < len(scored) else None, scored[0])
        for index, one in enumerate(scored)
    ]
    return RecommendReply(
        decision_id=decision_id,
        model=request.model.name,
        recommended=ranked[0],
        runners_up=ranked[1:],
        excluded=excluded,
        reasons=_why(request, scored, broken),
    )


# Limits


def _broken_limits(request: RecommendRequest, candidate: HardwareCandidate) -> list[_Broken]:
    limits, estimates, option = request.limits, candidate.estimates, candidate.option
    power, latency = estimates.get("power_w"), estimates.get("latency_ms")
    memory = estimates.get("memory_mb")
    checks = [
        _at_most(candidate, "power_w", power.value if power else None, limits.power_w),
        _at_most(candidate, "latency_ms", latency.value if latency else None, limits.latency_ms),
        _at_most(candidate, "cost_per_hour", option.cost_per_hour, limits.cost_per_hour),
        _memory_limit(candidate, memory, limits.memory_mb),
        _throughput_limit(candidate, limits.throughput_per_s),
        _precision_limit(candidate, limits.precision),
        _capacity(candidate, memory),
    ]
    return [found for found in checks if found is not None]


def _at_most(
    candidate: HardwareCandidate, limit: str, value: float | None, allowed: float | None
) -> _Broken | None:
    if allowed is None or (value is not None and value <= allowed):
        return None
    name, top = NAMES[limit], quantity(limit, allowed)
    if value is None:
        return _unknown(candidate, limit, allowed, f"at most {top} is allowed")
    return _Broken(
        candidate,
        limit,
        value,
        allowed,
        f"{candidate.label}: {name} {quantity(limit, value)} exceeds the limit of {top}",
        f"raising {limit} from {number(allowed)} to {_up(value)}",
        value / allowed - 1,
    )


def _memory_limit(
    candidate: HardwareCandidate, memory: Estimate | None, allowed: float | None
) -> _Broken | None:
    if allowed is None or (memory is not None and memory.high <= allowed):
        return None
    top = quantity("memory_mb", allowed)
    if memory is None:
        return _unknown(candidate, "memory_mb", allowed, f"at most {top} is allowed")
    return _Broken(
        candidate,
        "memory_mb",
        memory.value,
        allowed,
        f"{candidate.label}: memory {spread('memory_mb', memory)} may exceed the limit of {top}",
        f"raising memory_mb from {number(allowed)} to {_up(memory.high)}",
        memory.high / allowed - 1,
    )


def _throughput_limit(candidate: HardwareCandidate, wanted: float | None) -> _Broken | None:
    found = candidate.estimates.get("throughput_per_s")
    if wanted is None or (found is not None and found.value >= wanted):
        return None
    least = quantity("throughput_per_s", wanted, found.unit if found else None)
    if found is None:
        return _unknown(candidate, "throughput_per_s", wanted, f"at least {least} is wanted")
    have = quantity("throughput_per_s", found.value, found.unit)
    return _Broken(
        candidate,
        "throughput_per_s",
        found.value,
        wanted,
        f"{candidate.label}: throughput {have} is below the wanted {least}",
        f"lowering throughput_per_s from {number(wanted)} to {_down(found.value)}",
        wanted / found.value - 1,
    )


def _precision_limit(candidate: HardwareCandidate, allowed: list[str] | None) -> _Broken | None:
    if allowed is None or candidate.precision in allowed:
        return None
    only = listed(sorted(allowed), "or")
    if candidate.precision is None:
        return _unknown(candidate, "precision", allowed, f"only {only} is allowed")
    return _Broken(
        candidate,
        "precision",
        candidate.precision,
        allowed,
        f"{candidate.option.name}: precision {candidate.precision} is not one of {only}",
        f"allowing precision {candidate.precision}",
        1.0,
    )


def _capacity(candidate: HardwareCandidate, memory: Estimate | None) -> _Broken | None:
    """Exclude what is predicted not to fit the device, though nobody asked for a limit."""
    each = candidate.option.memory_mb
    if each is None or memory is None:
        return None
    # What is measured is the peak of the whole run, over all devices that work together.
    capacity = each * (candidate.option.count or 1)
    if memory.high <= capacity:
        return None
    return _Broken(
        candidate,
        "device_memory_mb",
        memory.value,
        capacity,
        f"{candidate.label}: memory {spread('memory_mb', memory)} may not fit the "
        f"{quantity('memory_mb', capacity)} that it has",
        None,
        None,
    )


def _unknown(
    candidate: HardwareCandidate, limit: str, allowed: float | list[str], rule: str
) -> _Broken:
    return _Broken(
        candidate,
        limit,
        None,
        allowed,
        f"{candidate.label}: {NAMES.get(limit, limit)} is unknown, so the limit cannot be shown "
        f"to hold ({rule})",
        None,
        None,
    )


def _up(value: float) -> str:
    """Return a limit that admits `value`: rounding must not fall short of it."""
    return f"{_rounded(value, 1):g}"


def _down(value: float) -> str:
    return f"{_rounded(value, -1):g}"


def _rounded(value: float, direction: int) -> float:
    rounded = float(f"{value:.4g}")
    if (rounded - value) * direction >= 0:
        return rounded
    return float(f"{value * (1 + direction * 1e-3):.4g}")


def _excluded(broken: _Broken) -> ExcludedHardware:
    return ExcludedHardware(
        hardware=broken.candidate.option.name,
        precision=broken.candidate.precision,
        limit=broken.limit,
        value=broken.value,
        allowed=broken.allowed,
        reason=broken.reason,
    )


def _why_nothing(broken: Sequence[Sequence[_Broken]]) -> list[str]:
    if not broken:
        return ["no hardware is known: name some in the request, or publish benchmark events"]
    reasons = [f"none of {len(broken)} candidates meets every limit"]
    reasons += _counts(broken)
    curable = [found for found in broken if all(one.relaxation for one in found)]
    if not curable:
        return [
            *reasons,
            "no change of a limit is known to admit any of them: in each, a limited value is "
            "unknown or the device is too small",
        ]
    nearest = min(
        curable,
        key=lambda found: (
            len(found),
            max(one.overshoot or 0.0 for one in found),
            found[0].candidate.key,
        ),
    )
    change = listed([one.relaxation or "" for one in nearest])
    return [*reasons, f"{change} would admit {nearest[0].candidate.label}"]


def _counts(broken: Sequence[Sequence[_Broken]]) -> list[str]:
    counts = Counter(limit for found in broken for limit in sorted({one.limit for one in found}))
    return [
        f"the limit {limit} excludes {count} of {len(broken)} candidates"
        for limit, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


# Score


def _score(request: RecommendRequest, qualifying: Sequence[HardwareCandidate]) -> list[_Scored]:
    """Return the qualifying candidates with their scores, best first."""
    weights = {criterion: float(getattr(request.weights, criterion)) for criterion in _CRITERIA}
    whole = sum(weights.values())
    scored = [_Scored(candidate) for candidate in qualifying]
    for criterion, weight in weights.items():
        if weight > 0:
            _add_part(request, scored, criterion, weight / whole)
    scored.sort(key=lambda one: (-one.score, one.candidate.key))
    return scored


def _add_part(
    request: RecommendRequest, scored: Sequence[_Scored], criterion: Criterion, weight: float
) -> None:
    metric, more = _meaning(request, criterion)
    unit = common_unit(one.candidate.estimates.get(metric) for one in scored)  # type: ignore[call-overload]
    readings = [_read(one.candidate, criterion, metric, unit) for one in scored]
    known = [reading.value for reading in readings if reading is not None]
    best = (max(known) if more else min(known)) if known else None

    def ratio(value: float) -> float:
        if best is None or best == value:
            return 1.0
        return value / best if more else best / value

    lowest = min((ratio(value) for value in known), default=1.0)
    for one, reading in zip(scored, readings, strict=True):
        if reading is None:
            share = low = high = UNKNOWN_FACTOR * lowest
            one.notes.append(
                f"its {criterion} is unknown and scores {number(share)}, "
                f"{number(UNKNOWN_FACTOR)} of the lowest known score"
            )
        else:
            share = ratio(reading.value)
            low, high = sorted((ratio(reading.low), ratio(reading.high)))
        one.parts.append(
            ScorePart(
                criterion=criterion,
                value=reading.value if reading else None,
                score=share,
                weight=weight,
            )
        )
        one.score += weight * share
        one.low += weight * low
        one.high += weight * high


def _meaning(request: RecommendRequest, criterion: Criterion) -> tuple[str, bool]:
    """Return what is read for a criterion, and whether more of it is better."""
    if criterion == "performance":
        return request.metric, HIGHER_IS_BETTER[request.metric]
    if criterion == "cost":
        return "cost_per_hour", False
    if criterion == "availability":
        return "availability", True
    return {"power": "power_w", "memory": "memory_mb"}[criterion], False


def _read(
    candidate: HardwareCandidate, criterion: Criterion, metric: str, unit: str | None
) -> _Reading | None:
    if criterion in {"cost", "availability"}:
        exact = getattr(candidate.option, metric)
        return None if exact is None else _Reading(exact, exact, exact)
    found = candidate.estimates.get(metric)  # type: ignore[call-overload]
    if found is None or found.unit != unit:
        return None
    return _Reading(found.value, found.low, found.high)


def _ranked(one: _Scored, after: _Scored | None, best: _Scored) -> RankedHardware:
    reasons = [_in_words(part) for part in one.parts]
    reasons += one.notes
    if one is not best:
        reasons += _against(one, best)
    return RankedHardware(
        hardware=one.candidate.option.name,
        precision=one.candidate.precision,
        score=one.score,
        parts=one.parts,
        metrics=one.candidate.estimates,
        prediction_id=one.candidate.prediction_id,
        separated_from_next=None if after is None else one.low > after.high,
        reasons=reasons,
    )


def _in_words(part: ScorePart) -> str:
    what = "unknown" if part.value is None else number(part.value)
    return (
        f"{part.criterion} {what} scores {number(part.score)} "
        f"with a weight of {percent(part.weight)}"
    )


def _against(one: _Scored, best: _Scored) -> list[str]:
    """Say what choosing `one` would cost, or gain, against the best."""
    name = best.candidate.label
    differences = []
    for mine, its in zip(one.parts, best.parts, strict=True):
        if mine.value is None or its.value is None or its.value == 0:
            continue
        change = mine.value / its.value - 1
        if change:
            word = "more" if change > 0 else "less"
            differences.append(f"{percent(abs(change))} {word} {mine.criterion}")
    if not differences:
        return [f"equal to {name} in all that is known"]
    return [f"against {name}: {listed(differences)}"]


def _why(
    request: RecommendRequest, scored: Sequence[_Scored], broken: Sequence[Sequence[_Broken]]
) -> list[str]:
    best = scored[0]
    name = best.candidate.label
    found = best.candidate.estimates.get(request.metric)
    metric = NAMES[request.metric]
    reasons = []
    if found is None:
        reasons.append(f"{name} scores highest ({number(best.score)}), its {metric} unknown")
    else:
        reasons.append(
            f"{name} scores highest ({number(best.score)}): "
            f"{metric} {spread(request.metric, found)}"
        )
    reasons += [f"{name}: {note}" for note in best.notes]
    if len(scored) > 1:
        reasons.append(_lead(best, scored[1]))
    elif len(broken) > 1:
        reasons.append(f"{name} alone meets every limit")
    if any(broken):
        reasons += _counts(broken)
    return reasons


def _lead(best: _Scored, second: _Scored) -> str:
    name, other = best.candidate.label, second.candidate.label
    if best.score == second.score:
        return f"{other} scores the same; {name} is named first by the order of names"
    ahead = f"{name} leads {other} by {number(best.score - second.score)}"
    if best.low > second.high:
        return f"{ahead}, and the intervals of their scores are clear of each other"
    return f"{ahead}, but the intervals of their scores overlap: the order may turn out otherwise"
