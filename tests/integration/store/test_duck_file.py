"""The store's file: kills, other processes, other versions, and files that are no stores."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from agent.store import duck
from agent.store.duck import DuckStore
from agent.store.migrations import Migration, migrate, shipped
from agent.store.port import LogRecord, Snapshot
from schemas.errors import Corrupt, StoreUnavailable

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
OLD_PYTHON = os.environ.get("PLACEWISE_DUCKDB_OLD")  # read now: tests run without our settings

APPENDER = """
import asyncio, sys
from datetime import UTC, datetime
from agent.store.duck import DuckStore
from agent.store.port import LogRecord, Snapshot

NOW = datetime(2026, 1, 1, tzinfo=UTC)

async def main():
    store = await DuckStore.open(sys.argv[1])
    print("open", flush=True)
    number = int(sys.argv[2])
    while True:
        # Half of every batch was sent before, as a broker does after a crash.
        ids = range(max(0, number - 16), number + 16)
        await store.append([LogRecord("benchmark", "s", str(i), NOW, NOW, "{}") for i in ids])
        number += 16
        await store.save_snapshot(Snapshot(number, "stamp", (str(number).encode(), b"more")))
        print(number, flush=True)

asyncio.run(main())
"""


def start(path: Path, begin: int = 0, python: str = sys.executable) -> subprocess.Popen[str]:
    """Start a process that appends without end, and tells after each commit what is kept."""
    process = subprocess.Popen(
        [python, "-c", APPENDER, str(path), str(begin)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def kill(process: subprocess.Popen[str]) -> str:
    """SIGKILL it; return all that it had said."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=10)
    return said


async def ids_of(path: Path) -> tuple[list[str], list[int], Snapshot | None]:
    store = await DuckStore.open(path)
    try:
        log = [one async for some in store.replay() for one in some]
        return [one.id for one in log], [one.seq for one in log], await store.load_snapshot()
    finally:
        await store.close()


