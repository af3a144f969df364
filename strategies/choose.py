"""How models run together on one device: the best strategy for a goal under limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.replies import Estimate, Estimates, StrategyOutcome, StrategyReply
from schemas.requests import Goal, StrategyRequest
from strategies.base import registered
from strategies.contention import Contention, Untaught
from strategies.intervals import apart
from strategies.outcome import Evaluator
from strategies.sharing import NOTHING, Sharing
from strategies.waves import EXACT_UP_TO, time_bound_ms
from strategies.words import listed, percent, quantity, spread
from strategies.workload import Workload, workload

_WORDS: dict[Goal, tuple[str, str]] = {
    "throughput": ("throughput", "throughput_per_s"),
    "latency": ("mean latency", "latency_ms"),
    "memory": ("peak memory", "memory_mb"),
    "energy": ("energy", "energy_j"),
}


def choose(
    request: StrategyRequest,
    predictions: Mapping[str, Estimates],
    decision_id: str,
    *,
    capacity_mb: float | None = None,
    contention: Contention | None = None,
    sharing: Sharing = NOTHING,
) -> StrategyReply:
    """Choose the strategy, and its waves, that is best for the request's goal under its limits.

    Goals: throughput (the most items per second, so the shortest whole), latency (the shortest
    mean over the models of when each is done), memory (the lowest peak), energy (the least for
    one run of each). Equal ones are decided by total latency, mean latency, memory, then by the
    simpler strategy. All are judged at their predicted values; limits on memory at the upper end.

    Args:
        request: the workload, its device, goal and limits.
        predictions: each model's solo estimates on this hardware, by the model's name.
        decision_id: returned in the reply.
        capacity_mb: memory of the device, looked up; used where the request states none.
        contention: what models do to each other; physics alone if left out.
        sharing: which of them consume the same tensor; none if left out. The contention knows
            of it too (`strategies.sharing.WithSharing`).

    Returns:
        The chosen outcome and every other strategy's, best first, feasible ones before the rest.
        `chosen` is None when no strategy meets the limits, or when the goal's quantity is unknown.
    """
    work = workload(request, predictions, capacity_mb, contention or Untaught(), sharing)
    if isinstance(work, str):
        return StrategyReply(
            decision_id=decision_id, goal=request.goal, chosen=None, alternatives=[], reasons=[work]
        )
    evaluator = Evaluator(work)
    wanted = [one for one in registered() if request.strategy in {None, one.name}]
    priced = [evaluator.outcome(one.name, one.plan(evaluator)) for one in wanted]
    ordered = sorted(priced, key=lambda one: (not one.feasible, _key(work.goal, one)))
    best = ordered[0]
    unknown = measure(work.goal, best) is None
    chosen = None if unknown or not best.feasible else best
    alternatives = ordered if chosen is None else ordered[1:]
    if chosen is not None:
        reasons = _why(work, chosen, alternatives)
    elif unknown:
        reasons = _why_unknown(work)
    else:
        reasons = _why_none(work, alternatives)
    return StrategyReply.model_construct(
        decision_id=decision_id,
        goal=request.goal,
        chosen=chosen,
        alternatives=alternatives,
        reasons=reasons,
    )


def measure(goal: Goal, outcome: StrategyOutcome) -> Estimate | None:
    """Return the quantity by which a goal judges an outcome; None if it is unknown."""
    match goal:
        case "throughput":
            return outcome.throughput_per_s
        case "latency":
            return outcome.mean_latency_ms
        case "memory":
            return outcome.memory_mb
        case "energy":
            return outcome.energy_j


def _key(goal: Goal, outcome: StrategyOutcome) -> tuple[float, ...]:
    """Return what orders outcomes, best first. Nine figures: less is rounding."""
    found = measure(goal, outcome)
    first = float("inf") if found is None else found.value
    memory, mean = outcome.memory_mb, outcome.mean_latency_ms
    key = (
        -first if goal == "throughput" else first,
        outcome.total_latency_ms.value,
        mean.value if mean else 0.0,
        memory.value if memory else 0.0,
    )
    return tuple(float(f"{part:.9g}") for part in key)


def _why(
    work: Workload, chosen: StrategyOutcome, alternatives: Sequence[StrategyOutcome]
) -> list[str]:
    name, metric = _WORDS[work.goal]
    found = measure(work.goal, chosen)
    assert found is not None
    if len(work.jobs) == 1:
        return [
            f"a single model runs the same under every strategy: {name} {spread(metric, found)}"
        ]
    reasons = [f"{chosen.strategy} has the best {name}: {spread(metric, found)}"]
    reasons += [_against(work, chosen, other) for other in alternatives]
    reasons += _cautions(work, chosen)
    if len(work.jobs) > EXACT_UP_TO:
        bound = time_bound_ms(work)
        reasons.append(
            f"with more than {EXACT_UP_TO} models not every partition into waves was weighed: "
            f"no partition takes less than {quantity('latency_ms', bound)} in total, "
            f"this one {quantity('latency_ms', chosen.total_latency_ms.value)}"
        )
    return reasons


def _against(work: Workload, chosen: StrategyOutcome, other: StrategyOutcome) -> str:
    """Say what another strategy would cost against the chosen one."""
    if not other.feasible:
        return f"{other.strategy} breaks a limit: {other.violations[0]}"
    if other.waves == chosen.waves:
        return f"{other.strategy} comes to the same waves"
    name, _ = _WORDS[work.goal]
    mine, its = measure(work.goal, chosen), measure(work.goal, other)
    assert mine is not None
    assert its is not None
    change = its.value / mine.value - 1
    if abs(change) < 1e-9:
        return (
            f"{other.strategy} has the same {name}, "
            f"and takes {quantity('latency_ms', other.total_latency_ms.value)} in total against "
            f"{quantity('latency_ms', chosen.total_latency_ms.value)}"
        )
    sure = (
        "its interval is clear of the chosen one's"
        if apart(mine, its)
        else "the intervals overlap: it may turn out better"
    )
    word = "more" if change > 0 else "less"
    return f"{other.strategy} has {percent(abs(change))} {word} {name}; {sure}"


def _cautions(work: Workload, chosen: StrategyOutcome) -> list[str]:
    """Name the limits that hold at the predicted value, but not at the interval's upper end."""
    found = []
    limit = work.limits.latency_ms
    if limit is not None and chosen.total_latency_ms.high > limit:
        found.append("the whole")
    for job in work.jobs:
        done = chosen.model_latency_ms[job.name]
        if job.latency_limit_ms is not None and done.high > job.latency_limit_ms:
            found.append(job.name)
    cautions = []
    if found:
        cautions.append(f"a limit on latency may still be missed by {listed(found)}")
    unknown = [job.name for job in work.jobs if job.memory_mb is None]
    if unknown:
        cautions.append(f"memory was never measured for {listed(unknown)}: watch the first run")
    return cautions


