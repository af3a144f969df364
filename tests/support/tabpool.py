"""A pool with its page and its models, in the test's own process, for real browsers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from agent.browsers.groups import Group
from agent.browsers.pages import PREFIX, assets_missing, routes
from agent.browsers.service import BrowserService
from agent.browsers.shelf import Shelf
from agent.browsers.wiring import engine_name
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Outgoing
from schemas.jobs import JobModel, JobResult, RunJob
from schemas.models import ModelManifest
from tests.support.browsers import Browser, BrowserKind
from tests.support.models import FOLDER, manifest
from web_bridge.job import Job, Round, Seat
from web_bridge.pool import PoolConfig
from web_bridge.server import Bridge, BridgeConfig, open_bridge

TOKEN = "a-token-for-tests"


def needs(kind: BrowserKind) -> None:
    """Skip the test, by name, where this machine lacks the browser, the page's parts or models."""
    if kind.program is None:
        pytest.skip(f"{kind.name} is missing: {kind.missing}")
    if missing := assets_missing():
        pytest.skip(f"{missing[0]} is missing: run `make assets`")
    if not (FOLDER / "manifest.json").exists():
        pytest.skip("no models: run `make models`")


class WatchedBus(MemoryBus):
    """A bus that keeps what was published, and is connected to nobody."""

    published: list[Outgoing]

    async def publish(self, message: Outgoing) -> None:
        self.published.append(message)


@dataclass
class TabPool:
    """The pool of a test."""

    bridge: Bridge
    service: BrowserService
    shelf: Shelf
    manifest: ModelManifest
    bus: WatchedBus
    page: str
    browsers: list[Browser] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.page}#token={TOKEN}"

    async def tabs(self, count: int, seconds: float = 30.0) -> None:
        """Wait until this many tabs are there."""
        there = await self.bridge.until(lambda pool: len(pool.tabs) >= count, seconds)
        assert there, f"{len(self.bridge.pool.tabs)} tabs of {count} joined"

    def group(self, backend: str = "wasm", browser: str | None = None) -> Group:
        groups = self.service.groups().values()
        return next(
            one
            for one in groups
            if one.backend == backend and browser in (None, one.capabilities.browser)
        )

    async def run(
        self,
        models: Sequence[str],
        waves: Sequence[Sequence[str]] | None = None,
        backend: str = "wasm",
        repeats: int = 3,
        **changes: Any,
    ) -> JobResult:
        """Have models run (`name` or `name@batch`), each in a wave of its own if not said."""
        asked = []
        for one in models:
            name, _, batch = one.partition("@")
            asked.append(JobModel(model=name, batch_size=int(batch or 1)))
        told = {
            "measure_memory": False,
            "deadline_s": 60.0,
            "strategy": "sequential" if waves is None else "parallel",
            "waves": waves or [[one.model] for one in asked],
            **changes,
        }
        job = RunJob(job_id=f"job-{uuid.uuid4().hex[:8]}", models=asked, repeats=repeats, **told)
        return await self.service.work(job, self.group(backend).worker_id)

    def events(self) -> list[dict[str, Any]]:
        """Return the data of the measurements that were published."""
        return [
            json.loads(one.payload)["data"] for one in self.bus.published if "/events/" in one.topic
        ]

    def alerts(self) -> list[dict[str, Any]]:
        return [
            json.loads(one.payload)["data"]
            for one in self.bus.published
            if one.topic.endswith("/alerts")
        ]

    def small_job(self, job_id: str, runs: int = 5, rounds: int = 1, **changes: Any) -> Job:
        """Return a job of the smallest model, for the bridge itself."""
        from agent.browsers.planning import check_job

        model = self.manifest.find("silero-vad")
        assert model is not None
        job = check_job(job_id, model, self.group(), self.shelf)
        seats = tuple(Seat(seat.models) for seat in job.seats)
        return Job(job_id, seats, (Round({0: (0,) * runs}),) * rounds, **changes)


@asynccontextmanager
async def tab_pool(**config: Any) -> AsyncIterator[TabPool]:
    """Open a pool for the time of the block; the test opens browsers and closes them."""
    shelf = Shelf()
    broker = MemoryBroker()
    bus = WatchedBus(broker)
    bus.published = []
    pool_config = config.pop("pool", PoolConfig(asleep_seconds=15.0))
    async with open_bridge(BridgeConfig(token=TOKEN, pool=pool_config, **config)) as bridge:
        app = web.Application()
        where = {"websocket_url": None, "websocket_port": bridge.port}
        app.add_routes(await asyncio.to_thread(routes, shelf, lambda: where))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        service = BrowserService(
            bridge,
            bus,
            agent_id="tests",
            manifest=manifest(),
            folder=FOLDER,
            shelf=shelf,
            engine=await asyncio.to_thread(engine_name),
        )
        try:
            page = f"http://127.0.0.1:{port}{PREFIX}/"
            yield TabPool(bridge, service, shelf, service.manifest, bus, page)
        finally:
            await runner.cleanup()


async def tell_tab(browser: Browser, tab: str, method: str, **parameters: Any) -> Any:
    """Send one command of the DevTools protocol to a tab of Chromium; return its result."""
    address = next(
        one["webSocketDebuggerUrl"]
        for one in await asyncio.to_thread(browser.tabs)
        if one["id"] == tab
    )
    async with connect(address, proxy=None, max_size=None) as socket:
        await socket.send(json.dumps({"id": 1, "method": method, "params": parameters}))
        async for frame in socket:
            answer = json.loads(frame)
            if answer.get("id") == 1:
                return answer.get("result")
    return None
