"""The heart alone: learning and predicting, without bus or store.

    python -m tests.benchmarks.heart

Learning is timed twice: while domains are small and have processes of their own, and once 50,000
rows are learnt, the shipped ones over and over in other batch sizes. Rows are the shipped
measurements. Few of them have all four metrics, so memory and power are filled in as load and
nothing else: no accuracy is read from this benchmark. At last, rows are learnt as they were
measured.

A hundred candidates are asked for in two ways. Cells that are new were neither measured nor asked
for before: nothing that is remembered of cells helps. Cells that are asked for again are the same
hundred each time, with five measurements of other cells learnt in between, as a scheduler asks.
Either is timed from the bytes of a request to the bytes of its reply. On a machine that others use,
`--processor-time` tells what was worked and leaves out what was waited.

Garbage is collected as in the daemon, once in each second of the clock that is used. There, an
answer that comes just then waits for it, so that it counts for the next event or answer here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.resources import as_file, files

from agent.garbage import SET_ASIDE_SECONDS, short_collections
from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from agent.importing import ImportedRow, read_rows
from agent.learning.footprint import footprint_bytes
from schemas.measurement import Benchmark, MetricName
from schemas.requests import PredictRequest
from tests.benchmarks.report import publish, spread_ms

LEARNT = 50_000
CANDIDATES = 100
PREDICTIONS = 300
BETWEEN = 5
"""Measurements that are learnt before each question."""

ONE_METRIC: list[MetricName] = ["throughput_per_s"]
Clock = Callable[[], float]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sample() -> list[Benchmark]:
    """Return the shipped measurements, with all four metrics (see above)."""
    return [_with_all_metrics(row) for row in as_measured()]


def as_measured() -> list[Benchmark]:
    """Return the shipped measurements."""
    with as_file(files("agent") / "data" / "sample.parquet") as path:
        return [row.benchmark for row in read_rows(path, {}) if isinstance(row, ImportedRow)]


def _with_all_metrics(row: Benchmark) -> Benchmark:
    parameters = row.model.parameters_m or 10.0
    filled = {
        "memory_mb": row.metrics.memory_mb or 200.0 + 4.0 * parameters,
        "power_w": row.metrics.power_w or 100.0 + parameters**0.5,
        "latency_ms": row.metrics.latency_ms or 10.0,
    }
    return row.model_copy(update={"metrics": row.metrics.model_copy(update=filled)})


def stimulus(seq: int, row: Benchmark) -> MeasurementLogged:
    """Return the stimulus of a logged row."""
    return MeasurementLogged(seq, "bench", str(seq), NOW, row)


def request(rows: list[Benchmark], start: int) -> RequestReceived:
    """Return a request for a hundred candidates."""
    chosen = [rows[(start + i) % len(rows)] for i in range(CANDIDATES)]
    body = {
        "candidates": [
            row.model_dump(include={"model", "hardware", "setup"}, exclude_none=True)
            for row in chosen
        ]
    }
    return RequestReceived(f"r{start}", "predict", PredictRequest.model_validate(body))


def never_met(rows: list[Benchmark], number: int) -> list[Benchmark]:
    """Return rows whose batch sizes were neither measured nor in what another number gives."""
    start = 7 * number
    chosen = [rows[(start + i) % len(rows)] for i in range(CANDIDATES)]
    return in_batches_of(1_001 + 2 * number, chosen)


def in_batches_of(size: int, rows: list[Benchmark]) -> list[Benchmark]:
    """Return rows in another batch size, which takes as much longer as it is larger."""
    return [_in_batches_of(size, row) for row in rows]


def _in_batches_of(size: int, row: Benchmark) -> Benchmark:
    metrics, longer = row.metrics, size / (row.setup.batch_size or 1)
    if metrics.latency_ms is not None:
        # Faster than its roofline, it would be set aside and not learnt.
        metrics = metrics.model_copy(update={"latency_ms": metrics.latency_ms * longer})
    setup = row.setup.model_copy(update={"batch_size": size})
    return row.model_copy(update={"setup": setup, "metrics": metrics})


def _learnt(what: str, took: list[float], metrics: float = 4) -> dict[str, object]:
    return {
        "what": f"learn one event, {metrics:.2g} metrics, {what}",
        "per_s": round(len(took) / sum(took)),
        **spread_ms(took),
        "goal": "1,000 per s",
    }


def ask(heart: Heart, payload: bytes) -> None:
    """Answer a request as it comes from the bus, down to the bytes of the reply."""
    asked = PredictRequest.model_validate_json(payload)
    for effect in heart.handle(RequestReceived("r", "predict", asked)):
        if isinstance(effect, Answer):
            effect.reply.model_dump_json().encode()


def payload(rows: list[Benchmark], metrics: list[MetricName] | None) -> bytes:
    """Return the bytes of a request for the cells of a hundred rows."""
    asked = request(rows, 0).request.model_copy(update={"metrics": metrics})
    return asked.model_dump_json(exclude_none=True).encode()


class Worked:
    """Times what is done one by one, with the garbage that is to be collected meanwhile."""

    def __init__(self, clock: Clock, set_aside: Callable[[], None]) -> None:
        self._clock = clock
        self._set_aside = set_aside
        self._collected = clock()

    def time(self, do: Callable[[], object]) -> float:
        """Do something; return how long it took."""
        started = self._clock()
        if started - self._collected >= SET_ASIDE_SECONDS:
            self._set_aside()
            self._collected = started
        do()
        return self._clock() - started


def predicting(
    heart: Heart, rows: list[Benchmark], payloads: list[bytes], first: int, worked: Worked
) -> list[float]:
    """Return how long each question took, with measurements learnt before each.

    Something new is known each time, so that no answer as a whole can be remembered.
    """
    took = []
    learn = iter(range(first, first + BETWEEN * len(payloads)))
    for one in payloads:
        for _ in range(BETWEEN):
            number = next(learn)
            # Rows that are asked for come first; of others there are enough.
            row = rows[CANDIDATES + number % (len(rows) - CANDIDATES)]
            heart.handle(stimulus(number, row))
        took.append(worked.time(partial(ask, heart, one)))
    return took


def measure(clock: Clock) -> list[dict[str, object]]:
    """Learn the sample, then predict a hundred candidates at a time."""
    rows = sample()
    with short_collections() as set_aside:
        return _measured(rows, Worked(clock, set_aside))


def _measured(rows: list[Benchmark], worked: Worked) -> list[dict[str, object]]:
    heart = Heart()
    learning = [
        worked.time(partial(heart.handle, stimulus(seq, row))) for seq, row in enumerate(rows, 1)
    ]
    found = [_learnt(f"the first {len(rows):,}", learning)]
    first = len(rows) + 1
    while first <= LEARNT:
        more = in_batches_of(2 * first, rows)
        learning = [
            worked.time(partial(heart.handle, stimulus(seq, row)))
            for seq, row in enumerate(more, first)
        ]
        first += len(more)
    found.append(_learnt(f"{first - 1:,} learnt", learning))
    known, events = footprint_bytes(heart.bank), first - 1
    for which, metrics in (("4 metrics", None), ("1 metric", ONE_METRIC)):
        offset = 0 if metrics is None else PREDICTIONS
        new = [payload(never_met(rows, offset + i), metrics) for i in range(PREDICTIONS)]
        again = [payload(rows[:CANDIDATES], metrics)] * PREDICTIONS
        ask(heart, again[0])
        for how, payloads in (("new", new), ("asked for again", again)):
            took = predicting(heart, rows, payloads, first, worked)
            first += BETWEEN * PREDICTIONS
            found.append(
                {
                    "what": f"predict {CANDIDATES} candidates, {how}, {which}",
                    "per_s": round(len(took) / sum(took)),
                    **spread_ms(took),
                    "goal": "p99 under 5 ms",
                }
            )
    more = in_batches_of(2 * first, as_measured())
    learning = [
        worked.time(partial(heart.handle, stimulus(seq, row)))
        for seq, row in enumerate(more, first)
    ]
    metrics = sum(len(row.metrics.values()) for row in more) / len(more)
    found.append(_learnt(f"as measured, {first - 1:,} learnt", learning, metrics))
    state = {
        "what": f"learned state of {events:,} events",
        "mb": round(known / 1e6, 1),
    }
    return [*found, state]


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processor-time", action="store_true")
    processor = parser.parse_args().processor_time
    title = "The heart alone" + (", processor time" if processor else "")
    publish("heart", title, measure(time.process_time if processor else time.perf_counter))


if __name__ == "__main__":
    main()
