"""The daemon's life: start with nothing configured, stop when told, be missed when killed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = [pytest.mark.integration]

STATE = "placewise/v1/agents/test-agent/state"
TOPIC = "placewise/v1/events/benchmark/life"


def test_with_nothing_configured_it_brings_its_own_broker(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None) as agent:
        agent.start()
        with Foreign(agent.broker_port) as client:
            client.publish(TOPIC, benchmark_event("1"))
            wait_until(lambda: _status(client)["events_logged"] == 1, 30, "logged")
        assert agent.terminate() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", agent.broker_port)) != 0, "its broker is left"


def test_it_remembers(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        request = {"candidates": [{"model": "resnet50", "hardware": "nvidia-rtx-3090"}]}
        agent.start()
        with Foreign(broker.port) as client:
            for index in range(50):
                client.publish(TOPIC, benchmark_event(f"{index}"))
            wait_until(lambda: _status(client)["events_logged"] == 50, 30, "logged")
            before = client.ask("placewise/v1/requests/predict", request)
        for end in (agent.terminate, agent.kill):
            end()
            agent.start()
            with Foreign(broker.port) as client:
                after = client.ask("placewise/v1/requests/predict", request)
            assert after["predictions"][0]["metrics"] == before["predictions"][0]["metrics"]


def test_a_prediction_made_before_a_kill_is_validated_after_it(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as client:
            client.publish(TOPIC, benchmark_event("1"))
            wait_until(lambda: _status(client)["events_logged"] == 1, 30, "logged")
            reply = client.ask(
                "placewise/v1/requests/predict",
                {"candidates": [{"model": "resnet50", "hardware": "nvidia-rtx-3090"}]},
            )
            wait_until(lambda: _status(client)["log_records"] == 2, 30, "the answer is logged")
        agent.kill()
        agent.start()
        with Foreign(broker.port) as client:
            client.subscribe("placewise/v1/agents/test-agent/validations")
            prediction_id = reply["predictions"][0]["prediction_id"]
            client.publish(TOPIC, benchmark_event("2", prediction_id=prediction_id))
            validation = json.loads(client.received().payload)
            assert validation["data"]["prediction_id"] == prediction_id


def test_what_was_validated_is_kept_once_through_kills_and_restarts(tmp_path: Path) -> None:
    """By its cell alone: the measurements name no prediction, and two arrive after a kill."""
    cell = benchmark_event("0")["data"]
    request = {"candidates": [{name: cell[name] for name in ("model", "hardware", "setup")}]}
    ledger = "placewise/v1/requests/validation"
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as client:
            client.publish(TOPIC, benchmark_event("1"))
            wait_until(lambda: _status(client)["events_logged"] == 1, 30, "logged")
            client.ask("placewise/v1/requests/predict", request)
            wait_until(lambda: _status(client)["log_records"] == 2, 30, "the answer is logged")
            client.publish(TOPIC, benchmark_event("2"))
            wait_until(lambda: _status(client)["events_logged"] == 2, 30, "measured")
            before = client.ask(ledger, {"by": "model"})
        metrics = ["throughput_per_s", "latency_ms", "memory_mb", "power_w"]
        assert {one["metric"]: one["validations"] for one in before["groups"]} == dict.fromkeys(
            metrics, 1
        )
        for end in (agent.kill, agent.terminate, agent.kill):
            end()
            agent.start()
            with Foreign(broker.port) as client:
                assert client.ask(ledger, {"by": "model"}) == before
        with Foreign(broker.port) as client:
            for number in (3, 4):
                client.publish(TOPIC, benchmark_event(f"{number}"))
            wait_until(lambda: _status(client)["events_logged"] == 4, 30, "measured after")
            after = client.ask(ledger, {"by": "model", "last_s": 3_600.0})
        assert {one["validations"] for one in after["groups"]} == {3}


def test_its_state_is_retained_and_its_will_tells_of_its_death(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker, AgentProcess(tmp_path, broker.port) as agent:
        agent.start()
        with Foreign(broker.port) as client:
            client.subscribe(STATE)
            state = json.loads(client.received().payload)
            assert (state["status"], state["agent_id"]) == ("online", "test-agent")
            agent.kill()
            assert json.loads(client.received().payload)["status"] == "offline"
            agent.start()
            wait_until(
                lambda: json.loads(client.received().payload)["status"] == "online", 30, "online"
            )
            assert agent.terminate() == 0
            wait_until(
                lambda: json.loads(client.received().payload)["status"] == "offline", 30, "goodbye"
            )


def test_a_store_in_use_is_named(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None) as agent, AgentProcess(tmp_path, None) as second:
        agent.start()
        second.log = tmp_path / "second.log"
        second.start(ready=False)
        assert second.process is not None
        assert second.process.wait(20) == 3
        assert str(agent.store) in second.log.read_text()


def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with a_broker("mosquitto", tmp_path) as broker:
        broker.stop()
        with AgentProcess(tmp_path, broker.port) as agent:
            agent.start(ready=False)
            wait_until(lambda: agent.get("/readyz")[0] == 503, 30, "up, not ready")
            broker.start()
            agent.wait_ready()
            assert agent.terminate() == 0


def test_its_pages(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None) as agent:
        agent.start()
        assert agent.get("/healthz")[0] == 200
        assert agent.get("/readyz")[0] == 200
        status, text = agent.get("/metrics")
        assert status == 200
        assert "placewise_records_total" in text
        assert agent.get("/nothing")[0] == 404


def test_it_tells_systemd_how_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        AgentProcess(tmp_path, None) as agent,
    ):
        manager.bind(str(path))
        manager.settimeout(20)
        agent.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        agent.start()
        told: list[str] = []
        while "READY=1" not in told:
            told += manager.recv(4_096).decode().split("\n")
        assert any(line.startswith("STATUS=connected to") for line in told)
        beats = 0
        while beats < 3:
            beats += "WATCHDOG=1" in manager.recv(4_096).decode().split("\n")
        assert agent.terminate() == 0
        rest = []
        while "STOPPING=1" not in rest:
            rest += manager.recv(4_096).decode().split("\n")


def test_its_snapshot_spares_the_replay(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None) as agent:
        agent.start()
        with Foreign(agent.broker_port) as client:
            for index in range(30):
                client.publish(TOPIC, benchmark_event(f"{index}"))
            wait_until(lambda: _status(client)["events_logged"] == 30, 30, "logged")
        assert agent.terminate() == 0
        agent.log.write_text("")
        agent.start()
        assert "replaying" not in agent.log.read_text()
        with Foreign(agent.broker_port) as client:
            assert _status(client)["events_logged"] == 30


def _status(client: Foreign) -> dict[str, int]:
    return client.ask("placewise/v1/requests/status", {})


def test_a_snapshot_is_kept_now_and_then(tmp_path: Path) -> None:
    with AgentProcess(tmp_path, None, snapshot_every_events=100) as agent:
        agent.start()
        with Foreign(agent.broker_port) as client:
            for index in range(150):
                client.publish(TOPIC, benchmark_event(f"{index}"))
            wait_until(lambda: _status(client)["events_logged"] == 150, 30, "logged")
        agent.kill()
        agent.log.write_text("")
        agent.start()
        with Foreign(agent.broker_port) as client:
            assert _status(client)["events_logged"] == 150
        replayed = [line for line in agent.log.read_text().splitlines() if "replaying" in line]
        assert len(replayed) == 1, "only what came after the snapshot"
