from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from agent.learning.bank import Bank, Observation
from agent.learning.cell import Cell
from agent.learning.footprint import footprint_bytes


def test_arrays_count_to_the_byte_and_once() -> None:
    array = np.zeros((1000, 10))
    alone = footprint_bytes(array)

    assert alone == pytest.approx(80_000, abs=200)
    assert footprint_bytes([array, array]) - alone < 200
    assert footprint_bytes([array, array[:10], array.T]) - alone < 600


def test_a_large_table_counts_in_full() -> None:
    small, large = ({str(i): float(i) for i in range(count)} for count in (1_000, 100_000))

    assert 50 < footprint_bytes(large) / footprint_bytes(small) < 200


def test_it_is_what_the_system_gave() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        bank = Bank()
        for number in range(400):
            cell = Cell(f"model-{number}", f"hardware-{number % 30}", batch_size=float(number))
            bank.learn(Observation(cell, {"throughput_per_s": 10.0 + number, "power_w": 100.0}))
        given, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert footprint_bytes(bank) == pytest.approx(given, rel=0.25)
