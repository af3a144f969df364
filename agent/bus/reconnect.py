"""Coming back: when to try again, and the loop that does. Knows nothing of MQTT.

Pauses grow exponentially, with full jitter.

Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015. Chance spreads
the clients of a broker that comes back, so that they do not all knock at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

FIRST_SECONDS = 0.2
MOST_SECONDS = 10.0
GROWTH = 2.0
STABLE_SECONDS = 5.0
"""A connection that was lost sooner than this counts as a failure: one that is made and lost at
once, again and again, must not be tried ever faster."""


class ConnectionLost(Exception):
    """A connection ended, or could not be made. Trying again may help."""


class Backoff:
    """Gives the pause before each next try; `reset` after a success.

    Args:
        first_seconds: upper bound of the first pause.
        most_seconds: upper bound of any pause.
        uniform: returns a number between its two arguments; given by tests.
    """

    def __init__(
        self,
        first_seconds: float = FIRST_SECONDS,
        most_seconds: float = MOST_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first_seconds
        self._most = most_seconds
        self._uniform = uniform
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often in a row it did not work."""
        return self._failures

    def next_seconds(self) -> float:
        """Note a failure; return how long to wait, at least a tenth of the bound."""
        bound = min(self._most, self._first * GROWTH ** min(self._failures, 32))
        self._failures += 1
        return self._uniform(bound / 10, bound)

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0


async def keep_connected(
    connection: Callable[[Callable[[], None]], Awaitable[None]],
    on_lost: Callable[[ConnectionLost, float], None],
    *,
    backoff: Backoff | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> NoReturn:
    """Hold a connection, again and again, until cancelled.

    Args:
        connection: makes one and holds it; calls its argument once it stands; raises
            `ConnectionLost` when it ends or can't be made. Any other error ends the loop.
        on_lost: told each time, with the pause in seconds before the next try.
        backoff: gives the pauses.
        sleep: waits; given by tests.
        clock: seconds that only grow; given by tests.
    """
    pauses = backoff or Backoff()
    while True:
        stood_since: float | None = None

        def stands() -> None:
            nonlocal stood_since
            stood_since = clock()

        try:
            await connection(stands)
            lost = ConnectionLost("ended")
        except ConnectionLost as error:
            lost = error
        if stood_since is not None and clock() - stood_since >= STABLE_SECONDS:
            pauses.reset()
        pause = pauses.next_seconds()
        on_lost(lost, pause)
        await sleep(pause)
