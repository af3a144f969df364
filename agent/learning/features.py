"""From cells to numbers: one frame of features that every metric shares.

A frame is made once per event or request. All sizes are natural logs around the centre of what
is usual, in steps of about one, so that one prior fits all of them. What is missing is put at
what is usual for the rest of the cell and flagged by a column of its own: the flag lets a
learner shift, and the distance to what was measured widens the interval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.catalogue import Catalogue, Sheet
from agent.learning.cell import Cell
from agent.learning.roofline import TRAINING_FACTOR, bytes_per_weight, log_times

Floats = NDArray[np.float64]

_TAG = re.compile(r"\.(?=[A-Za-z])")
"""A dot before a letter starts a tag of other weights; before a digit, a version (`Qwen1.5`)."""

_USUAL_LOG = np.log([25.0, 4.0, 15.0, 224.0, 8.0, 512.0, 256.0, 4.0, 1.0])

_REFERENCE_FLOPS_LOG = math.log(100e12)
_REFERENCE_BYTES_LOG = math.log(1e12)
_USUAL_SHEET = Sheet(
    "usual", fp16_tflops=50.0, fp32_tflops=15.0, bandwidth_gb_per_s=500.0, memory_gb=24.0
)
_USUAL_BY_CLASS = {
    "cpu": Sheet("cpu", fp16_tflops=2.0, fp32_tflops=2.0, bandwidth_gb_per_s=80.0, memory_gb=64.0),
    "npu": Sheet(
        "npu", fp16_tflops=200.0, fp32_tflops=20.0, bandwidth_gb_per_s=500.0, memory_gb=32.0
    ),
}

LINEAR = (
    "bias",
    "params",
    "gmacs",
    "acts",
    "input",
    "batch",
    "seq_in",
    "seq_out",
    "concurrency",
    "devices",
    "time",
    "speed",
    "balance",
    "batch_batch",
    "batch_params",
    "batch_gmacs",
    "batch_seq_in",
    "batch_seq_out",
    "batch_devices",
    "seq_in_seq_in",
    "seq_out_seq_out",
    "seq_in_seq_out",
    "params_devices",
    "gmacs_gmacs",
    "acts_acts",
    "gmacs_acts",
    "bytes",
    "no_params",
    "no_gmacs",
    "no_acts",
    "no_input",
    "no_batch",
    "no_seq",
    "no_sheet",
)
"""The columns of `Frame.linear`, in order."""

WIDTH = len(LINEAR)
BIAS, TIME, SPEED = LINEAR.index("bias"), LINEAR.index("time"), LINEAR.index("speed")
FLAGS = slice(LINEAR.index("no_params"), WIDTH)


@dataclass(frozen=True, slots=True)
class Names:
    """What identifies a cell, as keys; equal keys mean the same thing.

    Attributes:
        stem: the network that a model name stands for, whatever its weights.
        group: architecture, or the family where no architecture is given.
        setup: hardware and the way it runs, without the sizes.
        cell: everything, sizes included.
    """

    model: str
    stem: str
    group: str
    hardware: str
    hardware_class: str
    task: str
    setup: tuple[str, ...]
    cell: tuple[str | float | None, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Features of `n` cells.

    Attributes:
        names: `n` identities.
        linear: `(n, WIDTH)`, finite.
        log_time_s: `(n,)`, the natural log of one item's roofline seconds.
        missing: `(n,)`, the share of describing features that had to be imputed.
    """

    names: list[Names]
    linear: Floats
    log_time_s: Floats
    missing: Floats

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int]) -> Frame:
        """Return the frame of some of its rows."""
        if len(rows) == len(self.names):
            return self
        return Frame(
            [self.names[row] for row in rows],
            self.linear[rows],
            self.log_time_s[rows],
            self.missing[rows],
        )


def names_of(cell: Cell, sheet: Sheet | None) -> Names:
    """Return the keys that identify a cell."""
    stem = _TAG.split(cell.model, maxsplit=1)[0]
    task = cell.task or ""
    hardware_class = cell.hardware_class or (sheet.hardware_class if sheet else None) or ""
    setup = (
        cell.hardware,
        task,
        cell.precision or "",
        cell.runtime or "",
        cell.runtime_options or "",
        cell.parallelism or "",
    )
    return Names(
        model=cell.model,
        stem=stem,
        group=cell.architecture or cell.family or "",
        hardware=cell.hardware,
        hardware_class=hardware_class,
        task=task,
        setup=setup,
        cell=(
            cell.model,
            *setup,
            cell.device_count,
            cell.batch_size,
            cell.input_size,
            cell.sequence_in,
            cell.sequence_out,
            cell.concurrency,
        ),
    )


def frame_of(cells: Sequence[Cell], catalogue: Catalogue) -> Frame:
    """Return the features of cells; any number or name may be missing or never seen before."""
    names = []
    raw = np.empty((len(cells), 9))
    sheets = np.empty((len(cells), 2))
    bytes_log = np.empty(len(cells))
    work_log = np.empty(len(cells))
    found = np.empty(len(cells))
    for i, cell in enumerate(cells):
        sheet = catalogue.find(cell.hardware)
        names.append(names_of(cell, sheet))
        raw[i] = (
            _size(cell.parameters_m),
            _size(cell.gmacs),
            _size(cell.activations_m),
            _size(cell.input_size),
            _size(cell.batch_size),
            _size(cell.sequence_in),
            _size(cell.sequence_out),
            _size(cell.concurrency),
            _size(cell.device_count),
        )
        size = bytes_per_weight(cell.precision)
        bytes_log[i] = math.log(size or 2.0)
        work_log[i] = math.log(TRAINING_FACTOR) if cell.task == "training" else 0.0
        found[i] = sheet is not None
        sheets[i] = _rates(sheet, names[-1].hardware_class, size or 2.0)
    return _frame(names, raw, sheets, bytes_log, work_log, found)


