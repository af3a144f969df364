"""The log, read and written: between events and answers on one side, records on the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from agent.heart.effects import Answer
from agent.heart.stimuli import (
    AnswerLogged,
    LoggedStimulus,
    MeasurementLogged,
    RefinementLogged,
    ReleaseLogged,
)
from agent.store.port import LogRecord, RecordKind
from schemas.errors import Corrupt
from schemas.events import BenchmarkEvent, ExecutionEvent
from schemas.measurement import Benchmark, Execution
from schemas.quarantine import Release
from schemas.refinement import Refinement
from schemas.requests import AnyRequest


def record_of_event(event: BenchmarkEvent | ExecutionEvent, received_at: datetime) -> LogRecord:
    """Return the record of an accepted event. An event without a time has that of its arrival."""
    kind: RecordKind = "benchmark" if isinstance(event, BenchmarkEvent) else "execution"
    return record_of_measurement(
        kind, event.source, event.id, event.data, event.time or received_at, received_at
    )


def record_of_measurement(
    kind: RecordKind,
    source: str,
    event_id: str,
    data: Benchmark | Execution,
    event_time: datetime,
    received_at: datetime,
) -> LogRecord:
    """Return the record of a measurement."""
    return LogRecord(
        kind=kind,
        source=source,
        id=event_id,
        event_time=event_time,
        received_at=received_at,
        body=data.model_dump_json(exclude_none=True, exclude_defaults=True),
    )


def record_of_answer(
    answer: Answer, request: AnyRequest, agent_id: str, now: datetime
) -> LogRecord:
    """Return the record of an answer that a measurement may answer later."""
    body = (
        f'{{"kind":"{answer.kind}","as_of_seq":{answer.as_of_seq},'
        f'"request":{request.model_dump_json(exclude_none=True, exclude_defaults=True)},'
        f'"reply":{answer.reply.model_dump_json(exclude_none=True)}}}'
    )
    return LogRecord(
        kind="answer",
        source=f"agent/{agent_id}",
        id=answer.cause,
        event_time=now,
        received_at=now,
        body=body,
    )


def record_of_refinement(
    refinement: Refinement, refinement_id: str, agent_id: str, now: datetime
) -> LogRecord:
    """Return the record of a refinement that was tried."""
    return LogRecord(
        kind="refinement",
        source=f"agent/{agent_id}",
        id=refinement_id,
        event_time=now,
        received_at=now,
        body=refinement.model_dump_json(exclude_none=True),
    )


def record_of_release(release: Release, agent_id: str, now: datetime) -> LogRecord:
    """Return the record of a release. Its id makes sure that an event is released only once."""
    return LogRecord(
        kind="release",
        source=f"agent/{agent_id}",
        id=f"release {json.dumps([release.source, release.id])}",
        event_time=now,
        received_at=now,
        body=release.model_dump_json(exclude_none=True, exclude_defaults=True),
    )


def stimulus_of(record: LogRecord) -> LoggedStimulus:
    """Return what a logged record is to the heart.

    What a kept refinement made is not in its record: see `agent.rebuild`.

    Raises:
        Corrupt: the record's body is not what its kind says.
    """
    try:
        return _READERS[record.kind](record)
    except (ValueError, KeyError) as error:
        raise Corrupt(f"log record {record.seq} ({record.kind}) can't be read: {error}") from error


def _read_benchmark(record: LogRecord) -> MeasurementLogged:
    return _measurement(record, Benchmark.model_validate_json(record.body))


def _read_execution(record: LogRecord) -> MeasurementLogged:
    return _measurement(record, Execution.model_validate_json(record.body))


def _measurement(record: LogRecord, data: Benchmark | Execution) -> MeasurementLogged:
    return MeasurementLogged(record.seq, record.source, record.id, record.event_time, data)


def _read_answer(record: LogRecord) -> AnswerLogged:
    body = json.loads(record.body)
    return AnswerLogged(
        record.seq, record.id, record.event_time, body["kind"], body["request"], body["reply"]
    )


def _read_refinement(record: LogRecord) -> RefinementLogged:
    return RefinementLogged(record.seq, Refinement.model_validate_json(record.body), None)


def _read_release(record: LogRecord) -> ReleaseLogged:
    release = Release.model_validate_json(record.body)
    return ReleaseLogged(record.seq, record.event_time, release)


_READERS: dict[RecordKind, Callable[[LogRecord], LoggedStimulus]] = {
    "benchmark": _read_benchmark,
    "execution": _read_execution,
    "answer": _read_answer,
    "refinement": _read_refinement,
    "release": _read_release,
}
