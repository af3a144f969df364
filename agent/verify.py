"""Does the log still give the answers that it records?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.heart.effects import Answer
from agent.heart.heart import Heart, HeartConfig
from agent.heart.stimuli import RequestReceived
from agent.journal import stimulus_of
from agent.restore import completed, given
from agent.slices import in_slices
from agent.store.port import LogRecord, Store
from schemas.requests import REQUESTS
from schemas.topics import RequestKind


@dataclass(frozen=True, slots=True)
class Verified:
    """What a replay of the whole log into a new heart came to.

    Attributes:
        records: how many were replayed.
        answers: how many of them were answers of ours, asked again at the same state.
        differing: ids of the answers that came out otherwise.
        digest: of the state that the log gives.
    """

    records: int
    answers: int
    differing: list[str]
    digest: str


@dataclass(frozen=True, slots=True)
class _Asked:
    id: str
    kind: RequestKind
    as_of_seq: int
    request: dict[str, Any]
    reply: dict[str, Any]


async def verify(
    store: Store,
    config: HeartConfig,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Verified:
    """Replay the log into a new heart; ask it every logged request at the state it was asked.

    Answers given by another version of Placewise may rightly differ: it learns otherwise.
    """
    last = await store.last_seq()
    asked: dict[int, list[_Asked]] = {}
    async for records in store.replay():
        for record in records:
            if record.kind == "answer":
                one = _asked(record)
                asked.setdefault(one.as_of_seq, []).append(one)
    heart = Heart(config)
    await in_slices(given(heart, config))
    differing = _ask_again(heart, asked.get(0, []))
    count = 0
    async for records in store.replay():
        for record in records:
            heart.handle(await completed(stimulus_of(record), store, config))
            differing += _ask_again(heart, asked.get(record.seq, []))
        count += len(records)
        on_progress(heart.applied_seq, last)
    return Verified(count, sum(map(len, asked.values())), differing, heart.digest())


def _asked(record: LogRecord) -> _Asked:
    body = json.loads(record.body)
    return _Asked(record.id, body["kind"], body["as_of_seq"], body["request"], body["reply"])


def _ask_again(heart: Heart, asked: list[_Asked]) -> list[str]:
    """Return the ids of those whose answer is not what the log says."""
    differing = []
    for one in asked:
        request = REQUESTS[one.kind].model_validate(one.request)
        for effect in heart.handle(RequestReceived(one.id, one.kind, request)):
            if isinstance(effect, Answer):
                again = json.loads(effect.reply.model_dump_json(exclude_none=True))
                if again != one.reply:
                    differing.append(one.id)
    return differing
