"""How models run together on one device: the best strategy for a goal under limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from schemas.errors import BadInput
from schemas.measurement import StrategyName
from schemas.replies import Estimate, Estimates, Explored, Joined, StrategyOutcome, StrategyReply
from schemas.requests import Goal, GoalWeights, StrategyRequest
from strategies.base import Strategy, registered
from strategies.contention import Contention, Untaught
from strategies.intervals import apart
from strategies.outcome import Evaluator
from strategies.sharing import NOTHING, Sharing
from strategies.waves import EXACT_UP_TO, time_bound_ms
from strategies.words import listed, number, percent, quantity, spread
from strategies.workload import Workload, workload

_WORDS: dict[Goal, tuple[str, str]] = {
    "throughput": ("throughput", "throughput_per_s"),
    "latency": ("mean latency", "latency_ms"),
    "memory": ("peak memory", "memory_mb"),
    "energy": ("energy", "energy_j"),
}


Judge = Callable[[StrategyOutcome], tuple[float, ...]]
"""Returns what orders outcomes, best first; infinite first if what is judged is unknown."""


def choose(
    request: StrategyRequest,
    predictions: Mapping[str, Estimates],
    decision_id: str,
    *,
    capacity_mb: float | None = None,
    contention: Contention | None = None,
    sharing: Sharing = NOTHING,
    allowance: float = 0.0,
    joined: Sequence[Joined] = (),
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
        allowance: how much worse than the best, as a share, a choice may be predicted to be to
            find out what something less certain comes to; 0 explores nothing.
        joined: whose batches the request has joined already (`strategies.joining`).

    Returns:
        The chosen outcome and every other strategy's, best first, feasible ones before the rest.
        `chosen` is None when no strategy meets the limits, or when the goal's quantity is unknown.

    Raises:
        BadInput: the request names a strategy that there is not.
    """
    work = workload(request, predictions, capacity_mb, contention or Untaught(), sharing)
    if isinstance(work, str):
        return StrategyReply(
            decision_id=decision_id, goal=request.goal, chosen=None, alternatives=[], reasons=[work]
        )
    wanted = [one for one in registered() if request.strategy in {None, one.name}]
    if not wanted:
        known = listed((one.name for one in registered()), "or")
        raise BadInput.of_field("strategy", f"got {request.strategy!r}", known)
    if request.weights is None:
        judge: Judge = partial(_key, work.goal)
        evaluator = Evaluator(work)
        priced = [evaluator.outcome(one.name, one.plan(evaluator)) for one in wanted]
    else:
        judge, priced = _mixed(work, wanted, request.weights)
    ordered = sorted(priced, key=lambda one: (not one.feasible, judge(one)))
    best = ordered[0]
    unknown = math.isinf(judge(best)[0])
    chosen = None if unknown or not best.feasible else best
    explored = None
    if chosen is not None and request.weights is None:
        chosen, explored = _explored(work, ordered, allowance)
    alternatives = [one for one in ordered if one is not chosen]
    if request.weights is not None:
        return StrategyReply.model_construct(
            decision_id=decision_id,
            goal=request.goal,
            chosen=chosen,
            alternatives=alternatives,
            joined=list(joined),
            overlap_gain=_overlap_gain(work, chosen),
            explored=None,
            reasons=[
                *_why_mixed(work, request.weights, chosen, alternatives),
                *_gains(work, chosen, joined),
            ],
        )
    if chosen is not None:
        reasons = _why(work, chosen, alternatives, explored)
    elif unknown:
        reasons = _why_unknown(work)
    else:
        reasons = _why_none(work, alternatives)
    return StrategyReply.model_construct(
        decision_id=decision_id,
        goal=request.goal,
        chosen=chosen,
        alternatives=alternatives,
        joined=list(joined),
        overlap_gain=_overlap_gain(work, chosen),
        explored=explored,
        reasons=[*reasons, *_gains(work, chosen, joined)],
    )


def _overlap_gain(work: Workload, chosen: StrategyOutcome | None) -> float | None:
    """Return how many times as fast as one after another the chosen waves are."""
    if chosen is None:
        return None
    alone = math.fsum(job.duration_ms.value for job in work.jobs)
    return alone / chosen.total_latency_ms.value


def _gains(work: Workload, chosen: StrategyOutcome | None, joined: Sequence[Joined]) -> list[str]:
    """Say what joining batches gains, and what running models at the same time does."""
    found = [
        f"the batches of {one.model} are joined into {one.batches} of {one.batch_size}: "
        f"{number(one.gain)} times as fast by itself"
        for one in joined
    ]
    gain = _overlap_gain(work, chosen)
    if joined and gain is not None and len(work.jobs) > 1:
        found.append(f"the waves are {number(gain)} times as fast as one model after another")
    return found


