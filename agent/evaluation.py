"""How good are the predictions? One pass over measurements, judged on what was not learnt.

Two protocols. *Split*: learn one table in one pass in a seeded random order (and a few rows of
each set-up that it did not hold), then predict another. *Prequential*: predict each row just
before it is learnt (Dawid 1984; Gama, Sebastião and Rodrigues 2013).
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats

from agent.heart.cells import observation_of
from agent.learning.bank import METRICS, Bank, Observation, Predicted, learnable
from agent.learning.cell import Cell
from schemas.measurement import ModelRun

Protocol = Literal["split", "prequential"]
SetupKey = tuple[str | None, ...]

BATCH = 256
FEW = 20
"""Events of a set-up that count as its first."""

WORST_ROWS = 30
"""Rows that a set-up needs before its coverage says anything."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement to learn or to judge by."""

    source: str
    run: ModelRun

    @property
    def setup(self) -> SetupKey:
        """What identifies its set-up: everything but the model and the sizes."""
        run = self.run
        return (
            self.source,
            run.hardware.name,
            run.setup.task,
            run.setup.precision,
            run.setup.runtime,
            run.setup.runtime_options,
        )


@dataclass(slots=True)
class _Judged:
    """What was predicted and measured for one metric in one scope."""

    measured: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    setups: list[SetupKey] = field(default_factory=list)
    first: list[bool] = field(default_factory=list)

    def add(self, measured: float, one: Predicted, setup: SetupKey, *, first: bool) -> None:
        self.measured.append(measured)
        self.value.append(one.value)
        self.low.append(one.low)
        self.high.append(one.high)
        self.confidence.append(one.confidence)
        self.setups.append(setup)
        self.first.append(first)


class Evaluation:
    """Learns and judges with one bank.

    Args:
        bank: new, or already taught.
        on_progress: told after each batch of work how many rows it was.
    """

    def __init__(self, bank: Bank, on_progress: Callable[[int], None] = lambda _: None) -> None:
        self._bank = bank
        self._on_progress = on_progress
        self._seen: defaultdict[SetupKey, int] = defaultdict(int)
        self._judged: dict[str, dict[str, _Judged]] = {}
        self._stream: dict[str, dict[str, _Judged]] = {}
        self._unanswered: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._quarantined: defaultdict[str, int] = defaultdict(int)
        self._learn_seconds = 0.0
        self._learned = 0
        self._predict_seconds = 0.0
        self._predicted = 0

    def learn(self, rows: Iterable[Row]) -> None:
        """Learn rows in their order, predicting each beforehand for what streams tell."""
        for row in rows:
            observation = observation_of(row.run)
            self._note(row, self._predict([observation])[0], self._stream)
            self._teach(row, observation)
            self._on_progress(1)

    def judge(self, rows: Sequence[Row]) -> None:
        """Predict rows, learning nothing."""
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            predictions = self._predict([observation_of(row.run) for row in batch])
            for row, predicted in zip(batch, predictions, strict=True):
                self._note(row, predicted, self._judged)
            self._on_progress(len(batch))

    def report(self, protocol: Protocol) -> dict[str, Any]:
        """Return, by metric, the figures over all rows and for each source.

        Where no row could be answered (nothing in its unit was learnt), `rows` is 0, `unanswered`
        says how many there were, and all else is None.
        """
        judged = self._stream if protocol == "prequential" else self._judged
        learn_us = 1e6 * self._learn_seconds / max(1, self._learned)
        predict_us = 1e6 * self._predict_seconds / max(1, self._predicted)
        report: dict[str, Any] = {}
        for metric in METRICS:
            sources = dict(judged.get(metric, {}))
            for name, source in self._unanswered:
                if name == metric:
                    sources.setdefault(source, _Judged())
            if not sources:
                continue
            stream = self._stream.get(metric, {})
            figures = {
                source: _figures(one, stream.get(source)) for source, one in sorted(sources.items())
            }
            together = _figures(_joined(sources.values()), _joined(stream.values()))
            for scope, row in {**figures, "all": together}.items():
                row["unanswered"] = sum(
                    count
                    for (name, source), count in self._unanswered.items()
                    if name == metric and scope in {"all", source}
                )
                row["quarantined"] = sum(
                    count for source, count in self._quarantined.items() if scope in {"all", source}
                )
                row["learn_us"], row["predict_us"] = round(learn_us, 1), round(predict_us, 1)
            report[metric] = {"all": together, "sources": figures}
        return report

    def _predict(self, observations: Sequence[Observation]) -> list[dict[str, Predicted]]:
        """Predict cells in the units in which they were measured, those of like units at once."""
        groups: defaultdict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
        for index, one in enumerate(observations):
            groups[tuple(sorted(one.units.items()))].append(index)
        results: list[dict[str, Predicted]] = [{} for _ in observations]
        started = time.perf_counter()
        for units, indices in groups.items():
            cells: list[Cell] = [observations[i].cell for i in indices]
            for i, predicted in zip(
                indices, self._bank.predict(cells, METRICS, dict(units)), strict=True
            ):
                results[i] = predicted
        self._predict_seconds += time.perf_counter() - started
        self._predicted += len(observations)
        return results

    def _teach(self, row: Row, observation: Observation) -> None:
        if self._bank.judge(observation) is not None:
            # As the agent does: set aside, unless somebody asks for it to be learnt.
            self._quarantined[row.source] += 1
            return
        started = time.perf_counter()
        self._bank.learn(observation)
        self._learn_seconds += time.perf_counter() - started
        self._learned += 1
        self._seen[row.setup] += 1

    def _note(
        self,
        row: Row,
        predicted: Mapping[str, Predicted],
        where: dict[str, dict[str, _Judged]],
    ) -> None:
        if row.run.result != "ok":
            return
        for metric, measured in row.run.metrics.values().items():
            one = predicted.get(metric)
            if not learnable(measured):
                continue  # of nothing real; it is not learnt either
            if one is None:
                if where is self._judged:
                    self._unanswered[metric, row.source] += 1
                continue
            scope = where.setdefault(metric, {}).setdefault(row.source, _Judged())
            scope.add(measured, one, row.setup, first=self._seen[row.setup] < FEW)


