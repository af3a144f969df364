"""Measurements from files: Parquet, CSV and JSON lines."""

from agent.importing.rows import ImportedRow, RefusedRow, RowReader, event_of, read_rows
from agent.importing.run import ImportSummary, import_file

__all__ = [
    "ImportSummary",
    "ImportedRow",
    "RefusedRow",
    "RowReader",
    "event_of",
    "import_file",
    "read_rows",
]
