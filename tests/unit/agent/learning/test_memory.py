from __future__ import annotations

import pickle
import random
from collections import defaultdict

import numpy as np

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import PARTS, SIZES, Frame, frame_of
from agent.learning.memory import RINGS, Memory


def frame(model: str, hardware: str = "h", **more: object) -> Frame:
    return frame_of([Cell(model, hardware, **more)], catalogue())  # type: ignore[arg-type]


def memory(rows: int = 100, setups: int = 16) -> Memory:
    return Memory(1, [1.0] * len(SIZES), [1.0] * len(PARTS), rows, setups)


def add(store: Memory, one: Frame, z: float = 0.0) -> None:
    store.add(one, [7], np.array([z]), np.array([z]), np.array([0]))


def test_likes_are_found_and_each_once() -> None:
    store = memory()
    add(store, frame("a", batch_size=1.0), 1.0)
    add(store, frame("a", "elsewhere"), 2.0)
    add(store, frame("b", "far", architecture="other"), 3.0)

    near = store.near([frame(name, batch_size=1.0).keys[0] for name in ("unknown", "a")])

    assert near.rows.tolist() == [0, 0, 1], "the unknown one runs on the same hardware"
    assert near.cells.tolist() == [0, 1, 1]


def test_what_is_near_is_the_newest_of_every_ring() -> None:
    chance = random.Random(1)
    store, rings = memory(rows=2_000, setups=64), defaultdict[tuple[int, int], list[int]](list)

    def some() -> Frame:
        model, sizes = f"m{chance.randrange(30)}", {"batch_size": float(chance.randrange(1, 9))}
        return frame(model, f"h{chance.randrange(4)}", **sizes, task=chance.choice("tu"))

    for row in range(600):
        one = some()
        add(store, one)
        for ring in enumerate(one.keys[0].rings):
            rings[ring].append(row)
    asked = [some().keys[0] for _ in range(50)]
    near = store.near(asked)

    expected = [
        sorted({row for at, key in enumerate(one.rings) for row in rings[at, key][-RINGS[at][1] :]})
        for one in asked
    ]
    assert near.rows.tolist() == [row for rows in expected for row in rows]
    assert near.cells.tolist() == [cell for cell, rows in enumerate(expected) for _ in rows]


def test_nothing_is_near_in_an_empty_memory() -> None:
    assert len(memory().near(frame("a").keys).rows) == 0


def test_the_oldest_give_way() -> None:
    store = memory(rows=10)
    for i in range(25):
        add(store, frame(f"m{i}"), float(i))

    assert store.z.shape == (10, 1)
    assert sorted(store.z[:, 0]) == list(range(15, 25))


def test_a_network_is_remembered_on_its_hardware_however_much_came_since() -> None:
    store = memory(rows=400, setups=64)
    add(store, frame("net", "small", precision="int8"), 1.0)
    for number in range(60):
        add(store, frame("net", f"large{number}"), float(number))

    asked = frame("net", "small", precision="fp16")
    assert 0 in store.near(asked.keys).rows
    assert not store.met(asked.keys[0]), "not in this set-up"
    assert store.met(frame("net", "small", precision="int8").keys[0])


def test_setups_are_as_far_apart_as_their_parts() -> None:
    store = memory()
    add(store, frame("a", "h", task="t"))
    add(store, frame("a", "g", task="t"))
    known, new = frame("b", "g", task="t").keys[0], frame("b", "new", precision="fp16").keys[0]
    other = frame("b", "new", task="t").keys[0]

    places, strange = store.places_of([known, new, other, new])

    assert places.tolist() == [1, -1, -2, -1]
    assert store.apart[places[0], :2].tolist() == [1.0, 0.0]
    assert strange.tolist() == [[3.0, 3.0], [1.0, 1.0]]
    assert store.apart[0, 1] == store.apart[1, 0] == 1.0


def test_a_setup_is_as_far_from_others_before_it_is_known_as_after() -> None:
    store = memory(setups=64)
    for number in range(20):
        add(store, frame("a", f"h{number % 5}", runtime=f"r{number % 3}"))
    one = frame("a", "h1", task="t", runtime="r2")
    used = len({*store.setup[:20].tolist()})

    ((place,), strange) = store.places_of(one.keys)
    assert place == -1
    add(store, one)
    ((place,), none) = store.places_of(one.keys)

    assert place == used
    assert len(none) == 0
    assert store.apart[place, :used].tolist() == strange[0, :used].tolist()
    assert store.apart[:used, place].tolist() == strange[0, :used].tolist()
    assert len(set(strange[0, :used].tolist())) > 2


def test_nothing_is_far_from_what_nobody_knows_in_an_empty_memory() -> None:
    places, strange = memory().places_of([frame("a").keys[0], frame("b").keys[0]])

    assert places.tolist() == [-1, -1]
    assert len(strange) == 1


def test_a_forgotten_setup_takes_its_measurements_along() -> None:
    store = memory(setups=2)
    for hardware in ("x", "y", "z"):
        add(store, frame("a", hardware))

    assert store.slot[:3, 0].tolist() == [0, 7, 7]


def test_a_pickled_copy_holds_what_was_used_and_takes_more() -> None:
    store = memory(rows=1000)
    add(store, frame("a"), 5.0)
    data = pickle.dumps(store)
    copy = pickle.loads(data)
    add(copy, frame("b"), 6.0)

    assert len(data) < 20_000
    assert copy.z[:2, 0].tolist() == [5.0, 6.0]
