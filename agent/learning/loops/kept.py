"""Where compiled code is kept, told without loading the compiler."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

NAME = "placewise-compiled"
"""Of a folder at each place, with one folder in it for each state of the sources."""


def digest(loops: Path) -> str:
    """Return the name of the folder for what is compiled of the sources in `loops`.

    Numba tells old code by the time and size of one source, which an upgrade need not change, and
    does not look at what a function calls, or at constants from elsewhere: the folder is named by
    all that is in the sources there and beside that folder.
    """
    found = hashlib.sha256()
    for source in sorted((*loops.glob("*.py"), *loops.parent.glob("*.py"))):
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def places(environment: Mapping[str, str], loops: Path) -> list[Path]:
    """Return where it may be kept, the first of which that may be written is taken."""
    if "NUMBA_CACHE_DIR" in environment:
        return [Path(environment["NUMBA_CACHE_DIR"])]
    found = [loops / "__pycache__"]
    if "XDG_CACHE_HOME" in environment:
        found.append(Path(environment["XDG_CACHE_HOME"]))
    elif "HOME" in environment:
        found.append(Path(environment["HOME"]) / ".cache")
    return found
