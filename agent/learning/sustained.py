"""How speed changes while a run lasts: devices get warm, and throttle.

For each hardware a slope of the log of speed against the log of the duration beyond the first
minute, learnt from runs that told their duration. It is shrunk towards that of the hardware's
class, that towards the one of all hardware, and that towards none at all; so nothing is said of
throttling where nobody measured it. A slope needs runs of several lengths: runs that all lasted
equally long cannot tell a slow device from a slowing one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FIRST_S = 60.0
"""What runs of no named duration, and the learners' own values, are taken to have lasted."""

_FIRMNESS = 4.0
"""Of the prior: the noise of a run over how far slopes lie apart, 0.1 over 0.05, squared.

Assumptions; a slope of 0.05 makes a run of an hour a fifth slower than one of a minute.
"""

_FADE = 0.998
"""How much each run counts after the next: a new fan or driver is believed after hundreds."""

_STEEPEST = -0.5
_OUTLIER = 0.5
_LONGEST_S = 30 * 86_400.0
_NINETY = 1.6449


class Lasting(NamedTuple):
    """What a duration does.

    Attributes:
        log_speed: to be added to the log of the speed of the first minute; never above 0.
        half_width: of its nominal 90 % interval.
        holds_for_s: how long a run it holds for: as long as any that was measured, at most.
    """

    log_speed: float
    half_width: float
    holds_for_s: float


class _Slope:
    """A straight line's running sums, about their own means."""

    def __init__(self) -> None:
        self.weight = 0.0
        self._x = 0.0
        self._y = 0.0
        self._xx = 0.0
        self._xy = 0.0
        self._yy = 0.0
        self.longest_s = 0.0

    def add(self, x: float, y: float) -> None:
        self.weight = self.weight * _FADE + 1.0
        apart_x, apart_y = x - self._x, y - self._y
        self._x += apart_x / self.weight
        self._y += apart_y / self.weight
        self._xx = self._xx * _FADE + apart_x * (x - self._x)
        self._xy = self._xy * _FADE + apart_x * (y - self._y)
        self._yy = self._yy * _FADE + apart_y * (y - self._y)

    def towards(self, parent: float) -> float:
        return (self._xy + _FIRMNESS * parent) / (self._xx + _FIRMNESS)

    def error(self) -> float:
        """Return the standard error of the shrunk slope."""
        noise = 0.01 if self.weight < 3.0 else max(self._yy / self.weight, 1e-4)
        return math.sqrt(noise / (self._xx + _FIRMNESS))


class Sustained:
    """Learns how speed falls with the duration of a run, per hardware.

    Args:
        capacity: hardware that is remembered; what was unused for longest goes first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._hardware: dict[str, _Slope] = {}
        self._classes: dict[str, _Slope] = {}
        self._all = _Slope()

    def learn(
        self, hardware: str, hardware_class: str | None, duration_s: float, error: float | None
    ) -> None:
        """Learn from one run.

        Args:
            hardware: its name.
            hardware_class: its class, if known.
            duration_s: how long the run took.
            error: log of its speed over what was predicted of the first minute; None where
                that prediction was no more than a guess.
        """
        one = self._hardware.pop(hardware, None) or _Slope()
        self._hardware[hardware] = one
        if len(self._hardware) > self._capacity:
            del self._hardware[next(iter(self._hardware))]
        kind = self._classes.pop(hardware_class or "", None) or _Slope()
        self._classes[hardware_class or ""] = kind
        if len(self._classes) > self._capacity:
            del self._classes[next(iter(self._classes))]
        one.longest_s = max(one.longest_s, duration_s)
        if error is not None:
            for slope in (one, kind, self._all):
                slope.add(_beyond(duration_s), min(max(error, -_OUTLIER), _OUTLIER))

    def known_for_s(self, hardware: str) -> float | None:
        """Return how long the longest run on hardware took; None if none told its duration."""
        one = self._hardware.get(hardware)
        return None if one is None else one.longest_s

    def lasting(
        self, hardware: str, hardware_class: str | None, duration_s: float
    ) -> Lasting | None:
        """Return what a duration does to speed; None where no duration was ever measured."""
        one = self._hardware.get(hardware)
        if one is None:
            return None
        held_s = min(duration_s, max(one.longest_s, FIRST_S))
        beyond = _beyond(held_s)
        kind = self._classes.get(hardware_class or "")
        slope = self._all.towards(0.0)
        if kind is not None:
            slope = kind.towards(slope)
        slope = min(max(one.towards(slope), _STEEPEST), 0.0)
        return Lasting(slope * beyond, _NINETY * one.error() * beyond, held_s)


def _beyond(duration_s: float) -> float:
    """Return the log of a duration over the first minute."""
    return math.log(min(max(duration_s, FIRST_S), _LONGEST_S) / FIRST_S)
