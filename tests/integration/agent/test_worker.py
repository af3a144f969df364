"""The native worker for real: real models, a real broker, asked by programs of any language."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.agent import AgentProcess, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign
from tests.support.models import needs_models
from tests.support.worker import WORKER_ID, WorkerProcess

pytestmark = [pytest.mark.integration, needs_models]

PAIR = ["silero-vad", "ocr-direction"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("worker")
    with (
        a_broker("embedded", folder) as broker,
        AgentProcess(folder, broker.port) as agent,
        WorkerProcess(folder, broker.port),
    ):
        yield agent.start()


def execute(agent: AgentProcess, models: list[str], **fields: Any) -> dict[str, Any]:
    body = {"models": [{"model": name} for name in models], "repeats": 2, **fields}
    with Foreign(agent.broker_port) as client:
        return client.ask("placewise/v1/requests/execute", body, 40)


def status(agent: AgentProcess) -> dict[str, Any]:
    with Foreign(agent.broker_port) as client:
        return client.ask("placewise/v1/requests/status", {})


def test_a_workload_is_decided_run_and_learnt_from(agent: AgentProcess) -> None:
    before = status(agent)["observations_learned"]
    with Foreign(agent.broker_port) as listener:
        listener.subscribe("placewise/v1/events/execution/#")
        reply = execute(agent, PAIR)
        event = json.loads(listener.received().payload)
    # Nothing is known of them yet: one by one, and nothing is said to have been predicted.
    assert reply["predicted"] is None
    assert reply["result"]["outcome"] == "ok"
    assert reply["result"]["strategy"] == "sequential"
    assert event["data"]["decision_id"] == reply["decision_id"]
    assert [run["model"]["name"] for run in event["data"]["runs"]] == PAIR
    assert all(run["metrics"]["latency_ms"] > 0 for run in event["data"]["runs"])
    assert event["data"]["peak_memory_mb"] > 0
    wait_until(
        lambda: status(agent)["observations_learned"] >= before + 2, 10, "the execution learnt"
    )
    again = execute(agent, PAIR)
    assert again["predicted"] is not None
    assert again["result"]["strategy"] == again["predicted"]["strategy"]


@pytest.mark.parametrize("strategy", ["parallel", "sequential", "batched"])
def test_every_strategy_is_run_for_real(agent: AgentProcess, strategy: str) -> None:
    models = [*PAIR, "magika"]
    execute(agent, models)
    reply = execute(agent, models, strategy=strategy)
    result = reply["result"]
    assert (result["outcome"], result["message"]) == ("ok", "")
    assert result["strategy"] == strategy
    assert sorted(name for wave in result["waves"] for name in wave) == sorted(models)
    ends = {one["model"]: one["start_ms"] + one["latency_ms"]["median"] for one in result["models"]}
    starts = {one["model"]: one["start_ms"] for one in result["models"]}
    assert all(one["output_checked"] for one in result["models"])
    for wave, following in zip(result["waves"], result["waves"][1:], strict=False):
        # Medians of single laps, so a little may overlap on a busy machine.
        assert min(starts[name] for name in following) > 0.5 * max(ends[name] for name in wave)


def test_a_shared_encoder_runs_once_for_two_heads(agent: AgentProcess) -> None:
    two = ["minilm-mean", "minilm-pooler"]
    shared = execute(agent, two, strategy="parallel", repeats=3)["result"]
    apart = execute(agent, two, strategy="parallel", repeats=3, share_encoders=False)["result"]
    assert {one["shared_encoder"] for one in shared["models"]} == {"minilm-encoder"}
    assert {one.get("shared_encoder") for one in apart["models"]} == {None}
    assert all(one["output_checked"] for one in [*shared["models"], *apart["models"]])
    assert shared["peak_memory_mb"] < 0.8 * apart["peak_memory_mb"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"models": []}, "models"),
        ({"models": ["no-such-model"]}, "models.0"),
        ({"models": [{"model": "magika"}, {"model": "magika"}]}, "more than once: magika"),
        ({"models": [{"model": "no-such-model"}]}, "no worker has no-such-model"),
        ({"models": [{"model": "magika"}], "worker": "nobody"}, "nobody is not there"),
        ({"models": [{"model": "nope"}], "worker": WORKER_ID}, f"{WORKER_ID} has no nope"),
        ({"models": [{"model": "magika"}], "repeats": 0}, "repeats"),
    ],
)
def test_what_cannot_be_run_is_said(agent: AgentProcess, body: dict[str, Any], what: str) -> None:
    with Foreign(agent.broker_port) as client:
        reply = client.ask("placewise/v1/requests/execute", body)
    assert what in json.dumps(reply["error"])


def test_a_backend_that_is_not_here_is_refused(agent: AgentProcess) -> None:
    reply = execute(agent, ["silero-vad"], backend="webnn", worker=WORKER_ID)
    assert reply["result"]["outcome"] == "refused"
    assert "webnn" in reply["result"]["message"]


def test_a_limit_that_nothing_meets_runs_nothing(agent: AgentProcess) -> None:
    execute(agent, ["magika"])
    wait_until(lambda: execute(agent, ["magika"])["predicted"] is not None, 20, "magika learnt")
    reply = execute(agent, ["magika"], limits={"latency_ms": 1e-6})
    assert reply["result"]["outcome"] == "refused"
    assert "no strategy meets the limits" in reply["result"]["message"]


def test_a_job_that_is_none_is_refused_by_the_worker(agent: AgentProcess) -> None:
    with Foreign(agent.broker_port) as client:
        reply = client.ask(f"placewise/v1/workers/{WORKER_ID}/jobs", {"type": "dance"})
    assert reply["error"]["details"][0]["field"] == "type"


def test_the_same_job_twice_is_run_once(agent: AgentProcess) -> None:
    job = {
        "type": "run",
        "job_id": "once",
        "models": [{"model": "silero-vad"}],
        "strategy": "sequential",
        "waves": [["silero-vad"]],
        "publish": False,
    }
    topic = f"placewise/v1/workers/{WORKER_ID}/jobs"
    with Foreign(agent.broker_port) as client:
        assert client.ask(topic, job) == client.ask(topic, job)


def test_on_the_command_line(agent: AgentProcess) -> None:
    broker = ["--broker", f"mqtt://127.0.0.1:{agent.broker_port}"]
    command = [sys.executable, "-m", "agent.cli"]
    models = ["-m", "silero-vad@4", "-m", "ocr-direction@2"]
    done = subprocess.run(
        [*command, "compare-strategies", *models, "--repeats", "2", "--json", *broker],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    reply = json.loads(done.stdout)
    strategies = [one["result"]["strategy"] for one in reply["executions"]]
    assert strategies == ["sequential", "parallel", "batched"]
    assert reply["best"] in strategies
    assert reply["recommended"] is None or reply["regret"] >= 0
    shown = subprocess.run(
        [*command, "execute", *models, *broker],
        check=True,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "silero-vad" in shown.stdout
