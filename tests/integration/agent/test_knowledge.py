"""A new agent knows something, and what is measured here is told apart from it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.heart.heart import Heart, HeartConfig
from agent.knowledge import shipped
from agent.restore import restore, snapshot_of
from agent.store.memory import MemoryStore
from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = pytest.mark.integration

ASK = "placewise/v1/requests"
KNOWN = {
    "candidates": [
        {
            "model": {"name": "resnet50", "parameters_m": 25.6, "gmacs": 4.1},
            "hardware": "nvidia-rtx-4090",
            "setup": {"batch_size": 256, "precision": "amp", "task": "inference"},
        }
    ]
}


@pytest.mark.parametrize("knows", [True, False])
def test_it_begins_with_what_ships_unless_told_not_to(tmp_path: Path, knows: bool) -> None:
    with (
        a_broker("mosquitto", tmp_path) as broker,
        AgentProcess(tmp_path, broker.port, knowledge=knows) as agent,
    ):
        agent.start()
        with Foreign(broker.port) as client:
            status = client.ask(f"{ASK}/status", {})
            assert (status["observations_learned"] > 1_000) == knows
            assert status["events_logged"] == status["log_records"] == 0
            (prediction,) = client.ask(f"{ASK}/predict", KNOWN)["predictions"]
            assert bool(prediction["metrics"]) == knows
            if not knows:
                return
            speed = prediction["metrics"]["throughput_per_s"]
            assert 1_000 < speed["value"] < 10_000, "images per second of a fast card"
            # Hardware that was measured here stands alone once there is any.
            client.publish("placewise/v1/events/benchmark/lab", benchmark_event("1"))
            wait_until(lambda: client.ask(f"{ASK}/status", {})["events_logged"] == 1, 30, "logged")
            rows = client.ask(f"{ASK}/compare", {"model": "resnet50"})["rows"]
            assert {row["hardware"] for row in rows} == {"nvidia-rtx-3090"}


def test_a_snapshot_without_what_ships_is_set_aside() -> None:
    knowing = HeartConfig(shipped=shipped()[:50])

    async def check() -> None:
        store = MemoryStore()
        bare = Heart()
        await store.save_snapshot(await snapshot_of(bare))
        restored = await restore(store, knowing)
        assert restored.set_aside is not None
        assert restored.heart.bank.observed_count == 50
        await store.save_snapshot(await snapshot_of(restored.heart))
        again = await restore(store, knowing)
        assert again.set_aside is None
        assert again.heart.digest() == restored.heart.digest()
        assert again.heart.config == knowing

    asyncio.run(check())
