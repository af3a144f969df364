"""The store's migrations: numbered SQL files, applied in order, each once.

A file `0007_words.sql` is migration 7. What was released is never changed, only followed by
another number. Which ones a store has stands in its table `migrations`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

import duckdb

from schemas.errors import StoreUnavailable

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older form of the store to a newer one."""

    number: int
    name: str
    sql: str


def shipped() -> list[Migration]:
    """Return the migrations of this version, in order."""
    matches = [(_FILE_NAME.fullmatch(item.name), item) for item in files(__name__).iterdir()]
    found = [
        Migration(int(match[1]), item.name, item.read_text(encoding="utf-8"))
        for match, item in matches
        if match is not None
    ]
    return sorted(found, key=lambda migration: migration.number)


def migrate(
    connection: duckdb.DuckDBPyConnection, path: str, migrations: Sequence[Migration]
) -> list[int]:
    """Bring the database in use up to date, in one transaction; return what was applied.

    Args:
        connection: its current database is the store.
        path: of the store, for the message.
        migrations: all that this version knows, in order.

    Raises:
        StoreUnavailable: the file is a store of a newer Placewise, or no store. It is unchanged.
    """
    connection.execute("BEGIN")
    try:
        missing = _missing(connection, path, migrations)
        now = datetime.now(UTC).replace(tzinfo=None)
        for migration in missing:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migrations VALUES (?, ?, ?)", [migration.number, migration.name, now]
            )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return [migration.number for migration in missing]


def _missing(
    connection: duckdb.DuckDBPyConnection, path: str, migrations: Sequence[Migration]
) -> list[Migration]:
    applied = _applied(connection, path)
    newer = applied - {migration.number for migration in migrations}
    if newer:
        known = max((migration.number for migration in migrations), default=0)
        raise StoreUnavailable(
            f"{path} was written by a newer Placewise (it has migration {max(newer)}, this "
            f"version knows {known}): upgrade Placewise, or name another store"
        )
    return [migration for migration in migrations if migration.number not in applied]


def _applied(connection: duckdb.DuckDBPyConnection, path: str) -> set[int]:
    """Return the numbers that the store has, after making their table in a new one."""
    tables = {
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        ).fetchall()
    }
    if not tables:
        connection.execute(
            "CREATE TABLE migrations "
            "(number INTEGER NOT NULL, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)"
        )
        return set()
    if "migrations" not in tables:
        raise StoreUnavailable(
            f"{path} is a DuckDB file, but no store of Placewise: it has the tables "
            f"{', '.join(sorted(tables)[:5])}"
        )
    return {number for (number,) in connection.execute("SELECT number FROM migrations").fetchall()}
