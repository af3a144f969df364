"""The ledger of validations in DuckDB: rows in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from agent.store.port import RECENT, GroupRow
from schemas.published import Validation
from schemas.validation import GroupedBy, ValidationQuestion

_BROWSER: Final = r"regexp_extract(runtime, '^(?:onnxruntime-web|wllama)\S* \S+ (\S+)$', 1)"
"""How a runtime in a browser is called: see `agent.browsers.cells.runtime_of`."""

_COLUMNS: Final[dict[str, pa.DataType]] = {
    "seq": pa.int64(),
    "time": pa.timestamp("us"),
    "prediction_id": pa.string(),
    "paired_by": pa.string(),
    "metric": pa.string(),
    "model": pa.string(),
    "hardware": pa.string(),
    "batch_size": pa.int64(),
    "precision": pa.string(),
    "runtime": pa.string(),
    "strategy": pa.string(),
    "predicted": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
    "measured": pa.float64(),
    "relative_error": pa.float64(),
    "within_interval": pa.bool_(),
    "event_id": pa.string(),
    "event_source": pa.string(),
}


def table_of(validations: Sequence[Validation]) -> pa.Table:
    """Return validations as a table of the ledger's columns, in their order."""
    columns = {
        name: pa.array([_value(one, name) for one in validations], kind)
        for name, kind in _COLUMNS.items()
    }
    return pa.table(columns)


def query(question: ValidationQuestion, now: datetime) -> tuple[str, list[Any]]:
    """Return a question in SQL, with its parameters."""
    conditions, parameters = ["true"], list[Any]()
    for field in ("metric", "hardware", "model", "batch_size", "precision", "runtime", "strategy"):
        if (value := getattr(question, field)) is not None:
            conditions.append(f"{field} = ?")
            parameters.append(value)
    if question.browser is not None:
        conditions.append(f"({_BROWSER} = ? OR starts_with({_BROWSER}, ? || '-'))")
        parameters += [question.browser, question.browser]
    if question.last_s is not None:
        conditions.append("time >= ?")
        since = now - timedelta(seconds=question.last_s)
        parameters.append(since.astimezone(UTC).replace(tzinfo=None))
    sql = f"""
        SELECT {_group(question.by)} AS name, metric, count(*), max(time),
            median(abs(relative_error)), avg(abs(relative_error)), median(relative_error),
            avg(within_interval::INTEGER),
            arg_max(abs(relative_error), seq, {RECENT}), arg_max(within_interval, seq, {RECENT})
        FROM validations WHERE {" AND ".join(conditions)}
        GROUP BY ALL ORDER BY count(*) DESC, name NULLS FIRST, metric
    """  # noqa: S608 - of our own words alone; values are parameters
    return sql, parameters


def rows_of(fetched: Sequence[Sequence[Any]]) -> list[GroupRow]:
    """Return what DuckDB answered."""
    return [
        GroupRow(name or None, metric, count, newest.replace(tzinfo=UTC), *rest)
        for name, metric, count, newest, *rest in fetched
    ]


def _group(by: GroupedBy) -> str:
    match by:
        case "browser":
            return _BROWSER
        case "batch_size":
            return "batch_size::VARCHAR"
        case _:
            return by


def _value(validation: Validation, name: str) -> object:
    value = getattr(validation, name)
    return value.astimezone(UTC).replace(tzinfo=None) if name == "time" else value
