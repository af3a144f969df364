"""What systemd is told of a service; and how the worker's service ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Outgoing
from agent.service import Notifier
from agent.worker.engine import Engine
from agent.worker.service import WorkerService
from schemas import topics
from schemas.jobs import Gauges, JobModel, JobResult, RunJob, WorkerState


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A real datagram socket, as systemd listens on, and its NOTIFY_SOCKET."""
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        name = f"@placewise-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0") if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def told(manager: socket.socket) -> str:
    return manager.recv(4_096).decode()


def test_the_life_of_a_service(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        assert notifier.enabled
        notifier.starting("replaying 10 of 20", seconds=1.5)
        assert told(listening) == "EXTEND_TIMEOUT_USEC=1500000\nSTATUS=replaying 10 of 20"
        notifier.ready("connected")
        assert told(listening) == "READY=1\nSTATUS=connected"
        notifier.status("learnt 7")
        assert told(listening) == "STATUS=learnt 7"
        notifier.alive()
        assert told(listening) == "WATCHDOG=1"
        notifier.stopping()
        assert told(listening) == "STOPPING=1"
    assert not notifier.enabled
    notifier.status("after the end")  # nobody is told, nothing fails


def test_status_cannot_smuggle_an_assignment(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        notifier.status("model x\nSTOPPING=1" + "y" * 1_000)
    message = told(listening)
    assert "\n" not in message
    assert len(message) < 200


def test_empty_status_sends_nothing(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    with Notifier({"NOTIFY_SOCKET": name}) as notifier:
        notifier.status("")
        notifier.alive()
    assert told(listening) == "WATCHDOG=1"


def test_watch_reports_at_half_the_limit(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
    healthy = True

    async def live() -> int:
        nonlocal healthy
        with Notifier(environment) as notifier:
            assert notifier.interval_seconds == 0.05
            watching = asyncio.create_task(notifier.watch(lambda: healthy), name="watch")
            await asyncio.sleep(0.28)
            healthy = False
            await asyncio.sleep(0.06)  # a report that was due while still healthy
            before = len(drained(listening))
            await asyncio.sleep(0.2)
            assert drained(listening) == []
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            return before

    assert 3 <= asyncio.run(live()) <= 7


def drained(listening: socket.socket) -> list[bytes]:
    messages = []
    listening.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(4_096))
    return messages


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_interval(environment: dict[str, str], expected: float | None) -> None:
    assert Notifier(environment).interval_seconds == expected


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier()
    assert not notifier.enabled
    notifier.ready("x")
    notifier.stopping()
    asyncio.run(asyncio.wait_for(notifier.watch(), 1))
    notifier.close()


def test_a_manager_that_went_away_does_no_harm(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
    with notifier:
        notifier.ready()


def test_a_manager_that_does_not_read_does_not_block(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)

        async def flood() -> None:
            with Notifier({"NOTIFY_SOCKET": name}) as notifier:
                for _ in range(10_000):
                    notifier.alive()

        asyncio.run(flood())
        assert drained(listening)


@pytest.mark.parametrize("address", ["relative", "/nowhere/notify", "vsock:2:1234"])
def test_a_wrong_address_is_said(address: str) -> None:
    with pytest.raises(OSError, match=r"NOTIFY_SOCKET|No such file"):
        Notifier({"NOTIFY_SOCKET": address})


class DeviceDouble:
    def gauges(self) -> Gauges:
        return Gauges()


class EngineDouble:
    """Runs each job until it is released, or is told that nobody waits for it any more."""

    device = DeviceDouble()

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.release = threading.Event()
        self.ended = threading.Event()

    def run(self, job: RunJob, worker_id: str, cancelled: Callable[[], bool]) -> JobResult:
        self.begun.append(job.job_id)
        while not self.release.wait(0.005):
            if cancelled():
                break
        done = self.release.is_set()
        self.ended.set()
        return JobResult(
            job_id=job.job_id,
            worker_id=worker_id,
            outcome="failed" if done else "refused",
            message="ran to its end" if done else "cancelled",
        )


class WorkerBench:
    """A worker's service on a bus in memory, and somebody who gives it jobs and listens.

    Attributes:
        heard: all answers, as job and message, and all states, in the order of their coming.
    """

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.client = MemoryBus(self.broker)
        self.engine = EngineDouble()
        state = WorkerState(worker_id="w", kind="native", status="online", since=datetime.now(UTC))
        self.service = WorkerService(
            state, MemoryBus(self.broker, lasting=False), cast("Engine", self.engine)
        )
        self._inbox = self.client.inbox(["answers", topics.worker("w", "state")], capacity=100)
        self.heard: list[tuple[str, str]] = []

    async def give(self, *job_ids: str) -> None:
        for job_id in job_ids:
            job = RunJob(
                job_id=job_id,
                models=[JobModel(model="m")],
                strategy="sequential",
                waves=[["m"]],
                decision_id=f"decision-{job_id}",
            )
            await self.client.publish(
                Outgoing(
                    topics.worker("w", "jobs"),
                    job.model_dump_json(exclude_none=True).encode(),
                    response_topic="answers",
                    correlation_data=job_id.encode(),
                )
            )

    async def until_at_work(self, job_id: str, waiting: int = 0) -> None:
        while job_id not in self.engine.begun or self.service._waiting.qsize() != waiting:
            await asyncio.sleep(0.001)

    async def listen(self) -> None:
        while True:
            for one in await self._inbox.receive(100):
                body: dict[str, Any] = json.loads(one.payload)
                if one.topic != "answers":
                    self.heard.append(("state", body["status"]))
                    continue
                assert (one.correlation_data or b"").decode() == body["job_id"]
                self.heard.append((body["job_id"], f"{body['outcome']}: {body['message']}"))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[asyncio.Task[None]]:
        """Let it serve for the time of the block, which is to end it."""
        client = [asyncio.create_task(one) for one in (self.client.run(), self.listen())]
        ready = asyncio.Event()
        async with asyncio.timeout(20):
            while self.client.state != "connected":
                await asyncio.sleep(0.001)
            serving = asyncio.create_task(self.service.serve(ready.set))
            try:
                await ready.wait()
                yield serving
                await serving
            finally:
                self.engine.release.set()  # the thread must not outlive the test
                serving.cancel()
        for one in client:
            one.cancel()
        await asyncio.gather(*client, return_exceptions=True)


def test_a_worker_that_stops_ends_its_job_and_refuses_those_that_wait() -> None:
    async def main() -> None:
        bench = WorkerBench()
        async with bench.serving() as serving:
            await bench.give("at-hand", "second", "third")
            await bench.until_at_work("at-hand", waiting=2)
            bench.service.stop()
            bench.service.stop()
            while bench.service._waiting.qsize():
                await asyncio.sleep(0.001)
            assert not serving.done(), "a job is at hand"
            bench.engine.release.set()
        refused = "refused: the worker is being stopped"
        assert bench.heard == [
            ("state", "online"),
            ("second", refused),
            ("third", refused),
            ("at-hand", "failed: ran to its end"),
            ("state", "offline"),
        ]
        assert bench.engine.begun == ["at-hand"]
        assert bench.service.done == 1

    asyncio.run(main())


def test_a_worker_that_stops_does_not_wait_for_ever_for_its_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.worker.service.FINISH_SECONDS", 0.05)

    async def main() -> None:
        bench = WorkerBench()
        async with bench.serving():
            await bench.give("endless", "second")
            await bench.until_at_work("endless", waiting=1)
            bench.service.stop()
        assert bench.heard == [
            ("state", "online"),
            ("second", "refused: the worker is being stopped"),
            ("endless", "refused: cancelled"),
            ("state", "offline"),
        ]
        assert bench.engine.ended.is_set()

    asyncio.run(main())


def test_a_worker_without_a_job_stops_at_once() -> None:
    async def main() -> None:
        bench = WorkerBench()
        async with bench.serving():
            bench.service.stop()
        assert bench.heard == [("state", "online"), ("state", "offline")]

    asyncio.run(main())


def test_a_worker_that_lost_its_broker_stops_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.worker.service.FINISH_SECONDS", 0.05)
    monkeypatch.setattr("agent.worker.service.GOODBYE_SECONDS", 0.05)

    async def main() -> None:
        bench = WorkerBench()
        async with bench.serving() as serving:
            await bench.give("at-hand", "second")
            await bench.until_at_work("at-hand", waiting=1)
            bench.broker.stop()
            bench.service.stop()
            await serving
            assert await asyncio.to_thread(bench.engine.ended.wait, 10), "it was not cancelled"
        assert bench.heard == [("state", "online")]

    asyncio.run(main())


def test_a_worker_that_never_reached_its_broker_stops_all_the_same() -> None:
    async def main() -> None:
        bench = WorkerBench()
        bench.broker.stop()
        ready = asyncio.Event()
        serving = asyncio.create_task(bench.service.serve(ready.set))
        while bench.service._bus.state != "connecting":
            await asyncio.sleep(0.001)
        bench.service.stop()
        async with asyncio.timeout(10):
            await serving
        assert not ready.is_set()

    asyncio.run(main())
