"""Does a ledger of a million validations answer quickly, and does it slow down what comes in?

    python -m tests.benchmarks.ledger [--rows 1000000] [--days 30]

Stores side by side in one run: one with an empty ledger, one with a million validations spread
evenly over a month, and one with a million of a single day. Asked are the queries of the command
line for the last day. Then the first two take events as the writer brings them, in micro-batches,
with the validations that follow.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from agent.store.duck import DuckStore
from agent.store.port import LogRecord
from schemas.published import Validation
from schemas.validation import GroupedBy, ValidationQuestion
from tests.benchmarks.report import publish

NOW = datetime(2026, 11, 2, tzinfo=UTC)
BLOCK = 50_000
METRICS = ("throughput_per_s", "latency_ms", "memory_mb", "power_w")
QUESTIONS: tuple[GroupedBy, ...] = ("hardware", "metric", "model", "strategy")
REPEATS, BATCHES, EVENTS = 15, 60, 64


def validation(seq: int, time: datetime, chance: random.Random) -> Validation:
    """Return a made-up validation, of one of twenty kinds of hardware and two hundred models."""
    error = chance.gauss(0, 0.1)
    return Validation.model_construct(
        seq=seq,
        time=time,
        prediction_id=f"p-{seq}",
        paired_by="id",
        metric=METRICS[seq % 4],
        model=f"model-{chance.randrange(200)}",
        hardware=f"hardware-{chance.randrange(20)}",
        batch_size=8,
        precision="fp16",
        runtime="onnxruntime-1.23",
        strategy=None,
        predicted=100.0 * (1 + error),
        low=80.0,
        high=120.0,
        measured=100.0,
        relative_error=error,
        absolute_percentage_error=abs(error),
        within_interval=abs(error) < 0.16,
        event_id=f"e-{seq}",
        event_source="bench",
    )


async def filled(folder: Path, name: str, rows: int, days: float) -> DuckStore:
    """Return a store whose ledger holds so many validations, over so many days until now."""
    store = await DuckStore.open(folder / f"{name}.duckdb")
    chance = random.Random(name)
    step = timedelta(days=days) / max(rows, 1)
    for start in range(0, rows, BLOCK):
        block = [
            validation(seq, NOW - (rows - seq) * step, chance)
            for seq in range(start + 1, min(start + BLOCK, rows) + 1)
        ]
        await store.note(block, block[-1].seq)
    return store


async def asked(store: DuckStore, by: GroupedBy) -> float:
    """Return how long a query for the last day takes, in ms: the median."""
    question = ValidationQuestion(by=by, last_s=86_400.0)
    return await median_ms(lambda: store.validated(question, NOW))


async def median_ms(work: Callable[[], Awaitable[object]]) -> float:
    """Return the median of some repeats, in ms."""
    took = []
    for _ in range(REPEATS):
        started = perf_counter()
        await work()
        took.append(1e3 * (perf_counter() - started))
    return statistics.median(took)


async def taken(store: DuckStore, rows: int, *, noting: bool) -> float:
    """Return how many events per second a store takes, in the median over batches."""
    chance = random.Random(rows)
    rates = []
    seq = rows
    for number in range(BATCHES):
        records = [
            LogRecord("benchmark", f"{rows}-{noting}", f"{number}-{one}", NOW, NOW, "{}" * 200)
            for one in range(EVENTS)
        ]
        started = perf_counter()
        await store.append(records)
        if noting:
            found = [validation(seq + one // 4, NOW, chance) for one in range(4 * EVENTS)]
            seq += EVENTS
            await store.note(found, seq)
        rates.append(EVENTS / (perf_counter() - started))
    return statistics.median(rates)


async def measure(rows: int, days: float) -> None:
    """Measure, and print both tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = await filled(folder, "empty", 0, days)
        month = await filled(folder, "month", rows, days)
        day = await filled(folder, "day", rows, 1.0)
        publish(
            "ledger-queries",
            f"Queries for the last day, of {rows:,} validations: medians of {REPEATS}, ms",
            [
                {
                    "by": by,
                    f"over {days:g} days": round(await asked(month, by), 1),
                    "all of one day": round(await asked(day, by), 1),
                }
                for by in QUESTIONS
            ],
        )
        publish(
            "ledger-intake",
            f"Events per second that a store takes, in batches of {EVENTS}: medians",
            [
                {
                    "ledger": label,
                    "log alone": round(await taken(store, held, noting=False)),
                    "log and four validations of each": round(
                        await taken(store, held, noting=True)
                    ),
                }
                for label, store, held in (("empty", empty, 0), (f"{rows:,}", month, rows))
            ],
        )
        for store in (empty, month, day):
            await store.close()


def main() -> None:
    """Read options; measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30.0)
    options = parser.parse_args()
    asyncio.run(measure(options.rows, options.days))


if __name__ == "__main__":
    main()
