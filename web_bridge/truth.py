"""What can't be true: a tab's words held against what the bridge knows by itself."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.browser import Go, Lap, ModelTask, OutputSample, Prepared
from schemas.models import OutputCheck

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


def wrong_lap(tasks: Sequence[ModelTask], go: Go, lap: Lap, elapsed_ms: float) -> str | None:
    """Return what can't be true of a lap, or None.

    Args:
        tasks: the models that the tab holds.
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
        if span.cached and not tasks[span.model].cache:
            return f"reused an output of {tasks[span.model].name}, which it was told to run"
        if span.end_ms == span.start_ms and not span.cached:
            return "a run that took no time"
        ended = span.end_ms
    return None


def wrong_outputs(checks: Sequence[OutputCheck], samples: Sequence[OutputSample]) -> str | None:
    """Return in words how outputs differ from those of the reference, or None if they agree."""
    by_name = {sample.name: sample for sample in samples}
    for check in checks:
        sample = by_name.get(check.name)
        if sample is None:
            return f"no output {check.name}"
        if sample.shape != check.shape:
            return f"{check.name} has shape {sample.shape} in place of {check.shape}"
        if not sample.finite:
            return f"{check.name} has values that are not finite"
        if len(sample.values) != len(check.values):
            return f"{check.name} shows {len(sample.values)} values in place of {len(check.values)}"
        scale = max(map(abs, check.values), default=0.0) or 1.0
        pairs = zip(sample.values, check.values, strict=True)
        error = max((abs(one - other) for one, other in pairs), default=0.0) / scale
        if error > check.tolerance:
            return f"{check.name} is off by {error:.2g} of its largest value"
    return None


def wrong_text(wanted: str, agrees: int, text: str | None) -> str | None:
    """Return in words how a text differs from the reference's first `agrees` characters."""
    if text is None:
        return "no text"
    if text[:agrees] != wanted[:agrees]:
        return f"wrote {text[:agrees]!r} in place of {wanted[:agrees]!r}"
    return None
