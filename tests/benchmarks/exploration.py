"""Which measurements teach most? A replay of real tables, of which little is measured at first.

    python -m tests.benchmarks.exploration [--data FILE] [--seeds 10] [--first-seed 0] [--pool 1200]

The pool of a seed is all measured cells of models drawn by it, until there are enough. A random
2 % are known at first; the rest is bought in batches of ten until 20 % are measured: by Placewise
for all cells (`active-learning`) and for the decisions on hardware (`integrate`), at random, by
uncertainty alone (the widest intervals first), and by filling space (what is farthest from all
that is measured). The learner is the same, began with nothing, and learns what is bought; then it
predicts all that is not measured.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.exploring.choosing import Cost, Design, Field
from agent.exploring.decisions import Choosing, choose
from agent.heart.cells import observation_of
from agent.learning.bank import Bank, Observation
from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.features import frame_of
from agent.learning.intervals import DEVIATIONS
from schemas.exploration import ActiveLearningRequest
from tests.benchmarks.exploration_picture import draw
from tests.benchmarks.report import FOLDER, publish
from tests.benchmarks.table import DATA, load

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

METRIC = "throughput_per_s"
SOURCES = ("timm", "llm-inference-bench")
FIRST, LAST, BATCH = 0.02, 0.20, 10
"""Shares of the pool that are measured at first and at the end; cells that are bought at once."""

_LOOK_EVERY = 2
"""Batches between two looks at the error."""

ASKING = ("Placewise", "uncertainty alone", "Placewise, for decisions")
"""Policies that want predictions before each batch."""

GOALS = {"mean_ape": 0.6, "regret": 0.5}
WORSE = 1.1


class Look(NamedTuple):
    """How good predictions were after so many measurements, over all unmeasured cells.

    `mean_log_error` is of the natural log: a factor too high counts as much as one too low.
    """

    measured: int
    mean_ape: float
    median_ape: float
    mean_log_error: float
    regret: float


class Policy(Protocol):
    """What buys measurements."""

    def take(self, place: int) -> None:
        """Note that a cell was measured."""

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        """Return the next batch, by the intervals (log) of all cells."""


class Placewise:
    """Lowers what is unknown of all cells together."""

    def __init__(self, cells: Sequence[Cell], _seed: int) -> None:
        cost = Cost(seconds=1.0, measured=True, joules=None, money=None)
        field = Field((METRIC,), {}, cells, [cost] * len(cells), cells, [1.0] * len(cells))
        self._design = Design(field, ActiveLearningRequest(budget=BATCH))
        self._ahead: list[int] = []

    def take(self, place: int) -> None:
        # What it chose itself, it has counted as measured already.
        if place in self._ahead:
            self._ahead.remove(place)
        else:
            self._design.take(place)

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        self._design.doubt(half_widths / DEVIATIONS)
        self._ahead = [one.place for one in self._design.choose(BATCH)]
        return list(self._ahead)


class Deciding:
    """Lowers what decisions on hardware lose."""

    def __init__(self, cells: Sequence[Cell], _seed: int) -> None:
        self._cells = cells
        self._choices = _choices(cells)
        self._measured: dict[int, None] = {}

    def take(self, place: int) -> None:
        self._measured[place] = None

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        cost = Cost(seconds=1.0, measured=True, joules=None, money=None)
        known = {self._cells[place]: (METRIC,) for place in self._measured}
        cells, count = self._cells, len(self._cells)
        field = Field((METRIC,), known, cells, [cost] * count, cells, [1.0] * count)
        design = Design(field, ActiveLearningRequest(budget=BATCH))
        design.open[list(self._measured)] = False
        spread = half_widths / DEVIATIONS
        choosings = [
            Choosing(tuple(places.tolist()), centre[places], spread[places])
            for places in self._choices
        ]
        return [choice.place for choice, _ in choose(design, choosings, BATCH)]


class Chance:
    """Draws at random."""

    def __init__(self, cells: Sequence[Cell], seed: int) -> None:
        self._chance = random.Random(seed)
        self._open = dict.fromkeys(range(len(cells)))

    def take(self, place: int) -> None:
        del self._open[place]

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        return self._chance.sample(list(self._open), BATCH)


class Uncertainty(Chance):
    """Takes the widest intervals, whatever they have in common."""

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        return sorted(self._open, key=lambda place: -half_widths[place])[:BATCH]


class Space(Chance):
    """Takes what is farthest from all that is measured (farthest-first, Gonzalez 1985)."""

    def __init__(self, cells: Sequence[Cell], seed: int) -> None:
        super().__init__(cells, seed)
        frame = frame_of(cells, catalogue(()))
        spread = frame.sizes.std(axis=0)
        sizes = (frame.sizes / np.where(spread > 0.0, spread, 1.0))[:, spread > 0.0]
        parts = np.array([keys.parts for keys in frame.keys])
        # Two different names are as far apart as two cells that differ by one deviation in a size.
        names = [(column[:, None] == np.unique(column)) / math.sqrt(2.0) for column in parts.T]
        self._at = np.concatenate([sizes, *names], axis=1)
        self._nearest = np.full(len(cells), np.inf)

    def take(self, place: int) -> None:
        super().take(place)
        self._nearest = np.minimum(self._nearest, self._distances(place))

    def choose(self, centre: Floats, half_widths: Floats) -> list[int]:
        nearest, chosen = self._nearest.copy(), []
        left = np.array(list(self._open))
        for _ in range(BATCH):
            place = int(left[nearest[left].argmax()])
            nearest = np.minimum(nearest, self._distances(place))
            nearest[place] = -1.0
            chosen.append(place)
        return chosen

    def _distances(self, place: int) -> Floats:
        distances: Floats = np.square(self._at - self._at[place]).sum(axis=1)
        return distances


POLICIES: dict[str, type[Placewise | Deciding | Chance]] = {
    "Placewise": Placewise,
    "Placewise, for decisions": Deciding,
    "random": Chance,
    "uncertainty alone": Uncertainty,
    "space-filling": Space,
}


def pool_of(rows: Sequence[Observation], seed: int, size: int) -> list[Observation]:
    """Return the first measurement of each cell of some models, about `size` in all.

    All cells of a model are there or none, so that there are decisions to make about it; language
    models are so few, each with so many cells, that cells are drawn of all of them instead.
    """
    first = {one.cell: one for one in reversed(rows)}
    chance = random.Random(seed)
    of_network: dict[str, list[Observation]] = {}
    for one in sorted(first.values(), key=lambda one: repr(one.cell)):
        of_network.setdefault(_network(one.cell), []).append(one)
    if len(of_network) < size / 10:
        pool = [one for some in of_network.values() for one in some]
        return chance.sample(pool, min(size, len(pool)))
    pool = []
    for network in chance.sample(list(of_network), len(of_network)):
        if len(pool) < size:
            pool += of_network[network]
    return pool


def replay(rows: dict[str, list[Observation]], size: int, task: tuple[str, int, str]) -> list[Look]:
    """Buy measurements by a policy, from 2 % on; return how good predictions became."""
    source, seed, name = task
    pool = pool_of(rows[source], seed, size)
    cells = [one.cell for one in pool]
    true = np.log([one.metrics[METRIC] for one in pool])
    choices = _choices(cells)
    policy, bank = POLICIES[name](cells, seed), Bank()
    measured = np.zeros(len(pool), dtype=bool)
    buying = random.Random(seed).sample(range(len(pool)), max(BATCH, round(FIRST * len(pool))))
    looks: list[Look] = []
    centre = half_widths = np.zeros(len(pool))
    for batch in range(10_000):
        for place in buying:
            bank.learn(pool[place])
            policy.take(place)
            measured[place] = True
        done = measured.sum() >= LAST * len(pool)
        looking = batch % _LOOK_EVERY == 0 or done
        if looking or name in ASKING:
            predicted = [one[METRIC] for one in bank.predict(cells, [METRIC])]
            centre = np.log([one.value for one in predicted])
            half_widths = np.log([one.high for one in predicted]) - centre
        if looking:
            errors = np.abs(np.expm1(centre - true))[~measured]
            guess = np.where(measured, true, centre)
            lost = [
                -math.expm1(true[one[guess[one].argmax()]] - true[one].max()) for one in choices
            ]
            looks.append(
                Look(
                    int(measured.sum()),
                    float(errors.mean()),
                    float(np.median(errors)),
                    float(np.abs(centre - true)[~measured].mean()),
                    statistics.fmean(lost),
                )
            )
        if done:
            return looks
        buying = policy.choose(centre, half_widths)
    raise AssertionError("the pool has no end")


def reached(looks: Sequence[Look], error: str, level: float) -> float:
    """Return after how many measurements an error stays at or below a level; inf if never."""
    found = math.inf
    for look in reversed(looks):
        if getattr(look, error) > level:
            break
        found = look.measured
    return found


def share(ours: Sequence[Look], theirs: Sequence[Look], error: str) -> float:
    """Return which share of the others' measurements was needed for the same error.

    The median over the errors that the others reached for good in the second half of the curve.
    """
    shares = []
    for at in range(len(theirs) // 2, len(theirs)):
        level = max(getattr(look, error) for look in theirs[at:])
        shares.append(reached(ours, error, level) / reached(theirs, error, level))
    return statistics.median(shares)


def summary(found: dict[tuple[str, int, str], list[Look]]) -> list[dict[str, Any]]:
    """Return a row per table, error and policy: against random, over the seeds."""
    seeds = sorted({seed for _, seed, _ in found})
    rows = []
    for source, error, name in product(SOURCES, Look._fields[1:], POLICIES):
        ours = [found[source, seed, name] for seed in seeds]
        others = [found[source, seed, "random"] for seed in seeds]
        shares = [share(one, other, error) for one, other in zip(ours, others, strict=True)]
        areas = [
            statistics.fmean(getattr(look, error) for look in one)
            / statistics.fmean(getattr(look, error) for look in other)
            for one, other in zip(ours, others, strict=True)
        ]
        rows.append(
            {
                "table": source,
                "error": error,
                "by": name,
                "at the end": statistics.median(getattr(one[-1], error) for one in ours),
                "share of random's measurements": statistics.median(shares),
                "goal": GOALS.get(error),
                "mean error to random's": statistics.median(areas),
                "in the worst seed": max(areas),
                f"seeds worse by over {WORSE - 1:.0%}": sum(area > WORSE for area in areas),
            }
        )
    return rows


def main() -> None:
    """Replay all seeds; print the figures and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=1_200)
    parser.add_argument("--picture", type=Path, default=FOLDER / "exploration.svg")
    options = parser.parse_args()
    rows: dict[str, list[Observation]] = {source: [] for source in SOURCES}
    for row in load(options.data):
        one = observation_of(row.run)
        if row.source in rows and one.outcome == "ok" and METRIC in one.metrics:
            rows[row.source].append(one)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = list(product(SOURCES, seeds, POLICIES))
    with ProcessPoolExecutor() as processes:
        curves = processes.map(partial(replay, rows, options.pool), tasks)
        found = dict(zip(tasks, curves, strict=True))
    publish("exploration", f"Buying measurements, {options.seeds} seeds", summary(found))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    options.picture.write_text(draw(_medians(found, seeds)), encoding="utf-8")


