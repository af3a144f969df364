"""From what is known and what is asked to the benchmarks that are wanted.

`choose` is pure and may take seconds: whoever asks hands it to a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.exploring.design import Posterior, drawn
from agent.exploring.likeness import NOISE, points_of
from agent.heart.cells import words_of
from agent.learning.capacity import Fitting
from agent.learning.catalogue import Sheet, catalogue
from agent.learning.cell import Cell
from agent.learning.intervals import DEVIATIONS
from schemas.exploration import ExplorationRequest, WantedBenchmark, Worth
from schemas.measurement import MetricName
from schemas.replies import Estimates

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ASSUMED_S = 60.0
"""How long a benchmark is taken to last where nobody ever said how long one took."""

_BELIEVED = 0.2
"""How much (of a log) is believed of what intervals say beside the process."""

_SURE = 0.9
"""Chance to fit into memory from which on nothing is said of it."""

KNOWN = 1_500
"""Measured cells that are weighed at most. Time grows with their cube."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a candidate is expected to cost.

    Attributes:
        seconds: how long it takes.
        measured: whether anybody ever said how long a benchmark took.
        joules: None where power is not known.
        money: None where it was not declared.
    """

    seconds: float
    measured: bool
    joules: float | None
    money: float | None

    def by(self, worth: Worth) -> float | None:
        """Return what is divided by; None where it is not known."""
        match worth:
            case "gain":
                return 1.0
            case "gain_per_s":
                return self.seconds
            case "gain_per_j":
                return self.joules
            case "gain_per_cost":
                return self.money


@dataclass(frozen=True)
class Field:
    """Everything that a choice rests on, and no learned state.

    Attributes:
        metrics: those whose uncertainty counts, each as much as the others.
        measured: cells, each with the metrics that are known of it; the last `KNOWN` of each
            metric are weighed.
        candidates: cells that may be measured, not empty.
        costs: of the candidates.
        targets: the cells that matter, not empty.
        weights: how much each of them matters.
        sheets: data sheets of the user's own.
        chances: of the candidates, that they fit and can be run; all can if empty.
        doubts: of the targets, standard deviations (log) by the learner's calibrated intervals, 0
            where it has none; all are doubted as the process says if empty.
    """

    metrics: tuple[MetricName, ...]
    measured: Mapping[Cell, tuple[str, ...]]
    candidates: Sequence[Cell]
    costs: Sequence[Cost]
    targets: Sequence[Cell]
    weights: Sequence[float]
    sheets: tuple[Sheet, ...] = ()
    chances: Sequence[float] = ()
    doubts: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One chosen candidate.

    Attributes:
        place: in the candidates.
        gains: by metric, the share of its uncertainty that it removes, given those before.
        novelty: the share of its own variance that those before it left.
    """

    place: int
    gains: dict[MetricName, float]
    novelty: float

    @property
    def gain(self) -> float:
        """The mean over metrics."""
        return sum(self.gains.values()) / len(self.gains)


