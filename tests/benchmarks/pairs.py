"""Contention on measured pairs of jobs (Gavel), beside a constant and LightGBM.

Two jobs on one GPU, alone and together. What is judged: the sum of both normalised speeds.
LightGBM is fitted offline on all that the online learner saw once, with the same features, both
ways round (the sum at once, and each job's speed by itself); the better of the two is reported.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow.parquet as pq

from agent.learning.contention import ContentionLearner, Learnt, Traits
from tests.benchmarks.report import publish, spread_ms

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "colocation_pairs.parquet"
SEEDS = 5
HELD_BACK = 0.2
JOBS = 8
PAIRINGS = 200


@dataclass(frozen=True)
class Pair:
    """Two jobs on one GPU. Sources disagree, so each is hardware of its own."""

    hardware: str
    one: Traits
    two: Traits
    speeds: tuple[float, float]

    @property
    def total(self) -> float:
        return sum(self.speeds)


def load() -> list[Pair]:
    """Return every pair that ran."""
    rows = pq.read_table(DATA).to_pylist()
    return [
        Pair(
            f"{row['hardware']}/{row['source']}",
            _job(row, "a"),
            _job(row, "b"),
            (row["norm_a"], row["norm_b"]),
        )
        for row in rows
        if not row["failed"] and row["sum_norm"] is not None
    ]


def _job(row: dict[str, Any], side: str) -> Traits:
    return Traits(row[f"model_{side}"], row[f"batch_{side}"] or 1.0, 1_000 / row[f"solo_{side}"])


def learn(learner: ContentionLearner, pair: Pair) -> None:
    """Let a learner see a pair, from both sides."""
    learner.learn_one(pair.hardware, pair.one, [pair.two], pair.speeds[0])
    learner.learn_one(pair.hardware, pair.two, [pair.one], pair.speeds[1])


def predicted(learner: ContentionLearner, pair: Pair) -> float:
    """Return the predicted sum of a pair's speeds."""
    found = Learnt(learner, {0: pair.one, 1: pair.two}, pair.hardware).of((0, 1))
    return found[0].value + found[1].value


class Rival:
    """LightGBM, fitted on all of it at once."""

    def __init__(self, pairs: list[Pair]) -> None:
        self._names = sorted({one.model for pair in pairs for one in (pair.one, pair.two)})
        self._places = sorted({pair.hardware for pair in pairs})

    def errors(self, train: list[Pair], test: list[Pair]) -> float:
        """Return the mean absolute error, of the better of two ways."""
        truth = np.array([pair.total for pair in test])
        whole = self._fit(
            [self._row(pair, turned=False) for pair in train], [pair.total for pair in train]
        ).predict(np.array([self._row(pair, turned=False) for pair in test]))
        sided = self._fit(
            [self._row(pair, turned=turned) for pair in train for turned in (False, True)],
            [speed for pair in train for speed in pair.speeds],
        )
        parts = [
            sided.predict(np.array([self._row(pair, turned=turned) for pair in test]))
            for turned in (False, True)
        ]
        return float(min(np.abs(whole - truth).mean(), np.abs(parts[0] + parts[1] - truth).mean()))

    def _fit(self, rows: list[list[float]], targets: list[float]) -> lightgbm.LGBMRegressor:
        model = lightgbm.LGBMRegressor(
            n_estimators=400, learning_rate=0.05, min_child_samples=5, verbose=-1, n_jobs=1
        )
        return model.fit(np.array(rows), np.array(targets))

    def _row(self, pair: Pair, *, turned: bool) -> list[float]:
        jobs = (pair.two, pair.one) if turned else (pair.one, pair.two)
        sides = [
            [float(self._names.index(one.model)), math.log(one.batch), math.log(one.batch_ms)]
            for one in jobs
        ]
        return [float(self._places.index(pair.hardware)), *sides[0], *sides[1]]


