"""How much models on one device slow each other down: physics first, then what was seen.

**What is learnt.** The logarithm of a model's normalised speed beside others, one executed wave at
a time. Before any was seen it is that of `strategies.contention.Untaught`: n models come to the
square root of n of one model's speed. What is seen corrects that by a sum over the others: the
effect of each of them on this one. So a wave of four is predicted from pairs, alone is always 1,
and an effect can be read off.

**The effects** are a Gaussian process (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, chapter 2) whose kernel is a sum of parts, so that each part's share in a
prediction can be told:

- `compute`: linear in the product of both models' use of the arithmetic units;
- `bandwidth`: linear in the product of their use of the memory's bandwidth;
- `memory`: linear in the share of the device's memory that they fill together;
- `likeness`: what else models do to each other, near what like models (the same name, a like batch,
  a like time per batch) did. A model never seen takes after others of its size and speed.

A model's use of a resource is its rate there over the highest rate ever seen on that hardware: it
needs no data sheet, and no peak that nobody reaches.

**When some have ended**, those that are left may speed up, as if they had begun among themselves,
or stay as slow as they were, because each was given its part of the device for the whole wave (a
pool of threads, say). Which of these, or what in between, is learnt for each hardware: `held`.

**Bounds.** Speeds are at most 1, and those of n models add up to no less than `FLOOR`, whatever
was learnt. Intervals are adapted so that nine in ten hold what is then measured (adaptive
conformal inference, Gibbs and Candes 2021).

Learning one row is O(rows squared), of which a device keeps the newest `CAPACITY`. The same events
in the same order give the same state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from strategies.contention import ALONE, FLOOR, Contention, Flags, Speed, Untaught, finish

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CAPACITY: Final = 400
"""Rows that a device keeps: one is one model in one wave."""

SLOWEST: Final = 0.02
"""A speed below this is taken for this: something else stood in the way."""

# The kernel: variances of the logarithm of a speed. Set by hand on half of the Gavel pairs: what
# they are matters little (doubling or halving any of them moves the error by a few per cent).
_BOTH: Final = 0.1
_OWN: Final = 0.5
_OTHER: Final = 0.5
_CONSTANT: Final = 0.1
_LINEAR: Final = 0.25
_NOISE: Final = 0.01
_NEAR: Final = 1.5
_WIDE: Final = 3.0
_SAME: Final = 0.6

_REFRESH: Final = 256
"""After so many rows the inverse is computed anew: what rounding adds up to is gone then."""

_MOST_DOUBT: Final = 4.0
"""A speed that is known so much less well than usual teaches nothing."""

_ADAPT: Final = 0.05
_TARGET: Final = 0.9
_FIRST_SCALE: Final = 1.645

HELD: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of a wave's contention may stay when some of its models have ended."""

_FORGET: Final = 0.95
"""What the losses of these keep from one wave to the next."""

