"""What a new agent knows: public measurements that ship with the package.

They are no part of the log, which holds what was measured here alone; they are learnt before it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import as_file, files

from agent.heart.cells import observation_of
from agent.importing import ImportedRow, read_rows
from agent.learning.bank import Observation
from agent.learning.catalogue import Sheet

_FILE = files("agent") / "data" / "knowledge.parquet"


@cache
def shipped() -> tuple[Observation, ...]:
    """Return the shipped measurements, in the order in which they are learnt. Reads a file."""
    with as_file(_FILE) as path:
        rows = [row for row in read_rows(path, {}) if isinstance(row, ImportedRow)]
    return tuple(observation_of(row.benchmark) for row in rows)


def fingerprint(observations: tuple[Observation, ...]) -> str:
    """Return a short name of what is learnt before the log: state that began otherwise differs."""
    if not observations:
        return "knowledge-none"
    return f"knowledge-{_short(observations)}"


def fingerprint_of_sheets(sheets: tuple[Sheet, ...]) -> str:
    """Return the same of a user's own data sheets: features are made with them."""
    return f"sheets-{_short(sheets)}" if sheets else "sheets-none"


def _short(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
