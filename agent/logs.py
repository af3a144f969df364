"""Logs: one line per thing that happened, JSON for machines or coloured for people.

Our own events (structlog) and those of the libraries (`logging`) go through the same
processors to standard error. Text from outside is cleaned and capped on the way, so that no
peer forges a line, moves the cursor or fills a disk.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from agent.settings import Settings

MAX_TEXT_CHARS = 500
MAX_TRACEBACK_CHARS = 16_000
_MAX_DEPTH = 4
_MAX_ITEMS = 50
_TRACEBACK_INDENT = "  | "
"""Before each line of a traceback: what an error's message holds can't pass for a log line."""

EventDict = MutableMapping[str, Any]


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error if None), in the chosen level and format.

    Call once, before the first log line; a second call replaces the first.
    """
    target = sys.stderr if stream is None else stream
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not target.isatty()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            clean,
            renderer,
        ],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def clean(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace what does not print and cap what is long, in every value of an event."""
    exception = event.pop("exception", None)
    cleaned: EventDict = {_text(str(key)): _value(value) for key, value in event.items()}
    if exception is not None:
        cleaned["exception"] = _traceback(str(exception))
    return cleaned


def _value(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return _text(value[:MAX_TEXT_CHARS].decode("utf-8", errors="replace"))
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {_text(str(key)): _value(item, depth + 1) for key, item in items}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_value(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
    return _text(str(value))


def _text(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"
    return _printable(cut)


def _traceback(text: str) -> str:
    """Keep the end, where the error itself stands."""
    cut = text if len(text) <= MAX_TRACEBACK_CHARS else "…" + text[1 - MAX_TRACEBACK_CHARS :]
    return "\n".join(_TRACEBACK_INDENT + _printable(line) for line in cut.split("\n"))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
