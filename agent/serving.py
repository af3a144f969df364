"""The daemon with all that it needs: opened in turn, run until it is told to stop, and closed."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog

from agent import wiring
from agent.browsers.wiring import open_pool, prepare_pool
from agent.bus import wiring as bus_wiring
from agent.bus.port import Bus, Outgoing
from agent.daemon import Daemon
from agent.metrics import AgentMetrics
from agent.restore import restore, stamp
from agent.service import Notifier
from agent.settings import Settings
from agent.version import VERSION
from agent.voice import state_message
from agent.web.dashboard import Dashboard
from agent.web.server import Readiness, WebServer
from schemas.published import AgentState

REPLAY_SECONDS = 30.0
"""How long one batch of the log may take to replay before systemd gives up on the start."""

log = structlog.get_logger(__name__)


class _Probe:
    """How far the start has come, and whether the broker is there."""

    def __init__(self) -> None:
        self.store_open = False
        self.replay_finished = False
        self.bus: Bus | None = None

    def readiness(self) -> Readiness:
        """Return how it is now."""
        return Readiness(
            bus_connected=self.bus is not None and self.bus.state == "connected",
            store_open=self.store_open,
            replay_finished=self.replay_finished,
        )


async def serve(settings: Settings) -> None:
    """Open everything, work until SIGTERM or SIGINT, close everything in turn."""
    async with AsyncExitStack() as parts:
        notifier = parts.enter_context(Notifier())
        metrics = AgentMetrics(VERSION)
        probe = _Probe()
        pool = await asyncio.to_thread(prepare_pool, settings) if settings.browsers else None
        dashboard = Dashboard()
        routes = await asyncio.to_thread(pool.routes, settings) if pool else []
        routes += dashboard.routes()
        web = WebServer(probe, metrics, settings.http_host, settings.http_port, routes)
        await parts.enter_async_context(web)
        address = await parts.enter_async_context(bus_wiring.broker_for(settings))
        store = await wiring.open_store(settings)
        parts.push_async_callback(store.close)
        probe.store_open = True

        def progress(done: int, total: int) -> None:
            notifier.starting(f"replaying the log: {done} of {total} records", REPLAY_SECONDS)
            log.info("replaying", done=done, total=total)

        restored = await restore(
            store, await asyncio.to_thread(wiring.heart_config, settings), progress
        )
        if restored.set_aside is not None:
            log.warning(
                "snapshot_set_aside",
                made_by=restored.set_aside,
                we_are=stamp(restored.heart.config),
            )
        probe.replay_finished = True
        bus = probe.bus = bus_wiring.agent_bus(settings, address, _gone(settings))
        daemon = Daemon(wiring.daemon_config(settings), bus, store, restored, metrics)
        dashboard.show(daemon)
        if pool is not None:
            pool_bus = bus_wiring.bus_to(address)
            await parts.enter_async_context(open_pool(pool, settings, web.url, pool_bus))
        loop = asyncio.get_running_loop()
        for stop_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(stop_signal, daemon.stop)

        def ready() -> None:
            log.info(
                "ready",
                agent_id=settings.agent_id,
                broker=str(address),
                store=str(settings.store),
                http=web.url,
                **({"open_in_a_browser": pool.address(web.url)} if pool else {}),
                log_records=restored.heart.applied_seq,
            )
            notifier.ready(f"connected to {address}; {restored.heart.applied_seq} records known")

        watchdog = asyncio.create_task(notifier.watch(), name="watchdog")
        try:
            await daemon.run(ready)
        finally:
            notifier.stopping()
            watchdog.cancel()
        log.info("stopped", log_records=daemon.heart.applied_seq)


def _gone(settings: Settings) -> Outgoing:
    """Return what the broker says in the agent's name when it has died."""
    return state_message(
        AgentState(
            agent_id=settings.agent_id,
            status="offline",
            version=VERSION,
            since=datetime.now(UTC),
        )
    )
