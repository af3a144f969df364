"""A timeline as plain text or as a picture: one bar for each model, from its start to its end."""

from __future__ import annotations

from xml.sax.saxutils import escape

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


_ROW, _LEFT, _WIDTH, _TOP, _RIGHT = 28, 190, 560, 44, 110
_COLOURS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377")
"""One for each wave, in turn (Paul Tol's bright scheme, distinct to the colour-blind as well)."""


def picture(outcome: StrategyOutcome) -> str:
    """Return an outcome's timeline as an SVG document that needs nothing from elsewhere.

    A thin line through the end of each bar is the interval in which its model is done.
    """
    slots = sorted(outcome.timeline, key=lambda slot: (slot.wave, slot.model))
    latest = [outcome.model_latency_ms[slot.model].high for slot in slots]
    whole = max(*latest, *(slot.end_ms for slot in slots), 1e-9)
    height = _TOP + _ROW * len(slots) + 12

    def x(milliseconds: float) -> str:
        return f"{_LEFT + _WIDTH * milliseconds / whole:.2f}"

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<text x="8" y="22" font-size="15">{escape(outcome.strategy)}: '
        f"{escape(quantity('latency_ms', outcome.total_latency_ms.value))}</text>",
    ]
    for number, slot in enumerate(slots):
        middle = _TOP + _ROW * number + _ROW / 2
        done = outcome.model_latency_ms[slot.model]
        name = slot.model if len(slot.model) <= _NAME_WIDTH else f"{slot.model[: _NAME_WIDTH - 1]}…"
        width = max(1.0, _WIDTH * (slot.end_ms - slot.start_ms) / whole)
        lines += [
            f'<text x="8" y="{middle + 4:.1f}">{escape(name)}</text>',
            f'<rect x="{x(slot.start_ms)}" y="{middle - 9:.1f}" width="{width:.2f}" height="18" '
            f'rx="2" fill="{_COLOURS[slot.wave % len(_COLOURS)]}"/>',
            f'<line x1="{x(done.low)}" x2="{x(done.high)}" y1="{middle:.1f}" y2="{middle:.1f}" '
            'stroke="#333" stroke-width="1.5"/>',
            f'<text x="{_LEFT + _WIDTH + 8}" y="{middle + 4:.1f}">'
            f"{escape(quantity('latency_ms', slot.end_ms))}</text>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
