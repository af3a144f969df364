from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from schemas import codes, contract, topics
from schemas.asyncapi import document
from schemas.errors import ErrorBody, PlacewiseError
from schemas.events import decode_event
from schemas.examples import EXAMPLES
from schemas.jobs import decode_job, decode_worker_state
from schemas.requests import decode_request

MESSAGES = {message.name: message for message in contract.messages()}
SCHEMAS = contract.json_schemas()

REFUSED: dict[str, list[tuple[str, Any]]] = {
    "benchmark_event": [
        ("specversion", "2.0"),
        ("type", "placewise.benchmark.v9"),
        ("id", ""),
        ("id", "a\nb"),
        ("data.model", None),
        ("data.model.nam", "resnet50"),
        ("data.setup.batchsize", 8),
        ("data.setup.batch_size", 0),
        ("data.setup.batch_size", 1.5),
        ("data.setup.batch_size", 10_000_001),
        ("data.metrics.latency_ms", -1),
        ("data.metrics.latency_ms", 0),
        ("data.metrics.latency_ms", 1e13),
        ("data.metrics.latency_ms", "12"),
        ("data.outcome", "fine"),
    ],
    "execution_event": [("data.runs", []), ("data.strategy", "Magic!"), ("data.waves", "all")],
    "predict_request": [("candidates", []), ("candidates", None), ("metrics", ["speed"])],
    "compare_request": [("metric", "speed"), ("batch_sizes", [0]), ("model", 3)],
    "recommend_request": [("weights.cost", -1), ("limits.power_w", "low"), ("weighst", {})],
    "place_request": [("models", []), ("devices", None), ("goal", "fun")],
    "strategy_request": [("hardware", None), ("models", [{}]), ("goal", "fun")],
    "capacity_request": [
        ("hardware", []),
        ("find", "speed"),
        ("probability", 1.0),
        ("precisions", []),
        ("memory_mb", 0),
    ],
    "quarantine_request": [("limit", 0), ("source", "lab")],
    "release_request": [("source", None), ("id", "")],
    "status_request": [("reply_to", ""), ("verbose", True)],
    "models_request": [("reply_to", ""), ("all", True)],
    "update_request": [("method", "guess"), ("method", None), ("newest", 0), ("version", -1)],
    "predict_reply": [("predictions", None), ("predictions", [{"prediction_id": 1}])],
    "compare_reply": [("rows", None), ("metric", "speed")],
    "recommend_reply": [("decision_id", None), ("excluded", {})],
    "place_reply": [("optimal", "yes"), ("placed", None)],
    "strategy_reply": [("alternatives", None), ("goal", "fun")],
    "capacity_reply": [("rows", None), ("find", "speed")],
    "quarantine_reply": [("held", "many"), ("measurements", None)],
    "release_reply": [("released", None), ("released", [{"id": 1}])],
    "status_reply": [("events_logged", "many"), ("started_at", 5)],
    "models_reply": [("version", "new"), ("refinements", {})],
    "update_reply": [("accepted", None), ("accepted", 1)],
    "active_learning_request": [
        ("budget", 0),
        ("budget", "10"),
        ("budget", None),
        ("metrics", []),
        ("metrics", ["speed"]),
        ("worth", "beauty"),
        ("diversity", 1.5),
        ("cost_per_hour", {"a100-80gb": 0}),
    ],
    "batch_request": [
        ("size", 0),
        ("limits", {"a100-80gb": -1}),
        ("availability", {"a100-80gb": 1.5}),
        ("budget_runs", 0),
        ("budget_s", 0),
        ("repeats", 0),
    ],
    "batch_reply": [("runs", None), ("per_hardware", 3)],
    "integrate_request": [("budget", 0), ("metric", "speed")],
    "integrate_reply": [("metric", None), ("decisions", None)],
    "active_learning_reply": [
        ("wanted", None),
        ("uncertainty", "0.3"),
    ],
    "validation_request": [("by", "luck"), ("last_s", 0), ("metric", "speed"), ("batch_size", 0)],
    "validation_reply": [("groups", None), ("validations", "many")],
    "explore_request": [("budget", 5)],
    "explore_reply": [("sent", "many"), ("jobs", None), ("running", 1)],
    "error_reply": [("error", "bad"), ("error.code", None)],
    "agent_state": [("status", "asleep"), ("agent_id", None)],
    "decision_event": [("data.kind", "guess"), ("specversion", "0.3"), ("data", None)],
    "validation_event": [("data.measured", "fast"), ("data.metric", "speed")],
    "alert_event": [("data.message", None), ("type", "placewise.decision.v1")],
    "refinement_event": [("data.kept", None), ("data.method", "guess"), ("type", "x")],
    "wanted_event": [("data.benchmarks", None), ("type", "x")],
    "dead_letter": [("error", None), ("payload_bytes", "all")],
    "execute_request": [("models", []), ("repeats", 0), ("goal", "fun"), ("deadline_s", -1.0)],
    "execute_reply": [("result", None), ("worker", 3)],
    "compare_strategies_request": [("models", []), ("seed", -1), ("strategy", "parallel")],
    "compare_strategies_reply": [("executions", None), ("regret", "small")],
    "best_browser_request": [("model", None), ("goal", "power"), ("browsers", [])],
    "browsers_request": [("reply_to", ""), ("all", True)],
    "best_browser_reply": [("decided_by", "luck"), ("others", None)],
    "browsers_reply": [("workers", None), ("workers", [1])],
    "run_job": [("models", []), ("waves", []), ("job_id", "a b"), ("strategy", "Magic!")],
    "cancel_job": [("job_id", None), ("type", "run")],
    "job_result": [("outcome", "fine"), ("job_id", None)],
    "worker_state": [("worker_id", "a/b"), ("kind", "toaster"), ("status", "asleep")],
}
"""What each schema must refuse: a field of its example set to a wrong value (None removes it)."""


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name], format_checker=FormatChecker())


