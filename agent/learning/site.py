"""How far this place differs from where shipped measurements come from, set-up by set-up.

Each set-up of which measurements shipped has an unknown factor between here and there. The first
measurements made here tell it (Kalman 1960, one state without motion), and what shipped is moved by
it. So what was measured here outweighs what came from elsewhere from its first measurement on, and
what shipped goes on telling of models that nobody measured here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.learning.drift import Shift

_APART = 0.3
"""Standard deviation (log) of the factor between two places that run what is called alike: an
assumption, from drivers, clocks and coolers that nobody writes down."""

_SETTLED = 0.02
"""Doubt (log) about a factor from which on it is left to what notices lasting changes."""


@dataclass(slots=True)
class _Factor:
    variance: float = _APART**2
    here: list[int] = field(default_factory=list)


class Site:
    """Learns the factors of set-ups of which measurements shipped."""

    def __init__(self) -> None:
        self._factors: dict[int, _Factor] = {}

    def ship(self, setup: int) -> None:
        """Note that a measurement of a set-up came from elsewhere."""
        if setup not in self._factors:
            self._factors[setup] = _Factor()

    def add(self, setup: int, error: float, usual: float, event: int) -> Shift | None:
        """Take the error of a measurement made here; return by how much to move what shipped.

        Args:
            setup: of which one, by a number of the caller's.
            error: log of measured over predicted.
            usual: standard deviation that was expected of the error.
            event: number of the measurement; those made here are not to be moved.
        """
        factor = self._factors.get(setup)
        if factor is None:
            return None
        factor.here.append(event)
        gain = factor.variance / (factor.variance + usual * usual)
        factor.variance *= 1.0 - gain
        if factor.variance < _SETTLED**2:
            del self._factors[setup]
        return Shift(gain * error, tuple(factor.here), again=True)

    def forget(self, setup: int) -> None:
        """Forget a set-up; another one may have its number."""
        self._factors.pop(setup, None)
