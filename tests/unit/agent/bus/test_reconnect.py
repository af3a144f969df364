"""When to try again: the pauses' bounds for any chance, and the loop with a clock of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bus.reconnect import (
    FIRST_SECONDS,
    MOST_SECONDS,
    STABLE_SECONDS,
    Backoff,
    ConnectionLost,
    keep_connected,
)

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def drawn(shares: list[float]) -> Callable[[float, float], float]:
    """Return a source of chance that gives these shares of the range asked for."""
    left = iter(shares)
    return lambda low, high: low + next(left) * (high - low)


def longest(low: float, high: float) -> float:
    return high


@given(SHARES, st.floats(0.001, 5), st.floats(5, 600))
def test_every_pause_is_within_its_bound_and_never_nothing(
    shares: list[float], first: float, most: float
) -> None:
    backoff = Backoff(first, most, drawn(shares))
    for failures in range(len(shares)):
        bound = min(most, first * 2.0**failures)
        assert backoff.failures == failures
        assert bound / 10 * 0.999 <= backoff.next_seconds() <= bound * 1.001


@given(st.integers(0, 100), st.integers(1, 40))
def test_bounds_double_up_to_the_most_and_start_over_after_a_success(
    before: int, after: int
) -> None:
    backoff = Backoff(uniform=longest)
    for _ in range(before):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.failures == 0
    pauses = [backoff.next_seconds() for _ in range(after)]
    assert pauses[0] == FIRST_SECONDS
    assert pauses == sorted(pauses)
    assert max(pauses) <= MOST_SECONDS


def test_even_after_a_year_of_failures_the_pause_is_a_number() -> None:
    backoff = Backoff(uniform=longest)
    for _ in range(5_000):
        pause = backoff.next_seconds()
    assert pause == MOST_SECONDS


def pauses_after(held: list[float | None], end: type[Exception] = RuntimeError) -> list[float]:
    """Return the pauses after connections held for so long (None: not made at all)."""
    now = 0.0
    pauses: list[float] = []
    left = iter(held)

    async def connection(stands: Callable[[], None]) -> None:
        nonlocal now
        seconds = next(left, -1.0)
        if seconds == -1.0:
            raise end("the test is over")
        if seconds is not None:
            stands()
            now += seconds
        raise ConnectionLost("as planned")

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def main() -> None:
        await keep_connected(
            connection,
            lambda _, pause: pauses.append(pause),
            backoff=Backoff(uniform=longest),
            sleep=sleep,
            clock=lambda: now,
        )

    with pytest.raises(end, match="the test is over"):
        asyncio.run(main())
    return pauses


def test_pauses_grow_while_no_connection_is_made() -> None:
    assert pauses_after([None] * 4) == [0.2, 0.4, 0.8, 1.6]


def test_a_connection_that_held_starts_the_pauses_over() -> None:
    assert pauses_after([None, None, STABLE_SECONDS, None]) == [0.2, 0.4, 0.2, 0.4]


def test_one_that_is_lost_at_once_does_not() -> None:
    assert pauses_after([0.0, 0.0, STABLE_SECONDS / 2]) == [0.2, 0.4, 0.8]


def test_any_other_error_ends_the_loop() -> None:
    assert pauses_after([None], end=KeyError) == [0.2]
