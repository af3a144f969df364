"""The daemon with a real broker and a real browser: decided, run, logged, learnt, validated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import AgentProcess, wait_until
from tests.support.broker import a_mosquitto
from tests.support.browsers import Browser, kind
from tests.support.foreign import Foreign
from tests.support.models import FOLDER
from tests.support.tabpool import needs

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]

TOKEN = "a-token-for-tests"
PAIR = ["silero-vad", "ocr-direction"]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Return an agent with two tabs of Chromium."""
    needs(kind("chromium"))
    folder: Path = tmp_path_factory.mktemp("end-to-end")
    with (
        a_mosquitto(folder) as broker,
        AgentProcess(
            folder,
            broker.port,
            browsers="true",
            browser_port=0,
            browser_token=TOKEN,
            models=FOLDER,
        ) as agent,
    ):
        agent.start()
        page = f"http://127.0.0.1:{agent.http_port}/tab/#token={TOKEN}"
        with Browser(kind("chromium"), page) as browser:
            wait_until(lambda: tabs(agent) == 1, 30, "a tab joined")
            browser.open(page)
            wait_until(lambda: tabs(agent) == 2, 30, "a second tab joined")
            yield agent


def ask(agent: AgentProcess, request: str, body: dict[str, Any]) -> dict[str, Any]:
    with Foreign(agent.broker_port) as client:
        return client.ask(f"placewise/v1/requests/{request}", body, 60)


def tabs(agent: AgentProcess) -> int:
    workers = ask(agent, "browsers", {})["workers"]
    return max((one["browser"]["tabs"] for one in workers), default=0)


def execute(agent: AgentProcess, models: list[str], **fields: Any) -> dict[str, Any]:
    body = {
        "models": [{"model": name} for name in models],
        "pool": "browsers",
        "backend": "wasm",
        "repeats": 3,
        "measure_memory": False,
        **fields,
    }
    return ask(agent, "execute", body)


def test_a_workload_is_decided_run_in_tabs_logged_learnt_and_validated(
    agent: AgentProcess,
) -> None:
    before = ask(agent, "status", {})
    with Foreign(agent.broker_port) as listener:
        listener.subscribe("placewise/v1/events/#")
        first = execute(agent, PAIR)
        assert first["result"]["outcome"] == "ok", first["result"]["message"]
        assert first["predicted"] is None, "nothing was known"
        event = json.loads(listener.received().payload)
        assert event["id"] == first["result"]["event_id"]
        assert event["data"]["decision_id"] == first["decision_id"]
        for run in event["data"]["runs"]:
            assert " wasm chromium-" in run["setup"]["runtime"]
            assert run["metrics"]["latency_ms"] > 0
        wait_until(
            lambda: (
                ask(agent, "status", {})["observations_learned"]
                >= before["observations_learned"] + 2
            ),
            20,
            "the execution was learnt",
        )
        assert ask(agent, "status", {})["events_logged"] == before["events_logged"] + 1

        again = execute(agent, PAIR)
        assert again["result"]["outcome"] == "ok", again["result"]["message"]
        predicted = again["predicted"]["total_latency_ms"]
        assert 0 < predicted["low"] <= predicted["value"] <= predicted["high"]
        assert again["result"]["strategy"] == again["predicted"]["strategy"]
        event = json.loads(listener.received().payload)
        assert event["id"] == again["result"]["event_id"]
        held = {one["metric"]: one for one in again["compared"]}
        assert held["total_latency_ms"]["predicted"] == predicted["value"]
        assert held["total_latency_ms"]["measured"] == again["result"]["wall_time_ms"]["median"]
        assert held["throughput_per_s"]["measured"] > 0


def test_the_best_browser_is_known_by_measurements(agent: AgentProcess) -> None:
    execute(agent, ["silero-vad"])
    best = wait_until(
        lambda: (
            (reply := ask(agent, "best_browser", {"model": "silero-vad", "goal": "latency"}))[
                "decided_by"
            ]
            == "measurements"
            and reply
        ),
        20,
        "the measurement was learnt",
    )
    assert best["chosen"]["browser"] == "chromium"
    assert best["chosen"]["backend"] == "wasm"


def test_embeddings_are_reused_across_requests_and_status_says_so(agent: AgentProcess) -> None:
    pair = ["minilm-mean", "minilm-pooler"]
    wanted = {"strategy": "parallel", "reuse_embeddings": True}
    first = execute(agent, pair, **wanted)["result"]
    again = execute(agent, pair, **wanted)["result"]
    assert (first["outcome"], again["outcome"]) == ("ok", "ok")
    assert again["reuse"]["hit_rate"] == 1.0
    assert again["reuse"]["saved_ms"] > 0
    assert first["event_id"] is None, "what was not run is no measurement"
    runs = first["reuse"]["runs"] + again["reuse"]["runs"]
    wait_until(
        lambda: ask(agent, "status", {})["reuse"].get(again["worker_id"], {}).get("runs") == runs,
        10,
        "the status says what was reused",
    )


def test_on_the_command_line(agent: AgentProcess) -> None:
    def placewise(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "agent.cli", *words, "--json"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    broker = ["--broker", f"mqtt://127.0.0.1:{agent.broker_port}"]
    models = ["-m", "silero-vad@2", "-m", "ocr-direction"]
    wanted = [*models, "--pool", "browsers", "--browser", "chromium", "--backend", "wasm"]
    reply = placewise("execute", *wanted, "--goal", "latency", "--no-memory", *broker)
    assert reply["result"]["outcome"] == "ok"
    assert {one["ran_in"]["browser"] for one in reply["result"]["models"]} == {"chromium"}
    every = placewise("compare-strategies", *wanted, "--no-memory", "--no-validate", *broker)
    assert [one["result"]["outcome"] for one in every["executions"]] == ["ok"] * 3
    assert {one["result"]["event_id"] for one in every["executions"]} == {None}, "none is told"
    assert every["best"] in {"sequential", "parallel", "batched"}
    assert every["regret"] >= 0
    there = placewise("browsers", *broker)
    assert {one["browser"]["backend"] for one in there["workers"]} >= {"wasm"}
