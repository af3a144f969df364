"""What every store does: one suite over the DuckDB file and its in-memory double."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store.duck import DuckStore
from agent.store.memory import MemoryStore
from agent.store.port import RECENT, LogRecord, Snapshot, Store
from schemas.errors import StoreUnavailable
from schemas.validation import ValidationQuestion
from tests.support.validations import T0, validation

pytestmark = pytest.mark.integration


Test = Callable[[Store], Awaitable[None]]
Run = Callable[[Test], None]


def record(number: int, source: str = "bench", **changes: object) -> LogRecord:
    """Return a record that differs from that of every other number in each field it can."""
    made = LogRecord(
        kind="benchmark",
        source=source,
        id=f"id-{number}",
        event_time=T0 + timedelta(seconds=number),
        received_at=T0 + timedelta(seconds=number, microseconds=1),
        body=f'{{"n":{number}}}',
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Store]:
    store: Store = (
        MemoryStore() if kind == "memory" else await DuckStore.open(folder / "log.duckdb")
    )
    try:
        yield store
    finally:
        await store.close()


async def everything(store: Store, after: int = 0, batch: int = 1_000) -> list[LogRecord]:
    return [record async for some in store.replay(after, batch) for record in some]


@pytest.fixture(params=["memory", "duckdb"])
def kind(request: pytest.FixtureRequest) -> str:
    made: str = request.param
    return made


@pytest.fixture
def run(kind: str, tmp_path: Path) -> Run:
    """Run a test's coroutine on a new store of each kind, in a loop of its own."""

    def runner(test: Test) -> None:
        async def main() -> None:
            async with opened(kind, tmp_path) as store:
                await test(store)

        asyncio.run(main())

    return runner


def test_a_new_store_is_empty(run: Run) -> None:
    async def test(store: Store) -> None:
        assert await store.last_seq() == 0
        assert await everything(store) == []
        assert await store.load_snapshot() is None

    run(test)


def test_records_get_a_gapless_seq_in_their_order_and_read_back_as_they_were(run: Run) -> None:
    async def test(store: Store) -> None:
        given_ = [record(3), record(1), record(2)]
        kept = await store.append(given_)
        assert kept == [replace(one, seq=seq) for seq, one in enumerate(given_, 1)]
        more = await store.append([record(0)])
        assert more == [replace(record(0), seq=4)]
        assert await store.last_seq() == 4
        assert await everything(store) == [*kept, *more]

    run(test)


def test_nothing_is_lost_of_any_kind_text_or_time(run: Run) -> None:
    async def test(store: Store) -> None:
        east = timezone(timedelta(hours=5, minutes=30))
        given_ = [
            record(1, kind="execution", source="", id="", body=""),
            record(2, kind="answer", source="é'\"; DROP TABLE log; --", id="日本\U0001f600"),
            record(3, body='{"text":"' + "x" * 300_000 + '"}'),
            record(4, event_time=datetime(2026, 7, 1, 23, 59, 59, 999999, tzinfo=east)),
            record(5, event_time=datetime(2999, 12, 31, tzinfo=UTC)),
            record(6, body="a\nb\tc\\d"),
        ]
        await store.append(given_)
        assert await everything(store) == [
            replace(one, seq=seq) for seq, one in enumerate(given_, 1)
        ]

    run(test)


def test_a_second_record_of_a_pair_changes_nothing(run: Run) -> None:
    async def test(store: Store) -> None:
        first = await store.append([record(1), record(2), record(1, body="other")])
        assert [one and one.seq for one in first] == [1, 2, None]
        again = await store.append([record(2, body="other"), record(3), record(1), record(3)])
        assert [one and one.seq for one in again] == [None, 3, None, None]
        assert await store.append([record(3), record(2)]) == [None, None]
        assert await store.last_seq() == 3
        assert [one.body for one in await everything(store)] == [
            record(number).body for number in (1, 2, 3)
        ]

    run(test)


def test_source_and_id_are_a_pair_not_one_text(run: Run) -> None:
    async def test(store: Store) -> None:
        pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("1:a", "b"), ("1", ":ab")]
        kept = await store.append([record(0, source, id=id_) for source, id_ in pairs])
        assert [one and one.seq for one in kept] == [1, 2, 3, 4, 5, 6]

    run(test)


def test_an_empty_append_does_nothing(run: Run) -> None:
    async def test(store: Store) -> None:
        assert await store.append([]) == []
        await store.append([record(1)])
        assert await store.append([]) == []
        assert await store.last_seq() == 1

    run(test)


def test_the_given_seq_is_of_no_account(run: Run) -> None:
    async def test(store: Store) -> None:
        kept = await store.append([record(1, seq=77)])
        assert [one and one.seq for one in kept] == [1]

    run(test)


