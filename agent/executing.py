"""Executions: decide, have a worker run it, and hold what was predicted against what came."""

from __future__ import annotations

import random
import statistics
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from agent.browsers.choice import able, decide, question
from agent.dispatch import Dispatcher, is_wanted, job_of, strategy_request
from schemas.errors import Unavailable
from schemas.jobs import JobResult, WorkerState
from schemas.measurement import StrategyName
from schemas.replies import (
    AnyReply,
    BestBrowserReply,
    Compared,
    CompareStrategiesReply,
    ExecuteReply,
    PredictReply,
    StrategyOutcome,
    StrategyReply,
)
from schemas.requests import (
    STRATEGIES,
    AnyRequest,
    BestBrowserRequest,
    CompareStrategiesRequest,
    ExecuteRequest,
    Goal,
)

AT_ONCE = 64

_HIGHER_IS_BETTER = {"throughput_per_s"}
_METRIC: dict[Goal, str] = {
    "throughput": "throughput_per_s",
    "latency": "mean_latency_ms",
    "memory": "memory_mb",
    "energy": "energy_j",
}

Ask = Callable[[str, Literal["strategy", "predict"], AnyRequest], Awaitable[AnyReply]]


class Executions:
    """Has workers run what was decided.

    Args:
        dispatcher: knows the workers.
        ask: returns (and logs) the heart's answer to a request of an id and a kind.
    """

    def __init__(self, dispatcher: Dispatcher, ask: Ask) -> None:
        self._dispatcher = dispatcher
        self._ask = ask
        self._under_way = 0

    async def answer(
        self, request_id: str, request: ExecuteRequest | BestBrowserRequest
    ) -> AnyReply:
        """Answer a request of any of the kinds that concern workers."""
        match request:
            case BestBrowserRequest():
                return await self.best_browser(request_id, request)
            case CompareStrategiesRequest():
                return await self.compare(request_id, request)
            case _:
                return await self.execute(request_id, request)

    async def execute(self, request_id: str, request: ExecuteRequest) -> ExecuteReply:
        """Decide, have it run, and return what came of it.

        Raises:
            BadInput: the named worker is unknown or lacks a model.
            Unavailable: nobody can run it, or too much is under way.
        """
        with self._one_more():
            worker = await self._worker_for(request)
            decision = await self._decision(request_id, request, worker)
            chosen = decision.chosen
            if chosen is None and decision.alternatives:
                return self._refused(request_id, worker, decision)
            if chosen is not None:
                strategy, waves = chosen.strategy, chosen.waves
            else:
                # Too little is known to predict anything: one by one teaches most, risks least.
                strategy = request.strategy or "sequential"
                waves = _unplanned(request, strategy)
            job = job_of(request, worker, request_id, strategy, waves, decision.joined)
            result = await self._dispatcher.run(worker, job)
            return ExecuteReply(
                decision_id=request_id,
                worker=worker.worker_id,
                predicted=chosen,
                result=result,
                compared=compared(chosen, result),
                reasons=decision.reasons,
            )

    async def compare(
        self, request_id: str, request: CompareStrategiesRequest
    ) -> CompareStrategiesReply:
        """Recommend a strategy, then have every one run; return how good the choice was.

        Raises:
            BadInput: the named worker is unknown or lacks a model.
            Unavailable: nobody can run it, or too much is under way.
        """
        with self._one_more():
            worker = await self._worker_for(request)
            decision = await self._decision(request_id, request, worker)
            outcomes = {one.strategy: one for one in decision.alternatives}
            if decision.chosen is not None:
                outcomes[decision.chosen.strategy] = decision.chosen
            executions: dict[StrategyName, ExecuteReply] = {}
            for strategy in random.Random(request.seed).sample(STRATEGIES, len(STRATEGIES)):
                outcome = outcomes.get(strategy)
                waves = outcome.waves if outcome else _unplanned(request, strategy)
                job = job_of(request, worker, request_id, strategy, waves, decision.joined)
                job = job.model_copy(update={"job_id": f"{request_id}-{strategy}"})
                result = await self._dispatcher.run(worker, job)
                executions[strategy] = ExecuteReply(
                    decision_id=request_id,
                    worker=worker.worker_id,
                    predicted=outcome,
                    result=result,
                    compared=compared(outcome, result),
                )
            recommended = decision.chosen.strategy if decision.chosen else None
            best, regret = judged(request.goal, recommended, executions)
            return CompareStrategiesReply(
                decision_id=request_id,
                goal=request.goal,
                recommended=recommended,
                best=best,
                regret=regret,
                executions=[executions[one] for one in STRATEGIES],
                reasons=decision.reasons,
            )

    async def best_browser(self, request_id: str, request: BestBrowserRequest) -> BestBrowserReply:
        """Predict the model in every browser that is there, and decide."""
        workers, excluded = able(request, self._dispatcher.workers.values())
        asked = question(request, workers)
        predicted = None if asked is None else await self._ask(request_id, "predict", asked)
        assert predicted is None or isinstance(predicted, PredictReply)
        return decide(request, workers, excluded, predicted, request_id)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        if self._under_way >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} executions are under way: ask again later")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _decision(
        self, request_id: str, request: ExecuteRequest, worker: WorkerState
    ) -> StrategyReply:
        decision = await self._ask(request_id, "strategy", strategy_request(request, worker))
        assert isinstance(decision, StrategyReply), "the heart answers in kind"
        return decision

    def _refused(
        self, request_id: str, worker: WorkerState, decision: StrategyReply
    ) -> ExecuteReply:
        result = JobResult(
            job_id=request_id,
            worker_id=worker.worker_id,
            outcome="refused",
            message=decision.reasons[0],
            decision_id=request_id,
        )
        return ExecuteReply(
            decision_id=request_id,
            worker=worker.worker_id,
            predicted=None,
            result=result,
            reasons=decision.reasons,
        )

    async def _worker_for(self, request: ExecuteRequest) -> WorkerState:
        """Return the worker for a workload; of several browsers, that best for its first model."""
        worker = self._dispatcher.worker_for(request)
        if request.worker is not None or worker.kind != "browser":
            return worker
        # The model that computes most decides: the others are run where it is.
        largest = max(request.models, key=lambda item: _gmacs(worker, item.model.name))
        goal = request.goal if request.goal in {"throughput", "latency", "memory"} else "throughput"
        best = await self.best_browser(
            uuid.uuid4().hex,
            BestBrowserRequest(
                model=largest.model,
                setup=largest.setup,
                goal=goal,
                browsers=[request.browser] if request.browser else None,
            ),
        )
        every = [best.chosen, *best.others] if best.chosen else []
        names = {item.model.name for item in request.models}
        for choice in every:
            found = self._dispatcher.workers.get(choice.worker)
            if found is None or not is_wanted(found, request):
                continue
            if names <= {held.model for held in found.models}:
                return found
        return worker


