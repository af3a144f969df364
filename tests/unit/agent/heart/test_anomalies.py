from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heart.anomalies import _HOT, Anomalies, Seen, Setting, _bursts, _Hardware, _turn
from agent.heart.effects import Publish
from agent.heart.heart import Heart
from agent.heart.ledger import Happened
from agent.heart.stimuli import MeasurementLogged
from agent.learning.bank import Drifted, Observation
from agent.learning.cell import Cell
from agent.learning.learner import Surprise
from schemas.measurement import Benchmark
from schemas.published import Alert

START = datetime(2026, 11, 2, tzinfo=UTC)
STRETCH = 25


class World:
    """Hands measurements with made-up surprises to `Anomalies`; ten seconds lie between them."""

    def __init__(self, seed: int = 0) -> None:
        self.anomalies = Anomalies()
        self.now = START
        self.number = 0
        self.chance = random.Random(seed)
        self.alerts: list[Alert] = []

    def ordinary(self) -> float:
        """Return a surprise of which nine in ten lie within one."""
        return self.chance.gauss(0, 0.6)

    def measure(
        self,
        surprise: float,
        source: str | None = None,
        precision: str = "fp16",
        drifts: Sequence[Drifted] = (),
        fits: tuple[float, float] = (10.0, 11.0),
        after: timedelta = timedelta(seconds=10),
        half_width: float = 0.1,
    ) -> list[str]:
        """Measure what was predicted to be 100; `fits` is predicted of it in fp32."""
        self.now += after
        self.number += 1
        cell = Cell(model=f"m{self.number % 7}", hardware="gpu-1", precision=precision)

        def elsewhere(
            cells: Sequence[Cell], setups: Sequence[Setting]
        ) -> list[dict[str, tuple[float, float]]]:
            return [{"fp32": fits} if setups else {} for _ in cells]

        error = surprise * half_width

        found = self.anomalies.take(
            Happened(self.number, self.now, str(self.number), source or f"rack{self.number % 3}"),
            Observation(cell, {"throughput_per_s": 100.0 * math.exp(error)}),
            [Surprise("throughput_per_s", error, half_width)],
            drifts,
            elsewhere,
        )
        self.alerts += found
        return [alert.kind for alert in found]

    def settle(self, count: int = 1_050) -> None:
        for number in range(count):
            gap = timedelta(minutes=10) if number % STRETCH == 0 else timedelta(seconds=10)
            self.measure(self.ordinary(), after=gap, precision=("fp16", "fp32")[number % 2])

    def kinds(self) -> list[str]:
        return [alert.kind for alert in self.alerts]


@pytest.fixture
def world() -> World:
    world = World()
    world.settle()
    assert world.kinds() == []
    return world


def test_an_outlier_is_named_once_the_next_are_as_predicted(world: World) -> None:
    assert world.measure(-25.0) == []
    after = [kind for _ in range(5) for kind in world.measure(0.1)]
    assert after == ["outlier"]
    assert "slower" in world.alerts[-1].message
    it = str(world.number - 5)
    source = f"rack{(world.number - 5) % 3}"
    model = f"m{(world.number - 5) % 7}"
    assert world.alerts[-1].scope == {
        "hardware": "gpu-1",
        "model": model,
        "source": source,
        "id": it,
    }


def test_a_tenfold_error_is_an_outlier_even_where_intervals_are_wide() -> None:
    world = World()
    for number in range(1_500):
        # One in a hundred is off by half, which in close intervals is far.
        world.measure(-8.0 if number % 100 == 50 else world.ordinary(), half_width=0.05)
    assert world.kinds() == []
    world.measure(-5.0, half_width=0.46)
    assert [kind for _ in range(5) for kind in world.measure(0.1)] == ["outlier"]


def test_what_one_in_a_hundred_is_like_is_no_outlier() -> None:
    world = World()
    for number in range(3_000):
        world.measure(-25.0 if number % 100 == 50 else world.ordinary())
    assert world.kinds() == []


def test_outliers_are_told_as_seldom_as_is_said_however_heavy_the_tails() -> None:
    world = World()
    for _ in range(1_050 + 10_000):
        # Student's t of two degrees of freedom: its variance is infinite.
        heavy = world.chance.gauss(0, 0.35) / math.sqrt(world.chance.expovariate(1.0))
        world.measure(heavy)
    told = world.kinds().count("outlier")
    assert 2 <= told <= 20, "one in a thousand of ten thousand, less those that were not alone"


def test_what_goes_on_is_no_outlier(world: World) -> None:
    for _ in range(12):
        world.measure(-25.0)
    assert "outlier" not in world.kinds()