def pair_errors(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Return the errors for random pairs and for an unseen model."""
    rival = Rival(pairs)
    chance = np.random.default_rng(0)
    online, offline, constant, whole = [], [], [], []
    learn_s, predict_s, covered = [], [], []
    for _ in range(SEEDS):
        order = [pairs[index] for index in chance.permutation(len(pairs))]
        learner = ContentionLearner()
        for pair in order:
            began = time.perf_counter()
            found = Learnt(learner, {0: pair.one, 1: pair.two}, pair.hardware).of((0, 1))
            predicted_at = time.perf_counter()
            learn(learner, pair)
            learn_s.append((time.perf_counter() - predicted_at) / 2)
            predict_s.append(predicted_at - began)
            whole.append(abs(found[0].value + found[1].value - pair.total))
            covered += [
                speed.low <= min(1.0, max(0.02, truth)) <= speed.high
                for speed, truth in zip(found, pair.speeds, strict=True)
            ]
        split = int(HELD_BACK * len(order))
        test, train = order[:split], order[split:]
        learner = ContentionLearner()
        for pair in train:
            learn(learner, pair)
        middle = statistics.median(pair.total for pair in train)
        online.append(statistics.fmean(abs(predicted(learner, one) - one.total) for one in test))
        constant.append(statistics.fmean(abs(middle - one.total) for one in test))
        offline.append(rival.errors(train, test))
    rows = [
        {
            "what": f"random pairs: the last {HELD_BACK:.0%}, after one pass over the others",
            "constant": statistics.fmean(constant),
            "lightgbm": statistics.fmean(offline),
            "placewise": statistics.fmean(online),
        },
        {
            "what": "random pairs: each just before it is learnt",
            "placewise": statistics.fmean(whole),
        },
        _unseen(pairs, rival),
    ]
    print(
        f"intervals held {statistics.fmean(covered):.3f}; one row learnt {spread_ms(learn_s)}; "
        f"one pair predicted {spread_ms(predict_s)}"
    )
    return rows


def _unseen(pairs: list[Pair], rival: Rival) -> dict[str, Any]:
    """Return the errors on the pairs of a model that was never learnt, over all models."""
    online, offline, constant = 0.0, 0.0, 0.0
    names = sorted({one.model for pair in pairs for one in (pair.one, pair.two)})
    count = 0
    for name in names:
        test = [pair for pair in pairs if name in {pair.one.model, pair.two.model}]
        train = [pair for pair in pairs if name not in {pair.one.model, pair.two.model}]
        learner = ContentionLearner()
        for index in np.random.default_rng(1).permutation(len(train)):
            learn(learner, train[index])
        middle = statistics.median(pair.total for pair in train)
        online += sum(abs(predicted(learner, one) - one.total) for one in test)
        constant += sum(abs(middle - one.total) for one in test)
        offline += len(test) * rival.errors(train, test)
        count += len(test)
    return {
        "what": "an unseen model: each of them left out once, its pairs predicted",
        "constant": constant / count,
        "lightgbm": offline / count,
        "placewise": online / count,
    }


def pairing_regret(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Return what is lost by pairing 8 jobs on 4 GPUs by prediction and not by the table."""
    chance = np.random.default_rng(2)
    rows = []
    for share in (0.2, 0.5, 0.8):
        lost, blind = [], []
        for _ in range(PAIRINGS // 20):
            order = [pairs[index] for index in chance.permutation(len(pairs))]
            learner = ContentionLearner()
            for pair in order[: int(share * len(order))]:
                learn(learner, pair)
            for _ in range(20):
                table = _clique(pairs, chance)
                totals = {key: pair.total for key, pair in table.items()}
                guesses = {key: predicted(learner, pair) for key, pair in table.items()}
                every = list(_pairings(tuple(range(JOBS))))
                best = max(sum(totals[one] for one in pairing) for pairing in every)
                chosen = max(every, key=lambda pairing: sum(guesses[one] for one in pairing))
                lost.append(1 - sum(totals[one] for one in chosen) / best)
                blind.append(
                    1 - statistics.fmean(sum(totals[one] for one in p) for p in every) / best
                )
        rows.append(
            {
                "pairs learnt": f"{share:.0%}",
                "regret of the chosen pairing": statistics.fmean(lost),
                "of a random one": statistics.fmean(blind),
            }
        )
    return rows


def _clique(pairs: list[Pair], chance: np.random.Generator) -> dict[tuple[int, int], Pair]:
    """Return 8 different jobs of one GPU all of whose pairs were measured."""
    while True:
        place = pairs[chance.integers(len(pairs))].hardware
        table: dict[frozenset[tuple[str, float]], Pair] = {}
        for pair in pairs:
            if pair.hardware == place and pair.one != pair.two:
                table[frozenset((p.model, p.batch) for p in (pair.one, pair.two))] = pair
        jobs = sorted({job for key in table for job in key})
        chosen: list[tuple[str, float]] = []
        for index in chance.permutation(len(jobs)):
            if all(frozenset((jobs[index], other)) in table for other in chosen):
                chosen.append(jobs[index])
            if len(chosen) == JOBS:
                return {
                    (a, b): table[frozenset((chosen[a], chosen[b]))]
                    for a, b in combinations(range(JOBS), 2)
                }


def _pairings(left: tuple[int, ...]) -> Any:
    if not left:
        yield ()
        return
    first, *rest = left
    for other in rest:
        for more in _pairings(tuple(one for one in rest if one != other)):
            yield ((first, other), *more)


def main() -> None:
    """Measure, print, and leave the figures as JSON."""
    if not DATA.exists():
        print(f"no measured pairs at {DATA}: this part is left out")
        return
    pairs = load()
    publish(
        "pairs",
        f"Sum of two jobs' normalised speeds, mean absolute error ({len(pairs)} pairs)",
        pair_errors(pairs),
    )
    publish("pairings", "8 jobs on 4 GPUs, regret of the pairing", pairing_regret(pairs))


if __name__ == "__main__":
    main()
