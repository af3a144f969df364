from __future__ import annotations

from agent.learning.units import Units


def test_each_unit_of_each_metric_has_a_slot() -> None:
    units = Units(2)
    images, new, reused = units.add(0, "images/s", 1)
    tokens, _, _ = units.add(0, "tokens/s", 1)
    other, _, _ = units.add(1, "images/s", 1)

    assert (new, reused) == (True, False)
    assert len({images.slot, tokens.slot, other.slot}) == 3
    assert units.slots(0) == [images.slot, tokens.slot]
    assert units.slot(0, "images/s") == images.slot
    assert units.slot(0, "unheard of") == 0


def test_a_task_that_was_not_measured_is_predicted_as_the_most_measured_one() -> None:
    units = Units(1)
    for task in (1, 2, 2, 1, 2):
        domain, new, _ = units.add(0, "images/s", task)

    assert not new
    assert units.find(domain.slot, 1).task == 1
    assert units.find(domain.slot, 99).task == 2
    assert units.totals[domain.slot] == 5


def test_the_unit_unused_for_longest_gives_up_its_slot() -> None:
    units = Units(1, capacity=2)
    first, _, _ = units.add(0, "a", 1)
    units.add(0, "b", 1)
    third, new, reused = units.add(0, "c", 1)

    assert (new, reused) == (True, True)
    assert third.slot == first.slot
    assert third.key != first.key
    assert units.slot(0, "a") == 0
    assert units.totals[third.slot] == 1


def test_tasks_are_bounded() -> None:
    units = Units(1, capacity=3)
    for task in range(10):
        domain, _, _ = units.add(0, "a", task)

    assert units.find(domain.slot, 9).task == 9
    assert units.find(domain.slot, 0).task in {7, 8, 9}
