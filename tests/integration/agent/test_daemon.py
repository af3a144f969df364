"""The whole agent within this process: its parts wired as `placewise run` wires them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.bus import wiring
from agent.bus.address import BrokerAddress
from agent.bus.port import Outgoing
from agent.client import AgentClient, connected
from agent.heart.heart import Heart
from agent.serving import serve
from agent.settings import Settings
from schemas import topics
from schemas.errors import AgentRefused, BusUnavailable, Unavailable
from tests.support.agent import benchmark_event
from tests.support.ports import free_pair, free_port

pytestmark = pytest.mark.integration

Work = Callable[[AgentClient], Awaitable[None]]


def settings(folder: Path, **changes: Any) -> Settings:
    given = {
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
        for kind, body in {
            "compare": {"model": "resnet50"},
            "recommend": {"model": "resnet50"},
            "place": {
                "models": [{"model": "resnet50"}],
                "devices": [{"name": "a", "hardware": "nvidia-rtx-3090"}],
            },
            "strategy": {"models": [{"model": "resnet50"}], "hardware": "nvidia-rtx-3090"},
        }.items():
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
