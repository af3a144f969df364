from __future__ import annotations

import pytest

from agent.learning.tables import aliases, number, shipped_rows, words


def test_words_are_what_stands_between_anything_else() -> None:
    assert words("NVIDIA A100-SXM_80GB (CTS)") == ("nvidia", "a100", "sxm", "80gb", "cts")
    assert words("--") == ()


def test_what_is_left_empty_is_not_zero() -> None:
    row = {"gmacs": "", "memory_gb": "0", "aliases": "one;;two"}

    assert number(row, "gmacs") is None
    assert number(row, "memory_gb") == 0.0
    assert aliases(row) == ("one", "two")
    assert aliases({"aliases": ""}) == ()


@pytest.mark.parametrize("table", ["hardware.csv", "networks.csv"])
def test_shipped_tables_have_names_other_names_and_origins(table: str) -> None:
    rows = shipped_rows(table)

    assert rows
    assert all(words(row["name"]) and row["origin"] and "aliases" in row for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