def _frame(
    names: list[Names],
    raw: Floats,
    sheets: Floats,
    bytes_log: Floats,
    work_log: Floats,
    found: Floats,
) -> Frame:
    known = raw > 0
    with np.errstate(divide="ignore"):
        logs = np.log(raw, where=known, out=np.full_like(raw, np.nan))
    params, gmacs, acts, edge, batch, seq_in, seq_out, concurrency, devices = logs.T
    has_p, has_g, has_a, has_i, has_b, has_si, has_so, _, _ = known.T
    has_seq = has_si | has_so

    tokens = np.log(np.where(has_seq, np.nan_to_num(raw[:, 5]) + np.nan_to_num(raw[:, 6]), 160.0))
    gmacs_of_params = np.where(has_p, params, _USUAL_LOG[0]) + tokens - math.log(1000.0)
    gmacs = np.where(has_g, gmacs, np.where(has_p, gmacs_of_params, _USUAL_LOG[1]))
    params = np.where(
        has_p, params, np.where(has_g, gmacs - tokens + math.log(1000.0), _USUAL_LOG[0])
    )
    acts = np.where(has_a, acts, _USUAL_LOG[2] + 0.6 * (gmacs - _USUAL_LOG[1]))
    edge = np.where(has_i, edge, _USUAL_LOG[3])
    batch_or_one = np.where(has_b, batch, 0.0)
    batch = np.where(has_b, batch, _USUAL_LOG[4])
    seq_in = np.where(has_si, seq_in, _USUAL_LOG[5])
    seq_out_or_one = np.where(has_so, seq_out, 0.0)
    seq_out = np.where(has_so, seq_out, _USUAL_LOG[6])
    concurrency = np.where(known[:, 7], concurrency, _USUAL_LOG[7])
    devices = np.where(known[:, 8], devices, 0.0)

    weight_bytes = params + math.log(1e6) + bytes_log
    activation_bytes = acts + math.log(2e6) + np.maximum(bytes_log, math.log(2.0))
    reads = seq_out_or_one - batch_or_one
    sizes = (gmacs + work_log, weight_bytes, activation_bytes, reads)
    flops, rate = (sheets + devices[:, None]).T
    compute, memory = log_times(*sizes, flops, rate)
    here = np.maximum(compute, memory)
    reference = np.maximum(
        *log_times(
            *sizes,
            np.full_like(devices, _REFERENCE_FLOPS_LOG),
            np.full_like(devices, _REFERENCE_BYTES_LOG),
        )
    )

    p, g, a = (params - _USUAL_LOG[0]) / 2, (gmacs - _USUAL_LOG[1]) / 2, (acts - _USUAL_LOG[2]) / 2
    b, si, so = batch - _USUAL_LOG[4], seq_in - _USUAL_LOG[5], seq_out - _USUAL_LOG[6]
    b, si, so = b / 2, si / 2, so / 2
    linear = np.column_stack(
        (
            np.ones(len(names)),
            p,
            g,
            a,
            edge - _USUAL_LOG[3],
            b,
            si,
            so,
            (concurrency - _USUAL_LOG[7]) / 2,
            devices,
            (reference + 7.0) / 2,
            (here - reference) / 2,
            np.tanh((compute - memory) / 2),
            b * b / 2,
            b * p / 2,
            b * g / 2,
            b * si / 2,
            b * so / 2,
            b * devices / 2,
            si * si / 2,
            so * so / 2,
            si * so / 2,
            p * devices / 2,
            g * g / 2,
            a * a / 2,
            g * a / 2,
            bytes_log - math.log(2.0),
            ~has_p,
            ~has_g,
            ~has_a,
            ~has_i,
            ~has_b,
            ~has_seq,
            1.0 - found,
        )
    )
    described = np.column_stack((has_p | has_g, has_b, found > 0))
    return Frame(names, linear, here, 1.0 - described.mean(axis=1))


def _size(value: float | None) -> float:
    """Return a size that can be taken the log of, or zero for what is not known or not usable."""
    if value is None or not 0.0 < value < 1e15:
        return 0.0
    return max(value, 1e-9)


def _rates(sheet: Sheet | None, hardware_class: str, weight_bytes: float) -> tuple[float, float]:
    """Return the logs of the peak rate (flop/s) and bandwidth (bytes/s) of one device."""
    usual = _USUAL_BY_CLASS.get(hardware_class, _USUAL_SHEET)
    sheet = sheet or usual
    half = sheet.fp16_tflops or sheet.fp32_tflops or usual.fp16_tflops or 1.0
    full = sheet.fp32_tflops or half / 2
    tflops = full if weight_bytes >= 4 else half * (2.0 if weight_bytes == 1.0 else 1.0)
    bandwidth = sheet.bandwidth_gb_per_s or usual.bandwidth_gb_per_s or 1.0
    return math.log(tflops * 1e12), math.log(bandwidth * 1e9)
