"""The C clients of mosquitto, as users of any language would: feed it, and ask it everything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign
from tests.support.models import needs_models
from tests.support.worker import WorkerProcess

MISSING = [name for name in ("mosquitto_pub", "mosquitto_rr") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

_PUB = ("mosquitto_pub", "-V", "5", "-q", "1")
_RR = ("mosquitto_rr", "-V", "5", "-q", "1", "-W", "10")

HARDWARE = {"nvidia-rtx-3090": 1.0, "nvidia-rtx-4090": 2.0, "intel-core-i9-10940x": 0.05}
MODELS = {"resnet50": (25.6, 4.1), "vit_base_patch16_224": (86.6, 17.6), "mobilenetv3": (5.5, 0.2)}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("c-clients")
    with a_broker("mosquitto", folder) as broker, AgentProcess(folder, broker.port) as process:
        yield process.start()


def publish(agent: AgentProcess, event: dict[str, Any]) -> None:
    subprocess.run(
        [*_PUB, "-p", str(agent.broker_port), "-t", "placewise/v1/events/benchmark/c", "-s"],
        input=json.dumps(event).encode(),
        check=True,
        timeout=10,
    )


def ask(agent: AgentProcess, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(*_RR, "-p", str(agent.broker_port), "-t", f"placewise/v1/requests/{kind}"),
            *("-e", f"c/replies/{kind}", "-m", json.dumps(body)),
        ],
        capture_output=True,
        check=True,
        timeout=20,
    )
    reply = json.loads(done.stdout)
    assert isinstance(reply, dict)
    return reply


@pytest.fixture(scope="module")
def taught(agent: AgentProcess) -> AgentProcess:
    count = 0
    for hardware, speed in HARDWARE.items():
        for model, (parameters_m, gmacs) in MODELS.items():
            for batch in (1, 8, 64):
                throughput = 900.0 * speed / gmacs
                event = benchmark_event(
                    f"{hardware}/{model}/{batch}",
                    model={"name": model, "parameters_m": parameters_m, "gmacs": gmacs},
                    hardware={"name": hardware, "class": "gpu" if "rtx" in hardware else "cpu"},
                    setup={"task": "inference", "batch_size": batch, "precision": "fp16"},
                    metrics={
                        "throughput_per_s": throughput,
                        "throughput_unit": "images/s",
                        "latency_ms": 1000.0 * batch / throughput,
                        "latency_kind": "batch_step",
                        "memory_mb": 500.0 + 8.0 * parameters_m + 2.0 * batch,
                        "power_w": 100.0 + 100.0 * speed,
                    },
                )
                publish(agent, event)
                count += 1
    wait_until(lambda: ask(agent, "status", {})["observations_learned"] == count, 30, "learnt")
    return agent


def test_predict(taught: AgentProcess) -> None:
    reply = ask(
        taught,
        "predict",
        {
            "candidates": [
                {"model": "resnet50", "hardware": {"name": name}, "setup": {"batch_size": 8}}
                for name in HARDWARE
            ]
        },
    )
    assert len(reply["predictions"]) == len(HARDWARE)
    for prediction in reply["predictions"]:
        assert prediction["prediction_id"]
        for metric in ("throughput_per_s", "latency_ms", "memory_mb", "power_w"):
            estimate = prediction["metrics"][metric]
            assert 0 < estimate["low"] <= estimate["value"] <= estimate["high"]
            assert 0 <= estimate["confidence"] <= 1
    gpu, faster, cpu = [p["metrics"]["throughput_per_s"]["value"] for p in reply["predictions"]]
    assert cpu < gpu < faster


def test_compare(taught: AgentProcess) -> None:
    reply = ask(taught, "compare", {"model": "resnet50", "setup": {"batch_size": 8}})
    assert [row["hardware"] for row in reply["rows"]] == [
        "nvidia-rtx-4090",
        "nvidia-rtx-3090",
        "intel-core-i9-10940x",
    ]


def test_recommend(taught: AgentProcess) -> None:
    request = {"model": "resnet50", "setup": {"batch_size": 8}}
    best = ask(taught, "recommend", request)
    assert best["recommended"]["hardware"] == "nvidia-rtx-4090"
    frugal = ask(taught, "recommend", request | {"limits": {"power_w": 150.0}})
    assert frugal["recommended"]["hardware"] == "intel-core-i9-10940x"
    nothing = ask(taught, "recommend", request | {"limits": {"power_w": 1.0}})
    assert nothing["recommended"] is None
    assert {row["limit"] for row in nothing["excluded"]} == {"power_w"}


def test_place(taught: AgentProcess) -> None:
    reply = ask(
        taught,
        "place",
        {
            "models": [{"model": name, "setup": {"batch_size": 8}} for name in MODELS],
            "devices": [
                {"name": "a", "hardware": "nvidia-rtx-4090", "memory_mb": 24_000},
                {"name": "b", "hardware": "nvidia-rtx-3090", "memory_mb": 24_000},
            ],
        },
    )
    assert sorted(placed["model"] for placed in reply["placed"]) == sorted(MODELS)
    assert {placed["device"] for placed in reply["placed"]} == {"a", "b"}
    assert reply["decision_id"]


def test_strategy(taught: AgentProcess) -> None:
    reply = ask(
        taught,
        "strategy",
        {
            "models": [{"model": name, "setup": {"batch_size": 8}} for name in MODELS],
            "hardware": "nvidia-rtx-4090",
            "goal": "latency",
        },
    )
    assert reply["chosen"]["strategy"] in {"parallel", "sequential", "batched"}
    assert sorted(name for wave in reply["chosen"]["waves"] for name in wave) == sorted(MODELS)
    names = {reply["chosen"]["strategy"], *[other["strategy"] for other in reply["alternatives"]]}
    assert names == {"parallel", "sequential", "batched"}


def test_a_prediction_is_held_against_the_measurement_that_answers_it(taught: AgentProcess) -> None:
    predicted = ask(
        taught,
        "predict",
        {"candidates": [{"model": "resnet50", "hardware": "nvidia-rtx-3090"}]},
    )["predictions"][0]
    event = benchmark_event(
        "answer", metrics={"latency_ms": 10.0}, prediction_id=predicted["prediction_id"]
    )
    with Foreign(taught.broker_port) as listener:
        listener.subscribe("placewise/v1/agents/test-agent/validations")
        publish(taught, event)
        validation = json.loads(listener.received().payload)["data"]
    assert validation["prediction_id"] == predicted["prediction_id"]
    assert validation["measured"] == 10.0
    assert validation["predicted"] == predicted["metrics"]["latency_ms"]["value"]


def test_an_impossible_measurement_is_set_aside_and_released(taught: AgentProcess) -> None:
    learnt = ask(taught, "status", {})["observations_learned"]
    event = benchmark_event(
        "too fast",
        model={"name": "resnet50", "parameters_m": 25.6, "gmacs": 4.1},
        hardware={"name": "nvidia-t4", "class": "gpu"},
        setup={"task": "inference", "batch_size": 8, "precision": "fp16"},
        metrics={"throughput_per_s": 60_000.0, "throughput_unit": "images/s"},
    )
    with Foreign(taught.broker_port) as listener:
        listener.subscribe("placewise/v1/agents/test-agent/alerts")
        publish(taught, event)
        alert = json.loads(listener.received().payload)["data"]
    assert alert["kind"] == "quarantine"
    assert "TFLOP/s" in alert["message"]
    assert alert["scope"]["id"] == "too fast"

    held = ask(taught, "quarantine", {})
    assert held["held"] == 1
    (one,) = held["measurements"]
    assert (one["source"], one["id"]) == (event["source"], "too fast")
    status = ask(taught, "status", {})
    assert (status["quarantined"], status["observations_learned"]) == (1, learnt)

    refused = ask(taught, "release", {"source": "nobody", "id": "too fast"})
    assert refused["error"]["details"][0]["field"] == "id"
    reply = ask(taught, "release", {"source": event["source"], "id": "too fast"})
    assert [one["model"] for one in reply["released"]] == ["resnet50"]
    wait_until(
        lambda: ask(taught, "status", {})["observations_learned"] == learnt + 1, 30, "learnt"
    )
    assert ask(taught, "quarantine", {})["held"] == 0


def test_a_prediction_says_energy_whether_it_fits_and_how_long_it_holds(
    taught: AgentProcess,
) -> None:
    hour = {"duration_s": 3600.0}
    candidate = {
        "model": "resnet50",
        "hardware": "nvidia-rtx-4090",
        "setup": {"batch_size": 8, "precision": "fp16"},
    }
    before = ask(taught, "predict", {"candidates": [candidate], **hour})["predictions"][0]
    energy, metrics = before["energy_j"], before["metrics"]
    assert energy["value"] == pytest.approx(
        metrics["power_w"]["value"] / metrics["throughput_per_s"]["value"]
    )
    assert energy["low"] < energy["value"] < energy["high"]
    assert energy["unit"] == "J per images"
    assert before["fits"] > 0.9
    assert before["holds_for_s"] is None
    assert any("duration" in note for note in before["notes"])

    learnt = ask(taught, "status", {})["observations_learned"]
    rate = metrics["throughput_per_s"]["value"]
    event = benchmark_event(
        "an hour",
        model="resnet50",
        hardware="nvidia-rtx-4090",
        setup=candidate["setup"],
        metrics={
            "throughput_per_s": rate,
            "throughput_unit": "images/s",
            "energy_j_per_item": energy["value"] * 1.1,
        },
        prediction_id=before["prediction_id"],
        **hour,
    )
    with Foreign(taught.broker_port) as listener:
        listener.subscribe("placewise/v1/agents/test-agent/validations")
        publish(taught, event)
        validations = [json.loads(listener.received().payload)["data"] for _ in range(2)]
    assert [one["metric"] for one in validations] == ["throughput_per_s", "energy_j"]
    assert validations[1]["absolute_percentage_error"] == pytest.approx(1 - 1 / 1.1)
    wait_until(
        lambda: ask(taught, "status", {})["observations_learned"] == learnt + 1, 30, "learnt"
    )
    after = ask(taught, "predict", {"candidates": [candidate], **hour})["predictions"][0]
    assert after["holds_for_s"] == 3600.0


def test_capacity(taught: AgentProcess) -> None:
    reply = ask(
        taught,
        "capacity",
        {
            "model": {"name": "llm", "parameters_m": 8030.0, "kv_values_per_token": 65_536.0},
            "hardware": ["nvidia-rtx-4090", "never-heard-of"],
            "setup": {"task": "inference", "batch_size": 1},
            "find": "context",
            "precisions": ["int8", "int4"],
            "kv_precisions": ["fp16", "2bit"],
        },
    )
    rows = reply["rows"]
    assert [(one["hardware"], one["precision"], one["kv_precision"]) for one in rows[:4]] == [
        ("nvidia-rtx-4090", weights, cache)
        for weights in ("int8", "int4")
        for cache in ("fp16", "2bit")
    ]
    longest = [one["largest"] for one in rows[:4]]
    assert 0 < longest[0] < longest[2] < longest[1] < longest[3]
    for one in rows[:4]:
        assert one["fits"] >= reply["probability"] > one["fits_next"]
        assert one["memory_capacity_mb"] == 24_000.0
        assert one["parts"]["weights_mb"] == pytest.approx(
            8030.0 * (1.0 if one["precision"] == "int8" else 0.5)
        )
    assert all(one["largest"] is None and one["notes"] for one in rows[4:])


@needs_models
def test_execute(tmp_path: Path) -> None:
    """A decision, the job that carries it out, and the event that answers it, all in one log."""
    models = ["ocr-direction", "silero-vad"]
    body = {"models": [{"model": name} for name in models], "repeats": 2}
    with (
        a_broker("mosquitto", tmp_path) as broker,
        AgentProcess(tmp_path, broker.port).start() as agent,
        WorkerProcess(tmp_path, broker.port),
        Foreign(broker.port) as listener,
    ):
        listener.subscribe("placewise/v1/events/execution/#")
        first = ask(agent, "execute", {**body, "strategy": "sequential"})
        assert first["result"]["outcome"] == "ok"
        listener.received()
        wait_until(lambda: ask(agent, "status", {})["events_logged"] == 1, 30, "learnt")
        reply = ask(agent, "execute", {**body, "strategy": "parallel"})
        event = json.loads(listener.received().payload)
        wait_until(lambda: ask(agent, "status", {})["events_logged"] == 2, 30, "logged")
        assert agent.terminate() == 0
        with duckdb.connect(str(agent.store), read_only=True) as log:
            kinds = log.execute(
                "SELECT kind FROM log WHERE contains(body::VARCHAR, ?) ORDER BY seq",
                [reply["decision_id"]],
            ).fetchall()
    assert reply["result"]["outcome"] == "ok"
    assert reply["result"]["waves"] == [models]
    assert event["data"]["decision_id"] == reply["decision_id"] == reply["result"]["decision_id"]
    assert kinds == [("answer",), ("execution",)]
