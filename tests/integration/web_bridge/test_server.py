"""The bridge on a real websocket: who is let in, what ends a connection, what a pool survives."""

from __future__ import annotations

import asyncio
import json
import random
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from schemas.browser import Go
from tests.support.tabs import MODEL, OTHER, PythonTab, honest, lap
from web_bridge.job import Done, GivenUp, Job, Round, Seat
from web_bridge.pool import PoolConfig
from web_bridge.protocol import CloseCode
from web_bridge.server import Bridge, BridgeConfig, open_bridge

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-some-length"
ORIGIN = "http://127.0.0.1:8710"


@asynccontextmanager
async def bridge(**config: Any) -> AsyncIterator[Bridge]:
    async with open_bridge(BridgeConfig(**config)) as opened:
        yield opened


def single(job_id: str, **changes: Any) -> Job:
    return Job(job_id, (Seat((MODEL,)),), (Round({0: (0, 0, 0)}),), **changes)


async def closed(tab: PythonTab, seconds: float = 5.0) -> tuple[int, str]:
    """Return code and reason with which a tab's connection was closed."""
    assert tab.socket is not None
    async with asyncio.timeout(seconds):
        await tab.socket.wait_closed()
    return tab.socket.close_code or 0, tab.socket.close_reason or ""


def test_a_job_is_done_over_a_real_websocket() -> None:
    async def main() -> Done | GivenUp:
        async with bridge(token=TOKEN, origins=[ORIGIN]) as pool:
            async with PythonTab(pool.port, token=TOKEN, origin=ORIGIN):
                return await pool.run(single("job"))

    result = asyncio.run(main())
    assert isinstance(result, Done)
    spans = result.seats[0].laps[0].spans
    assert [span.model for span in spans] == [0, 0, 0]


@pytest.mark.parametrize("token", [None, "wrong", "", TOKEN + "x", TOKEN[:-1]])
def test_a_wrong_token_is_answered_401(token: str | None) -> None:
    async def main() -> int:
        async with bridge(token=TOKEN) as pool:
            tab = PythonTab(pool.port, token=token)
            with pytest.raises(InvalidStatus) as refused:
                await tab.open()
            assert pool.refused == {"token": 1, "origin": 0}
            assert not pool.pool.tabs
            return refused.value.response.status_code

    assert asyncio.run(main()) == 401


@pytest.mark.parametrize("origin", [None, "http://evil.example", "http://127.0.0.1:8711", "null"])
def test_a_page_of_another_origin_is_answered_403(origin: str | None) -> None:
    async def main() -> int:
        async with bridge(token=TOKEN, origins=[ORIGIN]) as pool:
            tab = PythonTab(pool.port, token=TOKEN, origin=origin)
            with pytest.raises(InvalidStatus) as refused:
                await tab.open()
            assert pool.refused == {"token": 0, "origin": 1}
            return refused.value.response.status_code

    assert asyncio.run(main()) == 403


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("{", 4400, "not an object"),
        ('{"type": "beat", "more": 1}', 4400, "more"),
        (b"\x00", 4400, "binary"),
        (json.dumps({"type": "beat", "padding": "x" * 70_000}), 1009, ""),
        (
            lap(Go(job="another", attempt=1, lap=0, order=[0])).model_dump_json(),
            4403,
            "not its own",
        ),
    ],
    ids=["no JSON", "unknown field", "binary", "too large", "another's job"],
)
def test_a_tab_that_misbehaves_is_closed_and_the_others_go_on(
    words: str | bytes, code: int, said: str
) -> None:
    async def main() -> tuple[int, str]:
        async with bridge(max_message_bytes=65_536) as pool:
            async with PythonTab(pool.port) as good, PythonTab(pool.port) as bad:
                assert await pool.until(lambda now: len(now.tabs) == 2, 30)
                await bad.say(words)
                ended = await closed(bad)
                assert await pool.until(lambda now: list(now.tabs) == [good.id], 30)
                assert isinstance(await pool.run(single("job")), Done)
                return ended

    ended = asyncio.run(main())
    assert ended[0] == code
    assert said in ended[1]


