from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agent.logs import MAX_TEXT_CHARS, MAX_TRACEBACK_CHARS, clean, configure_logging
from agent.settings import Settings


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines(stream: io.StringIO) -> None:
    configure_logging(Settings(log_format="json"), stream)
    structlog.get_logger("agent.x").info("started", port=1, parts=["a", {"b": 2.5}], none=None)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "started",
        "level": "info",
        "logger": "agent.x",
        "port": 1,
        "parts": ["a", {"b": 2.5}],
        "none": None,
    }


def test_auto_means_json_where_nobody_looks(stream: io.StringIO) -> None:
    configure_logging(Settings(), stream)
    structlog.get_logger().warning("x")
    assert lines(stream)[0]["level"] == "warning"


def test_console(stream: io.StringIO) -> None:
    configure_logging(Settings(log_format="console"), stream)
    structlog.get_logger("agent").info("started", port=1)
    (line,) = stream.getvalue().splitlines()
    assert "started" in line
    assert "port=1" in line
    assert "\x1b" not in line  # no terminal, no colours


def test_level(stream: io.StringIO) -> None:
    configure_logging(Settings(log_level="warning", log_format="json"), stream)
    log = structlog.get_logger("agent")
    log.info("quiet")
    log.error("loud")
    logging.getLogger("aiomqtt").info("quiet")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_libraries_take_the_same_way(stream: io.StringIO) -> None:
    configure_logging(Settings(log_format="json"), stream)
    logging.getLogger("aiomqtt").warning("lost %s\nFORGED", "broker\x1b[2J")
    (line,) = lines(stream)
    assert line["logger"] == "aiomqtt"
    assert line["event"] == "lost broker\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}FORGED"


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    configure_logging(Settings(log_format="json"), stream)
    configure_logging(Settings(log_format="json"), stream)
    structlog.get_logger().info("once")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nobody_forges_a_line(format_: str, stream: io.StringIO) -> None:
    configure_logging(Settings(log_format=format_), stream)
    nasty = "gpt\n2026-01-01 [error] forged\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}"
    structlog.get_logger().info("event", model=nasty, nested={nasty: [nasty, nasty.encode()]})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text[:-1].isprintable()


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nobody_forges_a_line_through_an_error(format_: str, stream: io.StringIO) -> None:
    configure_logging(Settings(log_format=format_), stream)
    try:
        fail("first\nforged line\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("failed")
    text = stream.getvalue()
    assert "ValueError: first" in text
    assert "\x1b" not in text
    assert not any(line.startswith("forged") for line in text.splitlines())


def test_long_text_is_capped() -> None:
    event = clean(None, "info", {"event": "x", "text": "a" * 10_000, "many": list(range(1_000))})
    assert len(event["text"]) == MAX_TEXT_CHARS
    assert event["text"].endswith("…")
    assert len(event["many"]) == 50


def test_long_traceback_keeps_its_end() -> None:
    text = "\n".join(f"line {n}" for n in range(100_000)) + "\nValueError: the point"
    event = clean(None, "error", {"event": "x", "exception": text})
    assert len(event["exception"]) < 2 * MAX_TRACEBACK_CHARS
    assert event["exception"].endswith("  | ValueError: the point")


def test_deep_and_foreign_values_become_text() -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    event = clean(None, "info", {"event": "x", "deep": deep, "object": ValueError("a\nb")})
    assert "\n" not in event["object"]
    assert len(json.dumps(event["deep"])) <= MAX_TEXT_CHARS
