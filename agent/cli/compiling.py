"""Whether loops are still to be compiled, told without loading the compiler, which does it.

Without a word a first start, or the first one after an upgrade, would seem to hang.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from agent.learning.loops import kept

WHAT = "compiling loops for this machine, once: takes about a minute"
SECONDS = 600.0
"""How long it may take on a slow machine before systemd gives up on the start."""

_LOOPS = Path(kept.__file__).parent


def announce(console: Console) -> None:
    """Say that it takes its time, if it does."""
    if is_due(os.environ):
        console.print(f"[dim]{WHAT}[/]")


def is_due(environment: Mapping[str, str], loops: Path = _LOOPS) -> bool:
    """Return whether nothing is kept of the loops in a folder (see `agent.learning.loops.kept`)."""
    own = kept.digest(loops)
    return not any(
        any((place / kept.NAME / own).rglob("*.nbi")) for place in kept.places(environment, loops)
    )
