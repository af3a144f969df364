"""The curves of `tests.benchmarks.exploration`, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 320, 200, 60, 40, 70
_COLOURS = ("#0b6e4f", "#e08e0b", "#888888", "#c1666b", "#4c72b0")
_TITLES = {"mean_ape": "mean error", "regret": "regret of the choice of hardware"}

Curve = Sequence[tuple[float, float]]


def draw(panels: Mapping[tuple[str, str], Mapping[str, Curve]]) -> str:
    """Return an SVG: a panel for each table and error, with a curve for each policy."""
    tables = list(dict.fromkeys(table for table, _ in panels))
    errors = list(dict.fromkeys(error for _, error in panels))
    width = _LEFT + len(errors) * (_WIDTH + _GAP)
    height = _TOP + len(tables) * (_HEIGHT + _GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for (table, error), curves in panels.items():
        left = _LEFT + errors.index(error) * (_WIDTH + _GAP)
        top = _TOP + tables.index(table) * (_HEIGHT + _GAP)
        parts += _panel(f"{table}: {_TITLES[error]}", curves, left, top)
    for at, name in enumerate(next(iter(panels.values()))):
        x = _LEFT + 160 * at
        colour = _COLOURS[at]
        parts.append(f'<rect x="{x}" y="{height - 24}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 24}" y="{height - 18}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, curves: Mapping[str, Curve], left: float, top: float) -> list[str]:
    points = [point for curve in curves.values() for point in curve]
    most_x = max(x for x, _ in points)
    # The first few errors of a learner that knows nothing would press all others onto the axis.
    most_y = max(curve[min(2, len(curve) - 1)][1] for curve in curves.values()) * 1.1
    parts = [
        f'<text x="{left}" y="{top - 10}" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke="#cccccc"/>',
        f'<text x="{left + _WIDTH / 2}" y="{top + _HEIGHT + 34}" text-anchor="middle">'
        "measurements</text>",
    ]
    for step in range(5):
        y = top + _HEIGHT * (1 - step / 4)
        value = most_y * step / 4
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value:.1%}</text>')
        x = left + _WIDTH * step / 4
        parts.append(
            f'<text x="{x}" y="{top + _HEIGHT + 16}" text-anchor="middle">'
            f"{most_x * step / 4:.0f}</text>"
        )
    for colour, curve in zip(_COLOURS, curves.values(), strict=False):
        line = " ".join(
            f"{left + _WIDTH * x / most_x:.1f},{top + _HEIGHT * (1 - min(y / most_y, 1)):.1f}"
            for x, y in curve
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts
