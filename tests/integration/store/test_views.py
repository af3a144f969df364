"""What people ask the store: its views, on records as the agent writes them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from agent.journal import record_of_measurement
from agent.store.duck import DuckStore
from agent.store.port import LogRecord
from schemas.errors import BadInput
from schemas.measurement import Benchmark, Execution

pytestmark = pytest.mark.integration

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOCS = Path(__file__).parents[3] / "docs" / "store.md"
BENCHMARK: dict[str, Any] = {
    "model": {
        "name": "resnet50", "family": "vision", "architecture": "resnet",
        "parameters_m": 25.6, "gmacs": 4.1, "activations_m": 11.1,
    },
    "hardware": {"name": "gpu-a", "class": "gpu", "count": 2},
    "setup": {
        "task": "inference", "batch_size": 32, "precision": "fp16", "runtime": "engine-1",
        "runtime_options": "layout=nhwc", "input_size": 224, "sequence_in": 7, "sequence_out": 9,
        "parallelism": "tp=2", "concurrency": 4,
    },
    "metrics": {
        "throughput_per_s": 1000.5, "throughput_unit": "images/s", "latency_ms": 32.25,
        "latency_kind": "batch_step", "latency_p95_ms": 40.5, "time_to_first_token_ms": 1.5,
        "inter_token_latency_ms": 2.5, "memory_mb": 2048, "power_w": 250, "energy_j_per_item": 0.25,
    },
    "prediction_id": "p-1",
}  # fmt: skip


def run_of(model: str, **metrics: float) -> dict[str, Any]:
    return {"model": model, "hardware": "gpu-a", "metrics": metrics}


def benchmark(id_: str, data: dict[str, Any], days: int = 0) -> LogRecord:
    at = T0 + timedelta(days=days)
    return record_of_measurement("benchmark", "lab", id_, Benchmark.model_validate(data), at, at)


def execution(id_: str, data: dict[str, Any]) -> LogRecord:
    return record_of_measurement("execution", "fleet", id_, Execution.model_validate(data), T0, T0)


def answer(id_: str, kind: str, reply: dict[str, Any]) -> LogRecord:
    body = json.dumps({"kind": kind, "as_of_seq": 1, "request": {"asked": kind}, "reply": reply})
    return LogRecord("answer", "agent/a", id_, T0, T0, body)


def estimate(value: float, unit: str | None = None) -> dict[str, Any]:
    made = {"value": value, "low": value / 2, "high": value * 2, "confidence": 0.9}
    return made | ({"unit": unit} if unit else {})


RECORDS = [
    benchmark("b-1", BENCHMARK),
    benchmark("b-2", {"model": "vgg", "hardware": "cpu-b", "outcome": "out_of_memory"}, days=1),
    benchmark("b-3", run_of("quote's \"name\"", latency_ms=1.5), days=1),
    execution(
        "e-1",
        {
            "runs": [run_of("a", latency_ms=1), run_of("b", latency_ms=2), run_of("c", power_w=3)],
            "strategy": "batched", "waves": [["a", "c"], ["b"]], "device": "gpu-a-0",
            "wall_time_ms": 9.5, "decision_id": "d-1",
        },
    ),
    execution("e-2", {"runs": [run_of("x", latency_ms=1)] * 2, "strategy": "parallel"}),
    execution("e-3", {"runs": [run_of("x", latency_ms=1)] * 2, "strategy": "sequential"}),
    answer(
        "q-1", "predict",
        {
            "predictions": [
                {
                    "prediction_id": "p-1", "model": "resnet50", "hardware": "gpu-a",
                    "metrics": {"latency_ms": estimate(30, "batch_step"), "power_w": estimate(200)},
                },
                {"prediction_id": "p-2", "model": "vgg", "hardware": "cpu-b", "metrics": {}},
            ]
        },
    ),
    answer(
        "q-2", "recommend",
        {
            "decision_id": "d-2", "model": "vgg", "reasons": ["fastest"], "runners_up": [],
            "recommended": {
                "hardware": "gpu-a", "prediction_id": "p-3", "metrics": {"latency_ms": estimate(4)},
            },
        },
    ),
    answer("q-3", "recommend",
           {"decision_id": "d-3", "model": "big", "reasons": ["no memory"], "runners_up": [],
            "recommended": None}),
    answer("q-4", "strategy",
           {"decision_id": "d-4", "chosen": {"strategy": "batched"}, "reasons": []}),
    answer("q-5", "place", {"decision_id": "d-5", "placed": [
        {"model": "m", "device": "gpu-a-0", "prediction_id": "p-4",
         "metrics": {"memory_mb": estimate(500)}}], "reasons": ["fits"]}),
    answer("q-6", "compare", {"model": "vgg", "rows": [
        {"hardware": "gpu-a", "prediction_id": "p-5", "metrics": {"power_w": estimate(7)}}]}),
]  # fmt: skip


def asked(sql: str, records: Sequence[LogRecord] = RECORDS) -> list[tuple[Any, ...]]:
    """Return the answer of a store that holds the records."""

    async def main() -> list[tuple[Any, ...]]:
        store = await DuckStore.open(":memory:")
        try:
            await store.append(records)
            return (await store.query(sql))[1]
        finally:
            await store.close()

    return asyncio.run(main())


def test_every_field_of_a_benchmark_is_a_column() -> None:
    async def main() -> dict[str, Any]:
        store = await DuckStore.open(":memory:")
        try:
            await store.append(RECORDS)
            columns, (row,) = await store.query("FROM measurements WHERE id = 'b-1'")
            return dict(zip(columns, row, strict=True))
        finally:
            await store.close()

    row = asyncio.run(main())
    for part in ("setup", "metrics"):
        for field, value in BENCHMARK[part].items():
            assert row[field] == value, field
    for field, value in BENCHMARK["model"].items():
        assert row["model" if field == "name" else field] == value
    assert (row["hardware"], row["hardware_class"], row["device_count"]) == ("gpu-a", "gpu", 2)
    assert (row["outcome"], row["prediction_id"], row["kind"]) == ("ok", "p-1", "benchmark")
    assert (row["seq"], row["source"], row["event_time"]) == (1, "lab", T0.replace(tzinfo=None))
    assert (row["runs"], row["run_number"], row["strategy"], row["wave"]) == (1, 1, None, None)


def test_what_was_not_measured_is_null_and_names_are_as_they_were() -> None:
    assert asked(
        "SELECT model, latency_ms, power_w, batch_size, outcome FROM measurements "
        "WHERE id IN ('b-2', 'b-3') ORDER BY seq"
    ) == [("vgg", None, None, None, "out_of_memory"), ('quote\'s "name"', 1.5, None, None, "ok")]


def test_an_execution_is_a_row_for_each_run_with_its_wave() -> None:
    assert asked(
        "SELECT model, run_number, runs, wave, wave_size, strategy, device, wall_time_ms, "
        "decision_id FROM measurements WHERE id = 'e-1' ORDER BY run_number"
    ) == [
        ("a", 1, 3, 1, 2, "batched", "gpu-a-0", 9.5, "d-1"),
        ("b", 2, 3, 2, 1, "batched", "gpu-a-0", 9.5, "d-1"),
        ("c", 3, 3, 1, 2, "batched", "gpu-a-0", 9.5, "d-1"),
    ]


def test_without_waves_the_strategy_says_how_many_ran_at_once() -> None:
    assert asked(
        "SELECT id, run_number, wave, wave_size FROM measurements WHERE id IN ('e-2', 'e-3') "
        "ORDER BY id, run_number"
    ) == [("e-2", 1, None, 2), ("e-2", 2, None, 2), ("e-3", 1, None, 1), ("e-3", 2, None, 1)]


def test_a_prediction_is_a_row_for_each_metric_whoever_asked() -> None:
    assert asked(
        "SELECT asked, prediction_id, model, hardware, metric, value, low, high, confidence, unit "
        "FROM predictions ORDER BY prediction_id, metric"
    ) == [
        ("predict", "p-1", "resnet50", "gpu-a", "latency_ms", 30, 15, 60, 0.9, "batch_step"),
        ("predict", "p-1", "resnet50", "gpu-a", "power_w", 200, 100, 400, 0.9, None),
        ("recommend", "p-3", "vgg", "gpu-a", "latency_ms", 4, 2, 8, 0.9, None),
        ("place", "p-4", "m", "gpu-a-0", "memory_mb", 500, 250, 1000, 0.9, None),
        ("compare", "p-5", "vgg", "gpu-a", "power_w", 7, 3.5, 14, 0.9, None),
    ]


def test_decisions_have_what_was_chosen_and_why() -> None:
    assert asked("SELECT decision_id, kind, chosen, reasons FROM decisions ORDER BY seq") == [
        ("d-2", "recommend", "gpu-a", ["fastest"]),
        ("d-3", "recommend", None, ["no memory"]),
        ("d-4", "strategy", "batched", []),
        ("d-5", "place", None, ["fits"]),
    ]
    assert json.loads(asked("SELECT request FROM decisions ORDER BY seq LIMIT 1")[0][0]) == {
        "asked": "recommend"
    }


def test_events_are_counted_by_their_day() -> None:
    assert asked("FROM events_per_day") == [
        (date(2026, 3, 1), "answer", "agent/a", 6),
        (date(2026, 3, 1), "benchmark", "lab", 1),
        (date(2026, 3, 1), "execution", "fleet", 3),
        (date(2026, 3, 2), "benchmark", "lab", 2),
    ]


@pytest.mark.parametrize("view", ["measurements", "predictions", "decisions", "events_per_day"])
def test_views_of_an_empty_log_are_empty(view: str) -> None:
    assert asked(f"FROM {view}", []) == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM log",
        "INSERT INTO snapshot VALUES (1, 'a', 'b')",
        "DROP VIEW measurements",
        "SELECT 1; SELECT 2",
        "ATTACH ':memory:' AS other",
        "COMMIT",
        "SELECT nonsense FROM log",
        "SELEKT",
        "",
    ],
)
def test_a_question_changes_nothing(sql: str) -> None:
    async def main() -> None:
        store = await DuckStore.open(":memory:")
        try:
            await store.append(RECORDS)
            with pytest.raises(BadInput):
                await store.query(sql)
            assert (await store.query("SELECT count(*) FROM log"))[1] == [(len(RECORDS),)]
            assert (await store.query("SELECT ?::INTEGER + 1", [4]))[1] == [(5,)]
        finally:
            await store.close()

    asyncio.run(main())


def test_a_hundred_thousand_measurements_are_quick_to_ask() -> None:
    """It takes 0.1 to 0.3 s; the bound is for slow and busy machines."""
    body = Benchmark.model_validate(BENCHMARK).model_dump_json(exclude_none=True)

    async def main() -> float:
        store = await DuckStore.open(":memory:")
        try:
            for start in range(0, 100_000, 20_000):
                await store.append(
                    [
                        LogRecord("benchmark", "s", str(number), T0, T0, body)
                        for number in range(start, start + 20_000)
                    ]
                )
            began = time.perf_counter()
            _, rows = await store.query("SELECT count(*), avg(latency_ms) FROM measurements")
            assert rows == [(100_000, 32.25)]
            return time.perf_counter() - began
        finally:
            await store.close()

    assert asyncio.run(main()) < 5.0


def examples() -> list[str]:
    """Return every SQL example of the documentation."""
    return re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_documentation_has_examples_for_every_view() -> None:
    text = "\n".join(examples())
    for view in ("measurements", "predictions", "decisions", "events_per_day"):
        assert f"FROM {view}" in text, view


@pytest.mark.parametrize("sql", examples())
def test_each_example_of_the_documentation_answers(sql: str) -> None:
    assert asked(sql), "an example that shows nothing"


@pytest.mark.parametrize("view", ["measurements", "predictions", "decisions", "events_per_day"])
def test_the_documentation_describes_every_column(view: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    for (column,) in asked(f"SELECT column_name FROM duckdb_columns() WHERE table_name = '{view}'"):
        assert f"`{column}`" in text, column


def test_the_file_reads_in_plain_duckdb_when_the_agent_is_stopped(tmp_path: Path) -> None:
    """As the documentation says: the views are in the file, and need nothing of Placewise."""

    async def main() -> None:
        store = await DuckStore.open(tmp_path / "log.duckdb")
        await store.append(RECORDS)
        await store.close()

    asyncio.run(main())
    with duckdb.connect(tmp_path / "log.duckdb", read_only=True) as connection:
        for sql in examples():
            assert connection.execute(sql).fetchall()
