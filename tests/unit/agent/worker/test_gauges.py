"""What a machine tells of its warmth and its power, read from folders laid out as the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runnable import HOTTEST_C, unsaid, why_not
from agent.worker.gauges import gauges
from schemas.jobs import Gauges, WorkerState


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


LAPTOP = {
    "class/thermal/thermal_zone0/temp": "51000",
    "class/hwmon/hwmon2/temp1_input": "63500",
    "class/hwmon/hwmon2/temp2_input": "-128000",  # not connected
    "class/power_supply/AC/type": "Mains",
    "class/power_supply/AC/online": "0",
    "class/power_supply/BAT0/type": "Battery",
    "class/power_supply/BAT0/status": "Discharging",
    "class/power_supply/mouse/type": "Battery",
    "class/power_supply/mouse/scope": "Device",
    "class/power_supply/mouse/status": "Full",
}


def worker(told: Gauges | None) -> WorkerState:
    return WorkerState.model_validate(
        {
            "worker_id": "w",
            "kind": "native",
            "status": "online",
            "since": "2026-11-02T09:30:00Z",
            "gauges": told,
        }
    )


def test_a_laptop_on_its_battery(tmp_path: Path) -> None:
    told = gauges(put(tmp_path, LAPTOP))
    assert (told.temperature_c, told.on_battery) == (63.5, True)
    assert why_not(worker(told), energy=False) == "it runs on its battery"


def test_a_laptop_at_the_mains(tmp_path: Path) -> None:
    told = gauges(put(tmp_path, LAPTOP | {"class/power_supply/BAT0/status": "Charging"}))
    assert told.on_battery is False
    assert why_not(worker(told), energy=False) is None
    assert unsaid(worker(told)) == []


def test_a_mouse_is_no_reason_to_rest(tmp_path: Path) -> None:
    mouse = {name: text for name, text in LAPTOP.items() if "mouse" in name}
    told = gauges(put(tmp_path, mouse | {"class/power_supply/mouse/status": "Discharging"}))
    assert told.on_battery is None


def test_a_hot_machine_rests() -> None:
    hot = worker(Gauges(temperature_c=HOTTEST_C + 1, on_battery=False))
    assert why_not(hot, energy=False) == "it has 86 degrees C; at most 85"


@pytest.mark.parametrize("told", [None, Gauges()])
def test_what_is_not_told_is_said_and_keeps_nobody(told: Gauges | None) -> None:
    assert why_not(worker(told), energy=False) is None
    assert unsaid(worker(told)) == ["temperature", "whether it runs on a battery"]


def test_a_budget_of_energy_needs_a_worker_that_tells_it(tmp_path: Path) -> None:
    assert why_not(worker(Gauges(tells_energy=True)), energy=True) is None
    why = why_not(worker(Gauges(tells_energy=False)), energy=True)
    assert why is not None
    assert "energy" in why
    assert gauges(tmp_path).temperature_c is None
