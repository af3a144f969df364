"""Which benchmarks are wanted: asked of a store, and of an agent on a broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli import BAD_INPUT
from tests.integration.agent.test_cli import Ran, measurements, run
from tests.support.agent import AgentProcess
from tests.support.broker import a_broker

pytestmark = pytest.mark.integration

__all__ = ["measurements", "run"]  # fixtures


@pytest.fixture
def store(run: Any, tmp_path: Path, measurements: Path) -> Path:
    path = tmp_path / "log.duckdb"
    assert run("import", measurements, "--store", path).code == 0
    return path


def test_each_is_answered_from_a_store(run: Any, store: Path, tmp_path: Path) -> None:
    more = ("-b", 2, "-b", 8, "--store", store)
    found: Ran = run("active-learning", "--budget", 3, *more, "--json")
    assert found.code == 0, found.err
    assert [one["priority"] for one in found.json["wanted"]] == [1, 2, 3]
    assert {one["setup"]["batch_size"] for one in found.json["wanted"]} <= {2, 8}

    found = run("batch", "--size", 6, "--limit", "fast=1", "--budget-runs", 4, *more, "--json")
    assert found.code == 0, found.err
    assert found.json["runs"] <= 4
    assert found.json["per_hardware"]["fast"] <= 1

    output = tmp_path / "wanted.json"
    found = run("integrate", "--budget", 2, "--metric", "throughput", "--output", output, *more)
    assert found.code == 0, found.err
    written = json.loads(output.read_text())
    assert len(written["wanted"]) == 2
    assert {one["recommended"] for one in written["decisions"]} == {"fast"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("active-learning", "--budget", 0), "budget"),
        (("active-learning", "-H", "moon"), "moon was never measured"),
        (("batch", "--limit", "fast=some"), "a whole number"),
        (("batch", "--limit", "moon=1"), "limits: names moon"),
        (("batch", "--availability", "fast=2"), "availability"),
        (("batch", "--budget-s", 0), "budget_s"),
        (("integrate", "--metric", "beauty"), "metric"),
        (("integrate", "-H", "fast"), "two kinds or more"),
    ],
)
def test_bad_input_is_told(run: Any, store: Path, arguments: tuple[Any, ...], said: str) -> None:
    found: Ran = run(*arguments, "--store", store)
    assert found.code == BAD_INPUT
    assert said in found.err


def test_a_running_agent_answers(run: Any, tmp_path: Path, store: Path) -> None:
    with (
        a_broker("mosquitto", tmp_path) as broker,
        AgentProcess(tmp_path, broker.port, store=store) as agent,
    ):
        agent.start()
        address = f"mqtt://127.0.0.1:{broker.port}"
        commands = (("active-learning", "--budget"), ("batch", "--size"), ("integrate", "--budget"))
        for command in commands:
            found: Ran = run(*command, 2, "-b", 2, "--broker", address, "--json")
            assert found.code == 0, found.err
            assert len(found.json["wanted"]) == 2
