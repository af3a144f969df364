"""Whether loops are still to be compiled, told without loading the compiler, which does it.

Without a word a first start, or the first one after an upgrade, would seem to hang.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

WHAT = "compiling loops for this machine, once: takes about a minute"
SECONDS = 600.0
"""How long it may take on a slow machine before systemd gives up on the start."""

_NAME = "placewise-compiled"
_LEARNING = Path(__file__).parents[1] / "learning"


def announce(console: Console) -> None:
    """Say that it takes its time, if it does."""
    if is_due(os.environ):
        console.print(f"[dim]{WHAT}[/]")


def is_due(environment: Mapping[str, str], learning: Path = _LEARNING) -> bool:
    """Return whether nothing is kept of these sources (see `agent.learning.loops.compiled`)."""
    return not any(
        any((place / _NAME / digest(learning)).rglob("*.nbi"))
        for place in _places(environment, learning)
    )


def digest(learning: Path = _LEARNING) -> str:
    """Return the name of the folder for what is compiled of these sources."""
    found = hashlib.sha256()
    for source in sorted((*(learning / "loops").glob("*.py"), *learning.glob("*.py"))):
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def _places(environment: Mapping[str, str], learning: Path) -> list[Path]:
    if "NUMBA_CACHE_DIR" in environment:
        return [Path(environment["NUMBA_CACHE_DIR"])]
    places = [learning / "loops" / "__pycache__"]
    if "XDG_CACHE_HOME" in environment:
        places.append(Path(environment["XDG_CACHE_HOME"]))
    elif "HOME" in environment:
        places.append(Path(environment["HOME"]) / ".cache")
    return places
