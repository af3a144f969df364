"""The measured rows that benchmarks replay."""

from __future__ import annotations

from pathlib import Path

from agent.evaluation import Row
from agent.importing import ImportedRow, read_rows

DATA = Path("../shared/data/benchmarks.parquet")


def load(path: Path) -> list[Row]:
    """Return the usable rows of a file."""
    return [
        Row(row.source, row.benchmark)
        for row in read_rows(path, {})
        if isinstance(row, ImportedRow)
    ]