def spoiled(message: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(message)
    *parents, last = path.split(".")
    part: Any = body
    for parent in parents:
        part = part.setdefault(parent, {})
    if value is None:
        del part[last]
    else:
        part[last] = value
    return body


def test_up_to_date() -> None:
    assert contract.out_of_date() == [], "run `make contract`"


def test_the_same_every_time() -> None:
    assert contract.files() == contract.files()


def test_every_message_has_example_and_counterexamples() -> None:
    assert MESSAGES.keys() == EXAMPLES.keys() == REFUSED.keys() == SCHEMAS.keys()


def test_every_topic_has_its_messages() -> None:
    for kind in topics.REQUEST_KINDS:
        assert {f"{kind}_request", f"{kind}_reply"} <= MESSAGES.keys()


@pytest.mark.parametrize("name", MESSAGES)
def test_schema_is_valid(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMAS[name]["$id"] == f"urn:placewise:v1:{name}"


@pytest.mark.parametrize("name", MESSAGES)
def test_schema_accepts_its_example(name: str) -> None:
    example = json.loads(json.dumps(MESSAGES[name].example))
    validator(name).validate(example)
    assert SCHEMAS[name]["examples"] == [example]


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [(name, path, value) for name, cases in REFUSED.items() for path, value in cases],
)
def test_schema_refuses(name: str, path: str, value: Any) -> None:
    assert not validator(name).is_valid(spoiled(MESSAGES[name].example, path, value))


@pytest.mark.parametrize("name", [n for n, m in MESSAGES.items() if m.written_by == "clients"])
def test_the_agent_agrees_with_what_clients_are_told(name: str) -> None:
    """Whatever the schema of a client's message refuses, the agent refuses; and the example not."""

    def read(body: dict[str, Any]) -> object:
        text = json.dumps(body)
        if name.endswith("_event"):
            return decode_event(text)
        if name.endswith("_job"):
            return decode_job(text)
        if name == "worker_state":
            return decode_worker_state(text)
        return decode_request(name.removesuffix("_request"), text)

    read(MESSAGES[name].example)
    for path, value in REFUSED[name]:
        with pytest.raises(PlacewiseError):
            read(spoiled(MESSAGES[name].example, path, value))


@pytest.mark.parametrize("name", [n for n, m in MESSAGES.items() if m.written_by == "agent"])
def test_what_the_agent_writes_may_grow(name: str) -> None:
    validator(name).validate({**MESSAGES[name].example, "added_later": 1, "correlation_id": "7"})
    assert 'additionalProperties": false' not in json.dumps(SCHEMAS[name])


def test_bare_names_are_allowed() -> None:
    validator("predict_request").validate({"candidates": [{"model": "m", "hardware": "h"}]})


def test_a_text_that_json_allows_in_a_cloudevent_extension_is_allowed() -> None:
    validator("benchmark_event").validate({**MESSAGES["benchmark_event"].example, "traceid": "x"})


@pytest.mark.parametrize("name", MESSAGES)
def test_bounds_are_said_in_json_schema(name: str) -> None:
    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(keys(item) for item in value.values()))
        return set().union(*(keys(item) for item in value)) if isinstance(value, list) else set()

    described = {key: value for key, value in SCHEMAS[name].items() if key != "examples"}
    assert not {"ge", "le", "gt", "lt"} & keys(described)


