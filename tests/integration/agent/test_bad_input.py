"""What bad input gets, over a real broker: a clear answer, and what was learnt unharmed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from tests.support.agent import AgentProcess, benchmark_event, wait_until
from tests.support.broker import a_broker
from tests.support.foreign import Foreign

pytestmark = [pytest.mark.integration]

EVENTS = "placewise/v1/events/benchmark/test"
REQUESTS = "placewise/v1/requests"
DEAD_LETTERS = "placewise/v1/agents/test-agent/dead_letters"


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AgentProcess]:
    folder: Path = tmp_path_factory.mktemp("agent")
    with (
        a_broker(request.param, folder) as broker,
        AgentProcess(folder, broker.port) as process,
    ):
        process.old_clients_port = broker.old_port
        yield process.start()


@pytest.fixture
def client(agent: AgentProcess) -> Iterator[Foreign]:
    with Foreign(agent.broker_port) as foreign:
        yield foreign


def learned(client: Foreign) -> int:
    status = client.ask(f"{REQUESTS}/status", {})
    assert status["events_logged"] >= status["observations_learned"]
    return int(status["observations_learned"])


def without(*path: str) -> dict[str, Any]:
    event = benchmark_event("x")
    place: Any = event
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return event


def with_metric(value: Any) -> bytes:
    return json.dumps(benchmark_event("x", metrics={"latency_ms": value})).encode()


BAD_EVENTS: dict[str, tuple[bytes | dict[str, Any], str, str]] = {
    "not JSON": (b"{not json", "malformed", "payload"),
    "not an object": (b"[1, 2]", "malformed", "payload"),
    "empty": (b"", "malformed", "payload"),
    "binary": (bytes(range(256)), "malformed", "payload"),
    "no id": (without("id"), "invalid", "id"),
    "no model": (without("data", "model"), "invalid", "data.model"),
    "no hardware": (without("data", "hardware"), "invalid", "data.hardware"),
    "neither outcome nor metric": (benchmark_event("x", metrics={}), "invalid", "data"),
    "text for a number": (with_metric("12"), "invalid", "data.metrics.latency_ms"),
    "true for a number": (with_metric(True), "invalid", "data.metrics.latency_ms"),
    "NaN": (with_metric(float("nan")), "invalid", "data.metrics.latency_ms"),
    "infinity": (with_metric(float("inf")), "invalid", "data.metrics.latency_ms"),
    "1e999": (
        with_metric(1).replace(b": 1}", b": 1e999}"),
        "invalid",
        "data.metrics.latency_ms",
    ),
    "negative": (with_metric(-5.0), "invalid", "data.metrics.latency_ms"),
    "zero": (with_metric(0), "invalid", "data.metrics.latency_ms"),
    "absurd": (with_metric(1e300), "invalid", "data.metrics.latency_ms"),
    "absurd batch": (
        benchmark_event("x", setup={"batch_size": 10**12}),
        "invalid",
        "data.setup.batch_size",
    ),
    "unknown field": (
        benchmark_event("x", setup={"batchsize": 3}),
        "invalid",
        "data.setup.batchsize",
    ),
    "unknown version": (
        benchmark_event("x") | {"type": "placewise.benchmark.v9"},
        "unsupported_version",
        "type",
    ),
    "unknown CloudEvents version": (
        benchmark_event("x") | {"specversion": "2.0"},
        "unsupported_version",
        "specversion",
    ),
    "1970": (benchmark_event("x") | {"time": "1970-01-01T00:00:00Z"}, "invalid", "time"),
    "3000": (benchmark_event("x") | {"time": "3000-01-01T00:00:00Z"}, "invalid", "time"),
    "time without a zone": (
        benchmark_event("x") | {"time": "2026-01-01T00:00:00"},
        "invalid",
        "time",
    ),
    "too large": (b'{"pad": "' + b"x" * (2 << 20) + b'"}', "too_large", "payload"),
}


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_a_bad_event_becomes_a_dead_letter_and_the_next_good_one_is_learnt(
    client: Foreign, case: str
) -> None:
    payload, code, field = BAD_EVENTS[case]
    before = learned(client)
    client.subscribe(DEAD_LETTERS)

    client.publish(EVENTS, payload)

    letter = json.loads(client.received().payload)
    assert letter["topic"] == EVENTS
    assert letter["error"]["code"] == code
    assert field in [detail["field"] for detail in letter["error"]["details"]]
    assert all(detail["expected"] for detail in letter["error"]["details"])
    assert learned(client) == before
    client.publish(EVENTS, benchmark_event(uuid.uuid4().hex))
    wait_until(lambda: learned(client) == before + 1, 30, "the good event is learnt")


def test_ten_megabytes_harm_nobody(agent: AgentProcess, client: Foreign) -> None:
    before = learned(client)
    with Foreign(agent.broker_port) as careless:
        careless.publish(EVENTS, b"x" * (10 << 20))
        client.publish(EVENTS, benchmark_event(uuid.uuid4().hex))
        wait_until(lambda: learned(client) == before + 1, 30, "the good event is learnt")


def test_a_duplicate_changes_nothing(client: Foreign) -> None:
    before = learned(client)
    event_id = uuid.uuid4().hex
    for _ in range(3):
        client.publish(EVENTS, benchmark_event(event_id))
    other = benchmark_event(event_id, metrics={"latency_ms": 1e6})
    client.publish(EVENTS, other)
    client.publish(EVENTS, benchmark_event(uuid.uuid4().hex))
    wait_until(lambda: learned(client) == before + 2, 30, "one of four, and the one after")


BAD_REQUESTS: dict[str, tuple[str, bytes | dict[str, Any], str, str]] = {
    "not JSON": ("predict", b"{", "malformed", "payload"),
    "not an object": ("predict", b"3", "malformed", "payload"),
    "no candidates": ("predict", {"candidates": []}, "invalid", "candidates"),
    "candidate without hardware": (
        "predict",
        {"candidates": [{"model": "a"}]},
        "invalid",
        "candidates.0.hardware",
    ),
    "too many candidates": (
        "predict",
        {"candidates": [{"model": "a", "hardware": "b"}] * 1_001},
        "invalid",
        "candidates",
    ),
    "unknown metric": (
        "predict",
        {"candidates": [{"model": "a", "hardware": "b"}], "metrics": ["joy"]},
        "invalid",
        "metrics.0",
    ),
    "a model twice": (
        "place",
        {
            "models": [{"model": "a"}, {"model": "a"}],
            "devices": [{"name": "d", "hardware": "h"}],
        },
        "invalid",
        "(whole)",
    ),
    "no models": ("strategy", {"models": [], "hardware": "h"}, "invalid", "models"),
    "unknown kind": ("divine", {}, "unknown_request", "topic"),
    "too large": ("predict", b" " * (2 << 20), "too_large", "payload"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_gets_a_clear_error(client: Foreign, case: str) -> None:
    kind, payload, code, field = BAD_REQUESTS[case]
    reply = client.ask(f"{REQUESTS}/{kind}", payload)
    assert reply["error"]["code"] == code
    assert reply["error"]["message"]
    assert field in [detail["field"] for detail in reply["error"]["details"]]


def test_a_request_with_no_way_to_reply_is_a_dead_letter(client: Foreign) -> None:
    client.subscribe(DEAD_LETTERS)
    client.publish(f"{REQUESTS}/status", {})
    letter = json.loads(client.received().payload)
    assert letter["error"]["code"] == "no_reply_address"


@pytest.mark.parametrize("topic", ["a/#", "a/+/b", "placewise/v1/requests/status", EVENTS])
def test_a_reply_topic_that_would_do_harm_is_refused(client: Foreign, topic: str) -> None:
    client.subscribe(DEAD_LETTERS)
    client.publish(f"{REQUESTS}/status", {"reply_to": topic})
    letter = json.loads(client.received().payload)
    assert letter["error"]["details"][0]["field"] == "reply_to"


def test_clients_of_mqtt_3_1_1_name_the_way_in_the_body(agent: AgentProcess) -> None:
    with Foreign(agent.old_clients_port, version=mqtt.MQTTv311) as old:
        old.subscribe("old/replies")
        old.publish(f"{REQUESTS}/status", {"reply_to": "old/replies", "correlation_id": "c-1"})
        body = json.loads(old.received().payload)
        assert body["agent_id"] == "test-agent"
        assert body["correlation_id"] == "c-1"
        old.publish(f"{REQUESTS}/predict", {"reply_to": "old/replies", "correlation_id": "c-2"})
        body = json.loads(old.received().payload)
        assert body["error"]["code"] == "invalid"
        assert body["correlation_id"] == "c-2"