def _medians(
    found: dict[tuple[str, int, str], list[Look]], seeds: Sequence[int]
) -> dict[tuple[str, str], dict[str, list[tuple[float, float]]]]:
    """Return, by table and error, the curve of each policy: medians over the seeds."""
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for source, error, name in product(SOURCES, GOALS, POLICIES):
        every = zip(*[found[source, seed, name] for seed in seeds], strict=False)
        curves.setdefault((source, error), {})[name] = [
            (
                statistics.median(look.measured for look in looks),
                statistics.median(getattr(look, error) for look in looks),
            )
            for looks in every
        ]
    return curves


def _choices(cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
    """Return the places of the cells between which hardware is chosen for a model.

    For a task and sizes of input; vision models were run at the largest batch that fits each.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, cell in enumerate(cells):
        batch = None if cell.family == "vision" else cell.batch_size
        sizes = cell.input_size, cell.sequence_in, cell.sequence_out, batch
        groups.setdefault((_network(cell), cell.task, *sizes), []).append(place)
    return [
        np.array(places)
        for places in groups.values()
        if len({cells[place].hardware for place in places}) > 1
    ]


def _network(cell: Cell) -> str:
    """Return the model without a training tag: the same architecture has the same speed."""
    return cell.model.split(".")[0] if cell.family == "vision" else cell.model


if __name__ == "__main__":
    main()
