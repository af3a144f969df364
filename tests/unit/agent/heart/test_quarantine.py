"""What nothing can have shown is logged, told and kept aside; only a release makes it learnt."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.heart.effects import Answer, Effect, Log, Publish
from agent.heart.heart import Heart
from agent.heart.quarantine import Quarantine
from agent.heart.stimuli import (
    AnswerLogged,
    LoggedStimulus,
    MeasurementLogged,
    ReleaseLogged,
    RequestReceived,
)
from agent.heart.versions import Rebuilding
from agent.journal import record_of_measurement, record_of_release, stimulus_of
from agent.learning.bank import BankConfig
from agent.rebuild import lessons_of
from agent.store.port import LogRecord
from schemas.errors import BadInput
from schemas.measurement import Benchmark, Execution
from schemas.published import Alert, Validation
from schemas.quarantine import HeldRun, QuarantineReply, ReleaseReply
from schemas.refinement import Version
from schemas.requests import QuarantineRequest, ReleaseRequest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POSSIBLE, IMPOSSIBLE = 900.0, 60_000.0


def run_of(rate: float, model: str = "net", **more: Any) -> dict[str, Any]:
    return {
        "model": {"name": model, "gmacs": 4.1, "parameters_m": 25.6},
        "hardware": {"name": "nvidia-t4", "class": "gpu"},
        "setup": {"precision": "fp16", "batch_size": 8, "task": "inference"},
        "metrics": {"throughput_per_s": rate, "throughput_unit": "images/s"},
        **more,
    }


def measured(seq: int, rate: float, **more: Any) -> MeasurementLogged:
    data = Benchmark.model_validate(run_of(rate, **more))
    return MeasurementLogged(seq, "lab", str(seq), NOW + timedelta(seconds=seq), data)


def release(heart: Heart, event_id: str) -> list[Effect]:
    return heart.handle(RequestReceived("r", "release", ReleaseRequest(source="lab", id=event_id)))


def listed(heart: Heart, limit: int = 100) -> QuarantineReply:
    effects = heart.handle(RequestReceived("q", "quarantine", QuarantineRequest(limit=limit)))
    (answer,) = effects
    assert isinstance(answer, Answer)
    assert not answer.logged, "no measurement answers it"
    assert isinstance(answer.reply, QuarantineReply)
    return answer.reply


def published(effects: Sequence[Effect], kind: type) -> list[Any]:
    return [one.what for one in effects if isinstance(one, Publish) and isinstance(one.what, kind)]


def test_what_is_impossible_is_told_and_not_learnt() -> None:
    heart = Heart()
    heart.handle(measured(1, POSSIBLE))
    learnt = heart.bank.digest()

    (alert,) = published(heart.handle(measured(2, IMPOSSIBLE)), Alert)

    assert heart.bank.digest() == learnt
    assert heart.applied_seq == heart.events == 2
    assert alert.kind == "quarantine"
    assert "TFLOP/s" in alert.message
    assert alert.scope == {"source": "lab", "id": "2", "model": "net", "hardware": "nvidia-t4"}
    reply = listed(heart)
    assert (reply.held, reply.set_aside, reply.released) == (1, 1, 0)
    (one,) = reply.measurements
    assert (one.source, one.id, one.time) == ("lab", "2", NOW + timedelta(seconds=2))
    assert "TFLOP/s" in one.reason


def test_it_validates_nothing_until_it_is_released() -> None:
    heart = Heart()
    estimate = {"value": 850.0, "low": 800.0, "high": 900.0, "unit": "images/s"}
    row = {
        "prediction_id": "p/0",
        "model": "net",
        "hardware": "nvidia-t4",
        "metrics": {"throughput_per_s": estimate},
    }
    asked = {"candidates": [{"model": {"name": "net"}, "hardware": {"name": "nvidia-t4"}}]}
    heart.handle(AnswerLogged(1, "p", NOW, "predict", asked, {"predictions": [row]}))

    effects = heart.handle(measured(2, IMPOSSIBLE, prediction_id="p/0"))
    assert published(effects, Validation) == []

    (answer, log) = release(heart, "2")
    assert isinstance(answer, Answer)
    assert isinstance(answer.reply, ReleaseReply)
    assert [one.id for one in answer.reply.released] == ["2"]
    assert isinstance(log, Log)
    assert heart.bank.observed_count == 0, "a release is learnt once it is logged"

    (validation,) = published(heart.handle(ReleaseLogged(3, NOW, log.what)), Validation)
    assert validation.measured == IMPOSSIBLE
    assert (validation.event_source, validation.event_id) == ("lab", "2")
    assert heart.bank.observed_count == 1
    reply = listed(heart)
    assert (reply.held, reply.set_aside, reply.released) == (0, 1, 1)


@pytest.mark.parametrize(("source", "event_id"), [("lab", "1"), ("lab", "9"), ("other", "2")])
def test_only_what_is_held_can_be_released(source: str, event_id: str) -> None:
    heart = Heart()
    heart.handle(measured(1, POSSIBLE))
    heart.handle(measured(2, IMPOSSIBLE))

    with pytest.raises(BadInput, match="set aside"):
        heart.handle(RequestReceived("r", "release", ReleaseRequest(source=source, id=event_id)))


def test_the_good_runs_of_an_execution_are_learnt() -> None:
    runs = [run_of(POSSIBLE, "a"), run_of(IMPOSSIBLE, "b"), run_of(IMPOSSIBLE, "c")]
    waves = [["a"], ["b"], ["c"]]
    data = Execution.model_validate({"runs": runs, "strategy": "batched", "waves": waves})
    heart = Heart()
    heart.handle(MeasurementLogged(1, "lab", "x", NOW, data))

    assert heart.bank.known_models() == ["a"]
    assert [one.model for one in listed(heart).measurements] == ["c", "b"]
    assert [one.model for one in listed(heart, limit=1).measurements] == ["c"]
    (_, log) = release(heart, "x")
    assert isinstance(log, Log)
    heart.handle(ReleaseLogged(2, NOW, log.what))
    assert heart.bank.known_models() == ["a", "b", "c"]


def test_what_ran_in_company_is_not_learnt_even_when_released() -> None:
    runs = [run_of(IMPOSSIBLE, "a"), run_of(POSSIBLE, "b")]
    data = Execution.model_validate({"runs": runs, "strategy": "parallel", "waves": [["a", "b"]]})
    heart = Heart()
    heart.handle(MeasurementLogged(1, "lab", "x", NOW, data))
    (_, log) = release(heart, "x")
    assert isinstance(log, Log)
    heart.handle(ReleaseLogged(2, NOW, log.what))

    assert heart.bank.observed_count == 0
    assert listed(heart).held == 0


def test_the_quarantine_is_bounded_by_runs() -> None:
    quarantine = Quarantine(capacity=5)
    held = HeldRun.model_validate({"run": run_of(IMPOSSIBLE), "alone": True, "reason": "because"})
    for number in range(20):
        quarantine.hold("lab", str(number), NOW, [held, held])
        assert len(quarantine) <= 5

    assert quarantine.set_aside == 40
    assert [one.id for one in quarantine.told(100).measurements] == ["19", "19", "18", "18"]
    quarantine.hold("lab", "large", NOW, [held] * 9)
    assert len(quarantine) == 9, "the newest can always be released"


steps = st.lists(st.sampled_from(["good", "impossible", "release"]), max_size=25)


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(0, 25))
def test_a_replay_comes_to_the_same(steps: list[str], snapshot_at: int) -> None:
    """Live, replayed from the log, and restored from a snapshot on the way: all are equal."""
    live, records = Heart(), list[LogRecord]()

    def take(record: LogRecord) -> None:
        records.append(LogRecord(**{**_fields(record), "seq": len(records) + 1}))
        live.handle(stimulus_of(records[-1]))

    for number, step in enumerate(steps):
        held = listed(live).measurements
        if step == "release" and held:
            (_, log) = release(live, held[-1].id)
            assert isinstance(log, Log)
            take(record_of_release(log.what, "a", NOW))
        else:
            rate = IMPOSSIBLE if step == "impossible" else POSSIBLE + number
            data = Benchmark.model_validate(run_of(rate))
            take(record_of_measurement("benchmark", "lab", f"e{number}", data, NOW, NOW))

    replayed = Heart()
    for index, record in enumerate(records):
        if index == snapshot_at:
            replayed = pickle.loads(pickle.dumps(replayed))
        replayed.handle(stimulus_of(record))
    assert replayed.digest() == live.digest()
    assert listed(replayed) == listed(live)

    work = Rebuilding(BankConfig(), Version(number=0))
    for lesson in lessons_of(records):
        list(work.take(lesson))
    list(work.finish())
    assert work.bank.digest() == live.bank.digest(), "a rebuild sets the same aside"


def _fields(record: LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in LogRecord.__slots__}


def test_an_event_is_released_once() -> None:
    heart = Heart()
    stimuli: list[LoggedStimulus] = [measured(1, IMPOSSIBLE)]
    for one in stimuli:
        heart.handle(one)
    (_, log) = release(heart, "1")
    assert isinstance(log, Log)
    first, second = (record_of_release(log.what, "a", NOW) for _ in range(2))

    assert (first.source, first.id) == (second.source, second.id)
    back = stimulus_of(first)
    assert isinstance(back, ReleaseLogged)
    assert back.release.runs[0].reason == log.what.runs[0].reason
