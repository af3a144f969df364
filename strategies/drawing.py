"""A timeline as plain text: one line for each model, one bar from its start to its end."""

from __future__ import annotations

from schemas.replies import StrategyOutcome
from strategies.words import quantity

_BAR, _EMPTY = "█", "·"
_NAME_WIDTH = 24


def timeline(outcome: StrategyOutcome, width: int = 60) -> str:
    """Return an outcome's timeline, `width` characters wide between its bars' ends.

    Lines are in the order of waves, then of names. Every bar has at least one character, so the
    shortest model can be seen beside the longest.
    """
    whole = max(slot.end_ms for slot in outcome.timeline)
    longest = max(len(slot.model) for slot in outcome.timeline)
    column = min(_NAME_WIDTH, longest)
    lines = [f"{outcome.strategy}: {quantity('latency_ms', whole)}"]
    for slot in sorted(outcome.timeline, key=lambda slot: (slot.wave, slot.model)):
        start = min(width - 1, int(slot.start_ms / whole * width))
        end = max(start + 1, round(slot.end_ms / whole * width))
        bar = _EMPTY * start + _BAR * (end - start) + _EMPTY * (width - end)
        name = slot.model if len(slot.model) <= column else f"{slot.model[: column - 1]}…"
        lines.append(f"{name:<{column}} {bar} {quantity('latency_ms', slot.end_ms)}")
    return "\n".join(lines)
