from __future__ import annotations

import pickle

import numpy as np
import pytest

from agent.learning.digest import digest


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value


STATES = [None, 1, 1.5, "a", [1, 2], [2, 1], {"a": 1}, {"a": 2}, np.ones(3), np.ones((3, 1))]


def test_different_states_differ() -> None:
    states = [*STATES, *(Plain(state) for state in STATES), {1, 2}, {1, 3}, 1.0, True]

    assert len({digest(state) for state in states}) == len(states)


@pytest.mark.parametrize("state", STATES)
def test_a_copy_is_equal(state: object) -> None:
    assert digest(pickle.loads(pickle.dumps(Plain(state)))) == digest(Plain(state))


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(TypeError, match="no way to tell"):
        digest(object())
