from __future__ import annotations

import math
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.learning.bank import Bank, Observation
from agent.learning.cell import Cell
from agent.learning.digest import digest
from agent.learning.sustained import FIRST_S, Sustained

HOUR = 3600.0
DURATIONS = (20.0, 60.0, 300.0, 900.0, HOUR, 4 * HOUR)


def taught(slope: float, runs: int = 300, hardware: str = "warm", seed: int = 1) -> Sustained:
    chance = random.Random(seed)
    learner = Sustained(64)
    for _ in range(runs):
        duration_s = chance.choice(DURATIONS)
        beyond = math.log(max(duration_s, FIRST_S) / FIRST_S)
        learner.learn(hardware, "gpu", duration_s, slope * beyond + chance.gauss(0.0, 0.05))
    return learner


def speed(learner: Sustained, duration_s: float, hardware: str = "warm") -> float:
    found = learner.lasting(hardware, "gpu", duration_s)
    assert found is not None
    return found.log_speed


def test_a_device_that_slows_down_is_learnt() -> None:
    learner = taught(-0.06)

    assert speed(learner, HOUR) == pytest.approx(-0.06 * math.log(60.0), abs=0.04)
    assert speed(learner, FIRST_S) == speed(learner, 1.0) == 0.0
    assert speed(learner, 4 * HOUR) < speed(learner, HOUR) < speed(learner, 300.0) < 0.0


def test_one_that_does_not_is_left_alone() -> None:
    assert speed(taught(0.0), HOUR) == pytest.approx(0.0, abs=0.03)
    assert speed(taught(0.05), HOUR) == 0.0, "nothing gets faster by lasting"


def test_runs_of_one_length_say_nothing_of_slowing() -> None:
    learner = Sustained(64)
    for _ in range(100):
        learner.learn("warm", "gpu", HOUR, -0.3)

    assert speed(learner, HOUR) == pytest.approx(0.0, abs=1e-9)


def test_hardware_takes_after_its_class_until_it_was_measured() -> None:
    learner = taught(-0.1)
    learner.learn("new", "gpu", HOUR, 0.0)

    assert -0.1 * math.log(60.0) < speed(learner, HOUR, "new") < -0.1


def test_it_holds_no_longer_than_what_was_measured() -> None:
    learner = taught(-0.06)

    assert learner.lasting("never met", "gpu", HOUR) is None
    assert learner.known_for_s("never met") is None
    long = learner.lasting("warm", "gpu", 100 * HOUR)
    assert long is not None
    assert long.holds_for_s == learner.known_for_s("warm") == 4 * HOUR
    assert long.log_speed == speed(learner, 4 * HOUR)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.none() | st.sampled_from(["gpu", "cpu"]),
            st.floats(1e-6, 1e12),
            st.floats(-50.0, 50.0),
        ),
        max_size=40,
    )
)
def test_it_stays_finite_and_never_speeds_up(
    runs: list[tuple[str, str | None, float, float]],
) -> None:
    learner = Sustained(64)
    for run in runs:
        learner.learn(*run)
    for hardware in ("a", "b"):
        found = learner.lasting(hardware, "gpu", HOUR)
        if found is not None:
            assert -3.0 < found.log_speed <= 0.0
            assert 0.0 <= found.half_width < 10.0
    copy = pickle.loads(pickle.dumps(learner))
    assert digest(copy) == digest(learner)


def test_it_forgets_the_oldest_hardware() -> None:
    learner = Sustained(3)
    for number in range(10):
        learner.learn(f"h{number}", "gpu", HOUR, 0.0)

    assert [learner.known_for_s(f"h{n}") is not None for n in (0, 6, 7, 9)] == [
        False,
        False,
        True,
        True,
    ]


def test_the_bank_tells_slow_from_slowing() -> None:
    chance = random.Random(3)
    bank = Bank()
    cell = Cell("net", "warm", gmacs=4.0, hardware_class="gpu", batch_size=8.0, task="inference")
    for _ in range(400):
        size = chance.choice((1.0, 2.0, 4.0, 8.0))
        duration_s = chance.choice((None, 30.0, 60.0, 600.0, HOUR))
        beyond = math.log(max(duration_s or 0.0, FIRST_S) / FIRST_S)
        rate = 1000.0 / size * math.exp(-0.08 * beyond + chance.gauss(0.0, 0.03))
        one = cell._replace(model=f"net{size:g}", gmacs=size)
        bank.learn(Observation(one, {"throughput_per_s": rate}, {}, "ok", duration_s))

    asked = cell._replace(model="net4", gmacs=4.0)
    (answer,) = bank.predict([asked], ["throughput_per_s"])
    hour = bank.lasting(asked, HOUR)
    minute = bank.lasting(asked, None)

    assert answer["throughput_per_s"].value == pytest.approx(250.0, rel=0.08), "of the first minute"
    assert hour is not None
    assert math.exp(hour.log_speed) == pytest.approx(math.exp(-0.08 * math.log(60.0)), rel=0.1)
    assert minute is not None
    assert (minute.log_speed, minute.half_width) == (0.0, 0.0)
    assert minute.holds_for_s == FIRST_S
    assert bank.lasting(asked._replace(hardware="other"), HOUR) is None