def _why_unknown(work: Workload) -> list[str]:
    name, _ = _WORDS[work.goal]
    needed = "memory" if work.goal == "memory" else "power"
    unknown = [job.name for job in work.jobs if getattr(job, _FIELDS[needed]) is None]
    return [
        f"the {name} is unknown, because the {needed} of {listed(unknown)} was never measured on "
        f"{work.device}: publish one benchmark event with it for each, or ask by another goal"
    ]


_FIELDS = {"memory": "memory_mb", "power": "power_w"}


def _why_none(work: Workload, outcomes: Sequence[StrategyOutcome]) -> list[str]:
    reasons = [f"no strategy meets the limits on {work.device}"]
    reasons += [f"{one.strategy}: {'; '.join(one.violations)}" for one in outcomes]
    nearest = min(outcomes, key=lambda one: _overshoot(work, one))
    reasons.append(
        f"nearest to its limits is {nearest.strategy}; what stands in its way: "
        f"{'; '.join(nearest.violations)}"
    )
    return reasons


def _overshoot(work: Workload, outcome: StrategyOutcome) -> float:
    """Return the largest ratio of a predicted value to its limit; infinite if one is unknown."""
    pairs = [(outcome.total_latency_ms.value, work.limits.latency_ms)]
    memory, power = outcome.memory_mb, outcome.power_w
    pairs.append((memory.high if memory else float("inf"), work.memory_limit_mb))
    pairs.append((power.value if power else float("inf"), work.limits.power_w))
    pairs += [(outcome.model_latency_ms[job.name].value, job.latency_limit_ms) for job in work.jobs]
    return max(value / limit for value, limit in pairs if limit is not None)
