"""Measurements on their way: out of files, into the log or over the bus, and the log once more.

What takes long to load is loaded here at once: in a loop it would hold up everything.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agent import wiring
from agent.bus import wiring as bus_wiring
from agent.client import connected
from agent.importing import ImportedRow, ImportSummary, event_of, import_file, read_rows
from agent.settings import Settings
from agent.verify import verify
from schemas.errors import StoreUnavailable
from schemas.topics import EVENTS_BENCHMARK

PUBLISHED_AT_ONCE = 64

err = Console(stderr=True)


async def into_log(
    settings: Settings, file: Path, mapping: dict[str, str], *, quiet: bool
) -> ImportSummary:
    """Import a file into the log of a store that is not in use."""
    store = await wiring.open_store(settings)
    try:
        with _progress(quiet) as bar:
            task = bar.add_task(file.name, total=None)

            def on_progress(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total)

            return await import_file(
                file,
                store,
                mapping=mapping,
                received_at=datetime.now(UTC),
                on_progress=on_progress,
            )
    finally:
        await store.close()


async def over_bus(
    settings: Settings, file: Path, mapping: dict[str, str], rate: float | None, limit: int | None
) -> dict[str, Any]:
    """Publish a file's measurements, at most so many, and at most so many per second."""
    started = time.perf_counter()
    published = refused = 0
    async with connected(bus_wiring.client_bus(settings)) as client:
        with _progress(quiet=False) as bar:
            task = bar.add_task(f"publishing {file.name}", total=limit)
            rows = read_rows(file, mapping)
            async with asyncio.TaskGroup() as publishing:
                gate = asyncio.Semaphore(PUBLISHED_AT_ONCE)
                while (limit is None or published < limit) and (
                    row := await asyncio.to_thread(next, rows, None)
                ) is not None:
                    if not isinstance(row, ImportedRow):
                        refused += 1
                        continue
                    if rate is not None:
                        due = started + published / rate
                        await asyncio.sleep(max(0.0, due - time.perf_counter()))
                    await gate.acquire()
                    sending = publishing.create_task(
                        client.publish_event(EVENTS_BENCHMARK, event_of(row)), name="replay-publish"
                    )
                    sending.add_done_callback(lambda _: gate.release())
                    published += 1
                    bar.update(task, completed=published)
    seconds = time.perf_counter() - started
    return {"published": published, "refused": refused, "seconds": round(seconds, 2)}


async def once_more(settings: Settings) -> dict[str, Any]:
    """Replay the log of a store into a new heart; return where its answers differ.

    Raises:
        StoreUnavailable: there is none, or it can't be opened.
    """
    if not await asyncio.to_thread(settings.store.exists):
        raise StoreUnavailable(f"there is no store at {settings.store}")
    store = await wiring.open_store(settings)
    try:
        with _progress(quiet=False) as bar:
            task = bar.add_task("replaying the log", total=None)

            def on_progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            verified = await verify(
                store, await asyncio.to_thread(wiring.heart_config, settings), on_progress
            )
    finally:
        await store.close()
    return {
        "records": verified.records,
        "answers_asked_again": verified.answers,
        "answers_that_differ": len(verified.differing),
        "first_that_differ": verified.differing[:10],
        "digest": verified.digest,
    }


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=quiet,
        transient=True,
    )
