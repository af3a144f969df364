"""The store on DuckDB: one file, one thread that writes, one that reads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from agent.store.known import KnownDigests, digest_of, halves_of
from agent.store.migrations import migrate, shipped
from agent.store.port import GroupRow, LogRecord, Snapshot
from agent.store.validations import query, rows_of, table_of
from schemas.errors import BadInput, Corrupt, StoreUnavailable
from schemas.published import Validation
from schemas.validation import ValidationQuestion

STORAGE_VERSION = "v1.5.0"
"""What DuckDB 1.5 can still read; a file of a newer format would lock its users in."""

MEMORY_LIMIT = "512MB"
"""What DuckDB may cache and sort in. By itself it would take most of the machine's memory."""

THREADS = 1
"""Threads of DuckDB itself. A micro-batch on two threads took half as much processor time again
and was no faster; and whoever runs an agent has better use for the processors."""

IN_MEMORY = ":memory:"

_READS = frozenset({"SELECT", "EXPLAIN"})
_HOLDER = re.compile(r"\(PID (\d+)\)")

T = TypeVar("T")


class DuckStore:
    """The event log in a DuckDB file.

    Made by `open`; you must `close` it. All work is done in the store's own two threads, so
    that the event loop never waits for a disk, and nobody who reads holds up a commit.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._closed = False
        # Each connection belongs to one thread; set once by `_open`, in the writer's.
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="placewise-store-writer")
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="placewise-store-reader")
        self._writer: duckdb.DuckDBPyConnection | None = None
        self._reader: duckdb.DuckDBPyConnection | None = None
        # Owned by the writer's thread; the loop only reads the number.
        self._last_seq = 0
        self._known: KnownDigests

    @classmethod
    async def open(cls, path: Path | str) -> Self:
        """Open the store at `path`, making or migrating it where needed; `:memory:` works.

        Raises:
            StoreUnavailable: the file can't be opened, is held by another process, is no store,
                or was written by a newer Placewise. The file is unchanged.
        """
        store = cls(path)
        try:
            await store._on(store._writes, store._open)
        except BaseException:  # a cancelled caller leaves the thread opening: it closes again after
            store._closed = True
            store._writes.submit(store._release)
            store._shut_down()
            raise
        return store

    async def append(self, records: Sequence[LogRecord]) -> list[LogRecord | None]:
        """Commit records in one transaction; see the port."""
        return await self._on(self._writes, self._append, list(records))

    async def replay(
        self, after_seq: int = 0, batch: int = 1_000
    ) -> AsyncIterator[list[LogRecord]]:
        """Yield the log in batches; see the port."""
        end = await self.last_seq()
        for start in range(after_seq, end, batch):
            yield await self._on(self._reads, self._read, start, min(start + batch, end))

    async def last_seq(self) -> int:
        """Return the newest `seq`, 0 for an empty log."""
        self._require_open()
        return self._last_seq

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot instead of earlier ones, in one transaction."""
        await self._on(self._writes, self._save_snapshot, snapshot)

    async def load_snapshot(self) -> Snapshot | None:
        """Return the kept snapshot, if any."""
        return await self._on(self._reads, self._load_snapshot)

    async def note(self, validations: Sequence[Validation], through_seq: int) -> None:
        """Keep what records up to one validated; see the port."""
        await self._on(self._writes, self._note, list(validations), through_seq)

    async def noted_through(self) -> int:
        """Return up to which record validations are kept."""
        return await self._on(self._reads, self._noted_through)

    async def validated(self, question: ValidationQuestion, now: datetime) -> list[GroupRow]:
        """Return what is kept of each group; see the port."""
        return await self._on(self._reads, self._validated, *query(question, now))

    async def query(
        self, sql: str, parameters: Sequence[object] = ()
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return column names and rows of one question to the log and its views.

        For people at a terminal: it changes nothing in the store, but reads whatever file
        this process may read, so no text from a network belongs here.

        Raises:
            BadInput: it is no question that DuckDB understands, or more than a question.
            StoreUnavailable: the store can't be read.
        """
        return await self._on(self._reads, self._query, sql, list(parameters))

    async def close(self) -> None:
        """Finish what was asked for, flush, and release the file. Twice is fine.

        Raises:
            StoreUnavailable: flushing failed. What was committed is safe in the log beside the
                file, and is taken up when the store is opened again.
        """
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._closed = True
        try:
            # What the reader was asked for comes first; then what the writer was.
            await loop.run_in_executor(self._reads, _nothing)
            await loop.run_in_executor(self._writes, self._release)
        except duckdb.Error as error:
            raise StoreUnavailable(f"{self._path} could not be flushed: {error}") from error
        finally:
            self._shut_down()

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        self._require_open()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(thread, work, *arguments)
        except duckdb.Error as error:
            raise StoreUnavailable(f"{self._path}: the store failed: {error}") from error

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._path}: the store is closed")

    def _shut_down(self) -> None:
        # Not waited for: the threads end by themselves when their last work is done.
        self._reads.shutdown(wait=False)
        self._writes.shutdown(wait=False)

    # The rest runs in the writer's thread, down to `_read`.

    def _open(self) -> None:
        self._writer = _connect(self._path)
        try:
            migrate(self._writer, self._path, shipped())
            self._learn_what_is_known(self._writer)
            self._reader = self._writer.cursor()
            self._reader.execute("USE store")
        except duckdb.Error as error:
            self._release()
            raise StoreUnavailable(f"{self._path} can't be used as a store: {error}") from error
        except BaseException:
            self._release()
            raise

    def _learn_what_is_known(self, connection: duckdb.DuckDBPyConnection) -> None:
        columns = connection.execute("SELECT digest_high, digest_low FROM log").fetchnumpy()
        self._known = KnownDigests(columns["digest_high"], columns["digest_low"])
        newest = connection.execute("SELECT coalesce(max(seq), 0) FROM log").fetchall()
        self._last_seq = newest[0][0]
        if self._last_seq != len(self._known):
            raise Corrupt(
                f"{self._path}: the log ends at {self._last_seq} and holds {len(self._known)} "
                "records: some are missing"
            )

    def _release(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()

    def _append(self, records: list[LogRecord]) -> list[LogRecord | None]:
        digests = [digest_of(record) for record in records]
        results: list[LogRecord | None] = []
        new: list[LogRecord] = []
        new_digests: dict[bytes, None] = {}
        for record, digest, known in zip(records, digests, self._known.which(digests), strict=True):
            if known or digest in new_digests:
                results.append(None)
                continue
            new_digests[digest] = None
            new.append(_kept(record, self._last_seq + len(new) + 1))
            results.append(new[-1])
        if new:
            assert self._writer is not None
            # One statement is one transaction: all of them, or none.
            self._writer.from_arrow(_table(new, list(new_digests))).insert_into("log")
            self._known.add(list(new_digests))
            self._last_seq += len(new)
        return results

    def _save_snapshot(self, snapshot: Snapshot) -> None:
        assert self._writer is not None
        self._writer.execute("BEGIN")
        try:
            self._writer.execute("DELETE FROM snapshot")
            self._writer.execute("DELETE FROM snapshot_part")
            self._writer.execute(
                "INSERT INTO snapshot VALUES (?, ?)", [snapshot.seq, snapshot.stamp]
            )
            # One by one: while DuckDB takes a value over, Python's other threads stand still.
            for part in enumerate(snapshot.parts):
                self._writer.execute("INSERT INTO snapshot_part VALUES (?, ?)", part)
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    def _note(self, validations: list[Validation], through_seq: int) -> None:
        assert self._writer is not None
        (noted,) = self._writer.execute("SELECT through_seq FROM validated").fetchall()[0]
        if through_seq <= noted:
            return
        new = [one for one in validations if one.seq > noted]
        self._writer.execute("BEGIN")
        try:
            if new:
                self._writer.from_arrow(table_of(new)).insert_into("validations")
            self._writer.execute("UPDATE validated SET through_seq = ?", [through_seq])
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")

    # The rest runs in the reader's thread.

    def _noted_through(self) -> int:
        assert self._reader is not None
        (noted,) = self._reader.execute("SELECT through_seq FROM validated").fetchall()[0]
        return int(noted)

    def _validated(self, sql: str, parameters: list[Any]) -> list[GroupRow]:
        assert self._reader is not None
        return rows_of(self._reader.execute(sql, parameters).fetchall())

    def _read(self, after_seq: int, last_seq: int) -> list[LogRecord]:
        assert self._reader is not None
        rows = self._reader.execute(
            "SELECT kind, source, id, event_time, received_at, body, seq FROM log "
            "WHERE seq > ? AND seq <= ? ORDER BY seq",
            [after_seq, last_seq],
        ).fetchall()
        if len(rows) != last_seq - after_seq:
            raise Corrupt(
                f"{self._path}: {len(rows)} records in the log from {after_seq + 1} to {last_seq}, "
                f"where there should be {last_seq - after_seq}"
            )
        return [
            LogRecord(kind, source, id_, _aware(at), _aware(received_at), body, seq)
            for kind, source, id_, at, received_at, body, seq in rows
        ]

    def _load_snapshot(self) -> Snapshot | None:
        assert self._reader is not None
        # One statement sees one state, whatever is written meanwhile.
        rows = self._reader.execute(
            "SELECT seq, stamp, payload FROM snapshot LEFT JOIN snapshot_part ON true "
            "ORDER BY number"
        ).fetchall()
        if not rows:
            return None
        seq, stamp, _ = rows[0]
        return Snapshot(seq, stamp, tuple(part for _, _, part in rows if part is not None))

    def _query(self, sql: str, parameters: list[object]) -> tuple[list[str], list[tuple[Any, ...]]]:
        assert self._reader is not None
        try:
            statements = duckdb.extract_statements(sql)
            if len(statements) != 1 or statements[0].type.name not in _READS:
                raise BadInput.of_field("sql", "more than a question", "one SELECT")
            self._reader.execute("BEGIN TRANSACTION READ ONLY")
            try:
                self._reader.execute(sql, parameters)
                columns = [column[0] for column in self._reader.description or ()]
                return columns, self._reader.fetchall()
            finally:
                self._reader.execute("ROLLBACK")
        except (duckdb.IOException, duckdb.InternalException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            raise BadInput.of_field("sql", str(error), "a question in DuckDB's SQL") from error


def _connect(path: str) -> duckdb.DuckDBPyConnection:
    """Return a connection whose current database is the store."""
    in_memory = path == IN_MEMORY
    # Absolute, so that no name is taken for an address ("md:…", "postgres:…").
    where = path if in_memory else str(Path(path).absolute())
    if not in_memory:
        try:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"can't make the folder of {path}: {error.strerror}") from error
    connection = duckdb.connect(
        config={
            "threads": THREADS,
            "memory_limit": MEMORY_LIMIT,
            # What does not fit goes beside the store; by default it would go where we stand.
            "temp_directory": "" if in_memory else f"{where}.tmp",
            # Never fetched from the network: what is needed is built in.
            "autoinstall_known_extensions": False,
        }
    )
    # The type is said: a file called .csv would be read as a table, and written nowhere.
    options = "" if in_memory else f" (TYPE duckdb, STORAGE_VERSION '{STORAGE_VERSION}')"
    try:
        connection.execute(f"ATTACH {_quoted(where)} AS store{options}")
        connection.execute("USE store")
    except duckdb.Error as error:
        connection.close()
        raise StoreUnavailable(_why(path, str(error))) from error
    return connection


def _why(path: str, message: str) -> str:
    """Say why a file can't be opened, in a person's words where the reason is known."""
    if holder := _HOLDER.search(message):
        return f"{path} is in use by another process (pid {holder[1]}): one agent holds it alone"
    # Not just "lock": a corrupt file's message names a block.
    if "Could not set lock" in message:
        return f"{path} is in use by another process: one agent holds it alone ({message})"
    if "Unique file handle conflict" in message:
        return f"{path} is open in this process already"
    if Path(path).is_dir():
        return f"{path} is a folder: name a file in it"
    return f"{path} can't be opened as a store: {message}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _nothing() -> None:
    """Do nothing, after everything that was asked for before."""


def _kept(record: LogRecord, seq: int) -> LogRecord:
    """Return the record as a replay will give it."""
    return replace(
        record,
        event_time=record.event_time.astimezone(UTC),
        received_at=record.received_at.astimezone(UTC),
        seq=seq,
    )


def _aware(moment: datetime) -> datetime:
    # The file keeps times in UTC without a zone: DuckDB's zoned type needs pytz to be read.
    return moment.replace(tzinfo=UTC)


def _table(new: Sequence[LogRecord], digests: Sequence[bytes]) -> pa.Table:
    """Return records as a table of the log's columns, in their order."""
    high, low = halves_of(digests)
    moment = pa.timestamp("us")
    naive = [
        (record.event_time.replace(tzinfo=None), record.received_at.replace(tzinfo=None))
        for record in new
    ]
    return pa.table(
        {
            "seq": pa.array([record.seq for record in new], pa.int64()),
            "kind": pa.array([record.kind for record in new], pa.string()),
            "source": pa.array([record.source for record in new], pa.string()),
            "id": pa.array([record.id for record in new], pa.string()),
            "event_time": pa.array([at for at, _ in naive], moment),
            "received_at": pa.array([at for _, at in naive], moment),
            "body": pa.array([record.body for record in new], pa.string()),
            "digest_high": pa.array(high),
            "digest_low": pa.array(low),
        }
    )
