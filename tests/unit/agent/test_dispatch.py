"""Which of several workers a request goes to, what it is given, and who comes first there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Outgoing
from agent.dispatch import QUIET_SECONDS, Dispatcher, job_of
from schemas import topics
from schemas.errors import BadInput
from schemas.jobs import (
    LARGEST_BATCH,
    HeldModel,
    JobModel,
    JobResult,
    RunJob,
    WorkerState,
    decode_job,
)
from schemas.requests import ExecuteRequest


def worker(name: str, *backends: str) -> WorkerState:
    return WorkerState(
        worker_id=name,
        kind="native",
        status="online",
        since=datetime(2026, 11, 2, tzinfo=UTC),
        host="rack1",
        backends=list(backends),
        models=[HeldModel(model="m", sha256="a" * 64, family="vision")],
    )


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        (None, "rack1-cuda0"),
        ("cuda", "rack1-cuda0"),
        ("cpu", "rack1-native"),
        ("webnn", "rack1-cuda0"),  # nobody has it: one says so
    ],
)
def test_of_two_workers_of_a_machine_that_with_the_backend(
    backend: str | None, wanted: str
) -> None:
    dispatcher = Dispatcher(MemoryBus(MemoryBroker()), "agent")
    for one in (worker("rack1-native", "cpu"), worker("rack1-cuda0", "cuda")):
        dispatcher.workers[one.worker_id] = one
    request = ExecuteRequest.model_validate({"models": [{"model": "m"}], "backend": backend})
    assert dispatcher.worker_for(request).worker_id == wanted


def job(job_id: str, *, gives_way: bool = False) -> RunJob:
    return RunJob(
        job_id=job_id,
        models=[JobModel(model="m")],
        strategy="sequential",
        waves=[["m"]],
        gives_way=gives_way,
    )


def test_exploration_that_was_decided_on_gives_way_where_another_job_was_faster() -> None:
    """Between the decision and the job somebody may have asked: nothing is sent, nothing fails."""
    now = 1_000.0

    async def main() -> None:
        nonlocal now
        broker = MemoryBroker()
        bus, worker_bus = MemoryBus(broker), MemoryBus(broker)
        dispatcher = Dispatcher(bus, "agent", lambda: now)
        jobs = worker_bus.inbox([topics.worker("w", "jobs")], capacity=10)
        state = worker("w", "cpu")
        tasks = [
            asyncio.ensure_future(one) for one in (bus.run(), worker_bus.run(), dispatcher.listen())
        ]
        async with asyncio.timeout(10):
            paying = asyncio.create_task(dispatcher.run(state, job("paying")))
            (delivery,) = await jobs.receive(1)
            assert delivery.response_topic is not None
            at_work = await dispatcher.explore(state, job("first", gives_way=True))
            answer = JobResult(job_id="paying", worker_id="w", outcome="failed", message="no")
            payload = answer.model_dump_json().encode()
            correlation = delivery.correlation_data
            await worker_bus.publish(
                Outgoing(delivery.response_topic, payload, correlation_data=correlation)
            )
            assert (await paying).outcome == "failed"
            in_a_row = await dispatcher.explore(state, job("second", gives_way=True))
            for result, job_id in ((at_work, "first"), (in_a_row, "second")):
                assert (result.outcome, result.job_id) == ("gave_way", job_id)
                assert result.worker_id == "w"
            now += QUIET_SECONDS
            exploring = asyncio.create_task(dispatcher.explore(state, job("third")))
            # Of all of them, the worker is given the one that has the host for itself.
            (delivery,) = await jobs.receive(10)
            sent = decode_job(delivery.payload)
            assert sent.job_id == "third"
            exploring.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(exploring, *tasks, return_exceptions=True)

    asyncio.run(main())


def test_a_batch_that_no_worker_takes_is_refused_by_name() -> None:
    def asked(size: int) -> RunJob:
        setup = {"task": "inference", "batch_size": size}
        models = [{"model": "other"}, {"model": "m", "setup": setup}]
        request = ExecuteRequest.model_validate({"models": models})
        return job_of(request, worker("w"), "d", "sequential", [["other"], ["m"]])

    assert [one.batch_size for one in asked(LARGEST_BATCH).models] == [1, LARGEST_BATCH]
    with pytest.raises(BadInput) as refused:
        asked(LARGEST_BATCH + 1)
    (detail,) = refused.value.details
    assert detail.field == "models.m.setup.batch_size"
    assert str(LARGEST_BATCH) in detail.expected
