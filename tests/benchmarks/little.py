"""`make bench-little`: how good predictions are while little is measured.

    python -m tests.benchmarks.little [--data FILE] [--seeds 0,1,2]

Of each table, a random order by seed is learnt from nothing, one row at a time; after so many
rows, the throughput of all others is predicted. Beside it: LightGBM, fitted offline on the same
rows each time.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import Row
from agent.heart.cells import cell_of, observation_of
from agent.learning.bank import Bank
from tests.benchmarks.report import publish
from tests.benchmarks.rivals import LightGBM
from tests.benchmarks.table import DATA, load

METRIC = "throughput_per_s"
SOURCES = ("timm", "llm-inference-bench", "mlperf-inference-v2.1")
AFTER = (25, 50, 100, 200, 400, 800)
JUDGED = 1_500
"""Rows that are predicted, drawn by the seed."""


def looks(rows: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Return how far off predictions are after so many rows of a table."""
    order = random.Random(seed).sample(list(rows), len(rows))
    judged = order[AFTER[-1] :][:JUDGED]
    true = np.array([getattr(row.run.metrics, METRIC) for row in judged])
    cells = [cell_of(row.run.model, row.run.hardware, row.run.setup) for row in judged]
    bank = Bank()
    found = []
    for start, end in zip((0, *AFTER), AFTER, strict=False):
        for row in order[start:end]:
            bank.learn(observation_of(row.run))
        units = {METRIC: (judged[0].run.metrics.units()[METRIC]).casefold()}
        told = [one[METRIC] for one in bank.predict(cells, [METRIC], units)]
        inside = [one.low <= z <= one.high for one, z in zip(told, true.tolist(), strict=True)]
        peer = LightGBM()
        peer.fit(order[:end], METRIC)
        found.append(
            {
                "after": end,
                **_errors("", np.array([one.value for one in told]), true),
                "coverage_90": statistics.fmean(inside),
                **_errors("LightGBM ", np.array(peer.predict(judged, METRIC)), true),
            }
        )
    return found


def _errors(whose: str, told: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> dict[str, float]:
    relative = np.abs(told - true) / true
    return {
        f"{whose}median_ape": float(np.median(relative)),
        f"{whose}mean_ape": float(relative.mean()),
    }


def main() -> None:
    """Measure, and print a line for each table and count: medians over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows = load(options.data)
    table = []
    for source in SOURCES:
        some = [
            row
            for row in rows
            if row.source == source and row.run.result == "ok" and row.run.metrics.throughput_per_s
        ]
        # One unit and task: the most frequent.
        kinds = [(row.run.metrics.units().get(METRIC), row.run.setup.task) for row in some]
        most = statistics.mode(kinds)
        some = [row for row, kind in zip(some, kinds, strict=True) if kind == most]
        each = [looks(some, seed) for seed in seeds]
        for lines in zip(*each, strict=True):
            table.append(
                {"table": source}
                | {name: statistics.median(line[name] for line in lines) for name in lines[0]}
            )
    publish("little", f"While little is measured, medians of {len(seeds)} seeds", table)


if __name__ == "__main__":
    main()
