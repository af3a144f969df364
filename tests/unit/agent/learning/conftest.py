"""What the learners are tested on: a world of known laws, and a sample of real measurements."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from pyarrow import parquet

import agent
from agent.learning.bank import Observation
from agent.learning.cell import Cell

SAMPLE = Path(agent.__file__).parent / "data" / "sample.parquet"


def synthetic(rows: int, seed: int = 0, noise: float = 0.03) -> list[Observation]:
    """Models of six architectures on four kinds of hardware, by a roofline with effects."""
    chance = random.Random(seed)
    models = [
        (f"net{i}", f"arch{i % 6}", chance.uniform(3, 300), chance.uniform(0.3, 40))
        for i in range(60)
    ]
    efficiency = {arch: chance.uniform(-0.6, 0.6) for _, arch, _, _ in models}
    hardware = {"nvidia-a100": 1.0, "nvidia-t4": -0.8, "box-x": -0.3, "box-y": 0.4}
    found = []
    for _ in range(rows):
        name, arch, params, gmacs = chance.choice(models)
        where = chance.choice(list(hardware))
        precision = chance.choice(["fp16", "fp32"])
        batch = float(chance.choice([1, 4, 16, 64]))
        rate = (
            9.0
            - 0.8 * math.log(gmacs)
            + efficiency[arch]
            + hardware[where]
            + (0.6 if precision == "fp16" else 0.0)
            - 1.5 / batch
            + chance.gauss(0, noise)
        )
        found.append(
            Observation(
                Cell(
                    name,
                    where,
                    architecture=arch,
                    hardware_class="gpu",
                    parameters_m=params,
                    gmacs=gmacs,
                    activations_m=gmacs * 3,
                    task="inference",
                    precision=precision,
                    runtime="runtime-1",
                    batch_size=batch,
                ),
                {"throughput_per_s": math.exp(rate), "latency_ms": 1e3 * batch / math.exp(rate)},
                {"throughput_per_s": "images/s", "latency_ms": "batch"},
            )
        )
    return found


@pytest.fixture(scope="session")
def world() -> list[Observation]:
    return synthetic(1500)


@pytest.fixture(scope="session")
def sample() -> list[Observation]:
    """The measurements that ship with the package, in a fixed random order."""
    rows = parquet.read_table(SAMPLE).to_pylist()
    random.Random(5).shuffle(rows)
    return [
        Observation(
            Cell(
                model=row["model_name"],
                hardware=row["hardware"],
                family=row["model_family"],
                architecture=row["model_arch_group"],
                hardware_class=row["hardware_class"],
                parameters_m=row["param_count_m"],
                gmacs=row["gmacs"],
                activations_m=row["mactivations_m"],
                device_count=row["num_devices"],
                task=row["task"],
                precision=row["precision"],
                runtime=row["framework"],
                runtime_options=row["runtime_config"] or None,
                parallelism=row["parallelism"],
                batch_size=row["batch_size"],
                input_size=row["input_size"],
                sequence_in=row["seq_len_in"],
                sequence_out=row["seq_len_out"],
            ),
            {
                metric: row[column]
                for metric, column in (
                    ("throughput_per_s", "throughput_items_per_s"),
                    ("latency_ms", "latency_ms"),
                    ("power_w", "power_w"),
                )
                if row[column]
            },
            {
                metric: row[column].casefold()
                for metric, column in (
                    ("throughput_per_s", "throughput_unit"),
                    ("latency_ms", "latency_kind"),
                )
                if row[column]
            },
        )
        for row in rows
    ]