def split(
    bank: Bank,
    train: Sequence[Row],
    test: Sequence[Row],
    *,
    few_shot: int = 0,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Learn `train` in one pass, then `few_shot` rows of each new set-up; judge the rest of `test`.

    Orders are random by `seed`; which rows are the few depends on it alone.
    """
    chance = random.Random(seed)
    order = list(train)
    chance.shuffle(order)
    met = {row.setup for row in order}
    shuffled = list(test)
    chance.shuffle(shuffled)
    taken: defaultdict[SetupKey, int] = defaultdict(int)
    few, rest = [], []
    for row in shuffled:
        if row.setup not in met and taken[row.setup] < few_shot:
            taken[row.setup] += 1
            few.append(row)
        else:
            rest.append(row)
    evaluation = Evaluation(bank, on_progress)
    evaluation.learn([*order, *few])
    evaluation.judge(rest)
    return evaluation.report("split")


def prequential(
    bank: Bank,
    rows: Sequence[Row],
    *,
    seed: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Predict each row, then learn it; in the given order, or in a random one by `seed`."""
    order = list(rows)
    if seed is not None:
        random.Random(seed).shuffle(order)
    evaluation = Evaluation(bank, on_progress)
    evaluation.learn(order)
    return evaluation.report("prequential")


def _joined(parts: Iterable[_Judged]) -> _Judged:
    joined = _Judged()
    for part in parts:
        for name in _Judged.__slots__:
            getattr(joined, name).extend(getattr(part, name))
    return joined


_FIGURES = (
    "median_ape",
    "mean_ape",
    "p90_ape",
    "spearman",
    "coverage_90",
    "coverage_90_worst",
    "coverage_90_first20",
    "half_width",
    "confidence",
    "within_20_percent",
)


def _figures(judged: _Judged, stream: _Judged | None) -> dict[str, Any]:
    if not judged.measured:
        return {"rows": 0, **dict.fromkeys(_FIGURES)}
    measured, value = np.array(judged.measured), np.array(judged.value)
    low, high = np.array(judged.low), np.array(judged.high)
    error = np.abs(value - measured) / measured
    inside = (low <= measured) & (measured <= high)
    return {
        "rows": len(measured),
        "median_ape": float(np.median(error)),
        "mean_ape": float(np.mean(error)),
        "p90_ape": float(np.quantile(error, 0.9)),
        "spearman": _spearman(value, measured),
        "coverage_90": float(np.mean(inside)),
        "coverage_90_worst": _worst(judged.setups, inside),
        "coverage_90_first20": _first(stream),
        "half_width": float(np.median((high - low) / 2 / value)),
        "confidence": float(np.mean(judged.confidence)),
        "within_20_percent": float(np.mean(error <= 0.2)),
    }


def _spearman(value: np.ndarray, measured: np.ndarray) -> float | None:
    """Return the rank correlation; None where one side is constant and has no ranks."""
    if len(measured) < 3 or np.ptp(value) == 0 or np.ptp(measured) == 0:
        return None
    return float(stats.spearmanr(value, measured).statistic)


def _worst(setups: Sequence[SetupKey], inside: np.ndarray) -> float | None:
    """Return the coverage of the worst set-up that has rows enough to tell."""
    by_setup: defaultdict[SetupKey, list[bool]] = defaultdict(list)
    for setup, one in zip(setups, inside, strict=True):
        by_setup[setup].append(bool(one))
    coverages = [sum(ones) / len(ones) for ones in by_setup.values() if len(ones) >= WORST_ROWS]
    return min(coverages) if coverages else None


def _first(stream: _Judged | None) -> float | None:
    """Return the coverage in the first events of each set-up, along the stream."""
    if stream is None or not any(stream.first):
        return None
    first = np.array(stream.first)
    measured = np.array(stream.measured)
    inside = (np.array(stream.low) <= measured) & (measured <= np.array(stream.high))
    return float(np.mean(inside[first]))
