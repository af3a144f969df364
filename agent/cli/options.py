"""Options that several commands share, and how their texts become requests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import BadInput, shown

_MOST_DIGITS = 18
"""Of a whole number; no field takes one that has more."""

Broker = Annotated[
    str | None,
    typer.Option("--broker", help="Broker of a running agent: mqtt://HOST:PORT or mqtts://…"),
]
StoreFile = Annotated[Path | None, typer.Option("--store", help="DuckDB file with the event log.")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        max=86_400,
        help="Wait so long for a running agent's answer; 60 s for what may take long, else 10 s, "
        "if left out.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
RequestFile = Annotated[
    Path | None,
    typer.Option("--request", help="JSON file with the whole request ('-': standard input)."),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", "-b", min=1)]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16, bf16, int8, …")]
Runtime = Annotated[str | None, typer.Option(help="Engine and version.")]
Task = Annotated[str | None, typer.Option(help="inference or training.")]
SequenceIn = Annotated[int | None, typer.Option(min=1, help="Tokens read per request.")]
SequenceOut = Annotated[int | None, typer.Option(min=1, help="Tokens written per request.")]
DeviceCount = Annotated[int | None, typer.Option("--count", min=1, help="Devices per run.")]
GoalWeight = Annotated[
    list[str] | None,
    typer.Option(
        "--weight",
        help="throughput|latency|memory|energy=NUMBER, in place of --goal; repeatable.",
    ),
]
ExploreBudget = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Share by which choices may, on average, be worse than the best to try the less "
        "certain; nothing is tried if left out.",
    ),
]


def setup_of(**fields: Any) -> dict[str, Any]:
    """Return the set-up that the given options describe."""
    return {name: value for name, value in fields.items() if value is not None}


def read_request(path: Path) -> dict[str, Any]:
    """Read a whole request from a JSON file, or from standard input for `-`.

    Raises:
        BadInput: the file can't be read, or holds no JSON object.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput.of_field("--request", str(error), "a readable JSON file") from None
    if not isinstance(body, dict):
        raise BadInput.of_field("--request", f"a JSON {type(body).__name__}", "a JSON object")
    return body


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Split `NAME=VALUE` texts.

    Raises:
        BadInput: one has no `=`, or a name comes twice.
    """
    result: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise BadInput.of_field(option, f"got {text!r}", "NAME=VALUE")
        if name in result:
            raise BadInput.of_field(option, f"{name} twice", "each name once")
        result[name] = value
    return result


def number(option: str, text: str) -> float:
    """Read a number.

    Raises:
        BadInput: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise BadInput.of_field(option, f"got {text!r}", "a number") from None


def whole(option: str, text: str) -> int:
    """Read a whole number, 0 or more.

    Raises:
        BadInput: it is none.
    """
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise BadInput.of_field(option, f"got {shown(repr(text))}", "a whole number, 0 or more")
    return int(text)


def numbers(option: str, texts: list[str] | None) -> dict[str, float]:
    """Read `NAME=NUMBER` texts.

    Raises:
        BadInput: one is no such text.
    """
    return {name: number(option, value) for name, value in pairs(option, texts or []).items()}


def wanted(
    goal: str, weight: list[str] | None, limit: list[str] | None, explore_budget: float | None
) -> dict[str, Any]:
    """Return what a workload's strategy is to be best at, within which limits."""
    return {"goal": goal, "limits": numbers("--limit", limit)} | setup_of(
        weights=numbers("--weight", weight) or None, explore_budget=explore_budget
    )


def work_item(text: str, setup: dict[str, Any]) -> dict[str, Any]:
    """Read `MODEL` or `MODEL@BATCH` as one model of a workload."""
    name, at, batch = text.rpartition("@")
    if not at:
        return {"model": text, "setup": setup}
    if not batch.isdecimal() or len(batch) > _MOST_DIGITS or not name:
        raise BadInput.of_field("--model", f"got {shown(repr(text))}", "MODEL or MODEL@BATCH_SIZE")
    return {"model": name, "setup": {**setup, "batch_size": int(batch)}}


def device(text: str) -> dict[str, Any]:
    """Read `NAME=HARDWARE` or `NAME=HARDWARE@MEMORY_MB` as one device of a fleet."""
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise BadInput.of_field("--device", f"got {text!r}", "NAME=HARDWARE or NAME=HARDWARE@MB")
    hardware, at, memory = rest.rpartition("@")
    if not at:
        return {"name": name, "hardware": rest}
    return {"name": name, "hardware": hardware, "memory_mb": number("--device", memory)}