def measured(result: JobResult) -> dict[str, float]:
    """Return what an execution came to, by the names under which strategies are predicted."""
    if result.wall_time_ms is None:
        return {}
    wall_ms = result.wall_time_ms.median
    items = sum(one.batch_size * one.runs for one in result.models)
    ends = [one.start_ms + one.latency_ms.median for one in result.models]
    found: dict[str, float | None] = {
        "total_latency_ms": wall_ms,
        "throughput_per_s": 1_000 * items / wall_ms,
        "mean_latency_ms": statistics.fmean(ends),
        "memory_mb": result.peak_memory_mb,
        "power_w": result.power_w,
        "energy_j": result.energy_j,
    }
    return {name: value for name, value in found.items() if value is not None}


def compared(predicted: StrategyOutcome | None, result: JobResult) -> list[Compared]:
    """Hold what was predicted for an execution against what it came to."""
    found = []
    for metric, value in measured(result).items():
        estimate = getattr(predicted, metric, None)
        if estimate is not None and value > 0:
            found.append(
                Compared(
                    metric=metric,
                    predicted=estimate.value,
                    low=estimate.low,
                    high=estimate.high,
                    measured=value,
                    absolute_percentage_error=abs(estimate.value - value) / value,
                    within_interval=estimate.low <= value <= estimate.high,
                )
            )
    return found


def judged(
    goal: Goal, recommended: StrategyName | None, executions: Mapping[StrategyName, ExecuteReply]
) -> tuple[StrategyName | None, float | None]:
    """Return the strategy that came out best, and how much worse the recommended one did.

    None for what the measurements do not tell.
    """
    metric = _METRIC[goal]
    costs = {
        strategy: 1 / value if metric in _HIGHER_IS_BETTER else value
        for strategy, reply in executions.items()
        if (value := measured(reply.result).get(metric))
    }
    if not costs:
        return None, None
    best = min(costs, key=costs.__getitem__)
    if recommended not in costs:
        return best, None
    return best, costs[recommended] / costs[best] - 1


def _unplanned(request: ExecuteRequest, strategy: StrategyName) -> list[list[str]]:
    """Return waves for a workload of which too little is known to plan any."""
    names = sorted(item.model.name for item in request.models)
    if strategy == "parallel":
        return [names]
    return [[name] for name in names]


def _gmacs(worker: WorkerState, model: str) -> float:
    return max((one.gmacs or 0.0 for one in worker.models if one.model == model), default=0.0)
