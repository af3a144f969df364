from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bus.reconnect import STABLE_SECONDS, Backoff, ConnectionLost, keep_connected


def longest(_low: float, high: float) -> float:
    return high


def test_pauses_grow_to_a_bound() -> None:
    backoff = Backoff(first_seconds=1, most_seconds=10, uniform=longest)
    assert [backoff.next_seconds() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.failures == 6


def test_a_success_starts_again() -> None:
    backoff = Backoff(first_seconds=1, uniform=longest)
    backoff.next_seconds()
    backoff.next_seconds()
    backoff.reset()
    assert (backoff.failures, backoff.next_seconds()) == (0, 1)


@given(st.integers(0, 2_000), st.floats(0, 1))
def test_chance_moves_each_pause_within_its_bound(failures: int, chance: float) -> None:
    backoff = Backoff(0.2, 10.0, lambda low, high: low + chance * (high - low))
    for _ in range(failures):
        backoff.next_seconds()
    bound = min(10.0, 0.2 * 2.0 ** min(failures, 32))
    assert bound / 10 - 1e-9 <= backoff.next_seconds() <= bound + 1e-9


class Script:
    """Connections that last as long as they are told, on a clock that only they move.

    A negative length is a connection that could not be made.
    """

    def __init__(self, *lengths: float) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.told: list[str] = []
        self._lengths = list(lengths)

    async def connection(self, stands: Callable[[], None]) -> None:
        if not self._lengths:
            raise KeyError("the end of the script")
        length = self._lengths.pop(0)
        if length >= 0:
            stands()
            self.now += length
        if length != 0:
            raise ConnectionLost(f"after {length:g} s")

    def lost(self, error: ConnectionLost, pause: float) -> None:
        self.told.append(str(error))
        assert pause > 0

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def play(self) -> None:
        """Run until the script ends, by an error that is not for it to mend."""
        with pytest.raises(KeyError):
            asyncio.run(
                keep_connected(
                    self.connection,
                    self.lost,
                    backoff=Backoff(1, 100, longest),
                    sleep=self.sleep,
                    clock=lambda: self.now,
                )
            )


def test_it_tries_ever_more_slowly() -> None:
    script = Script(-1, -1, -1, -1)
    script.play()
    assert script.pauses == [1, 2, 4, 8]
    assert script.told == ["after -1 s"] * 4


def test_a_connection_that_lasted_starts_the_pauses_again() -> None:
    script = Script(-1, -1, STABLE_SECONDS, -1)
    script.play()
    assert script.pauses == [1, 2, 1, 2]


def test_one_that_is_lost_at_once_counts_as_a_failure() -> None:
    script = Script(0.1, 0.1, 0.1)
    script.play()
    assert script.pauses == [1, 2, 4]


def test_one_that_just_returns_is_tried_again() -> None:
    script = Script(0, -1)
    script.play()
    assert script.told == ["ended", "after -1 s"]


def test_cancelling_ends_it() -> None:
    async def held(stands: Callable[[], None]) -> None:
        stands()
        await asyncio.Event().wait()

    async def work() -> None:
        task = asyncio.create_task(keep_connected(held, lambda *_: None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
