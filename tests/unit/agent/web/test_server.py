from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.metrics import AgentMetrics
from agent.web.server import Readiness, WebServer
from schemas.errors import Unavailable

READY = Readiness(bus_connected=True, store_open=True, replay_finished=True)


class FakeProbe:
    def __init__(self, readiness: Readiness = READY) -> None:
        self.now = readiness

    def readiness(self) -> Readiness:
        return self.now


class CountingMetrics:
    """Notes where it was rendered, and how many at a time."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.at_once = 0
        self.most_at_once = 0

    def render(self) -> bytes:
        self.threads.add(threading.get_ident())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        threading.Event().wait(0.02)
        self.at_once -= 1
        return b""


def served(
    work: Callable[[aiohttp.ClientSession, WebServer], Awaitable[None]],
    probe: FakeProbe | None = None,
    metrics: AgentMetrics | CountingMetrics | None = None,
) -> None:
    async def run() -> None:
        server = WebServer(probe or FakeProbe(), metrics or AgentMetrics("1.0"))
        async with server, aiohttp.ClientSession(server.url) as session:
            await work(session, server)

    asyncio.run(run())


def test_alive() -> None:
    async def work(session: aiohttp.ClientSession, server: WebServer) -> None:
        async with session.get("/healthz") as response:
            assert response.status == 200
            assert await response.json() == {"status": "alive"}
            assert response.headers["Server"] == "placewise"
            assert response.headers["Cache-Control"] == "no-store"
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}"

    served(work)


@pytest.mark.parametrize(
    ("readiness", "status", "missing"),
    [
        (READY, 200, []),
        (Readiness(False, True, True), 503, ["bus_connected"]),
        (Readiness(True, False, True), 503, ["store_open"]),
        (Readiness(True, True, False), 503, ["replay_finished"]),
        (
            Readiness(False, False, False),
            503,
            ["bus_connected", "store_open", "replay_finished"],
        ),
    ],
)
def test_ready(readiness: Readiness, status: int, missing: list[str]) -> None:
    async def work(session: aiohttp.ClientSession, _: WebServer) -> None:
        async with session.get("/readyz") as response:
            assert response.status == status
            body = await response.json()
        assert body["ready"] is (not missing)
        assert body["missing"] == missing
        assert body["checks"]["bus_connected"] is readiness.bus_connected

    served(work, FakeProbe(readiness))


def test_readiness_is_asked_each_time() -> None:
    probe = FakeProbe()

    async def work(session: aiohttp.ClientSession, _: WebServer) -> None:
        async with session.get("/readyz") as response:
            assert response.status == 200
        probe.now = Readiness(False, True, True)
        async with session.get("/readyz") as response:
            assert response.status == 503

    served(work, probe)


def test_metrics() -> None:
    async def work(session: aiohttp.ClientSession, _: WebServer) -> None:
        async with session.get("/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            families = list(text_string_to_metric_families(await response.text()))
        assert "placewise_request_seconds" in {family.name for family in families}

    served(work)


def test_metrics_are_rendered_off_the_loop_one_at_a_time() -> None:
    metrics = CountingMetrics()

    async def work(session: aiohttp.ClientSession, _: WebServer) -> None:
        async def scrape() -> None:
            async with session.get("/metrics") as response:
                assert response.status == 200

        await asyncio.gather(*(scrape() for _ in range(8)))

    served(work, metrics=metrics)
    assert threading.get_ident() not in metrics.threads
    assert metrics.most_at_once == 1


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/healthz", 405)]
)
def test_what_is_not_served(method: str, path: str, status: int) -> None:
    async def work(session: aiohttp.ClientSession, _: WebServer) -> None:
        async with session.request(method, path) as response:
            assert response.status == status

    served(work)


def test_port_taken_is_said() -> None:
    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            server = WebServer(FakeProbe(), AgentMetrics(), port=port)
            with pytest.raises(Unavailable, match="http_port"):
                await server.start()
            await server.stop()

    asyncio.run(run())


def test_stops_and_starts_again() -> None:
    async def run() -> None:
        server = WebServer(FakeProbe(), AgentMetrics())
        await server.start()
        port = server.port
        await server.stop()
        await server.stop()
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection("127.0.0.1", port)
        await server.start()
        assert server.port == port
        await server.stop()

    asyncio.run(run())


def test_ipv6_address_is_bracketed() -> None:
    assert WebServer(FakeProbe(), AgentMetrics(), host="::1", port=80).url == "http://[::1]:80"
