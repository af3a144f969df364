"""Tables at any width: nothing of them is cut."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from agent.cli.tables import Table, console

NAMES = ("nvidia-a100-sxm4-80gb", "nvidia-a100-sxm4-40gb", "nvidia-h100-pcie-80gb-hbm2e")
NUMBERS = ("1,234,567", "+1,516.9%", "0.5", "12.3  10.1…15.6  85%")


def a_table() -> Table:
    table = Table("metric", "hardware", "events", "recent error", "speed (per s)", "estimate")
    for name in NAMES:
        table.add_row("throughput_per_s", name, *NUMBERS)
    return table


def printed(table: Table, width: int) -> str:
    file = io.StringIO()
    Console(width=width, file=file).print(table)
    return file.getvalue()


def test_where_there_is_room_it_has_a_frame_and_a_line_for_each_row() -> None:
    lines = printed(a_table(), 160).splitlines()
    assert len(lines) == len(NAMES) + 4
    for name, line in zip(NAMES, lines[3:], strict=False):
        assert [cell.strip() for cell in line.strip("│").split("│")] == [
            "throughput_per_s",
            name,
            *NUMBERS,
        ]


@pytest.mark.parametrize("width", [120, 100, 80, 60, 40])
def test_where_there_is_little_room_names_fold_and_numbers_stay_whole(width: int) -> None:
    text = printed(a_table(), width)
    assert "…" not in text.replace("10.1…15.6", "")
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for number in ("1,234,567", "+1,516.9%", "0.5", "10.1…15.6", "85%"):
        assert words.count(number) == len(NAMES)
    # What folded pieces of one column have in common, they were in that order.
    letters = re.sub(r"[^a-z0-9]", "", text)
    for name in NAMES:
        first, *_ = name.split("-")
        assert letters.count(first) == len(NAMES)
        assert name.rsplit("-", 1)[1] in letters


def test_where_there_is_no_room_each_row_becomes_a_list() -> None:
    lines = [line.rstrip() for line in printed(a_table(), 50).splitlines()]
    assert lines[1] == "hardware       nvidia-a100-sxm4-80gb"
    assert lines[2] == "events         1,234,567"
    assert lines[6] == ""
    assert lines[8] == "hardware       nvidia-a100-sxm4-40gb"


def test_names_fold_at_their_joints() -> None:
    table = Table("hardware", "why")
    table.add_row("nvidia-a100-sxm4-80gb", "it is the fastest of those within the limits")
    text = printed(table, 44)
    assert "nvidia-a100-" in text
    assert "sxm4-80gb" in text


def test_what_has_meaning_as_markup_is_shown_as_it_is() -> None:
    table = Table("model")
    table.add_row("a[b]c[/d] :smile:")
    table.add_row(Text("kept", "dim"))
    text = printed(table, 80)
    assert "a[b]c[/d] :smile:" in text
    assert "kept" in text


@pytest.mark.parametrize("width", [1, 10, 1_000])
def test_without_rows_and_without_columns_there_is_nothing_to_go_wrong(width: int) -> None:
    printed(Table(), width)
    printed(Table("a heading", title="a title"), width)
    assert Table("a").row_count == 0


@given(
    st.lists(st.lists(st.text("abc-_ 0123456789.,%", max_size=40), min_size=3, max_size=3)),
    st.integers(20, 200),
)
def test_every_character_is_there_at_every_width(rows: list[list[str]], width: int) -> None:
    table = Table("one", "two", "three", header=False)
    for row in rows:
        table.add_row(*row)
    for character in "abc0123456789":
        wanted = sum(cell.count(character) for row in rows for cell in row)
        assert printed(table, width).count(character) == wanted


def test_in_a_pipe_a_line_is_as_long_as_it_need_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console().print(a_table())
    said = capsys.readouterr().out
    assert all(any(name in line for line in said.splitlines()) for name in NAMES)
    console(stderr=True).print("word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_on_a_terminal_it_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console().width == 77
