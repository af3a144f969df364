from __future__ import annotations

import random

import pytest

from agent.learning.drift import Drift, Shift


def stream(drift: Drift, errors: list[float], start: int = 0) -> tuple[int, Shift] | None:
    """Return after how many errors a shift was announced, and which."""
    for index, error in enumerate(errors):
        shift = drift.add(1, error, 0.1, 0.3, start + index)
        if shift is not None:
            return index + 1, shift
    return None


def noise(seed: int, count: int, shift: float = 0.0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(shift, 0.1) for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_shift_of_30_percent_is_found_within_30_events(seed: int) -> None:
    drift = Drift()
    assert stream(drift, noise(seed, 300)) is None

    found = stream(drift, noise(seed + 100, 60, -0.357), 300)

    assert found is not None
    assert found[0] <= 30
    assert found[1].size == pytest.approx(-0.357, abs=0.16)
    assert found[1].events[-1] == 299 + found[0]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_where_nothing_shifts(seed: int) -> None:
    assert stream(Drift(), noise(seed, 10_000)) is None


def test_outliers_are_no_shift() -> None:
    errors = noise(1, 1000)
    for i in range(0, 1000, 10):
        errors[i] = 5.0

    assert stream(Drift(), errors) is None


def test_the_first_events_say_nothing() -> None:
    assert stream(Drift(), [1.0] * 30) is None


@pytest.mark.parametrize("seed", range(20))
def test_what_has_shifted_for_another_task_is_found_sooner(seed: int) -> None:
    alone, warned = Drift(), Drift()
    for drift in (alone, warned):
        assert stream(drift, noise(seed, 300)) is None
    warned.warn([1, 2])
    shifted = noise(seed + 100, 60, -0.2)

    found, sooner = stream(alone, shifted, 300), stream(warned, shifted, 300)

    assert found is not None
    assert sooner is not None
    assert 2 * sooner[0] <= found[0] + 2


@pytest.mark.parametrize("seed", range(20))
def test_a_warning_is_no_shift(seed: int) -> None:
    drift = Drift()
    assert stream(drift, noise(seed, 300)) is None
    drift.warn([1])

    assert stream(drift, noise(seed + 100, 1000), 300) is None


def test_calm_starts_anew() -> None:
    drift = Drift()
    stream(drift, noise(1, 100))
    for i in range(4):
        assert drift.add(1, 1.0, 0.1, 0.3, 100 + i) is None
    drift.calm([1, 2])

    assert all(drift.add(1, 1.0, 0.1, 0.3, 110 + i) is None for i in range(4))


def test_a_forgotten_stream_settles_anew() -> None:
    drift = Drift()
    stream(drift, noise(1, 300))
    drift.forget(1)

    assert stream(drift, noise(2, 25, -0.357)) is None
    drift.forget(1)
    assert drift._streams == {}


@pytest.mark.parametrize("seed", range(20))
def test_what_the_first_guess_of_a_shift_left_is_made_up_for(seed: int) -> None:
    chance = random.Random(seed)
    drift = Drift()
    for event in range(200):
        assert drift.add(1, chance.gauss(0, 0.1), 0.1, 0.3, event) is None
    found: list[Shift] = []
    for event in range(200, 280):
        # The first guess is off by as much as the learner had followed: a quarter is left.
        error = -0.1 - sum(one.size for one in found[1:]) if found else -0.4
        shift = drift.add(1, error + chance.gauss(0, 0.05), 0.1, 0.3, event)
        found += [shift] if shift is not None else []
    assert [shift.again for shift in found] == [False] + [True] * (len(found) - 1)
    first, rest = found[0], found[1:]
    assert first.size == pytest.approx(-0.4, abs=0.08)
    assert sum(one.size for one in rest) == pytest.approx(-0.1, abs=0.04)
    assert set(first.events) < set(rest[0].events), "all since the shift were measured after it"


def test_what_is_predicted_closely_says_how_far_it_shifted() -> None:
    chance = random.Random(2)
    drift = Drift()
    for event in range(100):
        usual = (0.05, 0.05, 0.5)[event % 3]
        assert drift.add(1, chance.gauss(0, usual), usual, usual, event) is None
    found: list[Shift] = []
    for event in range(100, 130):
        usual = (0.05, 0.5, 0.5)[event % 3]
        shift = drift.add(1, -0.3 if usual < 0.1 else -1.2, usual, usual, event)
        found += [shift] if shift is not None else []
        if found:
            break
    assert [shift.size for shift in found] == [-0.3]


@pytest.mark.parametrize("seed", range(20))
def test_a_shift_that_was_guessed_well_is_hardly_moved_again(seed: int) -> None:
    chance = random.Random(seed)
    drift = Drift()
    shifts: list[Shift] = []
    for event in range(400):
        error = chance.gauss(0.5 if event >= 200 and not shifts else 0.0, 0.1)
        shift = drift.add(1, error, 0.1, 0.3, event)
        shifts += [shift] if shift is not None else []
    assert [shift.again for shift in shifts[:1]] == [False]
    assert all(shift.again and abs(shift.size) < 0.12 for shift in shifts[1:])


def first_found(seed: int, *, whole: bool) -> str:
    """Return what a shift of all, or of one part in four, is first told as."""
    chance = random.Random(seed)
    drift = Drift()
    for event in range(280):
        part = chance.choice((7, 8, 9, 10))
        error = chance.gauss(-0.4 if event >= 200 and (whole or part == 7) else 0.0, 0.1)
        if drift.add(1, error, 0.1, 0.3, event, part) is not None:
            return "all"
        if drift.add(part, error, 0.1, 0.3, event, part) is not None:
            return str(part)
    return "nothing"


def test_what_shifts_in_one_part_alone_is_no_shift_of_all() -> None:
    assert all(first_found(seed, whole=True) == "all" for seed in range(40))
    alone = [first_found(seed, whole=False) for seed in range(40)]
    assert set(alone) <= {"all", "7"}
    # By chance hardly any other part is measured while it becomes certain: then nothing tells.
    assert alone.count("7") >= 37


def test_a_stream_that_shows_one_part_only_shifts_with_it() -> None:
    chance = random.Random(3)
    drift = Drift()
    found = [
        event
        for event in range(260)
        if drift.add(1, chance.gauss(-0.4 if event >= 200 else 0.0, 0.1), 0.1, 0.3, event, 7)
    ]
    assert found
    assert found[0] < 230


def with_intervals_that_follow(seed: int, *, shift: float, rise: float) -> int | None:
    """Return after how many events a change is told, if intervals widen with every error."""
    chance = random.Random(seed)
    drift, usual = Drift(), 0.1
    for event in range(600):
        changed = event >= 300
        error = chance.gauss(shift if changed else 0.0, 0.1 * rise if changed else 0.1)
        if drift.add(1, error, usual, 0.3, event) is not None:
            return event - 299
        usual += (1.25 * abs(error) - usual) / 10
    return None


@pytest.mark.parametrize("seed", range(20))
def test_a_shift_does_not_hide_in_the_intervals_that_it_widens(seed: int) -> None:
    found = with_intervals_that_follow(seed, shift=-0.4, rise=1.5)
    assert found is not None
    assert found <= 12


def test_errors_that_become_larger_either_way_are_no_shift() -> None:
    found = [with_intervals_that_follow(seed, shift=0.0, rise=4.0) for seed in range(100)]
    assert sum(one is not None for one in found) <= 2


def test_a_few_that_are_predicted_closely_do_not_say_for_all_how_far_it_shifted() -> None:
    chance = random.Random(4)
    drift = Drift()
    for event in range(100):
        usual = (0.02, 0.15, 0.15, 0.15)[event % 4]
        assert drift.add(1, chance.gauss(0, usual), usual, usual, event) is None
    found: list[Shift] = []
    for event in range(100, 130):
        usual = (0.02, 0.15, 0.15, 0.15)[event % 4]
        shift = drift.add(1, -0.3 if usual < 0.1 else -0.5, usual, usual, event)
        found += [shift] if shift is not None else []
        if found:
            break
    assert [shift.size for shift in found] == [-0.5]


@pytest.mark.parametrize("seed", range(20))
def test_a_second_shift_is_found_while_what_the_first_left_is_still_looked_for(seed: int) -> None:
    chance = random.Random(seed)
    drift = Drift()
    found: list[tuple[int, Shift]] = []
    moved = 0.0
    for event in range(400):
        now = -0.4 * (event >= 200) - 0.3 * (event >= 240)
        shift = drift.add(1, chance.gauss(now, 0.1) - moved, 0.1, 0.3, event)
        if shift is not None:
            found.append((event, shift))
            moved += shift.size
    new = [event for event, shift in found if not shift.again]
    assert len(new) == 2
    assert 240 <= new[1] <= 270
    assert moved == pytest.approx(-0.7, abs=0.05)
