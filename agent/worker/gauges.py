"""What a machine tells of itself and its processor: name, memory, energy drawn, warmth."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Final

from schemas.jobs import Gauges

_MEBI: Final = 1 << 20
_RESET_PEAK: Final = "5"
"""Written to `clear_refs`, it makes the peak begin anew (Linux, proc(5))."""

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_CPU: Final = Path("/proc/cpuinfo")
_RAPL: Final = Path("/sys/class/powercap")
_ZONES: Final = "class/thermal/thermal_zone*/temp"
_SENSORS: Final = "class/hwmon/hwmon*/temp*_input"
_SUPPLIES: Final = "class/power_supply/*"
_COLDEST_C, _HOTTEST_C = -40.0, 150.0
"""What lies outside is a sensor that is not connected."""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def hardware_name() -> str:
    """Return a name for this machine's processor and how much of it there is."""
    found = re.search(r"^model name\s*:\s*(.+)$", _text(_CPU), re.MULTILINE)
    name = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@.*", " ", (found[1] if found else "").lower())
    slug = re.sub(r"[^a-z0-9]+", "-", name).strip("-") or os.uname().machine
    return f"{slug}-{cores()}-cores"


def machine_memory_mb() -> float:
    """Return the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _MEBI


def memory_mb() -> float:
    """Return the resident memory of this process now."""
    return _field("VmRSS")


def begin_peak() -> None:
    """Forget the peak of this process's memory: it begins anew at what it has now."""
    _CLEAR.write_text(_RESET_PEAK)


def peak_mb() -> float:
    """Return the most memory that this process has had since `begin_peak`."""
    return _field("VmHWM")


def give_back() -> None:
    """Return to the system what was freed: glibc keeps it otherwise, and it would be counted."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def energy_j() -> float | None:
    """Return a counter of the energy drawn by the processor packages; None if nothing tells.

    It is the machine's whole, not this process's, and it wraps round now and then.
    """
    packages = sorted(_RAPL.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [one for one in packages if one.parent.name.count(":") == 1]
    try:
        found = [float(one.read_text()) for one in packages]
    except OSError:  # mostly kept from those who are not root
        return None
    return sum(found) / 1e6 if found else None


def gauges(system: Path = Path("/sys")) -> Gauges:
    """Return how warm this machine is and what it runs on, as far as the kernel tells.

    Args:
        system: where the kernel tells it (Linux, sysfs-class-thermal, -hwmon, -power).
    """
    found = [*system.glob(_ZONES), *system.glob(_SENSORS)]
    told = [one / 1_000 for path in found if (one := _number(path)) is not None]
    warm = [one for one in told if _COLDEST_C < one < _HOTTEST_C]
    return Gauges(
        temperature_c=max(warm, default=None),
        on_battery=on_battery(system),
        tells_energy=energy_j() is not None,
    )


def on_battery(system: Path = Path("/sys")) -> bool | None:
    """Return whether a battery is drawn from; None where no supply is told, as in most servers."""
    supplies = list(system.glob(_SUPPLIES))
    # A mouse has a battery too: its scope is `Device`.
    own = [one for one in supplies if _text(one / "scope").strip() != "Device"]
    batteries = [one for one in own if _text(one / "type").strip() == "Battery"]
    mains = [online for one in own if (online := _number(one / "online")) is not None]
    if not batteries:
        return False if mains else None
    return any(_text(one / "status").strip() == "Discharging" for one in batteries)


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _field(name: str) -> float:
    found = re.search(rf"^{name}:\s*(\d+) kB$", _text(_STATUS), re.MULTILINE)
    return float(found[1]) / 1_024 if found else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
