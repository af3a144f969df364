from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from agent.heart.effects import Publish
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.errors import Unavailable
from schemas.measurement import Benchmark, Execution
from schemas.published import Alert
from schemas.requests import StatusRequest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def measured(seq: int, throughput: float, gmacs: float) -> MeasurementLogged:
    data = Benchmark.model_validate(
        {
            "model": {"name": f"m{gmacs}", "gmacs": gmacs, "parameters_m": 5 * gmacs},
            "hardware": {"name": "gpu", "class": "gpu"},
            "setup": {"batch_size": 8, "precision": "fp16"},
            "metrics": {"throughput_per_s": throughput},
        }
    )
    return MeasurementLogged(seq, "lab", str(seq), NOW, data)


def test_a_lasting_shift_is_said_and_the_measurements_before_it_are_silent() -> None:
    chance = random.Random(2)
    heart = Heart()
    alerts: list[tuple[int, Alert]] = []
    for seq in range(1, 461):
        gmacs = chance.choice((0.5, 1.0, 2.0, 4.0, 8.0))
        factor = 0.7 if seq > 400 else 1.0
        stimulus = measured(seq, 900 * factor / gmacs * chance.lognormvariate(0, 0.04), gmacs)
        for effect in heart.handle(stimulus):
            if isinstance(effect, Publish) and isinstance(effect.what, Alert):
                assert effect.cause == str(seq)
                alerts.append((seq, effect.what))
    assert alerts, "the shift was not noticed"
    assert min(seq for seq, _ in alerts) > 400
    assert alerts[0][0] <= 430
    assert alerts[0][1].kind == "drift"
    assert alerts[0][1].scope["hardware"] == "gpu"


def test_what_ran_in_company_is_no_benchmark() -> None:
    run = {"model": "a", "hardware": "gpu", "metrics": {"latency_ms": 5.0}}
    together = {"runs": [run, run | {"model": "b"}], "strategy": "parallel", "waves": [["a", "b"]]}
    heart = Heart()
    heart.handle(MeasurementLogged(1, "lab", "1", NOW, Execution.model_validate(together)))
    assert heart.bank.observed_count == 0
    assert heart.events == 1
    alone = together | {"strategy": "batched", "waves": [["a"], ["b"]]}
    heart.handle(MeasurementLogged(2, "lab", "2", NOW, Execution.model_validate(alone)))
    assert heart.bank.observed_count == 2


def test_how_the_agent_is_does_not_rest_on_what_was_learnt() -> None:
    with pytest.raises(Unavailable):
        Heart().handle(RequestReceived("r", "status", StatusRequest()))
