"""The machine-readable contract, generated from the types.

    python -m schemas.contract           writes schemas/generated/
    python -m schemas.contract --check   fails if what is there is out of date

Two things come out: one JSON Schema (2020-12) per message, and an AsyncAPI 3 document
(`schemas.asyncapi`) that says on which topic each message goes. What the agent reads is
described as strictly as it is read. What the agent writes is described openly: later agents
of the same contract version may add fields, and a client that refuses them would break.
The messages between browser tabs and the bridge come out as TypeScript types for the page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from schemas import errors
from schemas.events import BenchmarkEvent, CloudEvent, ExecutionEvent
from schemas.examples import EXAMPLES, WHEN
from schemas.explore import Wanted
from schemas.jobs import CancelJob, JobResult, RunJob, WorkerState
from schemas.published import AgentState, Alert, DeadLetter, Decision, Validation
from schemas.refinement import Refinement
from schemas.replies import AnyReply
from schemas.requests import REQUESTS
from schemas.typescript import declarations

CONTRACT_VERSION = "1.0.0"
GENERATED = Path(__file__).parent / "generated"

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_CONSTRAINTS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
}


class DecisionEvent(CloudEvent[Decision]):
    """A request was answered, and somebody may act on it."""

    type: Literal["placewise.decision.v1"]


class ValidationEvent(CloudEvent[Validation]):
    """A prediction was held against what was then measured."""

    type: Literal["placewise.validation.v1"]


class AlertEvent(CloudEvent[Alert]):
    """Something that a person should know."""

    type: Literal["placewise.alert.v1"]


class RefinementEvent(CloudEvent[Refinement]):
    """Learned state was made anew, and kept or not."""

    type: Literal["placewise.refinement.v1"]


class WantedEvent(CloudEvent[Wanted]):
    """Benchmarks that are worth running, and that no worker of the agent can run."""

    type: Literal["placewise.wanted.v1"]


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One kind of message: its name in the contract, its type, and who writes it."""

    name: str
    kind: type[BaseModel]
    written_by: Literal["clients", "agent"]

    @property
    def mode(self) -> JsonSchemaMode:
        """How pydantic describes it: as it is read, or as it is written."""
        return "validation" if self.written_by == "clients" else "serialization"

    @property
    def summary(self) -> str:
        """Its first line of documentation."""
        return (self.kind.__doc__ or "").strip().split("\n")[0]

    @property
    def example(self) -> dict[str, Any]:
        """One message as it goes over the wire."""
        example = EXAMPLES[self.name]
        if isinstance(example, self.kind):
            return example.model_dump(mode="json", exclude_none=self.written_by == "clients")
        (event_type,) = get_args(self.kind.model_fields["type"].annotation)
        enveloped = {
            "specversion": "1.0",
            "id": "5f0c4e",
            "source": "placewise/agents/rack1",
            "type": event_type,
            "time": WHEN.isoformat(),
            "data": example.model_dump(mode="json"),
        }
        return self.kind.model_validate(enveloped).model_dump(mode="json")


def messages() -> list[WireMessage]:
    """Return every kind of message of the contract."""
    replies = {kind.__name__: kind for kind in get_args(AnyReply)}
    asked = [WireMessage(f"{name}_request", kind, "clients") for name, kind in REQUESTS.items()]
    answered = [
        WireMessage(f"{name}_reply", replies[kind.__name__.replace("Request", "Reply")], "agent")
        for name, kind in REQUESTS.items()
    ]
    return [
        WireMessage("benchmark_event", BenchmarkEvent, "clients"),
        WireMessage("execution_event", ExecutionEvent, "clients"),
        *asked,
        *answered,
        WireMessage("error_reply", errors.ErrorReply, "agent"),
        WireMessage("agent_state", AgentState, "agent"),
        WireMessage("decision_event", DecisionEvent, "agent"),
        WireMessage("validation_event", ValidationEvent, "agent"),
        WireMessage("alert_event", AlertEvent, "agent"),
        WireMessage("refinement_event", RefinementEvent, "agent"),
        WireMessage("wanted_event", WantedEvent, "agent"),
        WireMessage("dead_letter", DeadLetter, "agent"),
        WireMessage("run_job", RunJob, "clients"),
        WireMessage("cancel_job", CancelJob, "clients"),
        WireMessage("job_result", JobResult, "agent"),
        WireMessage("worker_state", WorkerState, "clients"),
    ]


class WireJsonSchema(GenerateJsonSchema):
    """Pydantic's generator, with what a wire contract needs."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Leave what the agent writes open, so that it may grow."""
        described = super().model_schema(schema)
        if self.mode == "serialization":
            described.pop("additionalProperties", None)
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Add no title that only repeats the field's name."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Show a default object without the fields that it leaves unset."""
        default = super().encode_default(dft)
        if isinstance(default, dict):
            return {name: value for name, value in default.items() if value is not None}
        return default

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """Say bounds in JSON Schema's words where pydantic falls back to its own."""
        described = super().generate_inner(schema)
        for own, standard in _CONSTRAINTS.items():
            if own in described:
                described[standard] = described.pop(own)
        return described


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every message, by name."""
    return {message.name: _json_schema(message) for message in messages()}


def _json_schema(message: WireMessage) -> dict[str, Any]:
    described = message.kind.model_json_schema(schema_generator=WireJsonSchema, mode=message.mode)
    if message.name.endswith("_reply"):
        described["properties"]["correlation_id"] = CORRELATION_ID
    return {
        "$schema": _DRAFT,
        "$id": f"urn:placewise:v1:{message.name}",
        **described,
        "examples": [message.example],
    }


CORRELATION_ID = {
    "type": "string",
    "description": "The request's own, for a client that named `reply_to` in the body",
}


def files() -> dict[Path, str]:
    """Return every generated file with its text, by its path below `schemas/generated`."""
    # Imported here: that module describes the messages of this one.
    from schemas.asyncapi import document  # noqa: PLC0415

    texts = {
        Path("asyncapi.json"): _text(document()),
        Path("browser.d.ts"): declarations(),
    }
    for name, schema in json_schemas().items():
        texts[Path("json-schema") / f"{name}.json"] = _text(schema)
    return texts


def out_of_date(folder: Path = GENERATED) -> list[str]:
    """Return what in `folder` is missing, differs from the types, or should not be there."""
    wanted = files()
    there = {path.relative_to(folder) for path in folder.rglob("*.*")}
    differing = [
        path
        for path, text in wanted.items()
        if path not in there or (folder / path).read_text(encoding="utf-8") != text
    ]
    return sorted(str(path) for path in {*differing, *(there - wanted.keys())})


def write(folder: Path = GENERATED) -> None:
    """Write every file, and remove what no message stands for any more."""
    wanted = files()
    for path in sorted(folder.rglob("*.*")):
        if path.relative_to(folder) not in wanted:
            path.unlink()
    for path, text in wanted.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def main(arguments: list[str], say: Callable[[str], object] = sys.stdout.write) -> int:
    """Write the files, or with `--check` compare them; return the exit code."""
    if arguments not in ([], ["--check"]):
        say("usage: python -m schemas.contract [--check]\n")
        return 2
    if not arguments:
        write()
        return 0
    if stale := out_of_date():
        say(f"out of date: {', '.join(stale)}; run `make contract`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
