"""The page for tabs, and the files that it fetches, over HTTP.

Every answer carries what cross-origin isolation asks for: without it a tab has no threads, and
its memory can't be measured.

Source: the HTML standard on cross-origin opener and embedder policies.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

import web_bridge
from agent.browsers.shelf import Shelf
from schemas.errors import Unavailable

PAGE = Path(web_bridge.__file__).parent / "browser"
PREFIX = "/tab"
SHA256 = re.compile(r"[0-9a-f]{64}")

_ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


def assets_missing() -> list[str]:
    """Return which of the page's files are not there; called once, off the event loop."""
    listed = (PAGE / "vendor.sha256").read_text(encoding="utf-8").splitlines()
    names = [line.split(maxsplit=1)[1] for line in listed if line.strip()]
    return [name for name in names if not (PAGE / name).is_file()]


def check_assets() -> None:
    """Raise where the page's parts were not put in place.

    Raises:
        Unavailable: says how to get them.
    """
    if missing := assets_missing():
        raise Unavailable(
            f"the page for browsers lacks {len(missing)} of its parts ({missing[0]}, …): run "
            "`make assets` (needs npm), or install the wheel, which brings them"
        )


def routes(shelf: Shelf, websocket: Callable[[], dict[str, object]]) -> list[web.RouteDef]:
    """Return the routes of the page.

    Args:
        shelf: what tabs may fetch by hash.
        websocket: returns where the page finds the bridge; called with each visit.
    """
    known = {
        path.relative_to(PAGE).as_posix(): path
        for path in PAGE.rglob("*")
        if path.is_file() and path.name != "vendor.sha256"
    }

    async def to_index(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{PREFIX}/")

    async def config(_request: web.Request) -> web.StreamResponse:
        return web.json_response(websocket(), headers=_ISOLATION)

    async def page(request: web.Request) -> web.StreamResponse:
        path = known.get(request.match_info["name"] or "index.html")
        if path is None:
            raise web.HTTPNotFound
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
        # Parts have their version in their content: a browser asks whether its copy is current.
        headers = {**_ISOLATION, "Content-Type": kind, "Cache-Control": "no-cache"}
        return web.FileResponse(path, headers=headers)

    async def file(request: web.Request) -> web.StreamResponse:
        sha256 = request.match_info["sha256"]
        found = shelf.find(sha256) if SHA256.fullmatch(sha256) else None
        if found is None:
            raise web.HTTPNotFound
        headers = {
            **_ISOLATION,
            "Content-Type": "application/octet-stream",
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        if isinstance(found, bytes):
            return web.Response(body=found, headers=headers)
        return web.FileResponse(found, headers=headers)

    return [
        web.get(PREFIX, to_index),
        web.get(f"{PREFIX}/config.json", config),
        web.get(f"{PREFIX}/files/{{sha256}}", file),
        web.get(f"{PREFIX}/{{name:.*}}", page),
    ]