def test_an_outlier_is_told_though_two_of_the_next_are_unusual(world: World) -> None:
    world.measure(-25.0, "rack0")
    told = [
        kind
        for surprise, source in ((0.1, "rack1"), (2.4, "rack2"), (0.2, "rack0"), (-2.2, "rack1"))
        for kind in world.measure(surprise, source)
    ]
    assert [*told, *world.measure(0.1, "rack2")] == ["outlier"]


def test_what_its_source_goes_on_with_is_no_outlier(world: World) -> None:
    world.measure(-25.0, "rack0")
    for surprise, source in ((0.1, "rack1"), (0.1, "rack2"), (-9.0, "rack0"), (2.2, "rack1")):
        world.measure(surprise, source)
    assert world.measure(0.1, "rack2") == []


def test_a_source_that_is_off_alone_is_poisoned_and_then_distrusted(world: World) -> None:
    for number in range(30):
        lies = number % 3 == 0
        world.measure(9.0 if lies else world.ordinary(), "liar" if lies else f"rack{number % 3}")
    assert world.kinds()[-1] == "poisoned_source"
    assert set(world.anomalies.distrusted) == {"liar"}


def test_a_source_whose_lies_have_widened_intervals_is_poisoned(world: World) -> None:
    for number in range(60):
        lies = number % 3 == 0
        way = 1 if number % 2 else -1
        world.measure(
            way * 1.5 if lies else world.ordinary() / 3, "liar" if lies else f"rack{number % 3}"
        )
    assert world.kinds() == ["poisoned_source"]


def test_what_a_liar_said_makes_no_fallback_afterwards(world: World) -> None:
    def kinds(sources: tuple[str, ...]) -> list[str]:
        for number in range(15):
            lies = sources[number % 3] == "liar"
            world.measure(
                -4.0 if lies else 0.1,
                sources[number % 3],
                precision="fp16" if lies else "fp32",
                fits=(60.0, 80.0),
            )
        return world.kinds()

    assert kinds(("liar", "rack1", "rack2"))[-1] == "poisoned_source"
    for _ in range(2):
        world.measure(-1.6, "rack1", precision="fp16", fits=(80.0, 92.0))
    assert world.kinds()[-1] == "poisoned_source", "of two measurements nothing is said"


def test_a_source_is_not_blamed_for_what_others_see_as_well(world: World) -> None:
    for number in range(30):
        world.measure(-6.0, f"rack{number % 3}")
    assert not world.anomalies.distrusted


def test_a_source_is_not_blamed_where_all_are_slower_and_it_most() -> None:
    world = World()
    for number in range(40):
        world.measure(-2.5 if number % 3 == 0 else -1.2, f"rack{number % 3}")
    assert not world.anomalies.distrusted


@pytest.mark.parametrize("whole", [True, False])
def test_a_source_is_not_blamed_for_what_the_whole_hardware_did(*, whole: bool) -> None:
    world = World()
    setup = None if whole else ("inference", "fp16", None, None, None)
    drift = Drifted("throughput_per_s", "gpu-1", setup, 0.7, 11)
    for number in range(18):
        off = number % 3 == 0
        drifts = [drift] if number == 9 else []
        world.measure(-2.5 if off else 0.1, f"rack{number % 3}", drifts=drifts)
    assert world.kinds() == (["drift"] if whole else ["poisoned_source"])


def test_a_source_that_measures_alone_is_not_blamed() -> None:
    world = World()
    for number in range(200):
        world.measure(world.ordinary() if number < 150 else -6.0, "lab")
    assert not world.anomalies.distrusted


SLOWER, AS_FAST, OTHER = (80.0, 92.0), (80.0, 125.0), (10.0, 11.0)
"""What is predicted of another set-up, where runs of 100 have come to be runs of 85."""


@pytest.mark.parametrize(
    ("fits", "kinds"), [(SLOWER, ["fallback_backend"]), (AS_FAST, []), (OTHER, [])]
)
def test_a_setup_as_slow_as_a_slower_one_has_fallen_back(
    world: World, fits: tuple[float, float], kinds: list[str]
) -> None:
    for number in range(40):
        fell = number % 2 == 0
        world.measure(
            -1.6 if fell else world.ordinary(), precision="fp16" if fell else "fp32", fits=fits
        )
    assert world.kinds() == kinds
    if kinds:
        assert world.alerts[-1].scope == {"hardware": "gpu-1", "setup": "fp16", "fits": "fp32"}


def test_what_slows_down_all_setups_is_no_fallback(world: World) -> None:
    for number in range(40):
        world.measure(-1.6, precision=("fp16", "fp32")[number % 2], fits=SLOWER)
    assert "fallback_backend" not in world.kinds()


def test_what_others_were_like_before_does_not_make_a_fallback_of_a_shift(world: World) -> None:
    """A set-up that is seldom run reaches back to when all was well elsewhere."""
    setups = ("fp16", "fp32", "bf16", "int8")
    for number in range(60):
        slower = -3.0 if number % 4 == 0 else -0.8
        surprise = slower if number >= 28 else world.ordinary()
        world.measure(surprise, precision=setups[number % 4], fits=(60.0, 101.0))
    assert "fallback_backend" not in world.kinds()


