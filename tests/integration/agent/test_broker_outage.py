"""The broker goes away for 20 seconds under load, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import pytest

from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

OUTAGE_SECONDS = 20.0
EVENTS = 3_000
TOPIC = "placewise/v1/events/benchmark/load"


def test_the_agent_comes_back_by_itself_and_loses_nothing(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as producer:
            for i in range(EVENTS):
                producer.publish(TOPIC, benchmark_event(f"e{i}"))
            wait_until(
                lambda: agent.counter("placewise_records_total") > EVENTS / 10, 30, "under load"
            )
            broker.stop()
            stopped = time.monotonic()
            wait_until(lambda: agent.get("/readyz")[0] == 503, 10, "the agent notices")
            assert agent.get("/healthz")[0] == 200
            for i in range(EVENTS, EVENTS + 100):
                producer.publish(TOPIC, benchmark_event(f"e{i}"))  # kept by paho until it can
            time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - stopped)))
            broker.start()
            wait_until(lambda: agent.get("/readyz")[0] == 200, 40, "reconnected by itself")
            expected = EVENTS + 100
            wait_until(lambda: _logged(producer) >= expected, 60, "every published event is logged")
        assert agent.terminate() == 0
    with duckdb.connect(str(agent.store), read_only=True) as log:
        ids = {
            row[0] for row in log.execute("SELECT id FROM log WHERE kind = 'benchmark'").fetchall()
        }
    assert ids == {f"e{i}" for i in range(EVENTS + 100)}


def _logged(client: Foreign) -> int:
    return int(client.ask("placewise/v1/requests/status", {})["events_logged"])
