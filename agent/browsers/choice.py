"""The best browser for a model, from the workers on the bus and what is predicted for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.jobs import HeldModel, WorkerState
from schemas.measurement import HardwareSpec, ModelSpec, Setup
from schemas.replies import BestBrowserReply, PredictReply
from schemas.requests import BestBrowserRequest, Candidate, PredictRequest
from strategies import browsers


def browser_workers(workers: Iterable[WorkerState]) -> list[WorkerState]:
    """Return the workers that are tabs and there, by name."""
    there = (one for one in workers if one.kind == "browser" and one.status == "online")
    return sorted(there, key=lambda one: one.worker_id)


def able(
    request: BestBrowserRequest, workers: Iterable[WorkerState]
) -> tuple[list[WorkerState], dict[str, str]]:
    """Return the workers that can run a model, and why the others can't."""
    name = request.model.name
    found: list[WorkerState] = []
    excluded: dict[str, str] = {}
    for one in browser_workers(workers):
        kind = one.browser
        if kind is None or (request.browsers and kind.browser not in request.browsers):
            continue
        if _held(one, name) is None:
            excluded[one.worker_id] = f"has no {name}"
        elif name in kind.quarantined:
            excluded[one.worker_id] = f"quarantined: {kind.quarantined[name]}"
        else:
            found.append(one)
    return found, excluded


def question(request: BestBrowserRequest, workers: Sequence[WorkerState]) -> PredictRequest | None:
    """Return what has to be predicted, in the order of `workers`; None if there are none."""
    if not workers:
        return None
    return PredictRequest(candidates=[_candidate(request, one) for one in workers])


def decide(
    request: BestBrowserRequest,
    workers: Sequence[WorkerState],
    excluded: dict[str, str],
    predicted: PredictReply | None,
    decision_id: str,
) -> BestBrowserReply:
    """Return the best of the workers that can run the model.

    Args:
        request: what was asked.
        workers: those that can run the model.
        excluded: those that can't, and why.
        predicted: for each of `workers`, in their order.
        decision_id: of the reply.
    """
    name, goal = request.model.name, request.goal
    if predicted is None:
        why = "; ".join(f"{one} {reason}" for one, reason in excluded.items())
        return BestBrowserReply(
            decision_id=decision_id,
            model=name,
            goal=goal,
            chosen=None,
            others=[],
            excluded=excluded,
            reasons=[f"no browser that is there can run {name}: {why or 'none is connected'}"],
        )
    candidates = [
        browsers.Candidate(
            worker=one.worker_id,
            browser=one.browser.browser,
            version=one.browser.version,
            backend=one.browser.backend,
            hardware=one.hardware.name if one.hardware else one.worker_id,
            software=one.browser.software,
            tabs=one.browser.tabs,
            prediction_id=prediction.prediction_id,
            estimates=prediction.metrics,
        )
        for one, prediction in zip(workers, predicted.predictions, strict=True)
        if one.browser is not None
    ]
    family = request.model.family or next(
        (held.family for one in workers if (held := _held(one, name)) is not None), None
    )
    ranked = browsers.rank(candidates, family, goal)
    choices = [one.choice(goal) for one in ranked]
    return BestBrowserReply(
        decision_id=decision_id,
        model=name,
        goal=goal,
        chosen=choices[0],
        others=choices[1:],
        excluded=excluded,
        decided_by=browsers.decided_by(ranked),
        reasons=[
            f"{one.browser} on {one.backend}: "
            + (f"{one.measured} measurements" if one.measured else "never measured there")
            + (f"; {', '.join(one.rules)}" if one.rules else "")
            for one in choices
        ],
    )


def _candidate(request: BestBrowserRequest, worker: WorkerState) -> Candidate:
    held = _held(worker, request.model.name)
    known = {} if held is None else held.model_dump(exclude={"model", "sha256"}, exclude_none=True)
    model = ModelSpec.model_validate(known | request.model.model_dump(exclude_none=True))
    setup = Setup.model_validate(
        {"task": "inference", "batch_size": 1, "precision": "fp32", "runtime": worker.runtime}
        | request.setup.model_dump(exclude_none=True)
    )
    hardware = worker.hardware or HardwareSpec(name=worker.worker_id)
    return Candidate(model=model, hardware=hardware, setup=setup)


def _held(worker: WorkerState, model: str) -> HeldModel | None:
    return next((one for one in worker.models if one.model == model), None)
