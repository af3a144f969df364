"""The store on DuckDB: one file, one writer thread."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from agent.store.port import LogRecord, Snapshot
from schemas.errors import StoreUnavailable

STORAGE_VERSION = "v1.5.0"
"""What DuckDB 1.5 can still read; a file of a newer format would lock its users in."""

_INSERT = (
    "INSERT INTO log SELECT seq, kind, source, id, event_time, received_at, body, key::UUID "
    "FROM incoming"
)

T = TypeVar("T")


class DuckStore:
    """The event log in a DuckDB file, written by one thread.

    Made by `open`; `close` it. All work on the file is done in the store's own thread, so that
    the event loop never waits for a disk.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, executor: ThreadPoolExecutor, last_seq: int
    ) -> None:
        self._connection = connection
        self._executor = executor
        self._last_seq = last_seq

    @classmethod
    async def open(cls, path: Path | str) -> Self:
        """Open the store at `path`, making or migrating it where needed; `:memory:` works.

        Raises:
            StoreUnavailable: the file can't be opened, is held by another process, or was made
                by a newer Placewise.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="placewise-store")
        loop = asyncio.get_running_loop()
        try:
            connection, last_seq = await loop.run_in_executor(executor, _open, str(path))
        except BaseException:
            executor.shutdown()
            raise
        return cls(connection, executor, last_seq)

    async def append(self, records: Sequence[LogRecord]) -> list[LogRecord | None]:
        """Commit records in one transaction; see the port."""
        return await self._run(self._append, list(records))

    async def replay(
        self, after_seq: int = 0, batch: int = 1_000
    ) -> AsyncIterator[list[LogRecord]]:
        """Yield the log in batches; see the port."""
        last = after_seq
        while rows := await self._run(self._read, last, batch):
            yield rows
            last = rows[-1].seq

    async def last_seq(self) -> int:
        """Return the newest `seq`, 0 for an empty log."""
        return self._last_seq

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot instead of earlier ones, in one transaction."""
        await self._run(self._save_snapshot, snapshot)

    async def load_snapshot(self) -> Snapshot | None:
        """Return the kept snapshot, if any."""
        row = await self._run(self._one, "SELECT seq, stamp, payload FROM snapshot")
        return None if row is None else Snapshot(*row)

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[Any]]:
        """Return column names and rows of a question to the views.

        Raises:
            StoreUnavailable: the question can't be answered; the message says why.
        """
        return await self._run(self._query, sql, list(parameters))

    async def close(self) -> None:
        """Flush and release the file. Harmless when closed already."""
        await self._run(self._connection.close)
        self._executor.shutdown()

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, work, *arguments)
        except duckdb.Error as error:
            raise StoreUnavailable(f"the store failed: {error}") from error

    def _append(self, records: list[LogRecord]) -> list[LogRecord | None]:
        keys = [_key(record) for record in records]
        known = self._known(keys)
        results: list[LogRecord | None] = []
        new: list[tuple[LogRecord, str]] = []
        for record, key in zip(records, keys, strict=True):
            if key in known:
                results.append(None)
                continue
            known.add(key)
            kept = replace(record, seq=self._last_seq + len(new) + 1)
            new.append((kept, key))
            results.append(kept)
        if new:
            # One statement is one transaction: all of them, or none.
            self._connection.register("incoming", _table(new))
            try:
                self._connection.execute(_INSERT)
            finally:
                self._connection.unregister("incoming")
            self._last_seq += len(new)
        return results

    def _known(self, keys: list[str]) -> set[str]:
        """Return which keys are in the log. Literals let DuckDB use the index for each."""
        if not keys:
            return set()
        listed = ", ".join(f"'{key}'::UUID" for key in keys)
        found = f"SELECT key FROM log WHERE key IN ({listed})"  # noqa: S608 - digests of our own
        rows = self._connection.execute(found).fetchall()
        return {str(row[0]) for row in rows}

    def _read(self, after_seq: int, batch: int) -> list[LogRecord]:
        rows = self._connection.execute(
            "SELECT kind, source, id, event_time, received_at, body, seq FROM log "
            "WHERE seq > ? AND seq <= ? ORDER BY seq",
            [after_seq, after_seq + batch],
        ).fetchall()
        return [
            LogRecord(kind, source, id_, _aware(at), _aware(received_at), body, seq)
            for kind, source, id_, at, received_at, body, seq in rows
        ]

    def _save_snapshot(self, snapshot: Snapshot) -> None:
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("DELETE FROM snapshot")
            self._connection.execute(
                "INSERT INTO snapshot VALUES (?, ?, ?)",
                [snapshot.seq, snapshot.stamp, snapshot.payload],
            )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()

    def _query(self, sql: str, parameters: list[Any]) -> tuple[list[str], list[Any]]:
        cursor = self._connection.cursor()
        try:
            cursor.execute("USE store")
            answer = cursor.execute(sql, parameters)
            return [column[0] for column in answer.description or ()], answer.fetchall()
        finally:
            cursor.close()