def test_a_tab_that_reads_slowly_is_dropped_and_holds_nobody_up() -> None:
    async def main() -> None:
        async with bridge(outbound_messages=8, write_bytes=1_024) as pool:
            async with PythonTab(pool.port) as good:
                slow = PythonTab(pool.port, tab="slow-tab-1", browser="slow")
                await slow.open()
                assert await pool.until(lambda now: len(now.tabs) == 2, 30)
                assert slow.socket is not None
                slow.socket.transport.pause_reading()
                # Jobs for the slow tab alone, each with much to read, taken back at once.
                big = MODEL.model_copy(update={"name": "m" * 250})
                seat = Seat((big,) * 16, lambda one, _: one.browser == "slow")
                for number in range(3_000):
                    job = Job(f"big-{number}", (seat,), (Round({0: (0,)}),))
                    asked = asyncio.create_task(pool.run(job))
                    await asyncio.sleep(0)
                    asked.cancel()
                    if "slow-tab-1" not in pool.pool.tabs:
                        break
                assert await pool.until(lambda now: list(now.tabs) == [good.id], 30)
                assert number < 2_999
                assert isinstance(await pool.run(single("job")), Done)
                await slow.die()

    asyncio.run(main())


def test_the_same_tab_connected_twice_is_one_tab() -> None:
    async def main() -> tuple[int, str]:
        async with bridge() as pool, PythonTab(pool.port, tab="twice-0001") as first:
            assert await pool.until(lambda now: len(now.tabs) == 1, 30)
            async with PythonTab(pool.port, tab="twice-0001"):
                ended = await closed(first)
                assert isinstance(await pool.run(single("job")), Done)
                assert len(pool.pool.tabs) == 1
            return ended

    assert asyncio.run(main())[0] == 4409


def test_a_job_given_to_a_tab_that_dies_is_done_by_the_next() -> None:
    async def main() -> Done | GivenUp:
        async with bridge() as pool:

            async def mortal(tab: PythonTab, message: Any) -> Any:
                if isinstance(message, Go):
                    assert tab.socket is not None
                    tab.socket.transport.abort()
                    return None
                return await honest(tab, message)

            async with PythonTab(pool.port, answers=mortal):
                assert await pool.until(lambda now: bool(now.tabs), 30)
                running = asyncio.create_task(pool.run(single("job")))
                assert await pool.until(lambda now: not now.tabs, 30)
                async with PythonTab(pool.port):
                    return await running

    result = asyncio.run(main())
    assert isinstance(result, Done)
    assert result.attempt == 2
    assert "lost" in result.setbacks[0]


def test_a_job_nobody_waits_for_any_more_is_taken_back() -> None:
    async def main() -> None:
        async with bridge() as pool:
            async with PythonTab(pool.port, answers=lambda *_: None) as silent:
                assert await pool.until(lambda now: bool(now.tabs), 30)
                running = asyncio.create_task(pool.run(single("job")))
                assert await pool.until(lambda now: now.running == 1, 30)
                while len(silent.heard) < 2:
                    await asyncio.sleep(0.01)
                running.cancel()
                assert await pool.until(lambda now: now.running == 0, 30)
                assert [one.type for one in silent.heard][:2] == ["welcome", "prepare"]

    asyncio.run(main())


def test_what_a_replaced_connection_still_says_is_not_heard() -> None:
    """It is on its way when the tab connects anew, and would be taken for the new one's."""
    rounds = 20
    not_its_own = lap(Go(job="another", attempt=1, lap=0, order=[0]))

    async def main() -> None:
        async with bridge() as pool:
            tabs = [PythonTab(pool.port, tab="one-and-the-same") for _ in range(rounds)]
            await tabs[0].open()
            assert await pool.until(lambda now: bool(now.tabs), 30)
            for old, new in pairwise(tabs):
                before = pool.pool.tabs[new.id]
                await new.open()
                for _ in range(5):
                    await old.say(not_its_own)
                assert (await closed(old))[0] == CloseCode.REPLACED
                assert await pool.until(lambda now: now.tabs.get(new.id) is not before, 30)  # noqa: B023
                assert pool._fault is None
            assert isinstance(await pool.run(single("job")), Done)
            assert list(pool.pool.tabs) == [tabs[-1].id]
            assert tabs[-1].jobs == 1
            for tab in tabs:
                await tab.die()

    asyncio.run(main())


