"""Which of several workers a request goes to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.dispatch import Dispatcher
from schemas.jobs import HeldModel, WorkerState
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
