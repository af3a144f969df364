"""Tables from which nothing is cut: names are folded, numbers and words stay whole.

A table that is too wide for the terminal goes without its frame; where that is not enough, each of
its rows becomes a list. What goes into a file or a pipe has a line for each row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

UNBOUNDED = 1_000_000
"""Cells in a line of what is no terminal."""

_NAME_CELLS = 12
"""A name is folded where it gets fewer cells than it has, but not into less than this."""

_PROSE_CELLS = 20
"""Words that stand in a narrower column are not read with ease."""

_JOINTS = "-_/:.@"

_FRAME, _FRAME_OF_COLUMN = 1, 3
_GAP = 2
"""Cells that a frame takes, and what stands between columns without one."""

Cell = str | Text | None


def console(*, stderr: bool = False) -> Console:
    """Return where a command prints: in a pipe or a file, lines are as long as they need be."""
    made = Console(stderr=stderr)
    if not made.is_terminal:
        made.width = UNBOUNDED
    return made


class Table:
    """Rows under headings, to be printed on a console.

    Args:
        headings: of the columns; those of a table without a header are not shown.
        title: stands above it.
        header: whether headings are shown.
    """

    def __init__(self, *headings: str, title: str | None = None, header: bool = True) -> None:
        self._headings = headings
        self._title = title
        self._header = header
        self._rows: list[list[Text]] = []

    @property
    def row_count(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def add_row(self, *cells: Cell) -> None:
        """Add a row: a cell for each heading. Text is shown as it is, markup has no meaning."""
        assert len(cells) == len(self._headings), "a cell for each heading"
        self._rows.append([cell if isinstance(cell, Text) else Text(cell or "") for cell in cells])

    def __rich_console__(
        self, _console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Render it as wide as there is room; rich calls this."""
        count = len(self._headings)
        framed = _FRAME + _FRAME_OF_COLUMN * count
        least, most = self._widths()
        for taken in (framed, _GAP * (count - 1)):
            if sum(least) + taken <= options.max_width:
                widths = _shared_out(least, most, options.max_width - taken)
                yield self._as_table(widths, framed=taken == framed)
                return
        if self._title is not None:
            yield Text(self._title, style="italic")
        yield self._as_lists(options.max_width)

    def _widths(self) -> tuple[list[int], list[int]]:
        """Return how wide each column must be, and how wide it may use to be."""
        least, most = [], []
        for number, heading in enumerate(self._headings):
            words = heading.split() if self._header else []
            cells = [row[number] for row in self._rows]
            least.append(max((*map(len, words), *map(_least, cells)), default=0))
            most.append(
                max((len(heading) * self._header, *(cell.cell_len for cell in cells), least[-1]))
            )
        return least, most

    def _as_table(self, widths: Sequence[int], *, framed: bool) -> RichTable:
        table = RichTable(
            title=self._title,
            show_header=self._header,
            box=box.HEAVY_HEAD if framed else None,
            pad_edge=framed,
            padding=(0, 1) if framed else (0, _GAP, 0, 0),
        )
        for heading, width in zip(self._headings, widths, strict=True):
            table.add_column(Text(heading), width=width, overflow="fold")
        for row in self._rows:
            table.add_row(*map(_folded, row, widths))
        return table

    def _as_lists(self, width: int) -> RichTable:
        """Return a line for each cell that says something, and an empty one between rows."""
        longest = max(map(len, self._headings)) if self._header else 0
        table = RichTable.grid(padding=(0, _GAP, 0, 0))
        table.add_column(width=longest, overflow="fold", style="bold")
        table.add_column(width=max(width - longest - _GAP, 1), overflow="fold")
        for number, row in enumerate(self._rows):
            if number:
                table.add_row("", "")
            for heading, cell in zip(self._headings, row, strict=True):
                if cell.plain:
                    table.add_row(Text(heading), cell)
        return table


def _least(cell: Text) -> int:
    """Return in how many cells a text can be read."""
    words = cell.plain.split()
    longest = max(map(_unfolded, words), default=0)
    if len(words) > 1 and re.search(r"[^\W\d_]{2}", cell.plain):
        longest = max(longest, min(cell.cell_len, _PROSE_CELLS))
    return longest


def _unfolded(word: str) -> int:
    """Return how many cells a word must have in one line: a number all of its own."""
    cells = Text(word).cell_len
    return min(cells, _NAME_CELLS) if re.search(r"[^\W\d_]", word) else cells


def _folded(cell: Text, width: int) -> Text:
    """Return a text whose names are folded where they have joints, if there is one far enough."""
    if cell.spans:
        return cell

    def fold(found: re.Match[str]) -> str:
        rest, lines = found[0], []
        while len(rest) > width:
            joint = 1 + max(rest.rfind(one, 0, width) for one in _JOINTS)
            end = joint if 2 * joint >= width else width
            lines.append(rest[:end])
            rest = rest[end:]
        return "\n".join([*lines, rest])

    return Text(re.sub(r"\S+", fold, cell.plain))


def _shared_out(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Return widths of columns: what each must have, and the rest to who wants least of it."""
    widths = list(least)
    left = room - sum(least)
    by_want = sorted(range(len(widths)), key=lambda number: most[number] - least[number])
    for place, number in enumerate(by_want):
        more = min(most[number] - least[number], left // (len(by_want) - place))
        widths[number] += more
        left -= more
    return widths