def _open(path: str) -> tuple[duckdb.DuckDBPyConnection, int]:
    if path != ":memory:":
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"can't make the folder of {path}: {error.strerror}") from error
    connection = duckdb.connect()
    try:
        quoted = path.replace("'", "''")
        options = f" (STORAGE_VERSION '{STORAGE_VERSION}')" if path != ":memory:" else ""
        connection.execute(f"ATTACH '{quoted}' AS store{options}")
        connection.execute("USE store")
        connection.execute("SET TimeZone = 'UTC'")
        _migrate(connection, path)
        row = connection.execute("SELECT coalesce(max(seq), 0) FROM log").fetchone()
    except duckdb.Error as error:
        connection.close()
        raise StoreUnavailable(_why(path, error)) from error
    except BaseException:
        connection.close()
        raise
    assert row is not None
    return connection, int(row[0])


def _why(path: str, error: duckdb.Error) -> str:
    if "lock" in str(error).lower():
        return f"{path} is in use by another process: {error}"
    return f"{path} can't be opened as a store: {error}"


def _migrate(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Apply the migrations that the file does not have, each in a transaction of its own."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations "
        "(number INTEGER PRIMARY KEY, name VARCHAR, "
        "applied_at TIMESTAMP DEFAULT current_localtimestamp())"
    )
    applied = {row[0] for row in connection.execute("SELECT number FROM migrations").fetchall()}
    known = migrations()
    newer = sorted(applied - set(known))
    if newer:
        raise StoreUnavailable(
            f"{path} was made by a newer Placewise (migration {newer[-1]}; this one knows up to "
            f"{max(known)}): upgrade, or name another store"
        )
    for number in sorted(set(known) - applied):
        name, sql = known[number]
        connection.execute("BEGIN")
        connection.execute(sql)
        connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", [number, name])
        connection.execute("COMMIT")


def migrations() -> dict[int, tuple[str, str]]:
    """Return name and SQL of every migration, by number."""
    folder = files("agent.store.migrations")
    found = [item for item in folder.iterdir() if item.name.endswith(".sql")]
    return {int(item.name[:4]): (item.name, item.read_text("utf-8")) for item in found}


def _key(record: LogRecord) -> str:
    """Return 128 bits of (source, id), so that "ab"+"c" and "a"+"bc" differ."""
    text = f"{len(record.source)}:{record.source}{record.id}"
    return str(uuid.UUID(bytes=hashlib.blake2b(text.encode(), digest_size=16).digest()))


def _naive(moment: datetime) -> datetime:
    """Return the moment in UTC, as the file keeps it: DuckDB's zoned type needs pytz to be read."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _table(new: list[tuple[LogRecord, str]]) -> pa.Table:
    moment = pa.timestamp("us")
    return pa.table(
        {
            "seq": pa.array([record.seq for record, _ in new], pa.int64()),
            "kind": [record.kind for record, _ in new],
            "source": [record.source for record, _ in new],
            "id": [record.id for record, _ in new],
            "event_time": pa.array([_naive(record.event_time) for record, _ in new], moment),
            "received_at": pa.array([_naive(record.received_at) for record, _ in new], moment),
            "body": [record.body for record, _ in new],
            "key": [key for _, key in new],
        }
    )
