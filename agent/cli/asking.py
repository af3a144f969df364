"""Who answers a command: a running agent over the bus, or the log in a store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console

from agent.bus import wiring
from agent.cli import compiling
from agent.client import agents_online, connected, patience
from agent.settings import Settings
from schemas.errors import Unavailable, shown
from schemas.requests import AnyRequest, decode_request
from schemas.topics import RequestKind

_PROBE_SECONDS = 0.5


async def ask(
    settings: Settings,
    kind: RequestKind,
    request: Mapping[str, Any],
    errors: Console,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Answer a request by whoever can, and say on `errors` who it was.

    A configured broker is asked; else a store that was named; else an agent on this machine,
    if one listens; else the default store.

    Args:
        settings: which broker and store.
        kind: of question.
        request: the question.
        errors: where is said who answers, if it is no agent.
        seconds: how long to wait for an agent; as long as such a question may take if None.

    Raises:
        BadInput: the request is not valid.
        Unavailable: nobody can answer.
    """
    # Decoding it here names what is wrong even before anybody was asked.
    decoded = decode_request(kind, json.dumps(request))
    if settings.broker is not None or (not settings.store_named and await _listens(settings)):
        return await over_bus(settings, kind, decoded, seconds)
    path = settings.store
    if not await asyncio.to_thread(path.exists):
        raise Unavailable(
            f"no agent listens on 127.0.0.1:{settings.embedded_port}, and there is no store at "
            f"{path}: start `placewise run`, or name one with --broker or --store"
        )
    errors.print(f"[dim]answered from {path} (no running agent was asked)[/]")
    await asyncio.to_thread(compiling.announce, errors)
    from agent.local import answer

    return await answer(settings, kind, decoded)


async def over_bus(
    settings: Settings,
    kind: RequestKind,
    request: AnyRequest | dict[str, Any],
    seconds: float | None = None,
) -> dict[str, Any]:
    """Have a running agent answer a request; wait `seconds`, or as long as it may take if None.

    Raises:
        AgentRefused: the agent answered with an error.
        Unavailable: the broker can't be reached, or no reply came in time.
    """
    seconds = patience(kind) if seconds is None else seconds
    async with connected(wiring.client_bus(settings)) as client:
        with suppress(Unavailable):
            return await client.ask(kind, request, seconds)
    raise Unavailable(f"no reply within {seconds:g} s: {await _why(settings)}")


async def _why(settings: Settings) -> str:
    """Return why no reply came, as far as a busy agent can be told from none."""
    try:
        online = await agents_online(wiring.client_bus(settings))
    except* Unavailable:
        online = None
    if online is None:
        return "is an agent on this bus?"
    if not online:
        return "no agent on this bus says that it is online; `placewise run` starts one"
    return f"{', '.join(map(shown, online))} is online, and busy: --timeout SECONDS waits longer"


async def _listens(settings: Settings) -> bool:
    """Return whether anything listens where `placewise run` puts its own broker."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection("127.0.0.1", settings.embedded_port)
            writer.close()
            return True
    return False
