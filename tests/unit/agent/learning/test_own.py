from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.exact import MOST
from agent.learning.features import NAMES, SIZES, WIDTH, Frame, frame_of
from agent.learning.loops.own import Told, Wrong
from agent.learning.memory import Memory
from agent.learning.own import Measured, Own

DOMAIN, OTHER, HARDWARE, SETUP = 4, 7, 8, 1
SLOT = 1
STEM = NAMES.index("stem")
NO_LAW = np.zeros(WIDTH)


def frame(*batches: float, model: str = "a") -> Frame:
    return frame_of([Cell(model, "h", gmacs=1.0, batch_size=one) for one in batches], catalogue())


def paths(domains: list[list[int]]) -> NDArray[np.int64]:
    return np.array([[(domain, HARDWARE, SETUP) for domain in line] for line in domains])


class Learning:
    """A memory, and the processes of its domains, which learn one after the other."""

    def __init__(self, *domains: int, rows: int = 2_048) -> None:
        self.memory = Memory(1, [1.0] * len(SIZES), [1.0] * 9, rows=rows)
        self.own = Own(self.memory, 2)
        for row in (HARDWARE, SETUP):
            self.own.begin(row)
        for domain in domains:
            self.own.start(domain, 0, SLOT, NO_LAW)

    def learn(self, domains: list[int], batch: float, z: float, model: str = "a") -> None:
        one, here = frame(batch, model=model), [1] * len(domains)
        event = self.memory.next_event
        measured = Measured(np.full(len(domains), float(z)), np.zeros(len(domains)))
        self.own.learn(one, domains, here, measured, event)
        self.memory.add(one, [SLOT], np.array([z]), np.array([z]), np.array([1]))

    def told(self, asked: Frame, domains: list[list[int]], kind: int = 0) -> Told:
        every = np.array(domains)
        return self.own.told(asked, paths(domains), np.full_like(every, kind))

    def of(self, domain: int, *batches: float, kind: int = 0) -> tuple[list[float], list[float]]:
        told = self.told(frame(*batches), [[domain]] * len(batches), kind)
        return told.mean[:, 0].tolist(), told.odds[:, 0].tolist()


def taught(count: int, *domains: int, rows: int = 2_048) -> Learning:
    learning = Learning(*(domains or (DOMAIN,)), rows=rows)
    for number in range(count):
        batch = float(1 + number % 16)
        learning.learn(list(domains or (DOMAIN,)), batch, np.log(batch))
    return learning


@pytest.mark.parametrize("count", [40, MOST + 40])
def test_a_domain_is_told_and_no_other(count: int) -> None:
    learning = taught(count)

    told = learning.told(frame(4.0, 8.0), [[DOMAIN, OTHER]] * 2)

    assert (told.spread > 0.0).tolist() == [[True, False]] * 2
    assert told.mean[:, 0] == pytest.approx(np.log([4.0, 8.0]), abs=0.05)
    assert learning.told(frame(4.0), [[OTHER]]).spread.tolist() == [[0.0]]


def test_cells_of_several_domains_are_told_each_by_its_own() -> None:
    learning = taught(20, DOMAIN, OTHER)
    learning.learn([OTHER], 4.0, 3.0)

    told = learning.told(frame(4.0, 4.0), [[DOMAIN, OTHER], [OTHER, DOMAIN]])

    assert told.mean[0].tolist() == told.mean[1][::-1].tolist()
    assert told.mean[0, 0] != told.mean[0, 1]


def test_what_is_measured_of_one_domain_alone_is_told_of_no_other() -> None:
    learning = taught(MOST + 50, DOMAIN, OTHER)
    both = [[DOMAIN, OTHER]]
    assert np.ptp(learning.told(frame(4.0), both).mean) == pytest.approx(0.0, abs=0.01)
    before = learning.told(frame(4.0), both).mean[0]

    for _ in range(40):
        learning.learn([OTHER], 4.0, 3.0)
    alone = learning.told(frame(4.0), both).mean[0]
    for _ in range(40):
        learning.learn([DOMAIN, OTHER], 4.0, 3.0)
    after = learning.told(frame(4.0), both).mean[0]

    assert alone[0] == before[0]
    assert alone[1] == pytest.approx(3.0, abs=0.5)
    assert after.tolist() == pytest.approx([3.0, 3.0], abs=0.5)


def test_who_errs_less_counts_more() -> None:
    learning = taught(40)
    own = learning.own
    (first,) = learning.of(DOMAIN, 4.0)[1]

    for _ in range(300):
        # Others are right, and the process lies beside them.
        own.judge(
            np.array([DOMAIN]), np.array([0]), Wrong(*np.array([[0.01], [0.3], [0.0], [1.0]]))
        )
    (wrong,) = learning.of(DOMAIN, 4.0)[1]
    for _ in range(600):
        own.judge(np.array([DOMAIN]), np.array([0]), Wrong(*np.array([[0.3], [0.3], [0.0], [1.0]])))
    (right,) = learning.of(DOMAIN, 4.0)[1]

    assert first > 0.0
    assert wrong < -1.0
    assert right > first
    # Of the other kind nothing was said.
    assert learning.of(DOMAIN, 4.0, kind=1)[1] == [first]


