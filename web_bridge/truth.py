"""What can't be true: a tab's words held against what the bridge knows by itself."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.browser import Go, Lap, ModelTask, Prepared

CLOCK_SLACK_MS = 20.0
"""How much longer a tab may say a lap took than the bridge waited for it: timers are rounded."""


def wrong_preparation(tasks: Sequence[ModelTask], prepared: Prepared) -> str | None:
    """Return what can't be true of how a tab prepared, or None."""
    if len(prepared.models) != len(tasks):
        return f"prepared {len(prepared.models)} models of {len(tasks)}"
    for task, model in zip(tasks, prepared.models, strict=True):
        if model.sha256 != task.sha256:
            return f"loaded {model.sha256[:12]}… in place of {task.name} {task.sha256[:12]}…"
        if model.requested != task.backend:
            return f"was asked for {task.backend}, and says {model.requested}"
    return None


def wrong_lap(go: Go, lap: Lap, elapsed_ms: float) -> str | None:
    """Return what can't be true of a lap, or None.

    Args:
        go: what was asked.
        lap: what was answered.
        elapsed_ms: between the two, by the bridge's clock.
    """
    if [span.model for span in lap.spans] != go.order:
        return "ran other models, or in another order, than it was told"
    first, last = lap.spans[0].start_ms, lap.spans[-1].end_ms
    if last - first > elapsed_ms + CLOCK_SLACK_MS:
        return f"says {last - first:.0f} ms within the {elapsed_ms:.0f} ms that it was away"
    ended = first
    for span in lap.spans:
        if span.start_ms < ended - 0.001 or span.end_ms < span.start_ms:
            return "runs that overlap or end before they begin"
        if span.end_ms == span.start_ms and not span.cached:
            return "a run that took no time"
        ended = span.end_ms
    return None