def test_one_that_was_far_off_before_a_shift_does_not_make_a_fallback_of_it(world: World) -> None:
    before, since = (0.7, 0.6, -2.4, 0.2, -0.2, 0.1), (-3.4, -2.5, -2.6)
    for own in before + since:
        others = 0.1 if own in before else -0.8
        for surprise, precision in ((own, "fp16"), (others, "fp32"), (others, "fp32")):
            world.measure(surprise, precision=precision, fits=(70.0, 102.5))
    assert "fallback_backend" not in world.kinds()


def test_a_fallback_does_not_explain_a_drift_of_the_whole_hardware(world: World) -> None:
    for number in range(40):
        fell = number % 2 == 0
        precision = "fp16" if fell else "fp32"
        world.measure(-1.6 if fell else 0.1, precision=precision, fits=SLOWER)
    assert world.kinds() == ["fallback_backend"]
    assert world.measure(-1.6, drifts=[Drifted("throughput_per_s", "gpu-1", None, 0.8, 9)]) == [
        "drift"
    ]


def test_a_drift_of_the_whole_hardware_is_no_fallback() -> None:
    world = World()
    whole = Drifted("throughput_per_s", "gpu-1", None, 0.7, 11)
    for number in range(40):
        slow = number >= 20 and number % 2 == 0
        drifts = [whole] if number == 30 else []
        precision = "fp16" if number % 2 == 0 else "fp32"
        world.measure(-1.6 if slow else 0.1, precision=precision, fits=SLOWER, drifts=drifts)
    assert world.kinds() == ["drift"]


def test_what_was_slow_before_a_drift_of_the_hardware_makes_no_fallback_after_it(
    world: World,
) -> None:
    whole = Drifted("throughput_per_s", "gpu-1", None, 0.75, 8)
    for number in range(8):
        drifts = [whole] if number == 7 else []
        world.measure(-3.0, precision="fp16", drifts=drifts, fits=(70.0, 80.0))
    for number in range(60):
        precision, surprise = ("fp32", 0.0) if number % 15 else ("fp16", -0.6)
        world.measure(surprise, precision=precision, fits=(70.0, 80.0))
    assert world.kinds() == ["drift"]


def test_two_measurements_far_off_are_no_fallback(world: World) -> None:
    for number in range(40):
        far = number in (20, 28)
        surprise = -9.0 if far else -0.1
        world.measure(surprise, precision=("fp16", "fp32")[number % 2], fits=(35.0, 101.0))
    assert "fallback_backend" not in world.kinds()


@pytest.mark.parametrize(("events", "kinds"), [(60, []), (20, ["drift"])])
def test_the_drift_of_a_setup_that_fell_back_is_told_if_it_began_later(
    world: World, events: int, kinds: list[str]
) -> None:
    for number in range(40):
        fell = number % 2 == 0
        precision = "fp16" if fell else "fp32"
        world.measure(-1.6 if fell else world.ordinary(), precision=precision, fits=SLOWER)
        if "fallback_backend" in world.kinds():
            break
    for number in range(90):
        world.measure(world.ordinary(), precision=("fp16", "fp32")[number % 2])
    drift = Drifted("throughput_per_s", "gpu-1", ("inference", "fp16", None, None), 0.8, events)
    assert world.measure(-1.6, drifts=[drift]) == kinds


def test_hardware_that_slows_down_at_work_and_recovers_is_throttled(world: World) -> None:
    drift = Drifted("throughput_per_s", "gpu-1", None, 0.8, 20)
    for stretch in range(4):
        for step in range(STRETCH):
            gap = timedelta(minutes=10) if step == 0 else timedelta(seconds=10)
            drifts = [drift] if (stretch, step) == (3, 20) else []
            world.measure(-0.12 * step + world.ordinary() / 2, after=gap, drifts=drifts)
    assert set(world.kinds()) == {"throttling"}, "and a drift that it explains is none"


def test_short_stretches_of_work_are_seldom_taken_for_throttling() -> None:
    """In two dozen measurements chance alone comes to a correlation of a half quite often."""
    world = World()
    for number in range(6_000):
        gap = timedelta(minutes=10) if number % 12 == 0 else timedelta(seconds=10)
        world.measure(world.ordinary(), after=gap)
    assert world.kinds().count("throttling") <= 1


def test_a_lasting_change_is_drift(world: World) -> None:
    drift = Drifted("throughput_per_s", "gpu-1", ("inference", "fp16", None, None, None), 0.7, 20)
    assert world.measure(-1.5, drifts=[drift]) == ["drift"]
    assert world.alerts[-1].scope == {
        "metric": "throughput_per_s",
        "hardware": "gpu-1",
        "setup": "inference / fp16",
    }


