"""The pool of browsers from the settings: the page, the bridge, the service on the bus."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.browsers import pages
from agent.browsers.service import BrowserService
from agent.browsers.shelf import Shelf
from agent.bus.port import Bus
from agent.settings import Settings
from schemas.errors import Unavailable
from schemas.models import MANIFEST_NAME, ModelManifest
from web_bridge.server import Bridge, BridgeConfig, open_bridge

TOKEN_BYTES = 16
_VERSION = re.compile(rb"ONNX Runtime Web v([0-9.]+)")


@dataclass(slots=True)
class BrowserPool:
    """The pool's parts that must be there before anything is opened.

    Attributes:
        token: what tabs have to show.
        token_made: whether it was made up at this start, so that it may be shown to whoever
            started the agent.
    """

    shelf: Shelf
    manifest: ModelManifest
    engine: str
    token: str
    token_made: bool
    bridge: Bridge | None = None

    def routes(self, settings: Settings) -> list[web.RouteDef]:
        """Return the page's routes."""

        def websocket() -> dict[str, object]:
            port = self.bridge.port if self.bridge is not None else settings.browser_port
            return {"websocket_url": settings.browser_websocket_url, "websocket_port": port}

        return pages.routes(self.shelf, websocket)

    def address(self, page: str) -> str:
        """Return what a person opens; with the token in it only if it was made up."""
        token = f"#token={self.token}" if self.token_made else "#token=…"
        return f"{page}{pages.PREFIX}/{token}"


def prepare_pool(settings: Settings) -> BrowserPool:
    """Read what the pool needs. Call off the event loop, before it.

    Raises:
        Unavailable: parts of the page or the models are missing.
    """
    pages.check_assets()
    given = settings.browser_token
    return BrowserPool(
        shelf=Shelf(),
        manifest=read_manifest(settings.models),
        engine=engine_name(),
        token=given.get_secret_value() if given else secrets.token_urlsafe(TOKEN_BYTES),
        token_made=given is None,
    )


def read_manifest(folder: Path) -> ModelManifest:
    """Read the manifest of a folder of models.

    Raises:
        Unavailable: there is none, or it can't be read.
    """
    path = folder / MANIFEST_NAME
    try:
        return ModelManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise Unavailable(f"no models in {folder}: run `make models`, or set `models`") from None
    except ValueError as error:
        raise Unavailable(f"{path} can't be read: {error}") from None


def engine_name() -> str:
    """Return the runtime that the page loads, with its version."""
    with (pages.PAGE / "vendor/onnxruntime-web/ort.wasm.min.mjs").open("rb") as bundle:
        found = _VERSION.search(bundle.read(512))
    return f"onnxruntime-web-{found[1].decode() if found else 'unknown'}"


@asynccontextmanager
async def open_pool(
    pool: BrowserPool, settings: Settings, page: str, bus: Bus
) -> AsyncIterator[Bridge]:
    """Run the pool for the time of the block, which ends if the pool fails.

    Args:
        pool: from `prepare_pool`.
        settings: of the agent.
        page: the agent's own address, without the page's path.
        bus: not yet running, for the pool alone.
    """
    port = page.rpartition(":")[2]
    origins = [page, f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    config = BridgeConfig(
        host=settings.http_host,
        port=settings.browser_port,
        token=pool.token,
        origins=[*dict.fromkeys([*origins, *settings.browser_origins])],
    )
    async with open_bridge(config) as bridge:
        pool.bridge = bridge
        service = BrowserService(
            bridge,
            bus,
            agent_id=settings.agent_id,
            manifest=pool.manifest,
            folder=settings.models,
            shelf=pool.shelf,
            engine=pool.engine,
        )
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(bus.run(), name="browser-bus"),
                tasks.create_task(service.run(), name="browser-service"),
            ]
            try:
                yield bridge
            finally:
                running[1].cancel()
                await asyncio.wait([running[1]], timeout=5.0)
                await bus.close()
                running[0].cancel()