@pytest.mark.parametrize("batch", [1, 2, 3, 9, 10, 11, 1_000])
def test_replay_from_anywhere_in_batches_of_any_size(run: Run, batch: int) -> None:
    async def test(store: Store) -> None:
        await store.append([record(number) for number in range(10)])
        for after in (0, 1, 4, 9, 10, 11, 500):
            batches = [some async for some in store.replay(after, batch)]
            assert all(0 < len(some) <= batch for some in batches)
            seqs = [one.seq for some in batches for one in some]
            assert seqs == list(range(after + 1, 11))

    run(test)


def test_replay_ends_where_the_log_ended_when_it_began(run: Run) -> None:
    """What is appended meanwhile is left to whoever appends it, or a replay might never end."""

    async def test(store: Store) -> None:
        await store.append([record(number) for number in range(4)])
        seen: list[int] = []
        async for some in store.replay(0, 2):
            seen += [one.seq for one in some]
            if len(seen) == 2:
                await store.append([record(100)])
        assert seen == [1, 2, 3, 4]
        assert await store.last_seq() == 5

    run(test)


def test_appends_at_the_same_time_are_whole_batches_one_after_the_other(run: Run) -> None:
    async def test(store: Store) -> None:
        kept = await asyncio.gather(
            *(store.append([record(n * 10 + k) for k in range(5)]) for n in range(8))
        )
        for batch in kept:
            seqs = [one.seq for one in batch if one is not None]
            assert seqs == list(range(seqs[0], seqs[0] + 5))
        assert [one.seq for one in await everything(store)] == list(range(1, 41))

    run(test)


def test_a_snapshot_replaces_the_one_before(run: Run) -> None:
    async def test(store: Store) -> None:
        first = Snapshot(3, "learner-1", (bytes(range(256)), b"", b"\xff" * 70_000))
        second = Snapshot(9, "learner-2", (b"one",))
        third = Snapshot(12, "learner-2", ())
        await store.save_snapshot(first)
        assert await store.load_snapshot() == first
        await store.save_snapshot(second)
        assert await store.load_snapshot() == second
        await store.save_snapshot(third)
        assert await store.load_snapshot() == third

    run(test)


def test_close_is_harmless_twice(run: Run) -> None:
    async def test(store: Store) -> None:
        await store.append([record(1)])
        await store.close()
        await store.close()

    run(test)


def test_a_closed_store_says_so(run: Run) -> None:
    async def test(store: Store) -> None:
        await store.close()
        for call in (
            store.append([record(1)]),
            store.last_seq(),
            store.save_snapshot(Snapshot(0, "", ())),
            store.load_snapshot(),
            everything(store),
        ):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call

    run(test)


def test_what_was_kept_is_there_after_a_reopen(tmp_path: Path) -> None:
    """DuckDB alone: the double forgets, as it says."""

    async def main() -> None:
        snapshot = Snapshot(2, "stamp", (b"\x00\xff", b"\x01"))
        async with opened("duckdb", tmp_path) as store:
            kept = await store.append([record(1), record(2)])
            await store.save_snapshot(snapshot)
        async with opened("duckdb", tmp_path) as store:
            assert await store.last_seq() == 2
            assert await everything(store) == kept
            assert await store.load_snapshot() == snapshot
            again = await store.append([record(2, body="other"), record(3), record(1)])
            assert [one and one.seq for one in again] == [None, 3, None]
        async with opened("duckdb", tmp_path) as store:
            assert [one.id for one in await everything(store)] == ["id-1", "id-2", "id-3"]

    asyncio.run(main())


KEYS = st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from(["", "1", "2", "3", "b1"]))
BATCHES = st.lists(st.lists(KEYS, max_size=12), max_size=8)


@settings(max_examples=25, deadline=None)
@given(batches=BATCHES, reopen_at=st.integers(0, 8))
def test_both_stores_keep_the_first_of_each_pair_in_order(
    batches: list[list[tuple[str, str]]], reopen_at: int
) -> None:
    """The double and the file agree with each other, and with the simplest model of both."""
    numbers = itertools.count()
    rounds = [[record(next(numbers), source, id=id_) for source, id_ in batch] for batch in batches]
    firsts: dict[tuple[str, str], LogRecord] = {}
    expected: list[list[int | None]] = []
    for batch in rounds:
        seqs: list[int | None] = []
        for one in batch:
            pair = (one.source, one.id)
            seqs.append(None if pair in firsts else len(firsts) + 1)
            firsts.setdefault(pair, one)
        expected.append(seqs)
    log = [replace(one, seq=seq) for seq, one in enumerate(firsts.values(), 1)]

    async def main(folder: Path) -> None:
        memory = MemoryStore()
        duck = await DuckStore.open(folder / "log.duckdb")
        try:
            for number, batch in enumerate(rounds):
                if number == reopen_at:
                    await duck.close()
                    duck = await DuckStore.open(folder / "log.duckdb")
                for store in (memory, duck):
                    kept = await store.append(batch)
                    assert [one and one.seq for one in kept] == expected[number]
            assert await everything(memory) == log
            assert await everything(duck, batch=3) == log
        finally:
            await duck.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


