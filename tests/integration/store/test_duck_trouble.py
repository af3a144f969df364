"""The DuckDB store when its disk is full, its caller gone, or it is closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.store.duck import DuckStore
from agent.store.port import LogRecord, Snapshot
from schemas.errors import StoreUnavailable

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[3]

FILLS_THE_DISK = """
import asyncio, resource, signal, sys
from datetime import UTC, datetime
from agent.store.duck import DuckStore
from agent.store.port import LogRecord
from schemas.errors import StoreUnavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)

async def main():
    store = await DuckStore.open(sys.argv[1])
    # A write beyond the limit fails, as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    number = 0
    try:
        while number < 100_000:
            ids = range(number, number + 50)
            body = '"' + "x" * 500 + '"'
            await store.append([LogRecord("benchmark", "s", str(i), NOW, NOW, body) for i in ids])
            number += 50
    except StoreUnavailable as error:
        print(number, type(error).__name__, flush=True)

asyncio.run(main())
"""


def record(number: int) -> LogRecord:
    return LogRecord("benchmark", "s", str(number), NOW, NOW, "{}")


def test_a_full_disk_is_told_and_takes_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    filling = subprocess.run(
        [sys.executable, "-c", FILLS_THE_DISK, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=50,
        check=False,
    )
    promised, error = filling.stdout.split()
    assert error == "StoreUnavailable"
    assert int(promised) > 0

    async def ids() -> list[str]:
        store = await DuckStore.open(path)
        try:
            return [one.id async for some in store.replay() for one in some]
        finally:
            await store.close()

    assert asyncio.run(ids()) == [str(number) for number in range(int(promised))]


def test_a_closed_store_takes_no_more_calls(tmp_path: Path) -> None:
    async def main() -> None:
        store = await DuckStore.open(tmp_path / "log.duckdb")
        await store.close()
        for call in (
            store.append([record(1)]),
            anext(store.replay()),
            store.last_seq(),
            store.save_snapshot(Snapshot(0, "", ())),
            store.load_snapshot(),
            store.query("SELECT 1"),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call

    asyncio.run(main())


def test_closing_waits_for_what_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "log.duckdb"
        store = await DuckStore.open(path)
        async with asyncio.TaskGroup() as tasks:
            appends = [tasks.create_task(store.append([record(n)])) for n in range(20)]
            await asyncio.sleep(0)
            await store.close()
        assert [append.result()[0] is not None for append in appends] == [True] * 20
        again = await DuckStore.open(path)
        assert await again.last_seq() == 20
        await again.close()

    asyncio.run(main())


def test_an_opening_that_is_cancelled_leaves_the_file_free(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "log.duckdb"
        opening = asyncio.create_task(DuckStore.open(path))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with asyncio.timeout(30):
            while any(
                thread.name.startswith("placewise-store") for thread in threading.enumerate()
            ):
                await asyncio.sleep(0.01)
        store = await DuckStore.open(path)
        await store.close()

    asyncio.run(main())


def test_an_append_that_is_cancelled_is_whole_or_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        store = await DuckStore.open(tmp_path / "log.duckdb")
        appending = asyncio.create_task(store.append([record(1), record(2)]))
        await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        (three,) = await store.append([record(3)])
        log = [one.id async for some in store.replay() for one in some]
        assert three is not None
        assert log in (["1", "2", "3"], ["3"])
        assert three.seq == len(log)
        await store.close()

    asyncio.run(main())


def test_a_failed_opening_leaves_no_thread(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(StoreUnavailable):
            await DuckStore.open(tmp_path)
        async with asyncio.timeout(30):
            while any(
                thread.name.startswith("placewise-store") for thread in threading.enumerate()
            ):
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_whoever_reads_holds_up_no_commit(tmp_path: Path) -> None:
    async def main() -> None:
        store = await DuckStore.open(tmp_path / "log.duckdb")
        answered = threading.Event()
        store._reads.submit(answered.wait, 30)  # a question that takes its time
        async with asyncio.timeout(30):
            await store.append([record(1)])
        assert not answered.is_set()
        answered.set()
        assert (await store.query("SELECT count(*) FROM log"))[1] == [(1,)]
        await store.close()

    asyncio.run(main())
