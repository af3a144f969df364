"""The heart alone: learning and predicting, without bus or store.

    python -m tests.benchmarks.heart

Rows are the shipped measurements. Few of them have all four metrics, so memory and power are
filled in, proportional to the model and throughput, as load and nothing else: no accuracy is
read from this benchmark.
"""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime
from importlib.resources import as_file, files

from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from agent.importing import ImportedRow, read_rows
from agent.learning.footprint import footprint_bytes
from schemas.measurement import Benchmark
from schemas.requests import PredictRequest
from tests.benchmarks.report import publish, spread_ms

CANDIDATES = 100
PREDICTIONS = 500
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sample() -> list[Benchmark]:
    """Return the shipped measurements, with all four metrics (see above)."""
    with as_file(files("agent") / "data" / "sample.parquet") as path:
        rows = [row.benchmark for row in read_rows(path, {}) if isinstance(row, ImportedRow)]
    return [_with_all_metrics(row) for row in rows]


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


def measure() -> list[dict[str, object]]:
    """Learn the sample, then predict a hundred candidates at a time."""
    rows = sample()
    heart = Heart()
    learning = []
    for seq, row in enumerate(rows, 1):
        one = stimulus(seq, row)
        started = time.perf_counter()
        heart.handle(one)
        learning.append(time.perf_counter() - started)
    requests = [request(rows, 7 * i) for i in range(PREDICTIONS)]
    # The daemon collects what it imported, and what was learnt, at times of its own choosing.
    gc.collect()
    gc.freeze()
    predicting = []
    for number, one_request in enumerate(requests):
        # Something new is known each time, so that no answer can be remembered.
        heart.handle(stimulus(len(rows) + 1 + number, rows[number]))
        started = time.perf_counter()
        heart.handle(one_request)
        predicting.append(time.perf_counter() - started)
    return [
        {
            "what": "learn one event, 4 metrics",
            "per_s": round(len(learning) / sum(learning)),
            **spread_ms(learning),
            "goal": "1,000 per s",
        },
        {
            "what": f"predict {CANDIDATES} candidates, 4 metrics",
            "per_s": round(len(predicting) / sum(predicting)),
            **spread_ms(predicting),
            "goal": "p99 under 5 ms",
        },
        {
            "what": f"learned state of {len(rows) + len(requests):,} events",
            "mb": round(footprint_bytes(heart.bank) / 1e6, 1),
        },
    ]


def main() -> None:
    """Measure and tell."""
    publish("heart", "The heart alone", measure())


if __name__ == "__main__":
    main()
