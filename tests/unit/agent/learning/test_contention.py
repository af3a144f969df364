"""Contention, learnt: physics before data, bounds always, what was seen after it."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.contention import CAPACITY, PARTS, ContentionLearner, Learnt, Traits
from strategies.contention import ALONE, FLOOR

sizes = st.floats(0.01, 1e4)
traits = st.builds(
    Traits,
    model=st.sampled_from(["a", "b", "c", "d"]),
    batch=st.sampled_from([1.0, 8.0, 64.0]),
    batch_ms=sizes,
    gmacs=st.none() | sizes,
    weights_mb=st.none() | sizes,
    memory_share=st.none() | st.floats(0, 2),
)
SMALL = Traits("small", 1, 2.0, gmacs=0.1, weights_mb=5)
LARGE = Traits("large", 8, 50.0, gmacs=5, weights_mb=400)
OTHER = Traits("other", 4, 20.0)


def taught(times: int, speed: float) -> ContentionLearner:
    learner = ContentionLearner()
    for _ in range(times):
        learner.learn_one("gpu", SMALL, [LARGE], speed)
        learner.learn_one("gpu", LARGE, [SMALL], speed)
    return learner


def test_before_any_wave_it_is_physics() -> None:
    learner = ContentionLearner()
    for count in (2, 3, 5):
        speed = learner.predict_one("gpu", SMALL, [LARGE] * (count - 1))
        assert speed.value == pytest.approx(1 / math.sqrt(count))


@pytest.mark.parametrize("speed", [0.3, 0.5, 0.9])
def test_it_learns_what_it_sees(speed: float) -> None:
    learner = taught(20, speed)
    found = learner.predict_one("gpu", SMALL, [LARGE])
    assert found.value == pytest.approx(speed, rel=0.05)
    assert found.low <= speed <= found.high
    # Sure of what was seen, not of what was not.
    unseen = learner.predict_one("gpu", OTHER, [OTHER])
    assert unseen.high / unseen.low > found.high / found.low


def test_one_hardware_teaches_nothing_of_another() -> None:
    learner = taught(20, 0.95)
    assert learner.predict_one("cpu", SMALL, [LARGE]).value == pytest.approx(1 / math.sqrt(2))
    assert learner.seen("cpu") == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(traits, st.lists(traits, min_size=1, max_size=3), st.floats(0, 3)), max_size=8
    ),
    st.lists(traits, min_size=2, max_size=5),
)
def test_physics_bounds_whatever_was_learnt(  # type: ignore[no-untyped-def]
    seen, asked
) -> None:
    learner = ContentionLearner()
    for own, others, speed in seen:
        learner.note_alone("gpu", own)
        learner.learn_one("gpu", own, others, speed)
    contention = Learnt(learner, dict(enumerate(asked)), "gpu")
    models = list(range(len(asked)))
    speeds = contention.of(models)
    assert FLOOR - 1e-9 <= sum(one.value for one in speeds) <= len(asked) + 1e-9
    for one in speeds:
        assert 0 < one.low <= one.value <= one.high <= 1
    # The order does not matter, and asking changes nothing.
    before = learner.digest()
    assert contention.of(models[::-1])[::-1] == speeds
    assert learner.digest() == before


def test_alone_is_alone() -> None:
    contention = Learnt(taught(5, 0.4), {"small": SMALL}, "gpu")
    assert contention.speeds(["small"], "gpu") == [ALONE]
    assert contention.by_count(1, "gpu") == ALONE
    assert contention.by_count(2, "gpu") is None


def test_its_parts_are_its_prediction() -> None:
    learner = ContentionLearner()
    for one in (SMALL, LARGE):
        learner.note_alone("gpu", one)
    for _ in range(10):
        learner.learn_one("gpu", SMALL, [LARGE], 0.45)
        learner.learn_one("gpu", LARGE, [SMALL], 0.45)
    parts = learner.parts("gpu", SMALL, [LARGE])
    assert parts.keys() == set(PARTS)
    whole = math.log(learner.predict_one("gpu", SMALL, [LARGE]).value) + 0.5 * math.log(2)
    assert sum(parts.values()) == pytest.approx(whole, abs=1e-9)
    assert parts["compute"] < 0


def test_the_same_waves_give_the_same_state_and_a_pickle_keeps_it() -> None:
    one, two = taught(7, 0.6), taught(7, 0.6)
    assert one.digest() == two.digest() != taught(8, 0.6).digest()
    three = pickle.loads(pickle.dumps(one))
    assert three.digest() == one.digest()
    assert three.predict_one("gpu", SMALL, [LARGE]) == one.predict_one("gpu", SMALL, [LARGE])
    for learner in (one, three):
        learner.learn_one("gpu", SMALL, [LARGE], 0.5)
    assert three.digest() == one.digest()


def test_memory_is_bounded_and_the_newest_counts() -> None:
    learner = ContentionLearner()
    for index in range(CAPACITY + 100):
        learner.learn_one("gpu", SMALL, [LARGE], 0.3 if index < 100 else 0.9)
    assert learner.predict_one("gpu", SMALL, [LARGE]).value == pytest.approx(0.9, rel=0.02)
    assert len(pickle.dumps(learner)) < 4e6
    assert learner.seen("gpu") == CAPACITY + 100


def test_company_of_several_is_made_of_pairs() -> None:
    """A wave of three that was never seen: pairs that disturb nobody leave it undisturbed too."""
    learner = ContentionLearner()
    three = [SMALL, LARGE, OTHER]
    for _ in range(10):
        for own in three:
            for other in three:
                if own is not other:
                    learner.learn_one("gpu", own, [other], 1.0)
    found = Learnt(learner, dict(enumerate(three)), "gpu").of([0, 1, 2])
    assert sum(one.value for one in found) > 2.5