# The ledger of validations


NOW = T0 + timedelta(hours=1)


def test_of_each_record_validations_are_kept_once(run: Run) -> None:
    async def test(store: Store) -> None:
        assert await store.noted_through() == 0
        await store.note([validation(1), validation(3)], 4)
        await store.note([validation(1), validation(3), validation(5)], 5)
        await store.note([validation(2)], 3)
        (row,) = await store.validated(ValidationQuestion(), NOW)
        assert (row.validations, await store.noted_through()) == (3, 5)
        assert row.newest == T0 + timedelta(seconds=5)

    run(test)


def test_what_is_counted_of_a_group(run: Run) -> None:
    errors = [0.1, -0.2, 0.3, 0.4]

    async def test(store: Store) -> None:
        await store.note(
            [
                validation(seq, relative_error=error, within_interval=abs(error) < 0.35)
                for seq, error in enumerate(errors, 1)
            ],
            4,
        )
        (row,) = await store.validated(ValidationQuestion(), NOW)
        assert (row.name, row.metric) == ("gpu-1", "latency_ms")
        assert row.median_ape == pytest.approx(0.25)
        assert row.mean_ape == pytest.approx(0.25)
        assert row.bias == pytest.approx(0.2)
        assert row.coverage_90 == 0.75
        assert list(row.recent_errors) == [0.4, 0.3, 0.2, 0.1]
        assert list(row.recent_hits) == [False, True, True, True]

    run(test)


def test_only_the_newest_are_recent(run: Run) -> None:
    async def test(store: Store) -> None:
        many = [validation(seq, relative_error=seq / 1e3) for seq in range(1, 101)]
        await store.note(many, 100)
        (row,) = await store.validated(ValidationQuestion(), NOW)
        assert list(row.recent_errors) == [seq / 1e3 for seq in range(100, 100 - RECENT, -1)]

    run(test)


WEB = "onnxruntime-web-1.30.0 wasm chromium-156"
KINDS: list[dict[str, object]] = [
    {"metric": "power_w"},
    {"hardware": "gpu-2", "batch_size": 8},
    {"model": "bert", "precision": "fp16"},
    {"strategy": "parallel", "runtime": WEB},
    {"runtime": "onnxruntime-1.23", "time": T0 - timedelta(days=2)},
]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"metric": "power_w"}, {1}),
        ({"hardware": "gpu-2"}, {2}),
        ({"batch_size": 8}, {2}),
        ({"model": "bert"}, {3}),
        ({"precision": "fp16"}, {3}),
        ({"strategy": "parallel"}, {4}),
        ({"browser": "chromium"}, {4}),
        ({"browser": "chromium-156"}, {4}),
        ({"browser": "chrom"}, set()),
        ({"runtime": "onnxruntime-1.23"}, {5}),
        ({"last_s": 7_200.0}, {1, 2, 3, 4}),
        ({"model": "bert", "hardware": "gpu-2"}, set()),
    ],
)
def test_what_is_asked_for(run: Run, asked: dict[str, object], numbers: set[int]) -> None:
    async def test(store: Store) -> None:
        every = [validation(seq, **changes) for seq, changes in enumerate(KINDS, 1)]
        await store.note(every, len(every))
        rows = await store.validated(ValidationQuestion.model_validate(asked), NOW)
        assert sum(row.validations for row in rows) == len(numbers)
        assert {row.newest for row in rows} <= {every[number - 1].time for number in numbers}

    run(test)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("metric", {"latency_ms", "power_w"}),
        ("hardware", {"gpu-1", "gpu-2"}),
        ("model", {"bert", "resnet50"}),
        ("batch_size", {None, "8"}),
        ("precision", {None, "fp16"}),
        ("runtime", {None, WEB, "onnxruntime-1.23"}),
        ("browser", {None, "chromium-156"}),
        ("strategy", {None, "parallel"}),
    ],
)
def test_groups(run: Run, by: str, names: set[str | None]) -> None:
    async def test(store: Store) -> None:
        every = [validation(seq, **changes) for seq, changes in enumerate(KINDS, 1)]
        await store.note(every, len(every))
        rows = await store.validated(ValidationQuestion.model_validate({"by": by}), NOW)
        assert {row.name for row in rows} == names
        assert sum(row.validations for row in rows) == len(every)
        assert [row.validations for row in rows] == sorted(
            (row.validations for row in rows), reverse=True
        )

    run(test)
