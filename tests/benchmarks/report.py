"""How benchmarks tell what they measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum, in milliseconds."""
    return {
        "p50_ms": round(statistics.median(seconds) * 1e3, 3),
        "p99_ms": round(quantile(seconds, 0.99) * 1e3, 3),
        "max_ms": round(max(seconds) * 1e3, 3),
    }


def publish(name: str, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print `rows` as a table, and leave them as JSON."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*[_shown(row.get(column)) for column in columns])
    Console().print(table)
    leave(name, title, rows)


def leave(name: str, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Leave `rows` as JSON, with what machine it was."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    (FOLDER / f"{name}.json").write_text(
        json.dumps({"title": title, "machine": machine, "rows": list(rows)}, indent=2) + "\n"
    )


def _shown(value: object) -> str:
    if value is None:
        return ""
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and value < 100
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )
