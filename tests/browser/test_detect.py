"""`placewise detect-browsers` finds the browsers that this machine has, by asking each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.browsing import NO_BROWSER
from tests.support.browsers import kind

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]


def detect(path: str) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", "detect-browsers", "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_an_installed_browser_is_found_with_its_version(name: str) -> None:
    if kind(name).program is None:
        pytest.skip(f"{name} is missing: {kind(name).missing}")
    code, found = detect(os.environ["PATH"])
    assert code == 0
    (one,) = [one for one in found if one["browser"] == name]
    assert Path(one["program"]).exists()
    shown = subprocess.run(
        [one["program"], "--version"], check=True, capture_output=True, text=True, timeout=30
    )
    assert one["version"] in shown.stdout
    assert one["version"] != "unknown"


def test_where_there_is_none_the_exit_code_says_so(tmp_path: Path) -> None:
    assert detect(str(tmp_path)) == (NO_BROWSER, [])


def test_a_program_that_says_no_version_is_shown_without(tmp_path: Path) -> None:
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert detect(str(tmp_path)) == (
        0,
        [{"browser": "chrome", "program": str(program), "version": "unknown"}],
    )
