"""Draw the public measurements that ship with Placewise.

    python tools/make_data.py BENCHMARKS.parquet agent/data

BENCHMARKS has the columns that `placewise import` reads. Only sources whose licence permits
it are drawn from (see agent/data/ATTRIBUTION.md); the draws are seeded, so they can be repeated.
`sample.parquet` is what the demo measures; `knowledge.parquet` is what a new agent starts from.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 7
ROWS = {"timm": 1_600, "llm-inference-bench": 1_200, "mlperf-inference-v2.1": 700}
DROPPED = ("notes", "hardware_raw", "concurrency", "itl_ms", "energy_j_per_item")

ROWS_PER_SETUP = {
    "timm": 60,
    "llm-inference-bench": 25,
    "mlperf-inference-v2.1": 4,
    "neusight-labels": 40,
    "salus-workloads": 40,
}
"""So that hardware on which little was measured is not lost among that on which much was."""

SETUP = ("source", "hardware", "task", "precision", "framework", "runtime_config", "parallelism")


def draw(table: pa.Table) -> pa.Table:
    """Return the seeded sample: inference rows with a throughput, spread over the sources."""
    measured = table.filter(
        pc.and_(pc.equal(table["task"], "inference"), pc.is_valid(table["throughput_items_per_s"]))
    )
    chance = random.Random(SEED)
    chosen: list[int] = []
    sources = measured["source"].to_pylist()
    for source, rows in ROWS.items():
        own = [index for index, name in enumerate(sources) if name == source]
        chosen += chance.sample(own, min(rows, len(own)))
    chance.shuffle(chosen)
    return measured.take(chosen).drop_columns([*DROPPED, "memory_mb"])


def spread(table: pa.Table) -> pa.Table:
    """Return a few seeded rows of every set-up, in random order."""
    chance = random.Random(SEED)
    setups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(table.select(SETUP).to_pylist()):
        if row["source"] in ROWS_PER_SETUP:
            setups[tuple(row.values())].append(index)
    chosen: list[int] = []
    for (source, *_), rows in setups.items():
        chosen += chance.sample(rows, min(ROWS_PER_SETUP[str(source)], len(rows)))
    chance.shuffle(chosen)
    return table.take(chosen).drop_columns(list(DROPPED))


def main() -> None:
    """Read the first argument, write into the folder that the second one names."""
    table, folder = pq.read_table(sys.argv[1]), Path(sys.argv[2])
    pq.write_table(draw(table), folder / "sample.parquet", compression="zstd")
    pq.write_table(spread(table), folder / "knowledge.parquet", compression="zstd")


if __name__ == "__main__":
    main()
