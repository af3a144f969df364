from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from agent.feed import Feed
from agent.metrics import AgentMetrics
from agent.web.dashboard import ASKED, PAGE, WATCHERS, Dashboard
from agent.web.server import Readiness, WebServer
from schemas.errors import StoreUnavailable
from schemas.topics import RequestKind


class Ready:
    def readiness(self) -> Readiness:
        return Readiness(bus_connected=True, store_open=True, replay_finished=True)


class FakeAgent:
    def __init__(self) -> None:
        self.feed = Feed()
        self.broken = False

    async def ask(self, kind: RequestKind) -> bytes:
        if self.broken:
            raise StoreUnavailable("the disk is full")
        return f'{{"asked": "{kind}"}}'.encode()


def served(
    work: Callable[[aiohttp.ClientSession, FakeAgent], Awaitable[None]], *, started: bool = True
) -> None:
    async def run() -> None:
        dashboard, agent = Dashboard(), FakeAgent()
        if started:
            dashboard.show(agent)
        server = WebServer(Ready(), AgentMetrics("1.0"), more=dashboard.routes())
        async with server, aiohttp.ClientSession(server.url) as session:
            await work(session, agent)

    asyncio.run(run())


def test_the_page_and_its_files() -> None:
    async def work(session: aiohttp.ClientSession, _agent: FakeAgent) -> None:
        async with session.get("/") as page:
            assert "Placewise" in await page.text()
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        for name in ("dashboard.js", "charts.js", "tables.js", "style.css"):
            async with session.get(f"/dashboard/{name}") as file:
                assert await file.read() == (PAGE / name).read_bytes()

    served(work)


@pytest.mark.parametrize("name", ["nothing.js", "../dashboard.py", "%2e%2e/dashboard.py", "vendor"])
def test_no_other_file_is_served(name: str) -> None:
    async def work(session: aiohttp.ClientSession, _agent: FakeAgent) -> None:
        async with session.get(f"/dashboard/{name}") as answer:
            assert answer.status == 404

    served(work)


@pytest.mark.parametrize("kind", ASKED)
def test_it_asks_the_agent(kind: RequestKind) -> None:
    async def work(session: aiohttp.ClientSession, _agent: FakeAgent) -> None:
        async with session.get(f"/api/{kind}") as answer:
            assert await answer.json() == {"asked": kind}

    served(work)


@pytest.mark.parametrize("kind", ["update", "release", "execute", "predict", "nothing"])
def test_what_changes_something_or_needs_a_body_is_not_asked(kind: str) -> None:
    async def work(session: aiohttp.ClientSession, _agent: FakeAgent) -> None:
        async with session.get(f"/api/{kind}") as answer:
            assert answer.status == 404
            error = (await answer.json())["error"]
            assert (error["code"], "status" in error["message"]) == ("unknown_request", True)

    served(work)


def test_why_there_is_no_answer() -> None:
    async def work(session: aiohttp.ClientSession, agent: FakeAgent) -> None:
        agent.broken = True
        async with session.get("/api/status") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["message"] == "the disk is full"

    served(work)


@pytest.mark.parametrize("path", ["/api/status", "/api/stream"])
def test_before_the_agent_has_started(path: str) -> None:
    async def work(session: aiohttp.ClientSession, _agent: FakeAgent) -> None:
        async with session.get(path) as answer:
            assert answer.status == 503
            assert "still starting" in (await answer.json())["error"]["message"]

    served(work, started=False)


def test_the_stream_tells_what_was_said_what_comes_and_the_end() -> None:
    async def work(session: aiohttp.ClientSession, agent: FakeAgent) -> None:
        agent.feed.put("alerts", b'{"before": 1}')
        async with session.get("/api/stream") as stream:
            assert stream.content_type == "text/event-stream"
            assert await stream.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
            first = await stream.content.readuntil(b"\n\n")
            assert first == b'event: alerts\ndata: {"before": 1}\n\n'
            agent.feed.put("validations", b'{"after": 2}')
            then = await stream.content.readuntil(b"\n\n")
            assert then == b'event: validations\ndata: {"after": 2}\n\n'
            agent.feed.close()
            assert await stream.content.read() == b""

    served(work)


def test_watchers_are_bounded_and_make_room_when_they_go() -> None:
    async def work(session: aiohttp.ClientSession, agent: FakeAgent) -> None:
        streams = [await session.get("/api/stream") for _ in range(WATCHERS)]
        async with session.get("/api/stream") as refused:
            assert refused.status == 503
        streams.pop().close()
        async with asyncio.timeout(10):
            while True:
                agent.feed.put("alerts", b"{}")  # who has gone is only seen when written to
                async with session.get("/api/stream") as another:
                    if another.status == 200:
                        break
                await asyncio.sleep(0.01)
        agent.feed.close()
        for stream in streams:
            stream.close()

    served(work)
