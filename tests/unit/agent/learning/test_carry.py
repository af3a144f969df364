"""What cells take over from measurements near them, by a process written out plainly."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import NETWORK_SIZES, Frame, frame_of
from agent.learning.kinship import Kernel, Kinship
from agent.learning.loops.transfer import Wanted
from agent.learning.memory import NO_SLOT, Memory, Near
from agent.learning.paired import Paired
from agent.learning.transfer import Asked, Carried, Transfer

Floats = NDArray[np.float64]

COMMON = Kernel(
    sizes=(1.7, 0.4, 0.6, 1.3, 2.0, 0.3, 0.3, 1.0, 1.5),
    parts=(0.3, 0.1, 0.05, 0.2, 0.08, 0.08, 0.08, 0.05, 0.12),
    noise=0.05,
    amplitude=(0.5, 0.3, 0.1),
    network=(0.2, 1.0, 2.0),
    group=(1.0, 0.3, 0.2),
    stem=(0.1, 0.2, 1.0),
    model=(0.05, 0.1, 0.4),
    shape=(0.3, 0.5, 0.1),
    setup=(0.0, 0.0, 0.0),
)
DEVIATION = Kernel(
    sizes=COMMON.sizes,
    parts=COMMON.parts,
    noise=0.0,
    amplitude=(0.6, 1.1),
    network=(0.1, 1.3),
    group=(0.3, 0.8),
    stem=(0.05, 0.2),
    model=(0.0, 0.1),
    shape=(0.5, 2.0),
    setup=(0.2, 0.0),
)
KINSHIP = Kinship(COMMON, DEVIATION, alone=0.1, names=4.0, seen=0.2, offsets=0.5)
KEPT = tuple(2.0 * size + 0.1 for size in COMMON.sizes)
NEAREST = 12
LEAST = 1e-8
SLOT, OTHER_SLOT = 1, 2


class Measured(NamedTuple):
    """What a row of the memory was made of."""

    cell: Cell
    slots: tuple[int, int]
    z: tuple[float, float]
    rest: tuple[float, float]
    path: tuple[int, int]


class Question(NamedTuple):
    """One cell, for two metrics."""

    cell: Cell
    slots: tuple[int, ...]
    setups: tuple[int, ...]
    law: tuple[float, ...]
    offset: tuple[float, ...]


def frame(cells: Sequence[Cell]) -> Frame:
    return frame_of(cells, catalogue())


def memory(known: Sequence[Measured] = ()) -> Memory:
    store = Memory(2, KEPT, COMMON.parts, 1_000, 32)
    for one in known:
        z, rest, path = np.array(one.z), np.array(one.rest), np.array(one.path)
        store.add(frame([one.cell]), one.slots, z, rest, path)
    return store


def cell(batch: float = 8.0, model: str = "a", hardware: str = "h", **more: object) -> Cell:
    return Cell(  # type: ignore[arg-type]
        model, hardware, **{"architecture": "x", "gmacs": 1.0, "batch_size": batch, **more}
    )


def measured(one: Cell, rest: float = 0.0, path: int = 1) -> Measured:
    return Measured(one, (SLOT, SLOT), (rest, rest), (rest, rest), (path, path))


def question(one: Cell, slots: tuple[int, ...] = (SLOT,), path: int = 1) -> Question:
    zeros = (0.0,) * len(slots)
    return Question(one, slots, (path,) * len(slots), zeros, zeros)


def carried(
    store: Memory,
    questions: Sequence[Question],
    metrics: Sequence[int] = (0,),
    paired: Paired | None = None,
    offsets: Floats | None = None,
    near: Near | None = None,
) -> Carried:
    cells = frame([one.cell for one in questions])
    slots, setups, law, offset = (np.array(each) for each in list(zip(*questions, strict=True))[1:])
    paths = np.zeros((*setups.shape, 3), dtype=np.int64)
    paths[..., 2] = setups
    asked = Asked(
        cells,
        store.near(cells.keys) if near is None else near,
        Wanted(
            np.array(metrics),
            slots,
            paths,
            law,
            offset,
            np.zeros(64) if offsets is None else offsets,
        ),
    )
    return Transfer(KINSHIP, KEPT, NEAREST).carry(store, paired or Paired(), asked)


class Plain:
    """The same process in full matrices of what is chosen, from the cells as they were given."""

    def __init__(self, known: Sequence[Measured], paired: Paired, offsets: Floats) -> None:
        self.known, self.paired, self.offsets = known, paired, offsets
        self.frames = [frame([one.cell]) for one in known]

    def told(
        self, one: Question, near: Sequence[int], metrics: Sequence[int]
    ) -> tuple[list[float], list[float]]:
        asked = frame([one.cell])
        like = {row: self.like(COMMON, asked, self.frames[row]) for row in near}
        prior = {row: setups_apart(asked, self.frames[row]) for row in near}
        varied = {
            row: self.variance(one.setups[0], self.known[row].path[metrics[0]], prior[row])
            for row in near
        }
        worth = {
            row: like[row] ** 2 / (total(COMMON) + total(DEVIATION) * varied[row]) for row in near
        }
        expected, spread = [], []
        first: list[int] = []
        for at, metric in enumerate(metrics):
            usable = [row for row in near if self.known[row].slots[metric] == one.slots[at]]
            chosen = sorted(usable, key=lambda row: (worth[row], row))[-NEAREST:]
            if not at:
                first, many = chosen, len(usable)
            elif set(first) <= set(usable) and len(usable) <= 1.1 * many + 1.0:
                chosen = first
            matrix = self.matrix(chosen, prior, varied)
            right = np.array([like[row] for row in chosen])
            weights = np.linalg.solve(matrix, right)
            rests = [self.rest(one, at, metric, row) for row in chosen]
            expected.append(float(weights @ np.array(rests)))
            left = total(COMMON) + COMMON.noise**2 - float(weights @ right)
            spread.append(math.sqrt(max(left, COMMON.noise**2)))
        return expected, spread

    def matrix(
        self, chosen: Sequence[int], prior: dict[int, float], varied: dict[int, float]
    ) -> Floats:
        matrix = np.zeros((len(chosen), len(chosen)))
        for i, one in enumerate(chosen):
            for j, other in enumerate(chosen):
                frames = self.frames[one], self.frames[other]
                # Deviations are as alike as the vectors of what differs from the cell.
                product = 0.5 * (prior[one] + prior[other] - setups_apart(*frames))
                lengths = math.sqrt(max(prior[one], LEAST) * max(prior[other], LEAST))
                shared = product / lengths * math.sqrt(varied[one] * varied[other])
                matrix[i, j] = self.like(COMMON, *frames) + shared * self.like(DEVIATION, *frames)
            matrix[i, i] = total(COMMON) + COMMON.noise**2
            matrix[i, i] += (1.0 + KINSHIP.alone) * total(DEVIATION) * varied[one]
        return matrix

    def like(self, kernel: Kernel, one: Frame, other: Frame) -> float:
        apart = np.abs(one.sizes[0] - other.sizes[0]) * kernel.sizes
        network = math.hypot(*apart[:NETWORK_SIZES])
        shape = math.hypot(*apart[NETWORK_SIZES:])
        here, there = one.keys[0], other.keys[0]
        like = 0.0
        for product, amplitude in enumerate(kernel.amplitude):
            fall = kernel.network[product] * network + kernel.shape[product] * shape
            fall += kernel.group[product] * (here.group != there.group)
            fall += kernel.stem[product] * (here.stem != there.stem)
            fall += kernel.model[product] * (here.model != there.model)
            fall += kernel.setup[product] * setups_apart(one, other)
            like += amplitude**2 * math.exp(-fall)
        return like

    def variance(self, here: int, there: int, prior: float) -> float:
        if prior == 0.0:
            return 0.0
        seen = self.paired.of(np.array([here]), np.array([there]))
        count = max(seen.seen[0] - 1.0, 0.0) if here else 0.0
        logs = KINSHIP.names * math.log(prior + LEAST)
        logs += count * math.log(KINSHIP.seen * (seen.variance[0] + LEAST))
        return math.exp(logs / (KINSHIP.names + count))

    def rest(self, one: Question, at: int, metric: int, row: int) -> float:
        known, here = self.known[row], one.setups[at]
        there = known.path[metric]
        seen = self.paired.of(np.array([here]), np.array([there]))
        count = seen.seen[0] if here and here != there else 0.0
        trust = count / (count + KINSHIP.offsets)
        by_law = one.law[at] - (known.z[metric] - known.rest[metric])
        # What the pair says of the value here, less the law and the offset.
        moved = seen.base[0] + (seen.slope[0] - 1.0) * by_law - one.offset[at]
        return float(known.rest[metric] + trust * moved - (1.0 - trust) * self.offsets[there])


def total(kernel: Kernel) -> float:
    return sum(amplitude**2 for amplitude in kernel.amplitude)


def setups_apart(one: Frame, other: Frame) -> float:
    parts = zip(COMMON.parts, one.keys[0].parts, other.keys[0].parts, strict=True)
    return sum(cost for cost, here, there in parts if here != there)


class World:
    """A memory of two metrics in six set-ups, some of which were paired, and cells to ask for."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.chance = chance
        self.metrics = ((0, 1), (1, 0), (1,))[seed // 4]
        self.setups = [
            {"hardware": hardware, "precision": precision, "runtime": "r1" if number else "r2"}
            for number, hardware in enumerate(("h1", "h2", "h3"))
            for precision in ("fp16", "int8")
        ]
        self.known: list[Measured] = []
        for _ in range((1, 8, 40, 150)[seed % 4]):
            # Now and then the same again, so that some are of equal worth.
            again = self.known and chance.random() < 0.1
            self.known.append(self.event(self.known[-1] if again else None))
        self.store = memory(self.known)
        self.offsets = np.array([chance.gauss(0.0, 0.5) for _ in range(64)])
        self.paired = Paired()
        for _ in range(60):
            number, other = chance.sample(range(len(self.setups)), 2)
            metric = chance.randrange(2)
            self.paired.learn(
                np.array([path(number, metric)]),
                np.array([path(other, metric)]),
                np.array([chance.gauss(0.7, 0.3)]),
                np.array([chance.gauss(0.5, 0.5)]),
                np.array([chance.random()]),
            )
        self.asked = [self.question() for _ in range(12)]

    def cell(self, **setup: str) -> Cell:
        chance = self.chance
        model = chance.randrange(5)
        return Cell(
            f"net{model}" + chance.choice(["", ".other"]),
            architecture=f"family{model % 2}",
            parameters_m=chance.uniform(5.0, 50.0),
            gmacs=chance.uniform(0.5, 8.0),
            batch_size=chance.uniform(1.0, 32.0),
            task="inference",
            **setup,  # type: ignore[arg-type]
        )

    def event(self, again: Measured | None) -> Measured:
        chance = self.chance
        if again is None:
            number = chance.randrange(len(self.setups))
            one, paths = self.cell(**self.setups[number]), (path(number, 0), path(number, 1))
        else:
            one, paths = again.cell, again.path
        kinds = (SLOT, SLOT), (NO_SLOT, SLOT), (SLOT, NO_SLOT), (SLOT, OTHER_SLOT)
        (slots,) = chance.choices(kinds, [84, 8, 4, 4])
        rest = chance.gauss(0.0, 1.0), chance.gauss(0.0, 1.0)
        z = rest[0] + chance.gauss(3.0, 1.0), rest[1] + chance.gauss(-3.0, 1.0)
        return Measured(one, slots, z, rest, paths)

    def question(self) -> Question:
        chance = self.chance
        number, asked = chance.randrange(len(self.setups) + 2), self.metrics
        if number < len(self.setups):
            one = self.cell(**self.setups[number])
            setups = tuple(path(number, metric) for metric in asked)
        else:
            one, setups = self.cell(hardware=f"new{number}", runtime="r1"), (0,) * len(asked)
        slots = tuple(chance.choice([SLOT, SLOT, OTHER_SLOT]) if each else SLOT for each in asked)
        law = tuple(chance.gauss(-3.0 if each else 3.0, 1.0) for each in asked)
        return Question(one, slots, setups, law, tuple(chance.gauss(0.0, 0.5) for _ in asked))

    def carried(self, asked: Sequence[Question]) -> Carried:
        return carried(self.store, asked, self.metrics, self.paired, self.offsets)


def path(setup: int, metric: int) -> int:
    return 1 + 2 * setup + metric


@pytest.mark.parametrize("seed", range(12))
def test_what_is_carried_is_what_a_process_in_full_says(seed: int) -> None:
    world = World(seed)
    found = world.carried(world.asked)

    plain = Plain(world.known, world.paired, world.offsets)
    near = world.store.near(frame([one.cell for one in world.asked]).keys)
    for at, one in enumerate(world.asked):
        rows = near.rows[near.cells == at].tolist()
        expected, spread = plain.told(one, rows, world.metrics)
        np.testing.assert_allclose(found.expected[at], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.spread[at], spread, rtol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_no_answer_depends_on_what_is_asked_beside_it(seed: int) -> None:
    world = World(seed)
    together = world.carried(world.asked)

    alone = [world.carried([one]) for one in world.asked]

    assert together.expected.tolist() == [one.expected[0].tolist() for one in alone]
    assert together.spread.tolist() == [one.spread[0].tolist() for one in alone]


@pytest.mark.parametrize("hardware", ["h", "new"])
def test_of_an_empty_memory_nothing_is_carried(hardware: str) -> None:
    found = carried(memory(), [question(cell(hardware=hardware))])

    assert found.expected.tolist() == [[0.0]]
    assert found.spread[0, 0] == pytest.approx(math.sqrt(total(COMMON) + COMMON.noise**2))


def test_among_equals_the_later_count() -> None:
    def told(rests: Sequence[float]) -> float:
        store = memory([measured(cell(), rest) for rest in rests])
        return float(carried(store, [question(cell())]).expected[0, 0])

    common, noise = total(COMMON), COMMON.noise**2
    later = [0.0] * (30 - NEAREST) + [1.0] * NEAREST
    assert told(later) == pytest.approx(NEAREST * common / (NEAREST * common + noise))
    assert told([9.0] * (30 - NEAREST) + [1.0] * NEAREST) == told(later)
    for place in range(30 - NEAREST, 30):
        assert told([*later[:place], 2.0, *later[place + 1 :]]) > told(later)


def test_a_metric_that_other_rows_have_gets_neighbours_of_its_own() -> None:
    known = []
    for batch in range(1, 21):
        slot, rest = (OTHER_SLOT, 1.0) if batch % 2 else (SLOT, 100.0)
        one = cell(float(batch))
        known.append(Measured(one, (SLOT, slot), (0.5, rest), (0.5, rest), (1, 2)))
    store, asked = memory(known), question(cell(7.0), (SLOT, OTHER_SLOT, SLOT))

    found = carried(store, [asked], (0, 1, 0))

    assert found.expected[0] == pytest.approx([0.5, 1.0, 0.5], abs=0.02)
    assert found.expected[0, 0] == found.expected[0, 2]
    assert found.spread[0, 0] == found.spread[0, 2]
    by_itself = carried(store, [question(cell(7.0), (OTHER_SLOT,))], (1,))
    assert found.expected[0, 1] == by_itself.expected[0, 0]
    assert found.spread[0, 1] == by_itself.spread[0, 0]


def test_a_metric_measured_nearer_than_the_first_is_carried_from_there() -> None:
    far = [Measured(cell(64.0), (SLOT, SLOT), (0.0, 0.0), (0.0, 0.0), (1, 2))] * 5
    close = [Measured(cell(7.0), (NO_SLOT, SLOT), (0.0, 1.0), (0.0, 1.0), (1, 2))] * 5

    found = carried(memory([*far, *close]), [question(cell(7.0), (SLOT, SLOT))], (0, 1))

    assert found.expected[0, 0] == 0.0
    assert found.expected[0, 1] > 0.9
    assert found.spread[0, 1] < 0.5 * found.spread[0, 0]


@pytest.mark.parametrize(("more", "own"), [(2, False), (3, False), (4, True)])
def test_a_few_measurements_more_are_no_reason_for_other_neighbours(more: int, own: bool) -> None:
    both = [Measured(cell(64.0), (SLOT, SLOT), (0.0, 0.0), (0.0, 0.0), (1, 2))] * 20
    close = [Measured(cell(7.0), (NO_SLOT, SLOT), (0.0, 1.0), (0.0, 1.0), (1, 2))] * more

    found = carried(memory([*both, *close]), [question(cell(7.0), (SLOT, SLOT))], (0, 1))

    assert (found.expected[0, 1] > 0.5) == own
    assert (found.spread[0, 1] < found.spread[0, 0]) == own


def test_a_unit_that_nothing_was_measured_in_takes_nothing_over() -> None:
    store = memory([measured(cell(), 1.0) for _ in range(5)])
    found = carried(store, [question(cell(), (SLOT, OTHER_SLOT))], (0, 1))

    assert found.expected[0, 0] > 0.9
    assert found.expected[0, 1] == 0.0
    assert found.spread[0, 1] > 5.0 * found.spread[0, 0]


def test_likeness_falls_with_everything_that_differs() -> None:
    # A row that no ring of the cell holds is none to it, unless it is given.
    store, near = memory([measured(cell())]), Near(np.array([0]), np.array([0]))

    def spread(one: Cell) -> float:
        return float(carried(store, [question(one, path=0)], near=near).spread[0, 0])

    same = spread(cell())
    differing = [
        cell(9.0),
        cell(64.0),
        cell(model="b"),
        cell(architecture="y"),
        cell(gmacs=3.0),
        cell(hardware="g"),
        cell(precision="int8"),
        cell(runtime="r"),
        cell(device_count=4.0),
        cell(sequence_in=64.0),
    ]
    spreads = [spread(one) for one in differing]
    common, noise = total(COMMON), COMMON.noise**2
    assert same == pytest.approx(math.sqrt(common + noise - common**2 / (common + noise)))
    assert min(spreads) > same
    assert spreads[1] > spreads[0]

    steps = [
        same,
        spreads[1],
        spread(cell(64.0, "b")),
        spread(cell(64.0, "b", "g")),
        spread(cell(64.0, "b", "g", precision="int8")),
        spread(cell(64.0, "b", "g", precision="int8", gmacs=3.0, architecture="y")),
    ]
    assert all(one < other for one, other in pairwise(steps))
    assert steps[-1] < math.sqrt(common + noise)


def test_a_set_up_that_was_seen_to_differ_alike_says_more_and_its_difference_is_taken_off() -> None:
    store = memory([measured(cell(hardware="g"), 0.5, path=2)])
    offsets = np.zeros(64)
    asked = [question(cell())]
    paired = Paired()
    strange = carried(store, asked, paired=paired, offsets=offsets)

    for _ in range(20):
        paired.learn(np.array([1]), np.array([2]), np.array([0.7]), np.zeros(1), np.ones(1))
    seen = carried(store, asked, paired=paired, offsets=offsets)

    assert seen.spread[0, 0] < 0.5 * strange.spread[0, 0]
    assert 0.0 < strange.expected[0, 0] < 0.5
    assert seen.expected[0, 0] == pytest.approx(0.5 + 0.7, rel=0.05)


def test_the_offset_of_a_set_up_that_was_never_paired_is_taken_off() -> None:
    store = memory([measured(cell(hardware="g"), 0.5, path=2)])
    offsets = np.zeros(64)
    offsets[2] = 0.5

    assert carried(store, [question(cell())], offsets=offsets).expected[0, 0] == 0.0