def _mixed(
    work: Workload, wanted: Sequence[Strategy], weights: GoalWeights
) -> tuple[Judge, list[StrategyOutcome]]:
    """Return how a mix of goals judges outcomes, and the best outcome of each strategy.

    Each goal counts as the logarithm of how much worse than the best an outcome is by it: no unit
    matters, and twice as bad by one goal outweighs twice as good by another of equal weight. The
    waves that are weighed are those that are best for each goal of the mix.
    """
    goals = {goal: getattr(weights, goal) for goal in _of_mix(weights)}
    found: dict[StrategyName, list[StrategyOutcome]] = {}
    for goal in goals:
        evaluator = Evaluator(replace(work, goal=goal))
        for one in wanted:
            outcome = evaluator.outcome(one.name, one.plan(evaluator))
            found.setdefault(one.name, []).append(outcome)
    every = [outcome for outcomes in found.values() for outcome in outcomes]
    best = {goal: min(_cost(goal, one) for one in every) for goal in goals}

    def judge(outcome: StrategyOutcome) -> tuple[float, ...]:
        costs = {goal: _cost(goal, outcome) for goal in goals}
        if any(math.isinf(cost) for cost in costs.values()):
            return (math.inf,)
        score = math.fsum(
            weight * math.log(costs[goal] / best[goal]) for goal, weight in goals.items()
        )
        return (float(f"{score:.9g}"), *_key("throughput", outcome)[1:])

    return judge, [
        min(outcomes, key=lambda one: (not one.feasible, judge(one))) for outcomes in found.values()
    ]


def _of_mix(weights: GoalWeights) -> list[Goal]:
    return [goal for goal in _WORDS if getattr(weights, goal) > 0]


def _cost(goal: Goal, outcome: StrategyOutcome) -> float:
    """Return what an outcome comes to by a goal; lower is better, infinite if unknown."""
    found = measure(goal, outcome)
    if found is None:
        return math.inf
    return 1 / found.value if goal == "throughput" else found.value


def _ends(goal: Goal, outcome: StrategyOutcome) -> tuple[float, float]:
    """Return the best and the worst that an outcome may come to by a goal; lower is better."""
    found = measure(goal, outcome)
    assert found is not None
    if goal == "throughput":
        return 1 / found.high, 1 / max(found.low, 1e-12)
    return found.low, found.high


def _explored(
    work: Workload, ordered: Sequence[StrategyOutcome], allowance: float
) -> tuple[StrategyOutcome, Explored | None]:
    """Return what to run: the best, or something that may turn out better and is less certain.

    Optimism in the face of uncertainty (Auer, Cesa-Bianchi and Fischer 2002): of what is feasible,
    predicted to be worse by no more than the allowance, and may be better than the best is
    predicted to be, that which may be best of all.
    """
    best = ordered[0]
    if allowance <= 0:
        return best, None
    mine = _cost(work.goal, best)
    low, high = _ends(work.goal, best)
    open_ends = []
    for other in ordered[1:]:
        if not other.feasible or other.waves == best.waves or math.isinf(_cost(work.goal, other)):
            continue
        regret = _cost(work.goal, other) / mine - 1
        lowest, highest = _ends(work.goal, other)
        less_certain = highest / max(lowest, 1e-12) > high / max(low, 1e-12)
        if regret <= allowance and lowest < mine and lowest < low and less_certain:
            open_ends.append((lowest, regret, other))
    if not open_ends:
        return best, None
    _, regret, chosen = min(open_ends, key=lambda one: one[:2])
    return chosen, Explored(instead_of=best.strategy, predicted_regret=max(0.0, regret))


def _why_mixed(
    work: Workload,
    weights: GoalWeights,
    chosen: StrategyOutcome | None,
    alternatives: Sequence[StrategyOutcome],
) -> list[str]:
    goals = _of_mix(weights)
    if chosen is None:
        unknown = [
            goal for goal in goals if all(measure(goal, one) is None for one in alternatives)
        ]
        if unknown:
            return [
                f"the {listed(_WORDS[goal][0] for goal in unknown)} is unknown on {work.device}"
            ]
        return _why_none(work, alternatives)
    parts = []
    for goal in goals:
        found = measure(goal, chosen)
        assert found is not None
        parts.append(f"{_WORDS[goal][0]} {spread(_WORDS[goal][1], found)}")
    reasons = [f"{chosen.strategy} has the best mix of {listed(goals)}: {listed(parts)}"]
    for other in alternatives:
        if not other.feasible:
            reasons.append(f"{other.strategy} breaks a limit: {other.violations[0]}")
            continue
        ratios = [
            f"{percent(abs(_cost(goal, other) / _cost(goal, chosen) - 1))} "
            f"{'worse' if _cost(goal, other) > _cost(goal, chosen) else 'better'} by {goal}"
            for goal in goals
        ]
        reasons.append(f"{other.strategy} is {listed(ratios)}")
    return reasons


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
    work: Workload,
    chosen: StrategyOutcome,
    alternatives: Sequence[StrategyOutcome],
    explored: Explored | None,
) -> list[str]:
    name, metric = _WORDS[work.goal]
    found = measure(work.goal, chosen)
    assert found is not None
    if explored is not None:
        return [
            f"{chosen.strategy} is tried, {name} {spread(metric, found)}: it is less certain than "
            f"{explored.instead_of} and may be better, and is predicted to be "
            f"{percent(explored.predicted_regret)} worse, which the budget allows",
            *(_against(work, chosen, other) for other in alternatives),
            *_cautions(work, chosen),
        ]
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