def test_two_tabs_run_at_the_same_time() -> None:
    async def main() -> Done | GivenUp:
        async with bridge() as pool, PythonTab(pool.port), PythonTab(pool.port):
            seats = (Seat((MODEL,)), Seat((OTHER,)))
            return await pool.run(Job("pair", seats, (Round({0: (0,), 1: (0,)}),) * 3))

    result = asyncio.run(main())
    assert isinstance(result, Done)
    assert len({seat.tab for seat in result.seats}) == 2


def test_four_tabs_killed_at_random_lose_no_job_and_do_none_twice() -> None:
    """The protocol alone, with many more kills than real browsers allow in a test."""
    jobs, chance = 200, random.Random(5)

    async def main() -> list[Done | GivenUp]:
        config = PoolConfig(max_offences=1_000)
        async with bridge(pool=config) as pool:
            over = asyncio.Event()

            async def live_and_die() -> None:
                while not over.is_set():
                    async with PythonTab(pool.port):
                        with suppress(TimeoutError):
                            await asyncio.wait_for(over.wait(), chance.uniform(0.05, 0.4))

            lives = [asyncio.create_task(live_and_die()) for _ in range(4)]
            results = await asyncio.gather(
                *(pool.run(single(f"job-{n}", max_attempts=100)) for n in range(jobs))
            )
            over.set()
            await asyncio.gather(*lives)
            assert pool.pool.counts.attempts_void > 0, "nobody was killed at work"
            return results

    results = asyncio.run(main())
    assert Counter(one.job.id for one in results) == {f"job-{n}": 1 for n in range(jobs)}
    assert all(isinstance(one, Done) for one in results)


def test_a_thousand_connections_are_held() -> None:
    tabs = 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * tabs + 200
    if hard < wanted:
        pytest.skip(f"at most {hard} open files are allowed here, {wanted} are needed")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    async def main() -> tuple[float, float]:
        async with bridge(pool=PoolConfig(asleep_seconds=60.0)) as pool:
            before = _resident_mb()
            held = [PythonTab(pool.port) for _ in range(tabs)]
            for start in range(0, tabs, 50):
                await asyncio.gather(*(tab.open() for tab in held[start : start + 50]))
            assert await pool.until(lambda now: len(now.tabs) == tabs, 30)
            after = _resident_mb()
            results = await asyncio.gather(*(pool.run(single(f"job-{n}")) for n in range(tabs)))
            assert all(isinstance(one, Done) for one in results)
            assert max(tab.jobs for tab in held) == 1, "each tab does its part"
            await asyncio.gather(*(tab.die() for tab in held))
            assert await pool.until(lambda now: not now.tabs, 30)
            assert pool.connections == 0
            return before, after

    before, after = asyncio.run(main())
    print(
        f"\n{tabs} tabs connected: {after - before:.0f} MB for both ends, "
        f"{(after - before) / tabs * 1_000:.0f} kB each"
    )
    assert after - before < 200


def test_a_connection_that_is_closed_while_it_says_hello_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with bridge() as pool:
            for _ in range(20):
                tab = PythonTab(pool.port)
                await tab.open()
                await tab.die()
            assert await pool.until(lambda now: not now.tabs, 30)
            assert isinstance(pool, Bridge)
            for _ in range(50):
                if not pool.connections:
                    break
                await asyncio.sleep(0.05)
            assert pool.connections == 0

    asyncio.run(main())


def test_a_bridge_that_closes_lets_its_tabs_go() -> None:
    async def main() -> tuple[int, str]:
        async with bridge() as pool:
            tab = PythonTab(pool.port)
            await tab.open()
            assert await pool.until(lambda now: bool(now.tabs), 30)
        return await closed(tab)

    assert asyncio.run(main())[0] == 1001


def test_an_address_that_is_taken_is_said_so() -> None:
    from schemas.errors import Unavailable

    async def main() -> None:
        async with bridge() as pool:
            with pytest.raises(Unavailable, match="browser_port"):
                async with bridge(port=pool.port):
                    pass

    asyncio.run(main())


def _resident_mb() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6
