"""How good the predictions are, beside rivals, on four ways of holding rows back.

    python -m tests.benchmarks.accuracy [--data FILE] [--seeds 0] [--quick]

Placewise learns each split's rows once, one event at a time, in a seeded random order. Rivals
learn the same rows in the same order; LightGBM is fitted offline on all of them at once.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from agent.evaluation import Row, split
from agent.learning.bank import Bank
from tests.benchmarks.report import leave, publish, quantile
from tests.benchmarks.rivals import rivals
from tests.benchmarks.splits import SPLITS, Split
from tests.benchmarks.table import DATA, load

SOURCES = ("timm", "llm-inference-bench", "mlperf-inference-v2.1")
METRICS = ("throughput_per_s", "latency_ms", "power_w", "memory_mb")
RIVAL_METRICS = ("throughput_per_s",)
MIN_TEST_ROWS = 10
TITLE = "Accuracy, medians over the seeds"


def ours(one: Split, seed: int) -> list[dict[str, Any]]:
    """Return Placewise's figures on a split, by metric and source."""
    report = split(Bank(), one.train, one.test, few_shot=one.few_shot, seed=seed)
    return [
        {
            "split": one.name,
            "seed": seed,
            "metric": metric,
            "source": source,
            "who": "Placewise",
            **row,
        }
        for metric, scopes in report.items()
        for source, row in scopes["sources"].items()
        if row["rows"] >= MIN_TEST_ROWS
    ]


def theirs(one: Split, seed: int, metric: str) -> list[dict[str, Any]]:
    """Return the rivals' figures on a split, each source on its own, as theirs to win."""
    result = []
    for source in SOURCES:
        train, test = _with_few_shot(one, seed)
        train = [row for row in train if row.source == source and _measured(row, metric)]
        test = [row for row in test if row.source == source and _measured(row, metric)]
        if len(test) < MIN_TEST_ROWS or not train:
            continue
        measured = [getattr(row.run.metrics, metric) for row in test]
        for rival in rivals():
            rival.fit(train, metric)
            predicted = rival.predict(test, metric)
            errors = [abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
            result.append(
                {
                    "split": one.name,
                    "seed": seed,
                    "metric": metric,
                    "source": source,
                    "who": rival.name,
                    "rows": len(test),
                    "median_ape": statistics.median(errors),
                    "mean_ape": math.fsum(errors) / len(errors),
                    "p90_ape": quantile(errors, 0.9),
                }
            )
    return result


def _with_few_shot(one: Split, seed: int) -> tuple[list[Row], list[Row]]:
    """Return the rows in the order, and with the few, that `agent.evaluation.split` takes."""
    chance = random.Random(seed)
    train = list(one.train)
    chance.shuffle(train)
    met = {row.setup for row in train}
    test = list(one.test)
    chance.shuffle(test)
    taken: defaultdict[Any, int] = defaultdict(int)
    rest = []
    for row in test:
        if row.setup not in met and taken[row.setup] < one.few_shot:
            taken[row.setup] += 1
            train.append(row)
        else:
            rest.append(row)
    return train, rest


def _measured(row: Row, metric: str) -> bool:
    return row.run.result == "ok" and getattr(row.run.metrics, metric) is not None


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per split, metric, source and competitor: medians over the seeds."""
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["metric"], row["source"], row["split"], row["who"]].append(row)
    lines = []
    for (metric, source, name, who), group in sorted(groups.items()):
        line: dict[str, Any] = {
            "metric": metric,
            "source": source,
            "split": name,
            "who": who,
            "rows": round(statistics.median(row["rows"] for row in group)),
        }
        for figure in (
            "median_ape",
            "mean_ape",
            "p90_ape",
            "coverage_90",
            "coverage_90_worst",
            "coverage_90_first20",
        ):
            values = [row[figure] for row in group if row.get(figure) is not None]
            line[figure] = f"{statistics.median(values):.1%}" if values else None
        lines.append(line)
    return lines


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--quick", action="store_true", help="Placewise alone, no rivals")
    options = parser.parse_args()
    data = options.data
    if not data.exists():
        with as_file(files("agent") / "data" / "sample.parquet") as sample:
            print(f"{data} is not here: the shipped sample stands in", file=sys.stderr)
            rows = load(sample)
    else:
        rows = load(data)
    found: list[dict[str, Any]] = []
    for seed in [int(text) for text in options.seeds.split(",")]:
        for make in SPLITS:
            one = make(rows, seed)
            print(
                f"{one.name}, seed {seed}: {len(one.train):,} rows, {len(one.test):,} held back",
                file=sys.stderr,
            )
            found += ours(one, seed)
            if not options.quick:
                for metric in RIVAL_METRICS:
                    found += theirs(one, seed, metric)
            # A run that is broken off leaves the splits that it came to.
            leave("accuracy", TITLE, summary(found))
    publish("accuracy", TITLE, summary(found))


if __name__ == "__main__":
    main()