def test_a_grown_domain_learns_from_every_measurement() -> None:
    learning = taught(2 * MOST)
    before, _ = learning.of(DOMAIN, 200.0)

    learning.learn([DOMAIN], 200.0, 1.0)

    after, _ = learning.of(DOMAIN, 200.0)
    assert before[0] > 3.0
    assert after[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("count", [60, MOST + 60])
def test_a_shift_moves_its_setup_and_no_other(count: int) -> None:
    learning = taught(count)
    kinds, one = np.zeros((1, 1), dtype=np.int64), frame(4.0)
    rows = {"the set-up": SETUP, "another": 2, "unknown": 0}
    learning.own.begin(2)

    def told() -> dict[str, float]:
        found = {}
        for name, row in rows.items():
            path = np.array([[[DOMAIN, HARDWARE, row]]])
            answer = learning.own.told(one, path, kinds)
            found[name] = float(answer.mean[0, 0])
        return found

    before = told()
    learning.memory.shift(0, np.array([SETUP]), 0.5, ())
    learning.own.shift(np.array([SETUP]), 0.5)
    after = told()
    # What comes next is measured as it is now, and teaches of others what they would be.
    for _ in range(40):
        learning.learn([DOMAIN], 4.0, np.log(4.0) + 0.5)
    later = told()

    assert after["the set-up"] - before["the set-up"] == pytest.approx(0.5, abs=1e-9)
    assert after["another"] == pytest.approx(before["another"], abs=1e-9)
    assert later["the set-up"] == pytest.approx(np.log(4.0) + 0.5, abs=0.05)
    assert later["another"] == pytest.approx(np.log(4.0), abs=0.05)
    assert later["unknown"] == pytest.approx(np.log(4.0), abs=0.05)


def test_a_shift_of_a_hardware_holds_for_its_setups_to_come() -> None:
    learning = taught(60)
    one, kinds = frame(4.0), np.zeros((1, 1), dtype=np.int64)

    learning.own.shift(np.array([SETUP, HARDWARE]), 0.5)
    learning.own.begin(3, HARDWARE)

    for row in (0, 3):
        told = learning.own.told(one, np.array([[[DOMAIN, HARDWARE, row]]]), kinds)
        assert told.mean[0, 0] == pytest.approx(np.log(4.0) + 0.5, abs=0.05)


@pytest.mark.parametrize("count", [60, MOST + 60])
def test_what_is_forgotten_is_told_no_more(count: int) -> None:
    learning = taught(count)

    learning.memory.forget_paths([1])
    learning.own.forget([1])

    assert not learning.told(frame(4.0), [[DOMAIN]]).spread.any()


def test_what_the_memory_has_no_room_for_is_forgotten() -> None:
    learning = taught(3 * MOST, rows=MOST)
    assert len(learning.own._domains[DOMAIN].nearest) == MOST


@pytest.mark.parametrize("count", [20, MOST])
def test_without_the_network_a_process_tells_what_the_others_say(count: int) -> None:
    learning = taught(count)
    for _ in range(20):
        learning.learn([DOMAIN], 4.0, 5.0, model="b")
    asked, kinds = frame(4.0, model="b"), np.zeros((1, 2), dtype=np.int64)

    told = learning.own.told(asked, paths([[DOMAIN, OTHER]]), kinds, without=STEM)

    assert (told.spread > 0.0).tolist() == [[True, False]]
    assert told.mean[0, 0] == pytest.approx(np.log(4.0), abs=0.3)


def test_domains_are_bounded_and_those_unused_for_longest_go() -> None:
    learning = taught(5, DOMAIN, OTHER)
    for domain in range(100, 131):
        learning.own.start(domain, 0, SLOT, NO_LAW)
        learning.learn([domain, DOMAIN], 1.0, 0.0)

    assert not learning.told(frame(1.0), [[OTHER]]).spread.any()
    assert learning.told(frame(1.0), [[DOMAIN]]).spread.all()


def test_a_row_that_stands_for_another_domain_starts_anew() -> None:
    learning = taught(20)

    learning.own.start(DOMAIN, 0, SLOT, NO_LAW)

    assert not learning.told(frame(1.0), [[DOMAIN]]).spread.any()


def test_a_copy_goes_on_bit_for_bit() -> None:
    learning = taught(MOST + 50)

    copy = pickle.loads(pickle.dumps(learning))

    for each in (learning, copy):
        for batch in (3.0, 40.0, 5.0):
            each.learn([DOMAIN], batch, 1.0)
    assert copy.of(DOMAIN, 4.0, 7.0, 40.0) == learning.of(DOMAIN, 4.0, 7.0, 40.0)
