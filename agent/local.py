"""Answers from a store that no agent has open."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

from agent import wiring
from agent.heart.effects import Answer, Log
from agent.heart.stimuli import RequestReceived
from agent.journal import record_of_release
from agent.restore import restore
from agent.settings import Settings
from agent.validations import Validations
from schemas.requests import AnyRequest, ValidationRequest
from schemas.topics import RequestKind


async def answer(settings: Settings, kind: RequestKind, request: AnyRequest) -> dict[str, Any]:
    """Return the body of the reply that an agent with the configured store would give.

    What it releases from quarantine is logged there, as an agent would. Decisions are not: nobody
    would pair what is measured later with them.

    Raises:
        PlacewiseError: the store can't be opened, or nothing can be answered.
    """
    store = await wiring.open_store(settings)
    try:
        heart = (await restore(store, await asyncio.to_thread(wiring.heart_config, settings))).heart
        if isinstance(request, ValidationRequest):
            reply = await Validations(store, lambda: datetime.now(UTC)).answer(request)
            return reply.model_dump(mode="json")
        effects = heart.handle(RequestReceived(uuid.uuid4().hex, kind, request))
        now = datetime.now(UTC)
        await store.append(
            [
                record_of_release(effect.what, settings.agent_id, now)
                for effect in effects
                if isinstance(effect, Log)
            ]
        )
    finally:
        await store.close()
    answers = [effect for effect in effects if isinstance(effect, Answer)]
    return answers[0].reply.model_dump(mode="json")
