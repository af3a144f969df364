"""`placewise run`: the daemon itself."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import structlog
import uvloop

from agent import wiring
from agent.cli import options as opt
from agent.daemon import Daemon
from agent.heart.heart import HeartConfig
from agent.logs import configure_logging
from agent.metrics import AgentMetrics
from agent.restore import restore, stamp
from agent.service import Notifier
from agent.settings import Settings, load_settings
from agent.web.server import WebServer

WATCHDOGS_PER_PERIOD = 2

log = structlog.get_logger(__name__)


def run(
    broker: opt.Broker = None,
    store: opt.StoreFile = None,
    config: opt.Config = None,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, Ctrl-C).

    With no broker configured it brings its own, on loopback. Settings also come from the
    environment (PLACEWISE_…) and from a file (--config).
    """
    settings = load_settings(config, broker=broker, store=store)
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Open everything, work until SIGTERM or SIGINT, close everything in turn."""
    async with AsyncExitStack() as parts:
        notifier = Notifier.from_environment()
        metrics = AgentMetrics()
        broker = await parts.enter_async_context(wiring.broker_for(settings))
        store = await wiring.open_store(settings)
        parts.push_async_callback(store.close)

        def progress(done: int, total: int) -> None:
            notifier.status(f"replaying the log: {done} of {total} records")
            log.info("replaying", done=done, total=total)

        restored = await restore(store, HeartConfig(), progress)
        if restored.set_aside is not None:
            log.warning("snapshot_set_aside", made_by=restored.set_aside, we_are=stamp())
        daemon = Daemon(
            wiring.daemon_config(settings),
            wiring.agent_bus(settings, broker),
            store,
            restored,
            metrics,
        )
        web = WebServer(settings.http_host, settings.http_port, metrics, daemon)
        await parts.enter_async_context(web)

        loop = asyncio.get_running_loop()
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop_signal, daemon.stop)

        def ready() -> None:
            log.info(
                "ready",
                agent_id=settings.agent_id,
                broker=str(broker),
                store=str(settings.store),
                http=web.address,
                events=restored.heart.applied_seq,
                pid=os.getpid(),
            )
            notifier.ready(f"connected to {broker}, {restored.heart.applied_seq} events known")

        watchdog = asyncio.create_task(notifier.keep_alive(), name="watchdog")
        try:
            await daemon.run(ready)
        finally:
            notifier.stopping()
            watchdog.cancel()
        log.info("stopped", events=daemon.heart.applied_seq)
