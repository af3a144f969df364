"""Long decisions in a process of their own, so that neither loop nor interpreter stand still.

A thread would not do: the solver of placements keeps the interpreter to itself.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, BinaryIO, Self

from agent import frames
from schemas.errors import BadInput, PlacewiseError, ProcessEnded, Unavailable

_NICE = 5


class Aside:
    """Thinks one thought at a time; starts its process when it is first needed.

    Use it as an asynchronous context, which ends the process.
    """

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._process = AsyncExitStack()
        self._peer: frames.Peer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._peer = None
        await self._process.aclose()

    async def think(self, thought: bytes) -> Any:
        """Return what a pickled thought comes to: anything with a method `think`.

        Raises:
            BadInput: as the thought itself.
            Unavailable: the process ended over it.
        """
        async with self._alone:
            if self._peer is None:
                self._peer = await self._process.enter_async_context(frames.peer(__name__))
            asking = asyncio.ensure_future(self._peer.ask(thought))
            try:
                answer = await asyncio.shield(asking)
            except ProcessEnded as error:
                await self._end()
                raise Unavailable(f"the decision could not be finished: {error.message}") from error
            except asyncio.CancelledError:
                # Its answer must not be taken for the next one's.
                asking.cancel()
                await self._end()
                raise
        outcome = pickle.loads(answer)  # noqa: S301 - from a process of our own
        if isinstance(outcome, _Refused):
            raise BadInput(outcome.message, outcome.details)
        return outcome

    async def _end(self) -> None:
        self._peer = None
        await self._process.aclose()
        self._process = AsyncExitStack()


class _Refused:
    """What was wrong with a request: an error that travels."""

    def __init__(self, error: PlacewiseError) -> None:
        self.message, self.details = error.message, error.details


def serve(thoughts: BinaryIO, replies: BinaryIO) -> None:
    """Think what comes in until nothing more does. What the process runs."""
    while True:
        try:
            thought = pickle.loads(frames.read(thoughts))  # noqa: S301 - see `frames.read`
        except EOFError:
            return
        outcome: Any
        try:
            outcome = thought.think()
        except BadInput as error:
            outcome = _Refused(error)
        frames.write(replies, pickle.dumps(outcome, protocol=5))


if __name__ == "__main__":
    # Pickled under the name by which the daemon knows it.
    from agent.aside import serve as _serve

    os.nice(_NICE)
    _serve(sys.stdin.buffer, sys.stdout.buffer)
