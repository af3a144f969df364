"""What a command loads before it does anything."""

import json
import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "duckdb", "numba", "numpy", "pyarrow", "river", "scipy"}

RUNS = """
import json, sys
from typer.testing import CliRunner
from agent import client
from agent.cli import app

client.CONNECT_SECONDS = 0.2
result = CliRunner().invoke(app, sys.argv[1:])
print(json.dumps([repr(result.exception), result.output, sorted(sys.modules)]))
"""


def after(*arguments: str) -> tuple[str, str, set[str]]:
    """Return how a command ended, what it said, and the modules that are loaded after it."""
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *arguments], capture_output=True, text=True, check=True
    )
    exception, output, loaded = json.loads(done.stdout)
    return exception, output, set(loaded)


@pytest.mark.parametrize("command", [[], ["run"], ["demo"], ["evaluate"]], ids=" ".join)
def test_help_does_not_load_the_learner(command: list[str]) -> None:
    exception, output, loaded = after(*command, "--help")
    assert (exception, "Usage" in output) == ("None", True)
    assert not HEAVY & loaded


def test_a_question_to_a_running_agent_does_not_load_the_learner() -> None:
    exception, _, loaded = after(
        "predict", "resnet50", "--hardware", "nvidia_t4", "--broker", "mqtt://127.0.0.1:1"
    )
    assert "no broker at mqtt" in exception
    assert not HEAVY & loaded
