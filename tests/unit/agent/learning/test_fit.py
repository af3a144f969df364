from __future__ import annotations

import pytest

from agent.learning.bank import Bank, Observation
from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.fit import Fit, Reasons, reasons_of
from agent.learning.need import need_of

SMALL = Cell("small", "nvidia-t4", parameters_m=1000.0, precision="fp16", device_count=1.0)
LARGE = SMALL._replace(model="large", parameters_m=40_000.0)


def chance(fit: Fit, cell: Cell) -> float:
    reasons = reasons_of(cell, catalogue().find(cell.hardware))
    assert reasons is not None
    return fit.probability(reasons)


def test_physics_alone_tells_small_from_large() -> None:
    assert chance(Fit(), SMALL) > 0.9
    assert chance(Fit(), LARGE) < 0.15


def test_more_devices_and_fewer_bits_help() -> None:
    middle = SMALL._replace(parameters_m=9000.0)

    alone = chance(Fit(), middle)
    assert chance(Fit(), middle._replace(device_count=4.0)) > alone
    assert chance(Fit(), middle._replace(precision="int4")) > alone


def test_runs_out_of_memory_are_learnt_from() -> None:
    fit, middle = Fit(), SMALL._replace(parameters_m=5000.0)
    before = chance(fit, middle)
    reasons = reasons_of(middle, catalogue().find("nvidia-t4"))
    assert reasons is not None
    for _ in range(20):
        fit.learn(reasons, fitted=False)

    assert chance(fit, middle) < 0.3 < before
    assert chance(fit, middle._replace(parameters_m=10.0)) > 0.8


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert need_of(Cell("m", "h")) is None
    assert reasons_of(Cell("m", "nvidia-t4"), catalogue().find("nvidia-t4")) is None
    assert reasons_of(SMALL, None) is None


@pytest.mark.parametrize("fitted", [True, False])
def test_ten_thousand_equal_answers_stay_finite(*, fitted: bool) -> None:
    fit, reasons = Fit(), Reasons(6_000.0, 0.0, 400.0, 16_000.0, 0.0)
    for _ in range(10_000):
        fit.learn(reasons, fitted=fitted)

    assert (fit.probability(reasons) > 0.95) == fitted


def test_the_bank_learns_from_every_outcome_that_says_something() -> None:
    bank = Bank()
    middle = SMALL._replace(parameters_m=5000.0)
    (before,) = bank.fittings([middle])
    for outcome in ("out_of_memory", "failed", "out_of_memory"):
        bank.learn(Observation(middle, {}, {}, outcome))
    after, unknown = bank.fittings([middle, Cell("m", "h")])

    assert before is not None
    assert after is not None
    assert after.chance < before.chance
    assert unknown is None


def test_guesses_are_corrected_by_outcomes() -> None:
    """Items that took six times as much as was guessed; true of a new model as well."""
    fit, sheet = Fit(), catalogue().find("nvidia-t4")
    for number in range(200):
        cell = SMALL._replace(
            parameters_m=500.0 + 700.0 * (number % 9), batch_size=2.0 ** (number % 9)
        )
        reasons = reasons_of(cell, sheet)
        assert reasons is not None
        fits = reasons.counted_mb + 6.0 * reasons.guessed_mb < 15_000.0
        fit.learn(reasons, fitted=fits)

    for batch, fits in ((8.0, True), (32.0, True), (512.0, False)):
        assert (chance(fit, SMALL._replace(parameters_m=2000.0, batch_size=batch)) > 0.5) == fits


def test_a_run_that_was_counted_wrong_teaches_nothing() -> None:
    fit = Fit()
    reasons = reasons_of(LARGE, catalogue().find("nvidia-t4"))
    assert reasons is not None
    fit.learn(reasons, fitted=True)

    assert fit.count == 0
    assert chance(fit, LARGE) == chance(Fit(), LARGE)


def test_what_a_runtime_takes_for_itself_is_not_laid_at_the_models_door() -> None:
    """Small models that took a gigabyte each say little of a large one."""
    bank = Bank()
    for number in range(60):
        small = SMALL._replace(model=f"m{number}", parameters_m=5.0 + number, batch_size=4.0)
        bank.learn(Observation(small, {"memory_mb": 1000.0 + 2.0 * number}))
    large, tiny = bank.fittings(
        [
            Cell("llm", "nvidia-rtx-4090", parameters_m=8000.0, precision="int8", batch_size=1.0),
            SMALL._replace(parameters_m=5.0, batch_size=4.0),
        ]
    )

    assert large is not None
    assert tiny is not None
    assert large.chance > 0.8
    assert tiny.chance > 0.95