def refusal(path: Path | str) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(DuckStore.open(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


def make(path: Path, count: int = 3) -> None:
    async def main() -> None:
        store = await DuckStore.open(path)
        await store.append(
            [LogRecord("benchmark", "s", str(i), NOW, NOW, "{}") for i in range(count)]
        )
        await store.close()

    asyncio.run(main())


def test_kills_lose_nothing_that_was_committed_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    promised = 0
    for wait in (1, 2, 5, 40, 3, 80):
        process = start(path, promised)
        assert process.stdout is not None
        for _ in range(wait):
            promised = int(process.stdout.readline())
        said = kill(process)
        whole = [line for line in said.splitlines(keepends=True) if line.endswith("\n")]
        promised = int(whole[-1]) if whole else promised
        ids, seqs, snapshot = asyncio.run(ids_of(path))
        # The batch that nobody was told of may be there, but then as a whole.
        assert len(ids) in {promised, promised + 16}
        assert ids == [str(number) for number in range(len(ids))]
        assert seqs == list(range(1, len(ids) + 1))
        assert snapshot is not None
        assert promised <= snapshot.seq <= len(ids)
        assert snapshot.parts == (str(snapshot.seq).encode(), b"more")


def test_a_second_process_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    process = start(path)
    try:
        assert str(process.pid) in refusal(path)
        assert "in use" in refusal(path)
    finally:
        kill(process)
    ids, _, _ = asyncio.run(ids_of(path))
    assert ids == [str(number) for number in range(len(ids))]


def test_a_second_opening_in_one_process_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = await DuckStore.open(tmp_path / "log.duckdb")
        try:
            with pytest.raises(StoreUnavailable, match="open in this process"):
                await DuckStore.open(tmp_path / "log.duckdb")
        finally:
            await store.close()

    asyncio.run(main())


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    make(path)
    with duckdb.connect(path) as connection:
        connection.execute(
            "INSERT INTO migrations VALUES (9999, '9999_later.sql', now()::TIMESTAMP)"
        )
    before = path.read_bytes()
    said = refusal(path)
    assert "newer" in said
    assert "9999" in said
    assert "upgrade" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("storage_version", "words"), [("v1.5.0", "sales"), ("latest", "storage version|sales")]
)
def test_a_duckdb_file_of_somebody_else_is_refused_and_left_as_it_is(
    tmp_path: Path, storage_version: str, words: str
) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS theirs (STORAGE_VERSION '{storage_version}')")
        connection.execute("CREATE TABLE theirs.sales (amount INTEGER)")
    before = path.read_bytes()
    assert re.search(words, refusal(path))
    assert path.read_bytes() == before


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "can't make the folder" in refusal(tmp_path / "file" / "folder" / "log.duckdb")


def test_missing_folders_are_made(tmp_path: Path) -> None:
    make(tmp_path / "a" / "b" / "log.duckdb")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"hello" * 10_000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.duckdb"
    path.write_bytes(content)
    assert "not a valid DuckDB database" in refusal(path)
    assert path.read_bytes() == content


def test_a_corrupted_file_is_not_called_locked(tmp_path: Path) -> None:
    """DuckDB's message on it names a "block": the lock has nothing to do with it."""
    path = tmp_path / "log.duckdb"
    make(path, 1_000)
    content = bytearray(path.read_bytes())
    content[4096:12_288] = b"\xff" * 8_192
    path.write_bytes(content)
    said = refusal(path)
    assert "Corrupt" in said
    assert "in use" not in said


def test_rows_missing_from_the_log_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    make(path)
    with duckdb.connect(path) as connection:
        connection.execute("DELETE FROM log WHERE seq = 2")
    with pytest.raises(Corrupt, match=r"ends at 3 and holds 2"):
        asyncio.run(DuckStore.open(path))


def test_names_with_quotes_and_colons_are_names_of_files(tmp_path: Path) -> None:
    for name in ("it's.duckdb", "md:cloud.duckdb", "ünï code.duckdb", "a'; DROP TABLE log; --"):
        make(tmp_path / name)
        assert (tmp_path / name).is_file()


def test_each_migration_is_applied_once(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    make(path)
    with duckdb.connect(path) as connection:
        first = connection.execute("SELECT * FROM migrations ORDER BY number").fetchall()
    assert [(number, name) for number, name, _ in first] == [
        (migration.number, migration.name) for migration in shipped()
    ]
    make(path)
    with duckdb.connect(path) as connection:
        assert connection.execute("SELECT * FROM migrations ORDER BY number").fetchall() == first


def test_an_older_store_gets_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    old, *newer = shipped()
    connection = duck._connect(str(path))
    assert migrate(connection, str(path), [old]) == [old.number]
    connection.close()
    connection = duck._connect(str(path))
    assert migrate(connection, str(path), shipped()) == [one.number for one in newer]
    assert migrate(connection, str(path), shipped()) == []
    connection.close()


def test_a_migration_that_fails_takes_those_before_it_back(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    broken = Migration(9, "0009_broken.sql", "CREATE TABLE half (i INTEGER); SELECT nonsense")
    connection = duck._connect(str(path))
    with pytest.raises(duckdb.Error):
        migrate(connection, str(path), [*shipped(), broken])
    assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    connection.close()
    make(path)


def test_the_numbers_of_migrations_are_unique_and_without_gaps() -> None:
    assert [one.number for one in shipped()] == list(range(1, len(shipped()) + 1))


def test_the_file_has_the_format_that_duckdb_1_5_reads(tmp_path: Path) -> None:
    """Asked of DuckDB itself, by the file alone: no option is given here."""
    path = tmp_path / "log.duckdb"
    make(path)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS store")
        tags = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'store'"
        ).fetchall()
    assert tags == [("v1.5.0+",)]


@pytest.mark.skipif(OLD_PYTHON is None, reason="PLACEWISE_DUCKDB_OLD names no python with 1.5.5")
def test_duckdb_1_5_5_reads_and_writes_the_store(tmp_path: Path) -> None:
    assert OLD_PYTHON is not None
    path = tmp_path / "log.duckdb"
    make(path, 16)
    reader = f"""
        import duckdb
        assert duckdb.__version__ == "1.5.5", duckdb.__version__
        with duckdb.connect({str(path)!r}) as connection:
            print(connection.execute("SELECT count(*), max(seq) FROM log").fetchall())
    """
    asked = subprocess.run(
        [OLD_PYTHON, "-c", textwrap.dedent(reader)], capture_output=True, text=True, check=True
    )
    assert asked.stdout == "[(16, 16)]\n"
    process = start(path, 16, OLD_PYTHON)  # our own code on the old DuckDB
    assert process.stdout is not None
    promised = int(process.stdout.readline())
    kill(process)
    ids, _, _ = asyncio.run(ids_of(path))
    assert ids == [str(number) for number in range(len(ids))]
    assert len(ids) >= promised
