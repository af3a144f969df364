"""The whole agent within this process: its parts wired as `placewise run` wires them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.bus.inbox import MqttInbox
from agent.bus.mqtt import MqttBus, MqttConfig
from agent.bus.port import Inbox, Outgoing
from agent.client import AgentClient, connected
from agent.daemon import Daemon, DaemonConfig
from agent.heart.heart import Heart, HeartConfig
from agent.metrics import AgentMetrics
from agent.restore import restore
from agent.serving import serve
from agent.settings import Settings
from agent.store.duck import DuckStore
from agent.worker.service import state_message
from schemas import topics
from schemas.errors import AgentRefused, BusUnavailable, Unavailable
from schemas.jobs import HeldModel, WorkerState
from schemas.validation import ValidationQuestion
from tests.support.agent import benchmark_event, dumps
from tests.support.broker import a_broker
from tests.support.ports import free_pair, free_port
from tests.support.venues import take, until

pytestmark = pytest.mark.integration

Work = Callable[[AgentClient], Awaitable[None]]


def settings(folder: Path, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "store": folder / "log.duckdb",
        "agent_id": "inside",
        "knowledge": False,
        "embedded_port": free_pair(),
        "http_port": free_port(),
    }
    return Settings(**(given | changes))


def with_agent(folder: Path, work: Work, **changes: Any) -> None:
    """Run an agent, do `work` as its client, and end it with SIGTERM."""
    chosen = settings(folder, **changes)

    async def both() -> None:
        running = asyncio.create_task(serve(chosen))
        try:
            async with asyncio.timeout(50):
                await until_ready(chosen, running)
                address = BrokerAddress("127.0.0.1", chosen.embedded_port)
                async with connected(wiring.bus_to(address)) as client:
                    await work(client)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await running

    asyncio.run(both())


async def until_ready(chosen: Settings, running: asyncio.Task[None]) -> None:
    async with aiohttp.ClientSession() as session:
        while not running.done():
            try:
                async with session.get(f"http://127.0.0.1:{chosen.http_port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
    running.result()


async def teach(client: AgentClient, count: int, **changes: Any) -> None:
    for index in range(count):
        event = benchmark_event(f"t{index}", **changes)
        await client.publish_event(topics.EVENTS_BENCHMARK, event)
    while (await client.ask("status", {}))["events_logged"] < count:
        await asyncio.sleep(0.01)


def test_it_learns_and_answers(tmp_path: Path) -> None:
    async def work(client: AgentClient) -> None:
        with pytest.raises(AgentRefused) as refused:
            await client.ask("compare", {"model": "resnet50"})
        assert refused.value.details[0].field == "hardware"
        await teach(client, 30)
        cell = {
            "model": "resnet50",
            "hardware": "nvidia-rtx-3090",
            "setup": {"task": "inference", "batch_size": 32, "precision": "fp16"},
        }
        reply = await client.ask("predict", {"candidates": [cell], "metrics": ["latency_ms"]})
        estimate = reply["predictions"][0]["metrics"]["latency_ms"]
        assert estimate["low"] <= 32.0 <= estimate["high"]
        assert estimate["basis"]["cell"] == 30
        bodies: dict[str, dict[str, Any]] = {
            "compare": {"model": "resnet50"},
            "recommend": {"model": "resnet50"},
            "place": {
                "models": [{"model": "resnet50"}],
                "devices": [{"name": "a", "hardware": "nvidia-rtx-3090"}],
            },
            "strategy": {"models": [{"model": "resnet50"}], "hardware": "nvidia-rtx-3090"},
        }
        for kind, body in bodies.items():
            assert await client.ask(kind, body)

    with_agent(tmp_path, work)


def test_one_faulty_request_is_told_and_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_self: Heart, _stimulus: object) -> Any:
        raise ZeroDivisionError

    logged: list[str] = []

    class Log:
        def exception(self, event: str, **_: object) -> None:
            logged.append(event)

    async def work(client: AgentClient) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Heart, "handle", fault)
            patched.setattr("agent.desk.log", Log())
            with pytest.raises(AgentRefused) as refused:
                await client.ask("predict", {"candidates": [{"model": "a", "hardware": "b"}]})
        assert refused.value.remote_code == "internal"
        assert logged == ["request_failed"]
        assert (await client.ask("status", {}))["agent_id"] == "inside"

    with_agent(tmp_path, work)


def test_a_fault_in_learning_ends_it_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_self: Heart, _stimulus: object) -> Any:
        raise ZeroDivisionError

    chosen = settings(tmp_path)

    async def both() -> None:
        running = asyncio.create_task(serve(chosen))
        await until_ready(chosen, running)
        monkeypatch.setattr(Heart, "handle", fault)
        address = BrokerAddress("127.0.0.1", chosen.embedded_port)
        async with connected(wiring.bus_to(address)) as client:
            await client.publish_event(topics.EVENTS_BENCHMARK, benchmark_event("1"))
            await running

    with pytest.raises(BaseExceptionGroup) as caught:
        asyncio.run(both())
    assert caught.group_contains(ZeroDivisionError)


def test_the_broker_tells_of_an_agent_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_self: Heart, _stimulus: object) -> Any:
        raise ZeroDivisionError

    with a_broker("embedded", tmp_path) as broker:
        chosen = settings(tmp_path, broker=f"mqtt://127.0.0.1:{broker.port}")

        async def main() -> list[str]:
            bus = wiring.bus_to(BrokerAddress("127.0.0.1", broker.port))
            inbox = bus.inbox([topics.agent("inside", "state")], capacity=10)
            async with asyncio.timeout(40), connected(bus) as client:
                running = asyncio.create_task(serve(chosen))
                states = await take(inbox, 1)
                monkeypatch.setattr(Heart, "handle", fault)
                await client.publish_event(topics.EVENTS_BENCHMARK, benchmark_event("1"))
                await asyncio.wait([running])
                assert isinstance(running.exception(), BaseExceptionGroup)
                states += await take(inbox, 1)
            return [json.loads(one.payload)["status"] for one in states]

        assert asyncio.run(main()) == ["online", "offline"]


def test_executions_teach_what_ran_alone(tmp_path: Path) -> None:
    def execution(event_id: str, strategy: str, waves: list[list[str]]) -> dict[str, Any]:
        runs = [
            {"model": name, "hardware": "gpu", "metrics": {"latency_ms": 5.0}}
            for name in ("a", "b")
        ]
        return benchmark_event(event_id) | {
            "type": "placewise.execution.v1",
            "data": {"runs": runs, "strategy": strategy, "waves": waves},
        }

    async def work(client: AgentClient) -> None:
        await client.publish_event(
            topics.EVENTS_EXECUTION, execution("1", "parallel", [["a", "b"]])
        )
        await client.publish_event(
            topics.EVENTS_EXECUTION, execution("2", "sequential", [["a"], ["b"]])
        )
        while (await client.ask("status", {}))["events_logged"] < 2:
            await asyncio.sleep(0.01)
        status = await client.ask("status", {})
        assert status["observations_learned"] == 2
        assert status["learned_mb"] > 1.0

    with_agent(tmp_path, work)


def test_dead_letters_and_decisions_are_said(tmp_path: Path) -> None:
    async def work(client: AgentClient) -> None:
        await teach(client, 3)
        bus = client._bus
        listener = wiring.bus_to(bus._address)  # type: ignore[attr-defined]
        inbox = listener.inbox([topics.agent("inside", "dead_letters")], capacity=10)
        decided = listener.inbox([topics.agent("inside", "decisions")], capacity=10)
        async with connected(listener):
            await client._bus.publish(Outgoing(f"{topics.EVENTS_BENCHMARK}/x", b"nonsense"))
            (letter,) = await inbox.receive(1)
            assert json.loads(letter.payload)["error"]["code"] == "malformed"
            reply = await client.ask("recommend", {"model": "resnet50"})
            (decision,) = await decided.receive(1)
            body = json.loads(decision.payload)
            assert body["type"] == "placewise.decision.v1"
            assert body["data"]["decision_id"] == reply["decision_id"]

    with_agent(tmp_path, work)


def test_nobody_answers(tmp_path: Path) -> None:
    address = BrokerAddress("127.0.0.1", free_port())

    async def ask() -> None:
        async with connected(wiring.bus_to(address)):
            pass

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("agent.client.CONNECT_SECONDS", 0.3)
        with pytest.raises(BaseExceptionGroup) as caught:
            asyncio.run(ask())
    assert caught.group_contains(Unavailable)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async def work(client: AgentClient) -> None:
        taken = client._bus._address.port  # type: ignore[attr-defined]
        with pytest.raises(BusUnavailable, match=str(taken)):
            await serve(settings(tmp_path / "other", embedded_port=taken))

    with_agent(tmp_path, work)


@asynccontextmanager
async def a_daemon(
    folder: Path, bus: MqttBus
) -> AsyncIterator[tuple[Daemon, DuckStore, asyncio.Task[None]]]:
    """Run a daemon for the time of the block, which is to stop it; its store can be asked then."""
    store = await DuckStore.open(folder / "log.duckdb")
    restored = await restore(store, HeartConfig())
    daemon = Daemon(DaemonConfig("inside"), bus, store, restored, AgentMetrics())
    ready = asyncio.Event()
    running = asyncio.create_task(daemon.run(ready.set))
    try:
        async with asyncio.timeout(40):
            await until(lambda: ready.is_set() or running.done())
            yield daemon, store, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


def test_it_ends_with_what_it_took_also_where_nobody_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is away, and more is to be said than may wait: learning waits for that."""
    queued, count = 4, 30
    monkeypatch.setattr("agent.daemon.DRAIN_SECONDS", 0.2)
    monkeypatch.setattr("agent.voice.QUEUED_MESSAGES", queued)

    def setup(index: int) -> dict[str, Any]:
        return {"task": "inference", "batch_size": 1 + index, "precision": "fp16"}

    with a_broker("embedded", tmp_path) as broker:
        address = BrokerAddress("127.0.0.1", broker.port)

        async def main() -> None:
            bus, committing = MqttBus(address, MqttConfig("inside")), threading.Event()
            async with a_daemon(tmp_path, bus) as (daemon, store, running):
                async with connected(wiring.bus_to(address)) as client:
                    await teach(client, 20)
                    cell = {"model": "resnet50", "hardware": "nvidia-rtx-3090"}
                    cells = [cell | {"setup": setup(index)} for index in range(count)]
                    await client.ask("predict", {"candidates": cells})
                    await until(lambda: daemon.heart.applied_seq == 21)
                    # What comes now is committed, and so learnt, once the broker is gone.
                    store._writes.submit(committing.wait, 30)
                    for index in range(count):
                        event = benchmark_event(f"n{index}", setup=setup(index))
                        await client.publish_event(topics.EVENTS_BENCHMARK, event)
                    arrived = daemon._events
                    assert isinstance(arrived, MqttInbox)
                    await until(lambda: len(arrived._unacknowledged) == count)
                await asyncio.to_thread(broker.stop)
                await until(lambda: bus.state != "connected")
                committing.set()
                await until(lambda: store._last_seq == 21 + count)
                await until(lambda: daemon._voice.depth() == queued)
                daemon.stop()
                async with asyncio.timeout(10):
                    await running
                snapshot = await store.load_snapshot()
                assert snapshot is not None
                assert snapshot.seq == await store.last_seq() == 21 + count
                assert daemon.heart.events == 20 + count
                assert await store.noted_through() == snapshot.seq
                rows = await store.validated(ValidationQuestion(), datetime.now(UTC))
                assert {row.metric for row in rows} >= {"latency_ms", "throughput_per_s"}
                assert {row.validations for row in rows} == {count}

        asyncio.run(main())


