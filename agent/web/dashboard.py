"""The dashboard: a page that shows how the agent is, what it says, and how right it is.

It only looks. What it shows are the answers to requests that change nothing, and everything that
the agent says of itself, as a stream of server-sent events.

Source: the HTML standard on server-sent events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from aiohttp import web

from agent.feed import Feed
from schemas.errors import ErrorReply, PlacewiseError, Unavailable, UnknownRequest
from schemas.topics import RequestKind

PAGE = Path(__file__).parent / "page"
CHARTS = PAGE / "vendor/echarts.esm.min.mjs"

ASKED: tuple[RequestKind, ...] = ("status", "models", "quarantine", "browsers")
"""What can be asked: requests that need no body, and change nothing."""

WATCHERS = 32
RETRY_MS = 2_000

_FILES = {
    "dashboard.js": "text/javascript",
    "charts.js": "text/javascript",
    "tables.js": "text/javascript",
    "style.css": "text/css",
    "vendor/echarts.esm.min.mjs": "text/javascript",
}
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


class Agent(Protocol):
    """Who is shown."""

    @property
    def feed(self) -> Feed:
        """What it says."""
        ...

    async def ask(self, kind: RequestKind) -> bytes:
        """Return its answer to a request without a body, as JSON.

        Raises:
            PlacewiseError: why there is none.
        """
        ...


class Dashboard:
    """Serves the page, and what it shows once there is an agent to show."""

    def __init__(self) -> None:
        self._agent: Agent | None = None
        self._watching = 0

    def show(self, agent: Agent) -> None:
        """Show this agent from now on."""
        self._agent = agent

    def routes(self) -> list[web.RouteDef]:
        """Return the dashboard's routes."""
        return [
            web.get("/", self._page),
            web.get("/dashboard/{name:[a-z./]+}", self._file),
            web.get("/api/stream", self._stream),
            web.get("/api/{kind:[a-z_]+}", self._answer),
        ]

    async def _page(self, _request: web.Request) -> web.FileResponse:
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
        }
        return web.FileResponse(PAGE / "index.html", headers=headers)

    async def _file(self, request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        headers = {"Content-Type": f"{_FILES[name]}; charset=utf-8", "Cache-Control": "no-cache"}
        return web.FileResponse(PAGE / name, headers=headers)

    async def _answer(self, request: web.Request) -> web.Response:
        kind = next((one for one in ASKED if one == request.match_info["kind"]), None)
        if kind is None:
            return _refused(UnknownRequest(f"what can be asked: {', '.join(ASKED)}"), 404)
        if self._agent is None:
            return _refused(Unavailable("the agent is still starting"), 503)
        try:
            answer = await self._agent.ask(kind)
        except PlacewiseError as error:
            return _refused(error, 503)
        return web.Response(body=answer, content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self._agent is None:
            return _refused(Unavailable("the agent is still starting"), 503)
        if self._watching >= WATCHERS:
            return _refused(Unavailable(f"{WATCHERS} watch already"), 503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._watching += 1
        try:
            with self._agent.feed.watch() as queue:
                await response.prepare(request)
                await response.write(f"retry: {RETRY_MS}\n\n".encode())
                while (said := await queue.get()) is not None:
                    channel, message = said
                    await response.write(b"event: %b\ndata: %b\n\n" % (channel.encode(), message))
        except ConnectionResetError:
            pass  # the watcher has gone: nobody is left to tell
        finally:
            self._watching -= 1
        return response


def _refused(error: PlacewiseError, status: int) -> web.Response:
    text = ErrorReply(error=error.body()).model_dump_json()
    return web.Response(text=text, status=status, content_type="application/json")