Part = Literal["compute", "bandwidth", "memory", "likeness"]
PARTS: Final[tuple[Part, ...]] = ("compute", "bandwidth", "memory", "likeness")


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of one model's run on a device, alone.

    Attributes:
        model: its name.
        batch: items per batch.
        batch_ms: how long one batch takes.
        gmacs: multiply-accumulates per item, in 1e9; None if unknown.
        weights_mb: what one batch reads of weights at least; None if unknown.
        memory_share: of the device's memory; None if unknown.
    """

    model: str
    batch: float
    batch_ms: float
    gmacs: float | None = None
    weights_mb: float | None = None
    memory_share: float | None = None

    @property
    def compute_rate(self) -> float | None:
        """Multiply-accumulates per second, in 1e9."""
        return None if self.gmacs is None else 1e3 * self.gmacs * self.batch / self.batch_ms

    @property
    def bandwidth_rate(self) -> float | None:
        """Weights read per second, in GB: each batch reads them once."""
        return None if self.weights_mb is None else self.weights_mb / self.batch_ms


@dataclass(slots=True)
class _Elements:
    """Pairs of one model and one beside it, in columns: which, how large, what they share."""

    own: Floats
    other: Floats
    shared: Floats

    def __len__(self) -> int:
        return len(self.own)

    def joined(self, more: _Elements) -> _Elements:
        return _Elements(
            np.concatenate((self.own, more.own)),
            np.concatenate((self.other, more.other)),
            np.concatenate((self.shared, more.shared)),
        )

    def without(self, first: int) -> _Elements:
        return _Elements(self.own[first:], self.other[first:], self.shared[first:])


@dataclass(slots=True)
class _Device:
    """What was seen on one kind of hardware."""

    elements: _Elements
    sizes: Ints  # how many elements each row has
    residuals: Floats
    noises: Floats
    covariance: Floats
    best_compute: float = 0.0
    best_bandwidth: float = 0.0
    scale: float = _FIRST_SCALE
    seen: int = 0
    held_losses: list[float] = field(default_factory=lambda: [0.0] * len(HELD))
    inverse: Floats = field(default_factory=lambda: np.empty((0, 0)))  # with noise

    @classmethod
    def empty(cls) -> _Device:
        """Return hardware on which nothing was seen yet."""
        none = np.empty((0, 3))
        return cls(
            _Elements(none, none, none),
            np.empty(0, dtype=np.int64),
            np.empty(0),
            np.empty(0),
            np.empty((0, 0)),
        )


class ContentionLearner:
    """Learns normalised speeds from waves that ran, hardware by hardware.

    `learn_one` and `predict_one` as River has them; `effects` predicts many pairs at once.
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._devices: dict[str, _Device] = {}

    def seen(self, hardware: str) -> int:
        """Return how many rows were ever learnt on this hardware."""
        device = self._devices.get(hardware)
        return 0 if device is None else device.seen

    def note_alone(self, hardware: str, traits: Traits) -> None:
        """Take note of a model that ran alone: how fast this hardware can be."""
        device = self._device(hardware)
        device.best_compute = max(device.best_compute, traits.compute_rate or 0.0)
        device.best_bandwidth = max(device.best_bandwidth, traits.bandwidth_rate or 0.0)

    def only(self, hardware: Iterable[str]) -> ContentionLearner:
        """Return what predictions for some hardware need: for them alone, not for learning."""
        found = ContentionLearner()
        found._names = self._names
        for name in sorted(set(hardware)):
            device = self._devices.get(name)
            if device is not None:
                found._devices[name] = replace(device, covariance=np.empty((0, 0)))
        return found

    def held(self, hardware: str) -> float:
        """Return how much of a wave's contention stays when some of its models have ended."""
        device = self._devices.get(hardware)
        losses = [0.0] if device is None else device.held_losses
        return HELD[losses.index(min(losses))]

    def learn_wave(
        self,
        hardware: str,
        traits: Sequence[Traits],
        alone: Sequence[float],
        took: Sequence[float],
    ) -> None:
        """Learn from a wave of two or more: how long each would have taken alone, and took.

        What a model did after the first of them had ended was done beside fewer: how fast is
        taken from what is known so far, and what is known of `held`. Models that ended so late
        that little can be told of the beginning are left out.
        """
        models = range(len(traits))
        contention = Learnt(self, dict(enumerate(traits)), hardware)
        speeds = partial(_values, contention)
        self._judge_held(hardware, alone, took, speeds)
        held = self.held(hardware)
        order = sorted(models, key=lambda model: took[model])
        first = took[order[0]]
        for model in models:
            free, rest, now = 0.0, 0.0, first
            for position, ended in enumerate(order[1:], 1):
                if now < took[ended] <= took[model]:
                    left = tuple(order[position:])
                    free += (took[ended] - now) * speeds(left)[left.index(model)]
                    rest += took[ended] - now
                    now = took[ended]
            beside = alone[model] - (1 - held) * free
            known = first + held * rest
            doubt = took[model] / known
            if doubt <= _MOST_DOUBT and beside > 0:
                others = [one for number, one in enumerate(traits) if number != model]
                self.learn_one(hardware, traits[model], others, beside / known, doubt)

    def _judge_held(
        self,
        hardware: str,
        alone: Sequence[float],
        took: Sequence[float],
        speeds: Callable[[tuple[int, ...]], list[float]],
    ) -> None:
        """Hold each possible `held` against a wave."""
        losses = self._device(hardware).held_losses
        for number, held in enumerate(HELD):
            found = finish(dict(enumerate(alone)), speeds, held)
            errors = [math.log(found[model] / lasted) for model, lasted in enumerate(took)]
            losses[number] = _FORGET * losses[number] + math.fsum(one**2 for one in errors)

    def learn_one(
        self,
        hardware: str,
        own: Traits,
        others: Sequence[Traits],
        speed: float,
        doubt: float = 1.0,
    ) -> None:
        """Learn that `own` ran at a normalised `speed` beside `others`.

        Args:
            hardware: where.
            own: the model.
            others: what ran beside it; at least one.
            speed: over its speed alone; taken as at most 1 and at least `SLOWEST`.
            doubt: how much less is known than from a long run: the standard deviation of the
                logarithm, over the usual one.
        """
        device = self._device(hardware)
        for one in (own, *others):
            self._names.setdefault(one.model, len(self._names))
        speed = min(1.0, max(SLOWEST, speed))
        residual = math.log(speed) - _prior(1 + len(others))
        elements = self._elements(device, own, others)
        mean, deviation = self._row(device, elements)
        inside = abs(residual - mean) <= device.scale * math.hypot(
            deviation, doubt * math.sqrt(_NOISE)
        )
        device.scale *= math.exp(_ADAPT * ((0.0 if inside else 1.0) - (1 - _TARGET)) * 10)
        device.scale = min(10.0, max(0.3, device.scale))
        _append(device, elements, residual, _NOISE * doubt**2)

    def predict_one(self, hardware: str, own: Traits, others: Sequence[Traits]) -> Speed:
        """Return the normalised speed of `own` beside `others`."""
        traits = (own, *others)
        return Learnt(self, dict(enumerate(traits)), hardware).of(range(len(traits)))[0]

    def effects(self, hardware: str, traits: Sequence[Traits]) -> Floats:
        """Return what each model (column) does to the logarithm of each one's speed (row).

        Beyond the prior; of a model to itself as to another of its kind.
        """
        device = self._devices.get(hardware) or _Device.empty()
        sides = np.array([self._side(one) for one in traits])
        weights = np.repeat(device.inverse @ device.residuals, device.sizes)
        own = _likeness(sides, device.elements.own) * weights
        other = _likeness(sides, device.elements.other)
        found: Floats = _BOTH * own @ other.T
        found += _OWN * own.sum(axis=1)[:, None] + _OTHER * (other @ weights)[None, :]
        found += _CONSTANT * weights.sum()
        slopes = _LINEAR * (device.elements.shared * weights[:, None]).sum(axis=0)
        compute, bandwidth, memory = _uses(device, traits)
        found += slopes[0] * np.outer(compute, compute)
        found += slopes[1] * np.outer(bandwidth, bandwidth)
        found += slopes[2] * np.minimum(1.0, memory[:, None] + memory[None, :])
        return found

    def deviations(self, hardware: str, pairs: Sequence[tuple[Traits, Traits]]) -> Floats:
        """Return how sure the effect of the second of each pair on the first is."""
        device = self._devices.get(hardware) or _Device.empty()
        elements = _joined([self._elements(device, own, [other]) for own, other in pairs])
        return np.sqrt(_posterior(device, elements)[1])

    def scale(self, hardware: str) -> float:
        """Return how many standard deviations an interval has to either side."""
        device = self._devices.get(hardware)
        return _FIRST_SCALE if device is None else device.scale

    def parts(self, hardware: str, own: Traits, others: Sequence[Traits]) -> dict[Part, float]:
        """Return each part's share in the logarithm of a predicted speed, beyond the prior."""
        device = self._devices.get(hardware) or _Device.empty()
        elements = self._elements(device, own, others)
        weights = device.inverse @ device.residuals
        found = {}
        for part in PARTS:
            like = _kernel(elements, device.elements, part).sum(axis=0)
            found[part] = float(_by_row(like[None, :], device.sizes)[0] @ weights)
        return found

    def digest(self) -> str:
        """Return a fingerprint of what was learnt: equal if and only if it is."""
        found = hashlib.sha256(repr(sorted(self._names.items())).encode())
        for name, device in sorted(self._devices.items()):
            found.update(f"{name}:{device.seen}:{device.scale!r}".encode())
            found.update(repr(device.held_losses).encode())
            found.update(f"{device.best_compute!r}:{device.best_bandwidth!r}".encode())
            for column in (device.residuals, device.noises, device.elements.own):
                found.update(np.ascontiguousarray(column).tobytes())
        return found.hexdigest()[:16]

    def _device(self, hardware: str) -> _Device:
        found = self._devices.get(hardware)
        if found is None:
            found = self._devices[hardware] = _Device.empty()
        return found

    def _elements(self, device: _Device, own: Traits, others: Sequence[Traits]) -> _Elements:
        count = len(others)
        mine = np.tile(self._side(own), (count, 1))
        theirs = np.array([self._side(other) for other in others])
        shared = np.array([_shared(device, own, other) for other in others])
        return _Elements(mine, theirs, shared)

    def _side(self, traits: Traits) -> list[float]:
        # A model that was never learnt equals no other, as NaN does: asking changes no state.
        number = float(self._names.get(traits.model, math.nan))
        return [number, math.log(traits.batch), math.log(traits.batch_ms)]

    def _row(self, device: _Device, elements: _Elements) -> tuple[float, float]:
        mean, variance = _posterior(device, elements, together=True)
        return float(mean[0]), math.sqrt(float(variance[0]))


