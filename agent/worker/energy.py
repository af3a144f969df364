"""How much energy executions take, from a counter that ticks more slowly than they follow.

A single execution can't be measured: mostly the counter stands still meanwhile, and now and then
it tells of several at once. So many are measured together, from one tick to another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_LOOKS_A_TICK: Final = 4
"""A look at the counter takes time in which the device idles: no more of them than this."""
_PATIENCE: Final = 3
"""Windows that are waited for ticks."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What executions took; None where that is not known.

    Attributes:
        joules: of one execution.
        watts: on average.
    """

    joules: float | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    seconds: float
    joules: float
    executions: int


class Meter:
    """Measures executions that follow each other without a pause.

    Make one right before the first; call `executed` right after each.

    Args:
        counter: of joules; None where nothing tells.
        tick_s: how long it may stand still.
        window_s: how long must be measured for.
        clock: of seconds.
    """

    def __init__(
        self,
        counter: Callable[[], float | None],
        tick_s: float,
        window_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._counter = counter
        self._tick_s = tick_s
        self._window_s = window_s
        self._clock = clock
        self._executions = 0
        self._began = clock()
        joules = counter()
        self._tells = joules is not None
        # From a tick on, or from here if a tick is little beside an execution.
        self._first: _Look | None = None
        self._last = _Look(clock(), joules or 0.0, 0)
        self._looked = self._last.seconds

    def executed(self) -> None:
        """Count an execution that has ended just now."""
        self._executions += 1
        now = self._clock()
        if not self._tells or now - self._looked < self._tick_s / _LOOKS_A_TICK:
            return
        joules = self._counter()
        self._looked = self._clock()
        if joules is None or joules < self._last.joules:  # it went away, or wrapped round
            self._tells = False
        elif joules > self._last.joules:
            look = _Look(now, joules, self._executions)
            if self._first is None:
                long = self._executions == 1 and now - self._last.seconds >= self._tick_s
                self._first = self._last if long else look
            self._last = look

    @property
    def wants_more(self) -> bool:
        """Whether more executions would tell more."""
        if not self._tells or self._clock() - self._began > _PATIENCE * self._window_s:
            return False
        return self._first is None or self._last.seconds - self._first.seconds < self._window_s

    def drawn(self) -> Drawn:
        """Return what the executions took; nothing if that was not measured for long enough."""
        if not self._tells or self._first is None:
            return Drawn()
        seconds = self._last.seconds - self._first.seconds
        executions = self._last.executions - self._first.executions
        if seconds < self._window_s or not executions:
            return Drawn()
        joules = self._last.joules - self._first.joules
        return Drawn(joules / executions, joules / seconds)
