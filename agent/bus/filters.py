"""Topic filters of MQTT (version 5, section 4.7)."""

from __future__ import annotations


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
    """Return whether a text is a topic to publish to: no wildcards."""
    return bool(text) and "\x00" not in text and not _has_wildcard(text)


def _has_wildcard(text: str) -> bool:
    return "+" in text or "#" in text
