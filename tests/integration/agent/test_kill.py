"""`kill -9` in the middle of 10,000 events: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from agent.heart.heart import Heart, HeartConfig
from agent.heart.stimuli import MeasurementLogged
from agent.restore import restore
from agent.store.duck import DuckStore
from schemas.events import decode_event
from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

EVENTS = 10_000
KILLS = 4
TOPIC = "placewise/v1/events/benchmark/replay"


def events() -> Iterator[bytes]:
    chance = random.Random(3)
    for index in range(EVENTS):
        gmacs = chance.choice((0.3, 1.8, 4.1, 17.6))
        batch = chance.choice((1, 4, 16, 64))
        throughput = 900.0 / gmacs * chance.lognormvariate(0.0, 0.05)
        event = benchmark_event(
            f"e{index}",
            model={"name": f"model-{gmacs}", "gmacs": gmacs, "parameters_m": 6 * gmacs},
            hardware={"name": f"gpu-{chance.randrange(3)}", "class": "gpu"},
            setup={"batch_size": batch, "precision": "fp16"},
            metrics={"throughput_per_s": throughput, "latency_ms": 1e3 * batch / throughput},
        )
        yield json.dumps(event | {"time": "2026-01-01T00:00:00Z"}).encode()


@pytest.fixture(scope="module")
def undisturbed() -> str:
    """The digest of a heart that took the events in their order, without any interruption."""
    heart = Heart()
    for seq, payload in enumerate(events(), 1):
        event = decode_event(payload)
        assert event.time is not None
        heart.handle(MeasurementLogged(seq, event.source, event.id, event.time, event.data))
    return heart.digest()


def test_killed_again_and_again_it_ends_as_if_never_disturbed(
    tmp_path: Path, undisturbed: str
) -> None:
    chance = random.Random(5)
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as producer:
            for number, payload in enumerate(events(), 1):
                producer.publish(TOPIC, payload)
                if number % (EVENTS // (KILLS + 1)) == 0 and number < EVENTS:
                    taken = chance.uniform(50, 1_000)  # of these; the rest is on its way
                    wait_until(
                        lambda taken=taken: agent.counter("placewise_records_total") >= taken,
                        60,
                        "some more events",
                    )
                    agent.kill()
                    agent.start()
            wait_until(lambda: _logged(producer) == EVENTS, 120, "all events logged", pause=0.2)
        assert agent.terminate() == 0

    with duckdb.connect(str(agent.store), read_only=True) as log:
        rows = log.execute("SELECT id FROM log ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == [f"e{index}" for index in range(EVENTS)]
    assert asyncio.run(_digest(agent.store)) == undisturbed


def _logged(client: Foreign) -> int:
    return int(client.ask("placewise/v1/requests/status", {})["events_logged"])


async def _digest(path: Path) -> str:
    store = await DuckStore.open(path)
    try:
        return (await restore(store, HeartConfig())).heart.digest()
    finally:
        await store.close()
