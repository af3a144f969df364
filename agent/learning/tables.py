"""Tables that ship with the package, and the words of names that are looked up in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from importlib import resources

WORD = re.compile(r"[a-z0-9]+")
"""A word of a casefolded name, however the words are joined."""


def shipped_rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file beside this module."""
    text = resources.files("agent.learning").joinpath(table).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def number(row: Mapping[str, str], column: str) -> float | None:
    """Return the number in a column; None where it is left empty."""
    return float(row[column]) if row[column] else None


def aliases(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the other names in the column of that name, which semicolons stand between."""
    return tuple(alias for alias in row["aliases"].split(";") if alias)


def words(name: str) -> tuple[str, ...]:
    """Return the words of a name.

    Examples:
        >>> words("NVIDIA A100-SXM_80GB")
        ('nvidia', 'a100', 'sxm', '80gb')
    """
    return tuple(WORD.findall(name.casefold()))