@pytest.mark.parametrize("jump", [timedelta(days=-3), timedelta(days=3)])
def test_a_clock_that_jumps_is_no_trouble(world: World, jump: timedelta) -> None:
    for number in range(60):
        world.measure(world.ordinary(), after=jump if number % 20 == 7 else timedelta(seconds=10))
    assert world.kinds() == []


# In a whole heart


def learn(heart: Heart, number: int, source: str, speed: float) -> list[Alert]:
    run = Benchmark.model_validate(
        {
            "model": f"net{number % 5}",
            "hardware": "gpu-1",
            "setup": {"batch_size": 8},
            "metrics": {"throughput_per_s": speed, "throughput_unit": "images/s"},
        }
    )
    at = START + timedelta(seconds=10 * number)
    effects = heart.handle(MeasurementLogged(number, source, f"e{number}", at, run))
    return [one.what for one in effects if isinstance(one, Publish) and isinstance(one.what, Alert)]


def taught() -> tuple[Heart, Callable[[int], float]]:
    heart, chance = Heart(), random.Random(1)

    def speed(number: int) -> float:
        return (100.0 + 20 * (number % 5)) * chance.lognormvariate(0, 0.02)

    for number in range(1, 301):
        learn(heart, number, f"rack{number % 3}", speed(number))
    return heart, speed


def test_what_a_distrusted_source_says_is_set_aside_until_it_is_as_predicted_again() -> None:
    heart, speed = taught()
    kinds: list[str] = []
    for number in range(301, 361):
        lies = number % 3 == 0
        factor = 3.0 if lies else 1.0
        alerts = learn(heart, number, f"rack{number % 3}", factor * speed(number))
        kinds += [alert.kind for alert in alerts if alert.kind != "quarantine"]
    assert kinds == ["poisoned_source"]
    held = len(heart.quarantine)
    assert held >= 10
    learnt = heart.bank.observed_count
    learn(heart, 361, "rack0", 3 * speed(361))
    assert heart.bank.observed_count == learnt, "nothing is learnt of it"
    trusted = [
        alert.kind
        for number in range(362, 382)
        for alert in learn(heart, number, "rack0", speed(number))
    ]
    assert "source_trusted" in trusted
    assert not heart.anomalies.distrusted
    assert heart.bank.observed_count > learnt


def test_one_measurement_against_a_hundred_others_changes_little() -> None:
    heart, speed = taught()
    cell = Cell(model="net1", hardware="gpu-1", batch_size=8)

    def predicted() -> float:
        return heart.bank.predict([cell])[0]["throughput_per_s"].value

    before = predicted()
    learn(heart, 301, "rack1", speed(301) / 10)
    assert predicted() == pytest.approx(before, rel=0.1)
    for number in range(302, 312):
        learn(heart, number, f"rack{number % 3}", speed(number))
    assert predicted() == pytest.approx(before, rel=0.05)


@given(st.lists(st.tuples(st.booleans(), st.integers(-16, 16)), max_size=40))
def test_how_long_a_setup_has_been_slower_is_known_without_looking_back(
    measured: list[tuple[bool, int]],
) -> None:
    here = _Hardware()
    for number, (fast, quarters) in enumerate(measured):
        surprise = quarters / 4
        setup = ("fp16" if fast else "fp32", None, None)
        cell = Cell("m", "gpu-1")
        one = Seen(number, "", "rack", cell, setup, 1.0, surprise, surprise, timedelta(0))
        here.note(one)

        own = [each for each in here.newest if each.setup == setup]
        assert here.slower.get(setup, (0.0, 0))[1] == len(own) - _turn(own)


@given(st.lists(st.integers(0, 30), max_size=8))
def test_stretches_of_work_are_counted_as_they_come(lengths: list[int]) -> None:
    here = _Hardware()
    setup = ("fp16", None, None)
    for length in lengths:
        for minute in range(length):
            at_work = timedelta(minutes=minute)
            here.note(Seen(minute, "", "rack", Cell("m", "h"), setup, 1.0, 0.0, 0.0, at_work))

            assert here.got_hot >= len(_bursts(here.newest))
    assert here.got_hot == sum(length >= _HOT for length in lengths)


def test_what_a_source_measured_counts_no_more_once_it_is_distrusted() -> None:
    here, other = _Hardware(), _Hardware()
    setup = ("fp16", None, None)
    for number in range(30):
        source, surprise = ("liar", 3.0) if number % 3 == 0 else ("rack", -0.7)
        one = Seen(number, "", source, Cell("m", "h"), setup, 1.0, surprise, surprise, timedelta(0))
        here.note(one)
        if source != "liar":
            other.note(one)

    here.without("liar")

    assert here == other
    assert here.slower[setup][1] == 20
