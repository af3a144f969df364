"""Energy of executions that are shorter, or longer, than what the counter ticks in."""

from __future__ import annotations

import pytest

from agent.worker.energy import Drawn, Meter

WATTS = 300.0


class Machine:
    """A clock, and a counter that tells what was drawn up to its last tick."""

    def __init__(self, tick_s: float, phase_s: float = 0.0, look_s: float = 0.0) -> None:
        self.now = 0.0
        self.looks = 0
        self._tick_s, self._phase_s, self._look_s = tick_s, phase_s, look_s

    def clock(self) -> float:
        return self.now

    def counter(self) -> float | None:
        self.looks += 1
        self.now += self._look_s
        ticks = (self.now + self._phase_s) // self._tick_s
        return 1e6 + WATTS * ticks * self._tick_s


def measured(
    machine: Machine, lap_s: float, repeats: int, tick_s: float = 0.1, window_s: float = 1.0
) -> tuple[Drawn, int]:
    """Return what was told, and how many executions that took."""
    meter = Meter(machine.counter, tick_s, window_s, machine.clock)
    laps = 0
    while laps < repeats or meter.wants_more:
        machine.now += lap_s
        meter.executed()
        laps += 1
    return meter.drawn(), laps


@pytest.mark.parametrize("phase_s", [0.0, 0.03, 0.07])
@pytest.mark.parametrize("lap_s", [0.0004, 0.003, 0.04, 0.13, 0.9, 2.5])
def test_neither_the_tick_nor_the_length_of_an_execution_matters(
    lap_s: float, phase_s: float
) -> None:
    drawn, _ = measured(Machine(0.1, phase_s), lap_s, 3)
    assert drawn.watts == pytest.approx(WATTS, rel=0.11)
    assert drawn.joules == pytest.approx(WATTS * lap_s, rel=0.11)


def test_short_executions_go_on_until_the_window_is_full() -> None:
    _, laps = measured(Machine(0.1), 0.003, 3)
    assert 1.0 <= laps * 0.003 < 1.3


def test_long_executions_are_not_repeated() -> None:
    assert measured(Machine(0.1), 0.6, 3)[1] == 3


def test_looking_takes_little_of_the_time() -> None:
    machine = Machine(0.1, look_s=0.002)
    drawn, laps = measured(machine, 0.0005, 3)
    assert machine.looks * 0.002 < 0.1 * machine.now
    assert drawn.joules == pytest.approx(WATTS * 0.0005, rel=0.15)
    assert laps > 1_500


def test_where_nothing_tells_nothing_is_repeated() -> None:
    meter = Meter(lambda: None, 0.1, 1.0)
    meter.executed()
    assert not meter.wants_more
    assert meter.drawn() == Drawn()


def test_a_counter_that_stands_still_is_not_waited_for_long() -> None:
    machine = Machine(1e9)
    drawn, laps = measured(machine, 0.01, 3)
    assert drawn == Drawn()
    assert laps * 0.01 == pytest.approx(3.0, abs=0.1)


def test_a_counter_that_wraps_round_tells_nothing() -> None:
    machine = Machine(0.1)
    meter = Meter(machine.counter, 0.1, 1.0, machine.clock)
    for _ in range(4):
        machine.now += 0.2
        meter.executed()
    machine._phase_s = -1.0
    machine.now += 0.2
    meter.executed()
    assert not meter.wants_more
    assert meter.drawn() == Drawn()


def test_what_ended_too_early_tells_nothing() -> None:
    machine = Machine(0.1)
    meter = Meter(machine.counter, 0.1, 1.0, machine.clock)
    for _ in range(5):
        machine.now += 0.1
        meter.executed()
    assert meter.wants_more
    assert meter.drawn() == Drawn()
