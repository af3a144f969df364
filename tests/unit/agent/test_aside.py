"""Thoughts in a process of their own."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from agent.aside import Aside
from agent.heart.thought import Thought
from schemas.errors import BadInput, Unavailable
from schemas.replies import UpdateReply


def who() -> UpdateReply:
    return UpdateReply(accepted=str(os.getpid()))


def wrong() -> UpdateReply:
    raise BadInput.of_field("models", "none", "at least one")


def dying() -> UpdateReply:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def thought(decide: Callable[[], UpdateReply]) -> bytes:
    return pickle.dumps(Thought(decide, {}))


def run(
    work: Callable[[Aside], Awaitable[None]],
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    async def both() -> None:
        async with Aside() as aside:
            await work(aside)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(both())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_thoughts_are_thought_elsewhere_one_process_for_all(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def work(aside: Aside) -> None:
        found = [await aside.think(thought(who)) for _ in range(2)]
        assert found[0] == found[1]
        assert found[0] != who()

    run(work, loop)


def test_what_is_wrong_with_a_request_comes_back_with_its_details() -> None:
    async def work(aside: Aside) -> None:
        with pytest.raises(BadInput) as caught:
            await aside.think(thought(wrong))
        assert caught.value.details[0].field == "models"

    run(work)


def test_after_a_death_the_next_thought_finds_a_new_process() -> None:
    async def work(aside: Aside) -> None:
        with pytest.raises(Unavailable):
            await aside.think(thought(dying))
        assert isinstance(await aside.think(thought(who)), UpdateReply)

    run(work)


def test_who_gives_up_does_not_leave_its_answer_to_the_next() -> None:
    async def work(aside: Aside) -> None:
        first = asyncio.create_task(aside.think(thought(who)))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(BadInput):
            await aside.think(thought(wrong))

    run(work)
