"""The document, read by AsyncAPI's own parser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.contract import GENERATED

PARSER = Path(__file__).parents[3] / "tools" / "asyncapi"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (PARSER / "node_modules" / "@asyncapi" / "parser").is_dir(),
        reason="@asyncapi/parser is not installed (tools/test-setup.sh)",
    ),
]


def parsed(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "check.mjs", str(path)],
        cwd=PARSER,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_valid_without_a_warning() -> None:
    outcome = parsed(GENERATED / "asyncapi.json")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (line,) = outcome.stdout.splitlines()
    assert line.startswith("valid AsyncAPI 3.0.0: ")
    found = [int(word) for word in line.split() if word.isdigit()]
    document = json.loads((GENERATED / "asyncapi.json").read_text())
    assert found[:2] == [len(document["channels"]), len(document["operations"])]


def lose_a_schema(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["ErrorBody"]


def misspell_an_action(document: dict[str, Any]) -> None:
    document["operations"]["answer_predict"]["action"] = "recieve"


def lose_a_channel(document: dict[str, Any]) -> None:
    del document["channels"]["replies"]


@pytest.mark.parametrize("spoil", [lose_a_schema, misspell_an_action, lose_a_channel])
def test_the_parser_would_notice(spoil: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    document = json.loads((GENERATED / "asyncapi.json").read_text(encoding="utf-8"))
    spoil(document)
    path = tmp_path / "asyncapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    outcome = parsed(path)
    assert outcome.returncode == 1
    assert "error" in outcome.stdout
