"""What every test with a real browser has: nothing of the browser outlives it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def browser_processes() -> list[str]:
    """Return the command lines of browsers that this process started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if f"/placewise-browser-{os.getpid()}-" in line:
            found.append(f"{path.parent.name} {line[:200]}")
    return found


@pytest.fixture(autouse=True)
def _no_browser_outlives_its_test() -> Iterator[None]:
    before = set(browser_processes())
    yield
    left = [one for one in browser_processes() if one not in before]
    assert not left, f"still running: {left}"
