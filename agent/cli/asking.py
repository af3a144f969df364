"""Who answers a command: a running agent over the bus, or the log in a store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console

from agent.bus import wiring
from agent.client import connected
from agent.settings import Settings
from schemas.errors import Unavailable
from schemas.requests import decode_request
from schemas.topics import RequestKind

_PROBE_SECONDS = 0.5


async def ask(
    settings: Settings, kind: RequestKind, request: Mapping[str, Any], errors: Console
) -> dict[str, Any]:
    """Answer a request by whoever can, and say on `errors` who it was.

    A configured broker is asked; else a store that was named; else an agent on this machine,
    if one listens; else the default store.

    Raises:
        BadInput: the request is not valid.
        Unavailable: nobody can answer.
    """
    # Decoding it here names what is wrong even before anybody was asked.
    decoded = decode_request(kind, json.dumps(request))
    if settings.broker is not None or (not settings.store_named and await _listens(settings)):
        async with connected(wiring.client_bus(settings)) as client:
            return await client.ask(kind, decoded)
    path = settings.store
    if not await asyncio.to_thread(path.exists):
        raise Unavailable(
            f"no agent listens on 127.0.0.1:{settings.embedded_port}, and there is no store at "
            f"{path}: start `placewise run`, or name one with --broker or --store"
        )
    errors.print(f"[dim]answered from {path} (no running agent was asked)[/]")
    from agent.local import answer

    return await answer(settings, kind, decoded)


async def _listens(settings: Settings) -> bool:
    """Return whether anything listens where `placewise run` puts its own broker."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", settings.embedded_port)
            writer.close()
            return True
    return False