def test_every_error_code_is_told() -> None:
    wire = document()
    assert list(wire["x-error-codes"]) == codes.error_codes()
    assert all(wire["x-error-codes"].values())
    assert "invalid" in codes.error_codes()
    assert wire["components"]["schemas"]["ErrorBody"]["properties"]["code"]["examples"]
    assert set(ErrorBody.model_fields) == {"code", "message", "details"}


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_fit_the_document_too(name: str) -> None:
    wire = document()
    schema = {"$ref": f"#/components/schemas/{name}", "components": wire["components"]}
    payload = wire["components"]["messages"][name]["examples"][0]["payload"]
    Draft7Validator(schema).validate(payload)  # AsyncAPI's own dialect is a superset of it
    for path, value in REFUSED[name]:
        assert not Draft7Validator(schema).is_valid(spoiled(payload, path, value))


def test_document_names_every_topic() -> None:
    addresses = {channel["address"] for channel in document()["channels"].values()}
    assert addresses == {
        None,
        "placewise/v1/events/benchmark/{origin}",
        "placewise/v1/events/execution/{origin}",
        *(f"placewise/v1/requests/{kind}" for kind in get_args(topics.RequestKind)),
        *(f"placewise/v1/agents/{{agent_id}}/{name}" for name in topics.AGENT_CHANNELS),
        "placewise/v1/workers/{worker_id}/state",
        "placewise/v1/workers/{worker_id}/jobs",
    }


def test_check_says_what_is_out_of_date(tmp_path: Path) -> None:
    contract.write(tmp_path)
    assert contract.out_of_date(tmp_path) == []
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "json-schema/status_reply.json").unlink()
    (tmp_path / "json-schema/of_old.json").write_text("{}")
    assert contract.out_of_date(tmp_path) == [
        "asyncapi.json",
        "json-schema/of_old.json",
        "json-schema/status_reply.json",
    ]
    contract.write(tmp_path)
    assert contract.out_of_date(tmp_path) == []


def test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    stale: list[str] = []
    written: list[bool] = []
    said: list[str] = []
    monkeypatch.setattr(contract, "out_of_date", lambda: stale)
    monkeypatch.setattr(contract, "write", lambda: written.append(True))
    assert contract.main(["--check"], said.append) == 0
    stale.append("asyncapi.json")
    assert contract.main(["--check"], said.append) == 1
    assert "asyncapi.json" in said.pop()
    assert contract.main(["--wrong"], said.append) == 2
    assert said.pop().startswith("usage")
    assert not written
    assert contract.main([], said.append) == 0
    assert written
    assert not said
