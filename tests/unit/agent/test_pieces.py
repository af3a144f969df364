"""What is pickled piece by piece is what was there, and the pieces are small."""

from __future__ import annotations

import pickle
import pickletools
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import pieces
from agent.learning.bank import Bank, Observation
from agent.learning.cell import Cell
from agent.learning.exact import MOST


class Plain:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


@dataclass(slots=True)
class Slotted:
    """Is not a part of its own, as it has no `__dict__`."""

    held: tuple[int, ...]


class Trimmed:
    """Writes down only what is in use, as the learners' memory does."""

    def __init__(self) -> None:
        self.used = 3
        self.rows = np.arange(100_000.0)

    def __getstate__(self) -> dict[str, Any]:
        return {"used": self.used, "rows": self.rows[: self.used]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.used = state["used"]
        self.rows = np.zeros(100_000)
        self.rows[: self.used] = state["rows"]


def finish(work: Generator[None, None, list[bytes]]) -> tuple[list[bytes], list[float]]:
    """Return what was made, and the seconds that each step took."""
    steps = []
    while True:
        started = time.perf_counter()
        try:
            next(work)
        except StopIteration as done:
            return done.value, steps
        finally:
            steps.append(time.perf_counter() - started)


def again(root: Any) -> Any:
    return pieces.load(finish(pieces.dump(root))[0])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(values)
def test_whatever_is_held_comes_back(value: Any) -> None:
    assert again(Plain(value=value)).value == value


def test_large_collections_keep_their_order_and_arrays_their_bits() -> None:
    root = Plain(
        numbers={str(i): i for i in range(5_000, 0, -1)},
        items=[(i, str(i)) for i in range(3_000)],
        array=np.random.default_rng(0).normal(size=(300, 70)),
    )
    copy = again(root)
    assert list(copy.numbers.items()) == list(root.numbers.items())
    assert copy.items == root.items
    assert copy.array.tobytes() == root.array.tobytes()
    copy.array[0, 0] = 1.0
    copy.items.append("more")


def test_what_is_shared_stays_shared_and_circles_stay_closed() -> None:
    shared, large = Plain(n=1), {i: i for i in range(2_000)}
    small, ring, row = {1: 2}, deque([1, 2], maxlen=2), np.arange(3)
    root = Plain(first=Plain(one=shared, table=large), second=[shared], table=large)
    root.itself = root
    root.small, root.ring, root.row = small, ring, row
    root.first.small, root.first.ring, root.first.row = small, ring, row
    copy = again(root)
    assert copy.first.small is copy.small
    assert copy.first.row is copy.row
    copy.ring.append(3)
    assert list(copy.first.ring) == [2, 3]
    assert copy.itself is copy
    assert copy.second[0] is copy.first.one
    assert copy.table is copy.first.table


def test_an_object_inside_a_large_collection_is_the_one_that_is_held_elsewhere() -> None:
    shared = Plain(n=1)
    copy = again(Plain(one=shared, table=dict.fromkeys(range(2000), shared)))
    assert all(one is copy.one for one in copy.table.values())


def test_an_object_says_what_of_it_is_written_down() -> None:
    data, _ = finish(pieces.dump(Plain(inner=Trimmed())))
    assert sum(map(len, data)) < 5_000
    copy = pieces.load(data)
    assert copy.inner.rows.tolist()[:4] == [0.0, 1.0, 2.0, 0.0]


def test_work_is_cut_where_a_collection_is_large() -> None:
    _, steps = finish(pieces.dump(Plain(table={i: str(i) for i in range(50_000)})))
    assert len(steps) > 50


def test_work_is_cut_where_what_a_collection_holds_is_large() -> None:
    held = {i: Slotted(tuple(range(1_000, 2_000))) for i in range(300)}
    data, steps = finish(pieces.dump(Plain(table=held)))
    assert len(steps) * (1 << 16) > sum(map(len, data))
    assert pieces.load(data).table == held


def test_a_bank_comes_back_as_it_was() -> None:
    bank = Bank()
    copy = again(bank)
    assert copy.digest() == bank.digest()


def test_no_object_of_what_was_learnt_is_pickled_within_another() -> None:
    """In one piece they would hold up the loop: a tuple or slots around them are enough."""
    bank = Bank()
    for n in range(MOST + 50):
        cell = Cell(f"m{n % 50}", f"h{n % 4}", gmacs=1.0 + n % 7, batch_size=1.0 + n % 16)
        bank.learn(Observation(cell, {"throughput_per_s": 100.0 + n % 13}))
    contents, *parts = pieces.dumps(bank)
    written, start, found = b"".join(parts), 0, set()

    for _, lengths in pickle.loads(contents):
        for length in lengths:
            piece, start = written[start : start + length], start + length
            named = {each for _, each, _ in pickletools.genops(piece) if isinstance(each, str)}
            own = named & {"Bank", "Learner", "Own", "_Domain", "Exact", "Nearest", "Memory"}
            assert len(own) <= 1
            found |= own

    assert len(found) == 7


def test_large_arrays_come_in_parts_of_about_a_megabyte() -> None:
    root = Plain(
        rows=np.arange(600_000.0).reshape(-1, 6),
        columns=np.asfortranarray(np.arange(300_000.0).reshape(-1, 3)),
        wide=np.ones((1, 500_000)),
        none=np.zeros((0, 7)),
    )
    root.same = root.rows
    parts = pieces.dumps(root)
    copy = pieces.load(parts)

    assert len(parts) > 8
    assert max(map(len, parts)) < 5 << 20
    assert sorted(map(len, parts))[len(parts) // 2] < 3 << 19
    for name in ("rows", "columns", "wide", "none"):
        one, other = getattr(root, name), getattr(copy, name)
        assert one.tobytes() == other.tobytes()
        assert one.flags.c_contiguous == other.flags.c_contiguous
    assert copy.same is copy.rows


def test_an_array_of_objects_that_is_held_twice_stays_one() -> None:
    row, number = np.array([None, "a"]), np.array(3.0)
    copy = again(Plain(one=row, two=row, three=number, four=number))

    assert copy.one is copy.two
    assert copy.one.tolist() == [None, "a"]
    assert copy.three is copy.four
    assert copy.three == 3.0


def test_only_what_was_dumped_is_loaded() -> None:
    whole = pieces.dumps(Plain(table=list(range(1_000))))
    for broken in ([b""], whole[:1]):
        with pytest.raises((EOFError, ValueError, IndexError)):
            pieces.load(broken)
