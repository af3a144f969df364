from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.rows import Rows, fitted


def test_a_key_keeps_its_row() -> None:
    rows = Rows(10, first=3)

    assert [rows.place(key) for key in (7, 8, 7)] == [3, 4, 3]
    assert rows.fresh == [3, 4]
    assert rows.find(8, 0) == 4
    assert rows.find(9, 0) == 0
    assert rows.end == 5


@given(st.lists(st.integers(0, 20)), st.integers(1, 8))
def test_the_last_used_keys_have_rows_of_their_own(keys: list[int], capacity: int) -> None:
    rows = Rows(capacity)
    for key in keys:
        rows.place(key)

    last = list(dict.fromkeys(reversed(keys)))[:capacity]
    found = [rows.find(key, 0) for key in last]
    assert len(set(found)) == len(found)
    assert all(0 < row <= capacity for row in found)
    assert len(rows) == len(last)


def test_arrays_grow_and_keep_what_they_held() -> None:
    array = np.arange(6.0).reshape(3, 2)

    grown = fitted(array, 4, -1.0)

    assert grown.shape == (6, 2)
    assert (grown[:3] == array).all()
    assert (grown[3:] == -1.0).all()
    assert fitted(grown, 6) is grown
