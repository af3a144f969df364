from __future__ import annotations

from agent.learning.support import Support


def test_measurements_are_counted_and_the_oldest_forgotten() -> None:
    support = Support(2)
    for key in ("a", "b", "a", "c"):
        support.add(key)

    assert [support.of(key) for key in "abc"] == [2, 0, 1]
    assert len(support) == 2
