"""The ledger's way into the store: what is taken is kept, whatever happens meanwhile, and once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.heart.effects import Effect, Publish
from agent.store.duck import DuckStore
from agent.validations import Validations
from schemas.errors import BadInput
from schemas.published import Alert
from schemas.requests import REQUESTS, ValidationRequest, decode_request
from schemas.validation import LONGEST_AGO_S
from tests.support.validations import validation

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def validated(*seqs: int) -> list[Effect]:
    """Return what the heart finds at some records of the log, among other things."""
    alert = Publish("other", Alert(kind="drift", message="no validation"))
    found = [validation(seq, time=NOW - timedelta(seconds=seq)) for seq in seqs]
    return [alert, *(Publish(one.event_id, one) for one in found)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class Ledger:
    """Validations on a real store, whose writing can be held up: a slow disk, a long commit."""

    def __init__(self, store: DuckStore) -> None:
        self.store = store
        self.validations = Validations(store, lambda: NOW)
        self._go_on = threading.Event()

    async def hold_writes(self, *, before: bool) -> Callable[[], bool]:
        """Hold up the store's writer, before it begins to note what comes or on its way.

        Return what tells whether a note has come that far.
        """
        held = threading.Event()
        note = self.store._note

        def hold() -> None:
            held.set()
            self._go_on.wait(30)

        def slowly(*arguments: Any) -> None:
            hold()
            note(*arguments)

        if not before:
            self.store._note = slowly  # type: ignore[method-assign, assignment]
            return held.is_set
        self.store._writes.submit(hold)
        await until(held.is_set)
        return lambda: self.store._writes._work_queue.qsize() > 0

    def go_on(self) -> None:
        self._go_on.set()

    async def rows(self) -> list[int]:
        """Return the log records of what the ledger has, in their order."""
        _, found = await self.store.query("SELECT seq FROM validations ORDER BY seq")
        return [seq for (seq,) in found]


Run = Callable[[Callable[[Ledger], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def with_ledger(work: Callable[[Ledger], Awaitable[None]]) -> None:
        async def main() -> None:
            store = await DuckStore.open(tmp_path / "agent.duckdb")
            ledger = Ledger(store)
            try:
                async with asyncio.timeout(20):
                    await work(ledger)
            finally:
                ledger.go_on()
                await store.close()

        asyncio.run(main())

    return with_ledger


@pytest.mark.parametrize("before", [True, False], ids=["not begun", "under way"])
def test_what_was_on_its_way_when_it_was_cancelled_is_kept_once(run: Run, before: bool) -> None:
    """As at the agent's end: its task is cancelled, and then everything is to be kept."""

    async def work(ledger: Ledger) -> None:
        ledger.validations.take(validated(1, 2), 2)
        await ledger.validations.keep()
        has_come = await ledger.hold_writes(before=before)
        ledger.validations.take(validated(3, 5), 6)
        keeping = asyncio.create_task(ledger.validations.keep())
        await until(has_come)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        ledger.validations.take(validated(7), 8)
        again = asyncio.create_task(ledger.validations.keep())
        ledger.go_on()
        await again
        assert await ledger.rows() == [1, 2, 3, 5, 7]
        assert await ledger.store.noted_through() == 8
        await ledger.validations.keep()
        assert await ledger.rows() == [1, 2, 3, 5, 7]

    run(work)


def test_what_is_taken_while_others_are_on_their_way_comes_next(run: Run) -> None:
    async def work(ledger: Ledger) -> None:
        has_come = await ledger.hold_writes(before=False)
        ledger.validations.take(validated(1), 1)
        keeping = asyncio.create_task(ledger.validations.keep())
        await until(has_come)
        ledger.validations.take(validated(2), 2)
        ledger.go_on()
        await keeping
        assert await ledger.rows() == [1]
        await ledger.validations.keep()
        assert await ledger.rows() == [1, 2]

    run(work)


def test_an_answer_waits_for_what_is_on_its_way(run: Run) -> None:
    async def work(ledger: Ledger) -> None:
        has_come = await ledger.hold_writes(before=False)
        ledger.validations.take(validated(1, 2, 3), 3)
        keeping = asyncio.create_task(ledger.validations.keep())
        await until(has_come)
        answering = asyncio.create_task(ledger.validations.answer(ValidationRequest()))
        await asyncio.wait([answering], timeout=0.1)  # time to answer too early
        assert not answering.done()
        ledger.go_on()
        assert (await answering).validations == 3
        await keeping

    run(work)


@pytest.mark.parametrize("last_s", [1e12, LONGEST_AGO_S * 1.01])
def test_what_no_calendar_goes_back_to_is_refused_by_name(last_s: float) -> None:
    with pytest.raises(BadInput) as refused:
        decode_request("validation", f'{{"last_s": {last_s}}}'.encode())
    (detail,) = refused.value.details
    assert detail.field == "last_s"


def test_the_longest_time_ago_is_answered(run: Run) -> None:
    async def work(ledger: Ledger) -> None:
        ledger.validations.take(validated(60, 3_600), 3_600)
        for last_s, count in ((LONGEST_AGO_S, 2), (100.0, 1)):
            request = REQUESTS["validation"].model_validate({"last_s": last_s})
            assert isinstance(request, ValidationRequest)
            assert (await ledger.validations.answer(request)).validations == count

    run(work)
