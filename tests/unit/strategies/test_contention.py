"""What every contention must keep to, and what is particular to each."""

from __future__ import annotations

import math

import pytest

from strategies.contention import FLOOR, Contention, NoInterference, TakingTurns, Untaught
from tests.unit.strategies.making import Pairwise

NAMES = [f"m{i}" for i in range(9)]
ALL: list[Contention] = [
    TakingTurns(),
    NoInterference(),
    Untaught(),
    Pairwise({name: 0.1 * i for i, name in enumerate(NAMES)}),
]


@pytest.mark.parametrize("contention", ALL, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("count", range(1, 10))
def test_laws(contention: Contention, count: int) -> None:
    names = NAMES[:count]
    speeds = contention.speeds(names, "gpu")
    assert len(speeds) == count
    for speed in speeds:
        assert 0 < speed.low <= speed.value <= speed.high <= 1
    if count == 1:
        assert speeds[0] == (1, 1, 1)
    turned = contention.speeds(names[::-1], "gpu")
    for one, other in zip(speeds, turned[::-1], strict=True):
        assert one == pytest.approx(other)
    alike = contention.by_count(count, "gpu")
    if alike is not None:
        assert list(speeds) == [alike] * count


@pytest.mark.parametrize("count", range(2, 10))
def test_physics(count: int) -> None:
    assert sum(s.value for s in TakingTurns().speeds(NAMES[:count], "gpu")) == pytest.approx(1)
    assert sum(s.value for s in NoInterference().speeds(NAMES[:count], "gpu")) == count
    untaught = Untaught().speeds(NAMES[:count], "gpu")
    assert sum(s.low for s in untaught) == pytest.approx(FLOOR)
    assert sum(s.value for s in untaught) == pytest.approx(math.sqrt(count))
    assert sum(s.high for s in untaught) == pytest.approx(count)
