"""The closed loop for real: an agent that explores, a real broker, real workers, real models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign
from tests.support.models import needs_models
from tests.support.worker import WORKER_ID, WorkerProcess

pytestmark = [pytest.mark.integration, needs_models]

ENDED = ("done", "failed", "lost", "gave_way")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with a_broker("mosquitto", tmp_path) as broker:
        yield broker.port


@pytest.fixture
def client(port: int) -> Iterator[Foreign]:
    with Foreign(port) as client:
        yield client


def explore(client: Foreign) -> dict[str, Any]:
    return client.ask("placewise/v1/requests/explore", {})


def all_accounted(told: dict[str, Any]) -> bool:
    return told["sent"] == sum(told["jobs"].values())


def test_idle_workers_measure_within_the_budget_and_serve_whoever_asks(
    tmp_path: Path, port: int, client: Foreign
) -> None:
    with AgentProcess(tmp_path, port, explore="6") as agent, WorkerProcess(tmp_path, port):
        agent.start()
        wait_until(lambda: explore(client)["jobs"]["done"] >= 1, 60, "one benchmark done")
        asked = {"models": [{"model": "silero-vad"}, {"model": "magika"}], "repeats": 2}
        reply = client.ask("placewise/v1/requests/execute", asked, 60)
        assert reply["result"]["outcome"] == "ok"
        told = wait_until(
            lambda: (one := explore(client))["budget"]["spent"] >= 6 and one, 90, "budget spent"
        )
        assert all_accounted(told)
        assert (told["jobs"]["done"], told["jobs"]["running"]) == (6, 0)
        assert told["jobs"]["failed"] == told["jobs"]["lost"] == 0
        assert told["waiting"][WORKER_ID] == "the budget is spent"
        assert agent.counter("placewise_exploration_jobs_total") == told["sent"]
        done = [one for one in told["recent"] if one["state"] == "done"]
        cells = {(one["model"], one["batch_size"]) for one in done}
        assert len(cells) == 6, "six benchmarks of six cells"
        shown = subprocess.run(
            [
                *(sys.executable, "-m", "agent.cli", "explore", "status"),
                *("--broker", f"mqtt://127.0.0.1:{port}"),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=50,
        ).stdout
        assert "budget 6: 6 runs spent, 0 left" in shown
        agent.terminate()
        log = duckdb.connect(str(agent.store), read_only=True)
        (count,) = log.execute("SELECT count(*) FROM log WHERE id LIKE 'explore-%'").fetchone()
        log.close()
        assert count == 6


def test_what_nobody_asked_for_is_learnt_and_not_counted(
    tmp_path: Path, port: int, client: Foreign
) -> None:
    with AgentProcess(tmp_path, port, explore="5") as agent:
        agent.start()
        client.publish("placewise/v1/events/benchmark/x", benchmark_event("explore-0-1"))
        client.publish(
            f"placewise/v1/agents/{agent.agent_id}/results",
            json.dumps({"job_id": "explore-0-1", "worker_id": "x", "outcome": "failed"}).encode(),
        )
        status = wait_until(
            lambda: (
                (one := client.ask("placewise/v1/requests/status", {}))["observations_learned"]
                and one
            ),
            20,
            "the benchmark learnt",
        )
        assert status["dead_letters"] == 0
        told = explore(client)
        assert (told["sent"], told["budget"]["spent"]) == (0, 0)


def test_a_worker_that_vanishes_leaves_nothing_unaccounted(
    tmp_path: Path, port: int, client: Foreign
) -> None:
    with AgentProcess(tmp_path, port, explore="100") as agent:
        agent.start()
        with WorkerProcess(tmp_path, port) as worker:
            wait_until(lambda: explore(client)["running"], 60, "a benchmark under way")
            assert worker.process is not None
            worker.process.kill()
            worker.process.wait()
        told = wait_until(
            lambda: not (one := explore(client))["running"] and one, 20, "nothing under way"
        )
        assert all_accounted(told)
        lost = [one for one in told["recent"] if one["state"] == "lost"]
        wanted = {(one["model"]["name"], one["setup"]["batch_size"]) for one in told["wanted"]}
        for one in lost:
            assert "vanished" in one["message"]
            assert one["gain"] is None
        assert {(one["model"], one["batch_size"]) for one in lost} <= wanted


@pytest.mark.parametrize("budget", ["0", "0min", "-3", "lots", "1.5", "7 days"])
def test_a_budget_that_is_none_is_refused(budget: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", "run", f"--explore={budget}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2
    assert "explore" in done.stderr
    assert "10min" in done.stderr
