"""The AsyncAPI 3.0 document: which message goes on which topic, and what it looks like.

Source: AsyncAPI Specification 3.0.0; MQTT bindings 0.2.0.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from schemas import topics
from schemas.codes import error_kinds
from schemas.contract import (
    CONTRACT_VERSION,
    CORRELATION_ID,
    WireJsonSchema,
    WireMessage,
    messages,
)
from schemas.errors import PlacewiseError
from schemas.events import CloudEvent

MQTT_BINDING_VERSION = "0.2.0"
JSON_TYPE = "application/json"
CLOUDEVENTS_TYPE = "application/cloudevents+json"

_ABOUT = """\
Placewise predicts how fast AI models will run on the hardware at hand, decides where and how
to run them, and learns from every measurement.

Any MQTT client takes part: publish measurements as CloudEvents 1.0 in JSON structured mode,
ask with a request, and be answered on the response topic (MQTT 5) or on the topic that the
request names in `reply_to` (MQTT 3.1.1). Everything is JSON in UTF-8, at most 1 MiB unless the
agent is configured otherwise. What the agent can't read is answered with an error, or, where
there is nobody to answer, published on `dead_letters` with the reason.
"""

_EVENT_CHANNELS = {
    "benchmark_event": (topics.EVENTS_BENCHMARK, "One model measured alone."),
    "execution_event": (topics.EVENTS_EXECUTION, "A workload that ran under a strategy."),
}
_AGENT_CHANNELS: dict[str, tuple[topics.AgentChannel, str]] = {
    "agent_state": ("state", "Retained. The agent's will says `offline` when it vanishes."),
    "decision_event": ("decisions", "Answers that somebody may act on."),
    "validation_event": ("validations", "Predictions held against measurements."),
    "alert_event": ("alerts", "What a person should know."),
    "refinement_event": (
        "refinements",
        "Attempts to make learned state better, with what they came to.",
    ),
    "wanted_event": (
        "wanted",
        "Retained. Benchmarks that no worker can run: whoever can, publishes what was measured.",
    ),
    "dead_letter": ("dead_letters", "Messages that were refused, with the reason."),
}

_RETAINED = {"agent_state", "wanted_event"}


def document() -> dict[str, Any]:
    """Return the document."""
    wire = {message.name: message for message in messages()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Placewise",
            "version": CONTRACT_VERSION,
            "description": _ABOUT,
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON_TYPE,
        "servers": {
            "local": {
                "host": "localhost:1883",
                "protocol": "mqtt",
                "protocolVersion": "5.0",
                "description": "The broker that an agent without configuration brings along.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {name: _message(message) for name, message in wire.items()},
            "schemas": _schemas(list(wire.values())),
        },
        "x-error-codes": _error_meanings(),
    }


def _channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name, (topic, description) in _EVENT_CHANNELS.items():
        channels[name] = {
            "address": f"{topic}/{{origin}}",
            "description": description,
            "parameters": {
                "origin": {
                    "description": "Any levels that tell senders apart; may be left out "
                    "together with the slash before it."
                }
            },
            "messages": _message_refs(name),
        }
    for kind in topics.REQUEST_KINDS:
        name = f"{kind}_request"
        channels[name] = {"address": topics.request(kind), "messages": _message_refs(name)}
    channels["replies"] = {
        "address": None,
        "description": "Wherever the request asked for its reply.",
        "messages": _message_refs(
            *(f"{kind}_reply" for kind in topics.REQUEST_KINDS), "error_reply"
        ),
    }
    for name, (channel, description) in _AGENT_CHANNELS.items():
        channels[name] = {
            "address": topics.agent("{agent_id}", channel),
            "description": description,
            "parameters": {"agent_id": {"description": "The agent's name on the bus."}},
            "messages": _message_refs(name),
        }
    worker_id = {"worker_id": {"description": "The worker's name on the bus."}}
    channels["worker_state"] = {
        "address": topics.worker("{worker_id}", "state"),
        "description": "Retained. The worker's will says `offline` when it vanishes.",
        "parameters": worker_id,
        "messages": _message_refs("worker_state"),
    }
    channels["jobs"] = {
        "address": topics.worker("{worker_id}", "jobs"),
        "description": "What a worker is to run. It answers each job with one result.",
        "parameters": worker_id,
        "messages": _message_refs("run_job", "cancel_job"),
    }
    channels["job_results"] = {
        "address": None,
        "description": "Wherever the job asked for its result.",
        "messages": _message_refs("job_result"),
    }
    return channels


def _operations() -> dict[str, Any]:
    """Return what the agent does: `receive` is what it reads, `send` is what it writes."""
    operations: dict[str, Any] = {}
    for name in _EVENT_CHANNELS:
        operations[f"take_{name}"] = _operation("receive", name)
    for kind in topics.REQUEST_KINDS:
        operations[f"answer_{kind}"] = {
            **_operation("receive", f"{kind}_request"),
            "reply": {
                "address": {
                    "location": "$message.header#/response_topic",
                    "description": "The response topic of MQTT 5; with MQTT 3.1.1, `reply_to` "
                    "in the payload.",
                },
                "channel": {"$ref": "#/channels/replies"},
                "messages": [
                    {"$ref": f"#/channels/replies/messages/{kind}_reply"},
                    {"$ref": "#/channels/replies/messages/error_reply"},
                ],
            },
        }
    operations["give_job"] = _operation("send", "jobs", messages=("run_job", "cancel_job"))
    operations["take_job_result"] = _operation("receive", "job_results", messages=("job_result",))
    operations["take_worker_state"] = _operation("receive", "worker_state", retain=True)
    for name in _AGENT_CHANNELS:
        operations[f"publish_{name}"] = _operation("send", name, retain=name in _RETAINED)
    return operations


def _operation(
    action: str, channel: str, *, messages: tuple[str, ...] = (), retain: bool = False
) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [
            {"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages or (channel,)
        ],
        "bindings": {"mqtt": {"qos": 1, "retain": retain, "bindingVersion": MQTT_BINDING_VERSION}},
    }


def _message_refs(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _message(message: WireMessage) -> dict[str, Any]:
    content_type = CLOUDEVENTS_TYPE if issubclass(message.kind, CloudEvent) else JSON_TYPE
    binding: dict[str, Any] = {
        "payloadFormatIndicator": 1,
        "contentType": content_type,
        "bindingVersion": MQTT_BINDING_VERSION,
    }
    described: dict[str, Any] = {
        "name": message.name,
        "summary": message.summary,
        "contentType": content_type,
        "payload": {"$ref": f"#/components/schemas/{message.name}"},
        "bindings": {"mqtt": binding},
        "examples": [{"name": message.name, "payload": message.example}],
    }
    if message.name.endswith("_request"):
        correlation = {"type": "string", "description": "Returned unchanged with the reply."}
        response = {"type": "string", "description": "Where the reply goes."}
        binding["correlationData"] = correlation
        binding["responseTopic"] = response
        described["headers"] = {
            "type": "object",
            "description": "Properties of the MQTT 5 message.",
            "properties": {"response_topic": response, "correlation_data": correlation},
        }
    if message.name.endswith("_reply"):
        described["headers"] = {
            "type": "object",
            "description": "Properties of the MQTT 5 message.",
            "properties": {"correlation_data": {"type": "string"}},
        }
    if message.name.endswith(("_request", "_reply")):
        described["correlationId"] = {"location": "$message.header#/correlation_data"}
    return described


def _schemas(wire: list[WireMessage]) -> dict[str, Any]:
    """Return every schema once, those of whole messages under the message's name."""
    refs, definitions = models_json_schema(
        [(message.kind, message.mode) for message in wire],
        ref_template="#/components/schemas/{model}",
        schema_generator=WireJsonSchema,
    )
    schemas: dict[str, Any] = dict(definitions["$defs"])
    renamed: dict[str, str] = {}
    for message in wire:
        ref = refs[message.kind, message.mode]["$ref"]
        schemas[message.name] = schemas.pop(ref.rpartition("/")[2])
        renamed[ref] = f"#/components/schemas/{message.name}"
        if message.name.endswith("_reply"):
            schemas[message.name]["properties"]["correlation_id"] = CORRELATION_ID
    # A message may be part of another one, which then refers to it by its new name.
    schemas = _with_refs(schemas, renamed)
    error_code = schemas["ErrorBody"]["properties"]["code"]
    error_code["examples"] = [kind.code for kind in error_kinds()]
    return dict(sorted(schemas.items()))


def _with_refs(value: Any, renamed: dict[str, str]) -> Any:
    """Return a schema in which references say new names."""
    if isinstance(value, list):
        return [_with_refs(item, renamed) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: renamed.get(item, item)
        if key == "$ref" and isinstance(item, str)
        else _with_refs(item, renamed)
        for key, item in value.items()
    }


def _error_meanings() -> dict[str, str]:
    """Return what each code tells a client."""
    return {kind.code: (kind.__doc__ or "").strip().split("\n")[0] for kind in error_kinds()} | {
        PlacewiseError.code: "A fault of the agent's own; its log says more."
    }
