from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heart.stimuli import AnswerLogged, MeasurementLogged
from agent.journal import record_of_event, stimulus_of
from agent.store.port import LogRecord
from schemas.errors import Corrupt
from schemas.events import BenchmarkEvent
from schemas.measurement import Benchmark
from tests.support.agent import benchmark_event

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

quantity = st.none() | st.floats(min_value=1e-9, max_value=1e12, allow_nan=False)


@given(throughput=quantity, latency=quantity, memory=quantity)
def test_what_is_read_from_the_log_is_what_was_accepted(
    throughput: float | None, latency: float | None, memory: float | None
) -> None:
    data = {
        "model": "m",
        "hardware": {"name": "h", "class": "gpu", "count": 2},
        "metrics": {"throughput_per_s": throughput, "latency_ms": latency, "memory_mb": memory},
        "outcome": "ok",
    }
    event = BenchmarkEvent.model_validate(
        benchmark_event("1") | {"data": data, "time": NOW.isoformat()}
    )
    record = record_of_event(event, NOW)
    stimulus = stimulus_of(replace(record, seq=7))
    assert stimulus == MeasurementLogged(7, "test", "1", NOW, event.data)


def test_an_event_without_a_time_has_that_of_its_arrival() -> None:
    event = BenchmarkEvent.model_validate(benchmark_event("1"))
    assert record_of_event(event, NOW).event_time == NOW


def test_an_answer_is_read_back() -> None:
    body = '{"kind":"predict","as_of_seq":3,"request":{},"reply":{"predictions":[]}}'
    record = LogRecord("answer", "agent/a", "id", NOW, NOW, body, seq=4)
    assert stimulus_of(record) == AnswerLogged(4, "id", NOW, "predict", {}, {"predictions": []})


@pytest.mark.parametrize("body", ["", "[", "{}", '{"model": 3}'])
def test_a_damaged_record_is_named(body: str) -> None:
    with pytest.raises(Corrupt, match="record 9"):
        stimulus_of(LogRecord("benchmark", "s", "i", NOW, NOW, body, seq=9))


def test_exclusion_of_defaults_loses_nothing() -> None:
    data = Benchmark.model_validate({"model": "m", "hardware": "h", "outcome": "failed"})
    event = BenchmarkEvent.model_validate(
        benchmark_event("1") | {"data": {"model": "m", "hardware": "h", "outcome": "failed"}}
    )
    stimulus = stimulus_of(record_of_event(event, NOW))
    assert isinstance(stimulus, MeasurementLogged)
    assert stimulus.data == data
