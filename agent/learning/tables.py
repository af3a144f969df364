"""Tables that ship with the package, and the words of names that are looked up in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Generic, TypeVar

T = TypeVar("T")

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


class Spelt(Generic[T]):
    """What is looked up by the words of its spellings; the most words win.

    Args:
        entries: spellings, and what they stand for; of equal spellings the last one counts.
    """

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._by_words = {spelt: one for name, one in entries if (spelt := words(name))}
        self._longest = max(map(len, self._by_words), default=0)

    def __len__(self) -> int:
        """Return how many different things can be found."""
        return len({id(one) for one in self._by_words.values()})

    def within(self, name: str) -> T | None:
        """Return what stands anywhere in a name, its words side by side; None for nothing."""
        said = words(name)
        for count in range(min(self._longest, len(said)), 0, -1):
            for start in range(len(said) - count + 1):
                found = self._by_words.get(said[start : start + count])
                if found is not None:
                    return found
        return None

    def beginning(self, said: tuple[str, ...]) -> tuple[T, int] | None:
        """Return what words begin with, and how many of them it takes; None for nothing."""
        for count in range(min(self._longest, len(said)), 0, -1):
            found = self._by_words.get(said[:count])
            if found is not None:
                return found, count
        return None
