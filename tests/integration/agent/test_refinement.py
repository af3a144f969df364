"""Learned state made anew: kept where it helps, taken back when asked, found again after a kill."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from agent.heart.heart import HeartConfig
from agent.restore import restore
from agent.store.duck import DuckStore
from agent.verify import verify
from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = pytest.mark.integration

TOPIC = "placewise/v1/events/benchmark/lab"
REQUESTS = "placewise/v1/requests"
REFINEMENTS = "placewise/v1/agents/test-agent/refinements"


def events(count: int, start: int, speed: float, spread: float) -> list[dict[str, Any]]:
    """Measurements of a few models on one hardware, `spread` wide (log) around their truth."""
    chance = random.Random(start)
    made = []
    for index in range(start, start + count):
        size = 10.0 * (1 + index % 5)
        made.append(
            benchmark_event(
                f"e{index}",
                model={"name": f"net{index % 5}", "family": "vision", "parameters_m": size},
                metrics={
                    "throughput_per_s": speed / size * chance.lognormvariate(0.0, spread),
                    "throughput_unit": "images/s",
                },
            )
        )
    return made


def models(client: Foreign) -> dict[str, Any]:
    reply: dict[str, Any] = client.ask(f"{REQUESTS}/models", {})
    return reply


def learnt(client: Foreign, count: int) -> None:
    wait_until(lambda: models(client)["observations_learned"] >= count, 30, "learnt")


def refined(client: Foreign, request: dict[str, Any]) -> dict[str, Any]:
    """Ask for an update; return what it came to."""
    assert "accepted" in client.ask(f"{REQUESTS}/update", request)
    event: dict[str, Any] = json.loads(client.received(60).payload)
    assert event["type"] == "placewise.refinement.v1"
    refinement: dict[str, Any] = event["data"]
    return refinement


def test_what_helps_is_kept_what_harms_is_not_and_all_can_be_taken_back(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as client:
            client.subscribe(REFINEMENTS)
            # Nothing can be said of the first hundreds; then measuring was repaired.
            for event in events(240, 0, 5_000.0, 1.2) + events(70, 240, 10_000.0, 0.02):
                client.publish(TOPIC, event)
            learnt(client, 310)
            before = models(client)
            assert before["version"] == 0

            scope = {"metric": "throughput_per_s", "hardware": "nvidia-rtx-3090"}
            helped = refined(client, {"method": "window", "scope": scope, "newest": 70})
            assert helped["kept"], helped
            assert helped["median_ape_after"] < 0.95 * helped["median_ape_before"]
            assert helped["rows"] >= 20

            harmed = refined(client, {"method": "window", "scope": scope, "newest": 2})
            assert not harmed["kept"], harmed

            after = models(client)
            assert after["version"] == helped["version"]["number"]
            assert [one["kept"] for one in after["refinements"]] == [True, False]

            back = refined(client, {"method": "rollback", "version": 0})
            assert back["kept"]
            assert models(client)["observations_learned"] == 310

            wrong = client.ask(f"{REQUESTS}/update", {"method": "rollback", "version": 77})
            assert wrong["error"]["details"][0]["field"] == "version"

            again = refined(client, {"method": "rollback", "version": helped["version"]["number"]})
            for event in events(20, 310, 10_000.0, 0.02):
                client.publish(TOPIC, event)
            wait_until(
                lambda: client.ask(f"{REQUESTS}/status", {})["events_logged"] == 330, 30, "logged"
            )
            request = {"candidates": [{"model": "net3", "hardware": "nvidia-rtx-3090"}]}
            answer = client.ask(f"{REQUESTS}/predict", request)
            number = again["version"]["number"]
            # Answers are committed a moment after they are sent; the kill is to come after that.
            wait_until(
                lambda: client.ask(f"{REQUESTS}/status", {})["log_records"] == 335, 10, "committed"
            )
        agent.kill()
        agent.start()
        with Foreign(broker.port) as client:
            assert models(client)["version"] == number
            same = client.ask(f"{REQUESTS}/predict", request)
            assert same["predictions"][0]["metrics"] == answer["predictions"][0]["metrics"]
        assert agent.terminate() == 0
    asyncio.run(_the_log_gives_the_same_again(agent.store))


async def _the_log_gives_the_same_again(path: Path) -> None:
    store = await DuckStore.open(path)
    try:
        restored = await restore(store, HeartConfig())
        found = await verify(store, HeartConfig())
        assert found.differing == []
        assert found.answers == 2
        assert found.digest == restored.heart.digest()
    finally:
        await store.close()


def test_lasting_trouble_is_refined_without_being_asked(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as client:
            client.subscribe(REFINEMENTS)
            for event in events(260, 0, 5_000.0, 0.02) + events(120, 260, 5_000.0, 0.5):
                client.publish(TOPIC, event)
            refinement = json.loads(client.received(60).payload)["data"]
            assert refinement["scope"] == {
                "metric": "throughput_per_s",
                "hardware": "nvidia-rtx-3090",
            }
            assert "usually" in refinement["reason"]
            assert refinement["rows"] > 0
