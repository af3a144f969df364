"""What a new set-up takes over from others, through the whole bank."""

from __future__ import annotations

import random

import pytest

from agent.learning.bank import Bank, Observation
from agent.learning.cell import Cell

SPEED = "throughput_per_s"
MODELS = [f"net{number}" for number in range(60)]


def cell(model: str, hardware: str, batch: float = 8.0) -> Cell:
    number = int(model.removeprefix("net"))
    return Cell(
        model,
        hardware,
        task="inference",
        architecture=f"family{number % 6}",
        parameters_m=5.0 + number,
        gmacs=1.0 + number % 7,
        batch_size=batch,
        runtime="pytorch",
        precision="fp16",
    )


def own_speed(model: str) -> float:
    """Return a speed that neither sizes nor families tell."""
    return 1000.0 * random.Random(model).uniform(0.3, 3.0)


def taught(factor: float, noise: float, few: int) -> Bank:
    """Return a bank that knows one device well, and another by a few models."""
    chance = random.Random(1)
    bank = Bank()
    for model in MODELS:
        bank.learn(Observation(cell(model, "old"), {SPEED: own_speed(model)}))
    for model in chance.sample(MODELS, few):
        speed = own_speed(model) * factor * chance.lognormvariate(0.0, noise)
        bank.learn(Observation(cell(model, "new"), {SPEED: speed}))
    return bank


def errors(bank: Bank, factor: float) -> list[float]:
    told = bank.predict([cell(model, "new") for model in MODELS], [SPEED])
    return sorted(
        abs(one[SPEED].value / (own_speed(model) * factor) - 1.0)
        for model, one in zip(MODELS, told, strict=True)
    )


def test_a_device_that_is_another_s_double_is_known_after_ten_measurements() -> None:
    wrong = errors(taught(factor=2.5, noise=0.0, few=10), factor=2.5)

    assert wrong[len(wrong) // 2] < 0.05


def test_what_is_taken_over_is_trusted_less_where_devices_differ() -> None:
    def width(noise: float) -> float:
        told = taught(2.5, noise, few=20).predict([cell(model, "new") for model in MODELS], [SPEED])
        return sum(one[SPEED].high / one[SPEED].low for one in told)

    assert width(0.8) > 1.2 * width(0.0)


def test_an_unknown_device_is_never_confident() -> None:
    told = taught(2.5, 0.0, few=10).predict([cell(MODELS[0], "unheard of")], [SPEED])[0]

    assert told[SPEED].high / told[SPEED].low > 1.5


@pytest.mark.parametrize("size", [2, 7, 40])
def test_an_answer_does_not_depend_on_what_is_asked_beside_it(size: int) -> None:
    bank = taught(2.5, 0.2, few=10)
    asked = [cell(model, hardware) for model in MODELS for hardware in ("old", "new", "other")]
    some = random.Random(size).sample(asked, size)
    together = bank.predict(some, [SPEED])

    assert [bank.predict([one], [SPEED])[0] for one in some] == together


def test_another_unit_is_not_taken_over() -> None:
    bank = Bank()
    for model in MODELS:
        bank.learn(
            Observation(cell(model, "old"), {SPEED: own_speed(model)}, units={SPEED: "images"})
        )
    for model in MODELS[:10]:
        bank.learn(
            Observation(
                cell(model, "new"), {SPEED: 1e4 * own_speed(model)}, units={SPEED: "tokens"}
            )
        )
    told = bank.predict([cell(MODELS[0], "new")], [SPEED], {SPEED: "tokens"})[0]

    assert told[SPEED].value == pytest.approx(1e4 * own_speed(MODELS[0]), rel=0.3)


def test_a_set_up_measured_often_goes_by_its_own() -> None:
    bank = taught(2.5, 0.0, few=0)
    odd = MODELS[::6]
    for turn in range(10):
        for model in MODELS:
            factor = 5.0 if model in odd else 2.5
            bank.learn(
                Observation(
                    cell(model, "new", 8.0 + turn % 2),
                    {SPEED: own_speed(model) * factor},
                )
            )
    told = bank.predict([cell(model, "new") for model in odd], [SPEED])

    for model, one in zip(odd, told, strict=True):
        assert one[SPEED].value == pytest.approx(5.0 * own_speed(model), rel=0.15)