class Design:
    """Chooses candidates one after another; each choice counts as measured for the next.

    Args:
        field: what it rests on.
        request: says what counts.

    Attributes:
        weights: `(targets,)`, how much each cell matters; they add up to one.
        per: `(candidates,)`, what the worth of each is divided by; infinite if unknown.
        chances: `(candidates,)`, what the worth of each is multiplied by: that it can be run.
    """

    def __init__(self, field: Field, request: ExplorationRequest) -> None:
        self.field = field
        self._request = request
        known = catalogue(field.sheets)
        self.weights = np.array(field.weights) / sum(field.weights)
        candidates, targets = (
            points_of(field.candidates, known),
            points_of(field.targets, known),
        )
        # Metrics that were measured of the same cells are equally uncertain.
        cells = {
            metric: tuple(cell for cell, names in field.measured.items() if metric in names)[
                -KNOWN:
            ]
            for metric in field.metrics
        }
        self._posteriors: dict[tuple[Cell, ...], Posterior] = {}
        for some in cells.values():
            if some not in self._posteriors:
                measured = points_of(some, known) if some else None
                self._posteriors[some] = Posterior(measured, candidates, targets)
        self._of_metric = {metric: self._posteriors[some] for metric, some in cells.items()}
        self.per = np.array([cost.by(request.worth) or np.inf for cost in field.costs])
        self.chances = np.array(field.chances or [1.0] * len(field.candidates))
        self._counts = {id(one): self.weights for one in self._posteriors.values()}
        if request.thompson:
            for one in self._posteriors.values():
                self._counts[id(one)] = drawn(self.weights, one.left, one.across, request.seed)
        self._first = {metric: self._total(one) for metric, one in self._of_metric.items()}
        self._doubted: dict[int, Floats] = {key: np.ones(len(self.weights)) for key in self._counts}
        if field.doubts:
            self.doubt(np.array(field.doubts))

    def doubt(self, doubts: Floats) -> None:
        """Let cells that matter count more where intervals are wider than the process has them.

        The process knows how errors hang together, and on public tables how large they are.
        Elsewhere intervals may know better, for they are calibrated on errors that were made; but
        they are noisy where little was measured, so they are believed by a fifth (of the log). What
        was measured itself keeps what the process says: others tell no more of it.

        Args:
            doubts: `(targets,)` as in a field.
        """
        for one in self._posteriors.values():
            said = (doubts > 0.0) & (one.left > NOISE**2)
            logs = np.zeros(len(doubts))
            logs[said] = np.log(doubts[said]) - 0.5 * np.log(one.left[said] + NOISE**2)
            if said.any():
                logs[said] -= np.average(logs[said], weights=self.weights[said])
            self._doubted[id(one)] = np.exp(2.0 * _BELIEVED * logs)

    @property
    def posterior(self) -> Posterior:
        """What is unknown of the first metric."""
        return self._of_metric[self.field.metrics[0]]

    @property
    def spread(self) -> float:
        """Root of the weighted mean variance of the cells that matter, over all metrics."""
        totals = [self._total(one) for one in self._of_metric.values()]
        return float(np.sqrt(sum(totals) / len(totals)))

    @cached_property
    def open(self) -> Flags:
        """`(candidates,)`, which of them may still be chosen."""
        flags: Flags = np.isfinite(self.per)
        return flags

    def worth(self) -> Floats:
        """Return `(candidates,)`, what the next choice is made by; between 0 and 1."""
        gains = np.zeros(len(self.field.candidates))
        eased = {
            id(one): one.eased(self._counts[id(one)], self._doubted[id(one)])
            for one in self._posteriors.values()
        }
        for one in self._of_metric.values():
            gains += eased[id(one)]
        worth: Floats = gains * self.chances / self.per
        worth /= max(float(worth[self.open].max(initial=0.0)), 1e-300)
        diversity = self._request.diversity
        if diversity:
            worth = (1.0 - diversity) * worth + diversity * self._novelty()
        return worth

    def take(self, place: int) -> Choice:
        """Choose a candidate; count it as measured from here on."""
        gains = {
            metric: float(one.gains(self.weights)[place]) / max(self._first[metric], 1e-12)
            for metric, one in self._of_metric.items()
        }
        choice = Choice(place, gains, float(self._novelty()[place]))
        for one in self._posteriors.values():
            one.take(place)
        self.open[place] = False
        return choice

    def choose(self, count: int, allowed: Callable[[int], bool] | None = None) -> list[Choice]:
        """Choose so many candidates, of those that are allowed when it is their turn."""
        chosen: list[Choice] = []
        while len(chosen) < count and self.open.any():
            for place in np.argsort(-self.worth(), kind="stable").tolist():
                if self.open[place]:
                    if allowed is None or allowed(place):
                        chosen.append(self.take(place))
                        break
                    # Limits only get tighter: what is not allowed now will not be later.
                    self.open[place] = False
        return chosen

    def _novelty(self) -> Floats:
        shares = [one.novelty() for one in self._posteriors.values()]
        novelty: Floats = np.mean(shares, axis=0)
        return novelty

    def _total(self, posterior: Posterior) -> float:
        return float(self.weights @ posterior.left)


def doubts_of(predicted: Sequence[Estimates]) -> list[float]:
    """Return standard deviations (log) by predicted intervals, those of several metrics alike.

    Returns:
        For each cell; 0 where nothing is predicted.
    """
    half_widths = [[math.log(e.high / e.value) for e in one.values()] for one in predicted]
    return [math.fsum(some) / len(some) / DEVIATIONS if some else 0.0 for some in half_widths]


def chances_of(fittings: Sequence[Fitting | None]) -> list[float]:
    """Return how likely each cell fits into memory; 1 where that is unknown."""
    return [1.0 if one is None else one.chance for one in fittings]


def wanted(
    field: Field, choices: Sequence[Choice], request_id: str, extra: Mapping[int, Any] | None = None
) -> list[WantedBenchmark]:
    """Return chosen benchmarks in the words of the contract, in the order given.

    Args:
        field: what they were chosen from.
        choices: the first is to be run first.
        request_id: from which each gets its id.
        extra: by place, what else is to be said of a benchmark.
    """
    found = []
    for index, choice in enumerate(choices):
        model, hardware, setup = words_of(field.candidates[choice.place])
        cost = field.costs[choice.place]
        more = dict((extra or {}).get(choice.place, {}))
        chance = field.chances[choice.place] if field.chances else 1.0
        reasons = [*more.pop("reasons", ()), *_reasons(choice, cost, chance)]
        found.append(
            WantedBenchmark(
                id=f"{request_id}/{index}",
                model=model,
                hardware=hardware,
                setup=setup,
                priority=index + 1,
                expected_gain=choice.gain,
                expected_gains=choice.gains,
                cost_s=cost.seconds,
                energy_j=cost.joules,
                cost=cost.money,
                reasons=reasons,
                **more,
            )
        )
    return found


def _reasons(choice: Choice, cost: Cost, chance: float) -> list[str]:
    reasons = [f"removes {choice.gain:.2%} of the uncertainty over the cells that matter"]
    if choice.novelty < 0.5:
        reasons.append(
            f"the benchmarks before it already tell {1.0 - choice.novelty:.0%} of what it would"
        )
    if chance < _SURE:
        reasons.append(f"it is not sure to fit into memory: it does with {chance:.0%}")
    if not cost.measured:
        reasons.append(f"nobody said how long a benchmark takes: {ASSUMED_S:.0f} s are assumed")
    return reasons
