"""Topic filters of MQTT (version 5, section 4.7)."""

from __future__ import annotations

import re

_MOST_BYTES = 65_535
_PLANES = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_UNWELCOME = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
"""Control characters, surrogates, and what is no character at all."""


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a topic falls under a filter.

    >>> matches("placewise/+/events/#", "placewise/v1/events/benchmark/lab")
    True
    >>> matches("events/#", "events")  # the parent level counts
    True
    >>> matches("#", "$SYS/uptime")  # wildcards do not reach into the broker's own topics
    False
    """
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    if wanted[-1] == "#":
        del wanted[-1]
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    return all(one in {"+", level} for one, level in zip(wanted, levels, strict=False))


def is_filter(text: str) -> bool:
    """Return whether a text is a topic filter: wildcards stand for whole levels, `#` is last."""
    if not text or "\x00" in text:
        return False
    *levels, last = text.split("/")
    return all(one == "+" or not _has_wildcard(one) for one in levels) and (
        last in {"+", "#"} or not _has_wildcard(last)
    )


def is_topic(text: str) -> bool:
    """Return whether a text is a topic to publish to.

    Stricter than the standard's must: brokers may hang up over control characters and the like
    (section 1.5.4), and do.
    """
    return (
        bool(text)
        and not _has_wildcard(text)
        and _UNWELCOME.search(text) is None
        and len(text.encode()) <= _MOST_BYTES
    )


def _has_wildcard(text: str) -> bool:
    return "+" in text or "#" in text