@dataclass
class Learnt(Contention):
    """What was learnt, for the models of one request. See `strategies.contention.Contention`.

    Args:
        learner: what was learnt.
        traits: of the models, by name; those of a fleet by name and hardware.
        hardware: where all of them run; None if `traits` goes by hardware too.
        before: what is said of hardware on which no wave was seen yet.
    """

    learner: ContentionLearner
    traits: Mapping[Any, Traits]
    hardware: str | None = None
    before: Contention = field(default_factory=Untaught)

    def __post_init__(self) -> None:
        self._tables: dict[str, tuple[dict[Any, int], list[Traits], Floats]] = {}
        self._sure: dict[tuple[str, int, int], float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Take along what is needed, where a decision is made elsewhere."""
        whole = {self.hardware} if self.hardware is not None else {key[1] for key in self.traits}
        return {
            **vars(self),
            "learner": self.learner.only(whole),
            "_tables": {},
            "_sure": {},
        }

    def speeds(self, models: Sequence[str], device: str) -> Sequence[Speed]:
        """Return the normalised speed of each of `models`, running at once on `device`."""
        if len(models) == 1:
            return [ALONE]
        if not self._known(device):
            return self.before.speeds(models, device)
        return self._speeds(models, device)

    def held(self, device: str) -> float:
        """Return how much of the contention stays when some of a wave have ended."""
        if self._known(device):
            return self.learner.held(self.hardware or device)
        return self.before.held(device)

    def by_count(self, count: int, device: str) -> Speed | None:
        """Return nothing once waves were seen: then it matters which models they are."""
        if count == 1:
            return ALONE
        return None if self._known(device) else self.before.by_count(count, device)

    def many(self, models: Sequence[str], device: str, sets: Flags) -> Floats | None:
        """Return the predicted speeds in many sets of models at once."""
        if not self._known(device):
            return self.before.many(models, device, sets)
        index, _, mean = self._table(device)
        chosen = [index[model] for model in models]
        effects = mean[np.ix_(chosen, chosen)].copy()
        np.fill_diagonal(effects, 0.0)
        counts = sets.sum(axis=1)
        priors = -0.5 * np.log(np.maximum(1, counts))
        values = np.minimum(1.0, np.exp(priors[:, None] + sets @ effects.T))
        whole = np.where(sets, values, 0.0).sum(axis=1)
        lift = np.maximum(1.0, FLOOR / np.maximum(whole, 1e-12))
        found: Floats = np.where(counts[:, None] > 1, np.minimum(1.0, values * lift[:, None]), 1.0)
        return found

    def of(self, models: Sequence[Any]) -> list[Speed]:
        """Return the speeds of `models`, learnt or not."""
        assert self.hardware is not None
        return self._speeds(models, self.hardware)

    def _known(self, device: str) -> bool:
        return self.learner.seen(self.hardware or device) > 0

    def _table(self, device: str) -> tuple[dict[Any, int], list[Traits], Floats]:
        """Return the effects of all pairs of models on a device, computed once."""
        found = self._tables.get(device)
        if found is None:
            if self.hardware is not None:
                known = dict(self.traits)
            else:
                known = {key[0]: one for key, one in self.traits.items() if key[1] == device}
            one = list(known.values())
            found = self._tables[device] = (
                {key: number for number, key in enumerate(known)},
                one,
                self.learner.effects(self.hardware or device, one),
            )
        return found

    def _variances(self, device: str, pairs: Sequence[tuple[int, int]]) -> dict[Any, float]:
        """Return how unsure the effects of pairs are, asking the learner for those that are new."""
        traits = self._table(device)[1]
        new = [pair for pair in pairs if (device, *pair) not in self._sure]
        if new:
            asked = [(traits[own], traits[other]) for own, other in new]
            found = self.learner.deviations(self.hardware or device, asked)
            for pair, deviation in zip(new, found.tolist(), strict=True):
                self._sure[device, *pair] = deviation**2
        return {pair: self._sure[device, *pair] for pair in pairs}

    def _speeds(self, models: Sequence[Any], device: str) -> list[Speed]:
        index, _, mean = self._table(device)
        scale = self.learner.scale(self.hardware or device)
        chosen = [index[model] for model in models]
        count = len(chosen)
        unsure = self._variances(device, [(a, b) for a in chosen for b in chosen if a != b])
        values, spreads = [], []
        for own in chosen:
            others = [other for other in chosen if other != own]
            # Exact sums: the order of the models must not change the last digit.
            effect = math.fsum(mean[own, other] for other in others)
            variance = math.fsum(unsure[own, other] for other in others)
            values.append(min(1.0, math.exp(_prior(count) + effect)))
            spreads.append(math.exp(scale * math.sqrt(variance + _NOISE)))
        whole = math.fsum(values)
        lift = max(1.0, FLOOR / whole)
        floor = FLOOR / count
        found = []
        for value, spread in zip(values, spreads, strict=True):
            middle = min(1.0, value * lift)
            low = min(middle, max(floor * min(1.0, middle), middle / spread))
            found.append(Speed(middle, low, min(1.0, middle * spread)))
        return found


def _values(contention: Learnt, models: tuple[int, ...]) -> list[float]:
    return [1.0] if len(models) == 1 else [speed.value for speed in contention.of(models)]


def _prior(count: int) -> float:
    """Return the logarithm of each of `count` models' speed before any wave was seen."""
    return -0.5 * math.log(count)


def _shared(device: _Device, own: Traits, other: Traits) -> list[float]:
    """Return what a pair competes for: arithmetic, bandwidth, memory; 0 where unknown."""

    def product(one: float | None, two: float | None, best: float) -> float:
        if one is None or two is None or best <= 0:
            return 0.0
        return min(1.0, one / best) * min(1.0, two / best)

    memory = (own.memory_share or 0.0) + (other.memory_share or 0.0)
    return [
        product(own.compute_rate, other.compute_rate, device.best_compute),
        product(own.bandwidth_rate, other.bandwidth_rate, device.best_bandwidth),
        min(1.0, memory),
    ]


def _uses(device: _Device, traits: Sequence[Traits]) -> tuple[Floats, Floats, Floats]:
    """Return each model's use of arithmetic, bandwidth and memory; 0 where unknown."""

    def share(rate: float | None, best: float) -> float:
        return 0.0 if rate is None or best <= 0 else min(1.0, rate / best)

    return (
        np.array([share(one.compute_rate, device.best_compute) for one in traits]),
        np.array([share(one.bandwidth_rate, device.best_bandwidth) for one in traits]),
        np.array([one.memory_share or 0.0 for one in traits]),
    )


def _joined(parts: Sequence[_Elements]) -> _Elements:
    return _Elements(
        np.concatenate([one.own for one in parts]),
        np.concatenate([one.other for one in parts]),
        np.concatenate([one.shared for one in parts]),
    )


def _likeness(one: Floats, two: Floats) -> Floats:
    """Return how alike models of two lists are: name, batch, time per batch."""
    apart = np.abs(one[:, None, 1:] - two[None, :, 1:])
    near = np.exp(-apart.sum(axis=2) / _NEAR)
    wide = (1 - _SAME) * np.exp(-0.5 * np.square(apart / _WIDE).sum(axis=2))
    same: Floats = np.where(one[:, None, 0] == two[None, :, 0], _SAME * near, 0.0) + wide
    return same


def _kernel(one: _Elements, two: _Elements, part: Part | None = None) -> Floats:
    """Return the covariances of the effects of two lists of pairs, of one part or of all."""
    found = np.zeros((len(one), len(two)))
    if part in {None, "likeness"}:
        own = _likeness(one.own, two.own)
        other = _likeness(one.other, two.other)
        found += _BOTH * own * other + _OWN * own + _OTHER * other + _CONSTANT
    for column, name in enumerate(PARTS[:3]):
        if part in {None, name}:
            found += _LINEAR * np.outer(one.shared[:, column], two.shared[:, column])
    return found


def _own_kernel(elements: _Elements) -> Floats:
    """Return each element's covariance with itself."""
    known = [~np.isnan(side[:, 0]) for side in (elements.own, elements.other)]
    own, other = (np.where(one, 1.0, 1.0 - _SAME) for one in known)
    found: Floats = _BOTH * own * other + _OWN * own + _OTHER * other + _CONSTANT
    found += _LINEAR * np.square(elements.shared).sum(axis=1)
    return found


def _by_row(columns: Floats, sizes: Ints) -> Floats:
    """Return sums over the elements of each row, for every line of `columns`."""
    if not len(sizes):
        return np.empty((len(columns), 0))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    summed: Floats = np.add.reduceat(columns, starts, axis=1)
    return summed


def _append(device: _Device, elements: _Elements, residual: float, noise: float) -> None:
    """Add a row; the oldest goes when there is no room."""
    if len(device.sizes) == CAPACITY:
        _drop_oldest(device)
    across = _by_row(_kernel(elements, device.elements).sum(axis=0)[None, :], device.sizes)[0]
    own = float(_kernel(elements, elements).sum())
    device.covariance = _bordered(device.covariance, across, own)
    device.elements = device.elements.joined(elements)
    device.sizes = np.append(device.sizes, len(elements))
    device.residuals = np.append(device.residuals, residual)
    device.noises = np.append(device.noises, noise)
    device.seen += 1
    if device.seen % _REFRESH == 0:
        whole = device.covariance + np.diag(device.noises)
        device.inverse = np.linalg.inv(whole).astype(np.float64)
        return
    # The inverse of a matrix with one row and column more (by its Schur complement).
    column = device.inverse @ across
    rest = own + noise - float(across @ column)
    device.inverse = _bordered(
        device.inverse + np.outer(column, column) / rest, -column / rest, 1.0 / rest
    )


def _drop_oldest(device: _Device) -> None:
    """Take the first row out of everything."""
    device.elements = device.elements.without(int(device.sizes[0]))
    device.sizes = device.sizes[1:]
    device.residuals, device.noises = device.residuals[1:], device.noises[1:]
    device.covariance = device.covariance[1:, 1:].copy()
    first = device.inverse[0, 1:]
    device.inverse = device.inverse[1:, 1:] - np.outer(first, first) / device.inverse[0, 0]


def _bordered(inner: Floats, across: Floats, corner: float) -> Floats:
    """Return a symmetric matrix with one row and column more."""
    count = len(inner)
    grown = np.empty((count + 1, count + 1))
    grown[:count, :count] = inner
    grown[count, :count] = grown[:count, count] = across
    grown[count, count] = corner
    return grown


def _posterior(
    device: _Device, elements: _Elements, *, together: bool = False
) -> tuple[Floats, Floats]:
    """Return mean and variance of each element's effect, or of the sum of all of them."""
    like = _by_row(_kernel(elements, device.elements), device.sizes)
    before = np.array([_kernel(elements, elements).sum()]) if together else _own_kernel(elements)
    if together:
        like = like.sum(axis=0, keepdims=True)
    inverse = device.inverse
    mean: Floats = like @ (inverse @ device.residuals)
    known = ((like @ inverse) * like).sum(axis=1)
    variance: Floats = np.maximum(1e-6, before - known)
    return mean, variance