def test_who_waits_for_an_execution_is_told_that_the_agent_stops(tmp_path: Path) -> None:
    """Its request was acknowledged when it came: no other agent will ever answer it."""
    model = HeldModel(model="m", sha256="a" * 64, family="vision")
    since = datetime.now(UTC)
    state = WorkerState(
        worker_id="w", kind="native", status="online", since=since, models=[model], runtime="r"
    )

    with a_broker("embedded", tmp_path) as broker:
        chosen = settings(tmp_path, broker=f"mqtt://127.0.0.1:{broker.port}")
        address = BrokerAddress("127.0.0.1", broker.port)

        async def main() -> None:
            worker = wiring.bus_to(address)
            jobs = worker.inbox([topics.worker("w", "jobs")], capacity=10)
            old_replies = worker.inbox(["replies/old"], capacity=10)
            running = asyncio.create_task(serve(chosen))
            try:
                async with asyncio.timeout(40):
                    await until_ready(chosen, running)
                    async with connected(worker), connected(wiring.bus_to(address)) as client:
                        await worker.publish(state_message(state))
                        asking = await asked(client, jobs)
                        # Another one asks as clients do that see no properties.
                        old = {
                            "models": [{"model": "m"}],
                            "reply_to": "replies/old",
                            "correlation_id": "7",
                        }
                        topic = topics.request("compare_strategies")
                        await worker.publish(Outgoing(topic, dumps(old)))
                        await take(jobs, 1)
                        os.kill(os.getpid(), signal.SIGTERM)
                        with pytest.raises(AgentRefused, match="the agent stops") as refused:
                            await asking
                        assert refused.value.remote_code == "unavailable"
                        (reply,) = await take(old_replies, 1)
                        body = json.loads(reply.payload)
                        assert body["error"]["code"] == "unavailable"
                        assert body["correlation_id"] == "7"
                        await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(main())


async def asked(client: AgentClient, jobs: Inbox) -> asyncio.Task[dict[str, Any]]:
    """Ask for an execution, again until the agent knows the worker; return once it has the job."""
    given = asyncio.create_task(take(jobs, 1))
    while True:
        asking = asyncio.create_task(client.ask("execute", {"models": [{"model": "m"}]}, 30))
        await asyncio.wait([asking, given], return_when=asyncio.FIRST_COMPLETED)
        if given.done():
            return asking
        assert isinstance(asking.exception(), AgentRefused), "the worker is not known yet"
