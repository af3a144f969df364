"""Models that consume the same tensor: its encoder runs once for all that run at the same time.

Models share if they declare the same `shares` key, and are fed alike (the same batch size and the
same number of batches). That models belong to one family says nothing: without a tensor in common
they get no benefit.

**Time.** A group takes as long as its models one after another, less the encoder's time for all
but one of them. The encoder's share of a model's time is learnt from executions; before any was
seen it may be anything from none of it to all.

**Memory.** Likewise, with the encoder's share of a model's memory.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from strategies.contention import ALONE, Contention, Flags, Floats, Speed


class Portion(NamedTuple):
    """A share between 0 and 1, with its interval."""

    value: float
    low: float
    high: float


UNKNOWN: Final = Portion(0.5, 0.0, 1.0)
"""What an encoder's share is before it was measured: anything."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """What an encoder is of each of its models, on one device."""

    time: Portion = UNKNOWN
    memory: Portion = UNKNOWN


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which models share, and what that saves.

    Attributes:
        groups: by model: what it shares and how it is fed; models of equal value run as one.
        encoders: by group and device.
    """

    groups: Mapping[str, Hashable]
    encoders: Mapping[tuple[Hashable, str], Encoder]

    def units(self, models: Sequence[str]) -> list[list[str]]:
        """Return models as they run at once: those that share together, each other by itself."""
        found: dict[Hashable, list[str]] = {}
        for name in models:
            found.setdefault(self.groups.get(name, ("alone", name)), []).append(name)
        return list(found.values())

    def encoder(self, unit: Sequence[str], device: str) -> Encoder:
        """Return what the models of a unit have in common on a device."""
        return self.encoders.get((self.groups[unit[0]], device), Encoder())

    def memory_mb(self, parts: Mapping[str, Portion], device: str) -> Portion:
        """Return the memory of models that run at once.

        Args:
            parts: each model's memory alone, in MB.
            device: where.
        """
        if not self.groups:
            sizes = list(parts.values())
            return (
                Portion(*(math.fsum(end) for end in zip(*sizes, strict=True))) if sizes else _NONE
            )
        values, lows, highs = [], [], []
        for unit in self.units(sorted(parts)):
            sizes = [parts[name] for name in unit]
            saved = self.encoder(unit, device).memory if len(unit) > 1 else _NONE
            values.append(together([one.value for one in sizes], saved.value))
            lows.append(together([one.low for one in sizes], saved.high))
            highs.append(together([one.high for one in sizes], saved.low))
        return Portion(math.fsum(values), math.fsum(lows), math.fsum(highs))


_NONE: Final = Portion(0.0, 0.0, 0.0)
NOTHING: Final = Sharing({}, {})


def together(parts: Sequence[float], portion: float) -> float:
    """Return what models take together of which `portion` of each is the same for all.

    Never less than the largest of them.
    """
    ordered = sorted(parts)
    saved = portion * math.fsum(ordered[:-1])
    return max(ordered[-1], math.fsum(ordered) - saved)


@dataclass(frozen=True)
class WithSharing(Contention):
    """A contention in which models that share run as one.

    Args:
        inner: what units do to each other; asked for the longest model of each.
        sharing: which models share.
        alone_ms: how long each model takes alone, by name and device.
    """

    inner: Contention
    sharing: Sharing
    alone_ms: Mapping[tuple[str, str], float]

    def speeds(self, models: Sequence[str], device: str) -> Sequence[Speed]:
        """Return the normalised speed of each of `models`, running at once on `device`."""
        units = self.sharing.units(models)
        if len(units) == len(models):
            return self.inner.speeds(models, device)
        longest = [
            max(unit, key=lambda name: (self.alone_ms[name, device], name)) for unit in units
        ]
        speeds = [ALONE] if len(units) == 1 else self.inner.speeds(longest, device)
        found: dict[str, Speed] = {}
        for unit, speed in zip(units, speeds, strict=True):
            alone = [self.alone_ms[name, device] for name in unit]
            saved = self.sharing.encoder(unit, device).time if len(unit) > 1 else _NONE
            for name, lasts in zip(unit, alone, strict=True):
                found[name] = Speed(
                    min(1.0, speed.value * lasts / together(alone, saved.value)),
                    min(1.0, speed.low * lasts / together(alone, saved.low)),
                    min(1.0, speed.high * lasts / together(alone, saved.high)),
                )
        return [found[name] for name in models]

    def held(self, device: str) -> float:
        """Return the inner answer."""
        return self.inner.held(device)

    def many(self, models: Sequence[str], device: str, sets: Flags) -> Floats | None:
        """Return the inner answer, unless some of the models share."""
        if any(len(unit) > 1 for unit in self.sharing.units(models)):
            return None
        return self.inner.many(models, device, sets)

    def by_count(self, count: int, device: str) -> Speed | None:
        """Return the inner answer while nobody shares; then it matters which models they are."""
        shared = any(len(unit) > 1 for unit in self.sharing.units(list(self.sharing.groups)))
        return ALONE if count == 1 else (None if shared else self.inner.by_count(count, device))
