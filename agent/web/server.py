"""The HTTP server: is it alive, is it ready, what are its numbers.

Loopback unless told otherwise: there is no authentication, so whoever opens it to a network
puts something in front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Protocol, Self

from aiohttp import web

from agent.metrics import CONTENT_TYPE
from schemas.errors import Unavailable

SHUTDOWN_SECONDS = 2.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Server": "placewise",  # versions of what runs here are nobody's business
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """What has to hold before the agent can do its work."""

    bus_connected: bool
    store_open: bool
    replay_finished: bool

    @property
    def missing(self) -> list[str]:
        """The names of what does not hold yet."""
        return [name for name, holds in asdict(self).items() if not holds]


class Probe(Protocol):
    """Who knows how the agent is."""

    def readiness(self) -> Readiness:
        """Return how it is now. Called on the event loop: must not block."""
        ...


class Rendered(Protocol):
    """Who has the metrics (see `agent.metrics.AgentMetrics`)."""

    def render(self) -> bytes:
        """Return Prometheus' text format. Called from a thread."""
        ...


class WebServer:
    """Serves `/healthz`, `/readyz` and `/metrics`.

    Use as an asynchronous context manager, or call `start` and, whatever happens, `stop`.

    Args:
        probe: asked on each `/readyz`.
        metrics: rendered on each `/metrics`, in a thread.
        host: an address to listen on.
        port: 0 takes any free one; see `port`.
        more: routes to serve beside (the page for browsers).
    """

    def __init__(
        self,
        probe: Probe,
        metrics: Rendered,
        host: str = "127.0.0.1",
        port: int = 0,
        more: Sequence[web.RouteDef] = (),
    ) -> None:
        self._probe = probe
        self._metrics = metrics
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._more = more
        self._rendering = asyncio.Lock()

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    @property
    def url(self) -> str:
        """The address to open, once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address can't be listened on.
        """
        runner = web.AppRunner(
            self._app(), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise Unavailable(
                f"can't serve HTTP on {self._host}:{self._port}: {error.strerror or error}; "
                "choose another with http_host and http_port"
            ) from error
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close, giving requests in flight a moment. Harmless if not started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                *self._more,
            ]
        )
        app.on_response_prepare.append(_add_headers)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        """Answer at all: that the loop turns is what being alive means."""
        return web.json_response({"status": "alive"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = self._probe.readiness()
        missing = readiness.missing
        body = {"ready": not missing, "missing": missing, "checks": asdict(readiness)}
        return web.json_response(body, status=503 if missing else 200)

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        # One at a time: eager scrapers must not take every thread from the store.
        async with self._rendering:
            text = await asyncio.to_thread(self._metrics.render)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = _HEADERS["Server"]
