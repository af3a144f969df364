"""Tabs of a real browser that die, hang, reload, lose their connection, or may not come in."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.browsers import Browser, kind
from tests.support.tabpool import TabPool, needs, tab_pool, tell_tab
from web_bridge.job import Done, Job
from web_bridge.pool import PoolConfig
from web_bridge.tab import TabState

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def _chromium() -> None:
    needs(kind("chromium"))


def busy_tab(pool: TabPool) -> str | None:
    return next(
        (tab.id for tab in pool.bridge.pool.tabs.values() if tab.state is TabState.BUSY), None
    )


async def begun(pool: TabPool, job: Job) -> tuple[asyncio.Task[object], str]:
    """Begin a job; return it and the tab that has it, once that tab runs it."""
    running: asyncio.Task[object] = asyncio.create_task(pool.bridge.run(job))
    assert await pool.bridge.until(lambda _: busy_tab(pool) is not None, 30)
    tab = busy_tab(pool)
    assert tab is not None
    return running, tab


def test_a_tab_killed_in_the_middle_of_a_job_loses_it_to_another() -> None:
    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address) as browser:
                await pool.tabs(1)
                with Browser(kind("chromium"), pool.address) as other:
                    await pool.tabs(2)
                    # Rounds enough to be killed in.
                    running, tab = await begun(pool, pool.small_job("job", runs=50, rounds=2_000))
                    busy = await asyncio.to_thread(_owner, browser, other)
                    busy.signal_group(signal.SIGKILL)
                    assert await pool.bridge.until(lambda now: tab not in now.tabs, 30)
                    assert await pool.bridge.until(lambda _: busy_tab(pool) is not None, 30)
                    assert busy_tab(pool) != tab
                    assert pool.bridge.pool.counts.attempts_void == 1
                    running.cancel()
                    with suppress(asyncio.CancelledError):
                        await running
                    # And to the end, with what is left.
                    done = await pool.bridge.run(pool.small_job("short"))
                    assert isinstance(done, Done)

    asyncio.run(main())


def _owner(*browsers: Browser) -> Browser:
    """Return the browser that is at work: whose renderers use the processor most."""

    def used(browser: Browser) -> int:
        total = 0
        for process in browser.renderers():
            with suppress(OSError), Path(f"/proc/{process}/stat").open() as stat:
                fields = stat.read().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total

    before = {id(one): used(one) for one in browsers}
    time.sleep(1.0)
    return max(browsers, key=lambda one: used(one) - before[id(one)])


def test_a_tab_that_hangs_loses_its_job_and_is_let_go() -> None:
    async def main() -> None:
        config = PoolConfig(asleep_seconds=8.0, gone_seconds=12.0)
        async with tab_pool(pool=config) as pool:
            with Browser(kind("chromium"), pool.address) as browser:
                await pool.tabs(1)
                running, tab = await begun(
                    pool, pool.small_job("job", runs=5, rounds=1_000, max_attempts=5)
                )
                for process in browser.renderers():
                    os.kill(process, signal.SIGSTOP)
                assert await pool.bridge.until(
                    lambda now: tab not in now.tabs or now.tabs[tab].state is TabState.ASLEEP, 30
                )
                with Browser(kind("chromium"), pool.address):
                    done = await running
                    assert isinstance(done, Done)
                    assert done.seats[0].tab != tab
                    assert done.attempt >= 2

    asyncio.run(main())


def test_a_page_that_is_reloaded_is_the_same_tab_and_its_job_begins_again() -> None:
    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address) as browser:
                await pool.tabs(1)
                running, tab = await begun(pool, pool.small_job("job", runs=5, rounds=250))
                (page,) = await asyncio.to_thread(browser.tabs)
                await tell_tab(browser, page["id"], "Page.reload")
                done = await running
                assert isinstance(done, Done)
                assert done.attempt == 2
                assert done.seats[0].tab == tab

    asyncio.run(main())


def test_a_tab_comes_back_when_the_network_does() -> None:
    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address) as browser:
                await pool.tabs(1)
                (tab,) = pool.bridge.pool.tabs
                (page,) = await asyncio.to_thread(browser.tabs)
                running, _ = await begun(pool, pool.small_job("job", runs=5, rounds=150))
                for connection in list(pool.bridge._open):
                    connection.socket.transport.abort()  # cut, without a word
                assert await pool.bridge.until(lambda now: not now.tabs, 30)
                done = await running
                assert isinstance(done, Done)
                assert (done.attempt, done.seats[0].tab) == (2, tab)
                shown = await tell_tab(
                    browser,
                    page["id"],
                    "Runtime.evaluate",
                    expression="document.getElementById('state').textContent",
                )
                assert "connected" in shown["result"]["value"]

    asyncio.run(main())


def test_the_page_says_why_it_may_not_come_in() -> None:
    async def main() -> None:
        async with tab_pool() as pool:
            wrong = pool.address.replace("#token=", "#token=not-")
            with Browser(kind("chromium"), wrong) as browser:
                async with asyncio.timeout(30):
                    while not pool.bridge.refused["token"]:
                        await asyncio.sleep(0.1)
                assert not pool.bridge.pool.tabs
                (page,) = await asyncio.to_thread(browser.tabs)
                async with asyncio.timeout(30):
                    while True:
                        shown = await tell_tab(
                            browser,
                            page["id"],
                            "Runtime.evaluate",
                            expression="document.getElementById('trouble').textContent",
                        )
                        if "token" in shown["result"]["value"]:
                            break
                        await asyncio.sleep(0.1)

    asyncio.run(main())


def test_a_page_of_another_origin_may_not_come_in() -> None:
    async def main() -> None:
        async with tab_pool(origins=["https://elsewhere.example"]) as pool:
            with Browser(kind("chromium"), pool.address):
                async with asyncio.timeout(30):
                    while not pool.bridge.refused["origin"]:
                        await asyncio.sleep(0.1)
                assert not pool.bridge.pool.tabs

    asyncio.run(main())


def test_two_tabs_run_two_models_at_the_same_time() -> None:
    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address) as browser:
                await pool.tabs(1)
                await asyncio.to_thread(browser.open, pool.address)
                await pool.tabs(2)
                models = ["ocr-recogniser", "silero-vad"]
                result = await pool.run(models, waves=[models])
                assert result.outcome == "ok", result.message
                first, second = (one.ran_in for one in result.models)
                assert first is not None
                assert second is not None
                assert first.tab != second.tab
                wall = result.wall_time_ms
                assert wall is not None
                alone = max(one.latency_ms.median for one in result.models)
                assert wall.median >= 0.9 * alone
                (event,) = pool.events()
                assert event["strategy"] == "parallel"
                assert {one["model"]["name"] for one in event["runs"]} == set(models)

    asyncio.run(main())


async def jobs_with_kills(count: int, tabs: int, chance: random.Random) -> tuple[list[Done], int]:
    """Run jobs in tabs that are killed at random; return the results, and how many were killed."""
    async with tab_pool() as pool:
        with Browser(kind("chromium"), pool.address) as browser:
            await pool.tabs(1)
            for _ in range(tabs - 1):
                await asyncio.to_thread(browser.open, pool.address)
            await pool.tabs(tabs)
            killed = 0

            async def kill() -> None:
                nonlocal killed
                while True:
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
                    there = await asyncio.to_thread(browser.tabs)
                    # The new one first: a browser without any tab ends.
                    await asyncio.to_thread(browser.open, pool.address)
                    await asyncio.to_thread(browser.close_tab, chance.choice(there)["id"])
                    killed += 1

            killing = asyncio.create_task(kill())
            results = await asyncio.gather(
                *(
                    pool.bridge.run(
                        pool.small_job(
                            f"job-{number}", runs=20, rounds=3, max_attempts=50, wait_seconds=300.0
                        )
                    )
                    for number in range(count)
                )
            )
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
            assert all(isinstance(one, Done) for one in results), results
            return [one for one in results if isinstance(one, Done)], killed


def test_jobs_survive_tabs_that_are_killed_at_random() -> None:
    """`make bench-browser` does the same with 200 jobs."""
    done, killed = asyncio.run(jobs_with_kills(30, 4, random.Random(7)))
    assert Counter(one.job.id for one in done) == {f"job-{n}": 1 for n in range(30)}
    assert killed > 0
    assert all(len(one.seats[0].laps) == 3 for one in done)
