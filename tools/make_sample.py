"""Draw the sample of public measurements that ships with Placewise.

    python tools/make_sample.py BENCHMARKS.parquet agent/data/sample.parquet

BENCHMARKS has the columns that `placewise import` reads. Only sources whose licence permits
it are drawn from (see agent/data/ATTRIBUTION.md); the draw is seeded, so it can be repeated.
"""

from __future__ import annotations

import random
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 7
ROWS = {"timm": 1_600, "llm-inference-bench": 1_200, "mlperf-inference-v2.1": 700}
DROPPED = ("notes", "hardware_raw", "concurrency", "itl_ms", "energy_j_per_item", "memory_mb")


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
    return measured.take(chosen).drop_columns(list(DROPPED))


def main() -> None:
    """Read the first argument, write the second."""
    source, target = sys.argv[1:]
    pq.write_table(draw(pq.read_table(source)), target, compression="zstd")


if __name__ == "__main__":
    main()
