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
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.learning.cache import USUAL_BYTES, published_values, usual_values
from agent.learning.catalogue import Catalogue, Sheet
from agent.learning.cell import Cell
from agent.learning.identity import number_of
from agent.learning.names import hints
from agent.learning.roofline import (
    TRAINING_FACTOR,
    bytes_per_weight,
    log_sum,
    log_touched,
    log_work,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]
Names = NDArray[np.int32]
Integers = NDArray[np.int64]

_TAG = re.compile(r"\.(?=[A-Za-z])")
"""A dot before a letter starts a tag of other weights; before a digit, a version (`Qwen1.5`)."""

_VERSION = re.compile(r"[-_ ]?v?\d")
"""Where the name of a runtime ends and its version starts."""

_PARAMS, _GMACS, _ACTS, _EDGE = (math.log(usual) for usual in (25.0, 4.0, 15.0, 224.0))
_BATCH, _SEQ_IN, _SEQ_OUT, _CONCURRENCY = (math.log(usual) for usual in (8.0, 512.0, 256.0, 4.0))
_TOKENS = math.log(160.0)
_THOUSAND, _MILLION, _TWO = math.log(1e3), math.log(1e6), math.log(2.0)

_BENT = 3.0
"""How far from the usual, in linear columns, squares of sizes follow them: farther out a parabola
through what was measured says anything, and the law goes on straight."""

_REFERENCE = (math.log(100e12), math.log(1e12))
"""Logs of flop/s and bytes/s of the device on which one time is compared with another."""

_USUAL_SHEET = Sheet("usual", None, 50.0, 15.0, 500.0)
_USUAL_BY_CLASS = {
    "cpu": Sheet("cpu", "cpu", 2.0, 2.0, 80.0),
    "npu": Sheet("npu", "npu", 200.0, 20.0, 500.0),
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
    "idle",
    "touched",
    "cached",
)
"""The columns of `Frame.linear`, in order."""

WIDTH = len(LINEAR)
BIAS, TIME, SPEED = LINEAR.index("bias"), LINEAR.index("time"), LINEAR.index("speed")
NO_PARAMS, NO_GMACS = LINEAR.index("no_params"), LINEAR.index("no_gmacs")

SIZES = LINEAR[1:10]
NETWORK_SIZES = 4
"""The columns of `Frame.sizes`, in order, and how many of them, the first, are of the network; the
others tell how it is run."""

PARTS = (
    "hardware",
    "task",
    "precision",
    "runtime",
    "option 1",
    "option 2",
    "option 3",
    "parallelism",
    "runtime name",
)
"""What makes a set-up; of its options each by itself, as far as they are told apart."""

NAMES = ("group", "stem", "model")
"""What a network is recognised by besides its sizes."""

_SHORT = (1 << 31) - 1
"""Of a number, what is kept to tell names apart."""

_OPTIONS = 3
_BETWEEN = re.compile(r"\s*[/,;]\s*")
"""What stands between options of a runtime: `nhwc/cu124/eager` is three."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What cells of one hardware, run in one way, have in common.

    Attributes:
        number: stands for the set-up.
        parts: numbers of `PARTS`.
        sheet: whether a data sheet was found.
        rates: logs of peak flop/s and bytes/s of one device.
        bytes_log: log of the bytes of one weight.
        work_log: log of the work of the task relative to a forward pass.
    """

    number: int
    parts: tuple[int, ...]
    sheet: bool
    rates: tuple[float, float]
    bytes_log: float
    work_log: float


class Network(NamedTuple):
    """What is known or imputed of a network and the length of its texts, however it is run.

    Attributes:
        model: number of its name.
        stem: number of the network that the name stands for, whatever its weights.
        group: number of what is like it; see `Keys`.
        size: number of about how many weights run.
        sized: whether its size is known, or read out of its name.
        gmacs: log of the multiply-accumulates of one item, in billions.
        weights: log of how many weights run.
        activations: log of how many activations one item writes and reads.
        reads: log of how often one item reads the weights.
        sizes: linear columns, four of sizes.
        lengths: linear columns, two of lengths.
        length_products: linear columns, three of lengths.
        size_products: linear columns, three of sizes.
        lacks: linear columns, four of sizes that are missing.
        lacks_lengths: linear column.
        idle: linear column.
        cached: log of how many values of its key-value cache one item reads; None if it has none.
    """

    model: int
    stem: int
    group: int
    size: int
    sized: bool
    gmacs: float
    weights: float
    activations: float
    reads: float
    sizes: tuple[float, float, float, float]
    lengths: tuple[float, float]
    length_products: tuple[float, float, float]
    size_products: tuple[float, float, float]
    lacks: tuple[float, float, float, float]
    lacks_lengths: float
    idle: float
    cached: float | None


class Keys(NamedTuple):
    """What identifies a cell, as numbers; equal numbers mean the same thing.

    They are spread evenly over 63 bits, so that the exclusive or of two stands for both.

    Attributes:
        model: the model's name.
        stem: the network that the name stands for, whatever its weights.
        group: architecture, or the family where no architecture is given; the name without its
            numbers where neither architecture nor size is.
        task: what it is run for.
        hardware: the hardware's name.
        setup: hardware and the way it runs, without the sizes.
        cell: all of it.
        parts: numbers of the set-up's `PARTS`.
        rings: what a measurement of the cell is kept together by; see `memory.RINGS`.
    """

    model: int
    stem: int
    group: int
    task: int
    hardware: int
    setup: int
    cell: int
    parts: tuple[int, ...]
    rings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Features of `n` cells.

    Attributes:
        keys: `n` identities.
        linear: `(n, WIDTH)`, finite.
        sizes: `(n, len(SIZES))`, the linear columns of that name.
        names: `(n, len(NAMES) + len(PARTS))`, in short numbers: equal ones mean the same name.
        missing: `(n,)`, the share of describing features that had to be imputed.
        assumed: `(n,)`, whether lengths are those of another run.
    """

    keys: list[Keys]
    linear: Floats
    sizes: Singles
    names: Names
    missing: Floats
    assumed: Flags

    def __len__(self) -> int:
        return len(self.keys)


def frame_of(cells: Sequence[Cell], catalogue: Catalogue) -> Frame:
    """Return the features of cells; any number or name may be missing or never seen before."""
    described = [_describe(cell, catalogue) for cell in cells]
    every, rows, named, missing, assumed = zip(*described, strict=True)
    linear = np.array(rows)
    return Frame(
        list(every),
        linear,
        linear[:, 1:10].astype(np.float32),
        np.array(named, dtype=np.int32),
        np.array(missing),
        np.array(assumed),
    )


@lru_cache(maxsize=4096)
def _describe(
    cell: Cell, catalogue: Catalogue
) -> tuple[Keys, tuple[float, ...], tuple[int, ...], float, bool]:
    """Return a line of each array of a frame; the same cells are asked for again and again."""
    setup = _setup(
        catalogue,
        # However it is spelt, it is the same.
        cell.hardware.casefold(),
        (cell.hardware_class or "").casefold(),
        (cell.task or "").casefold(),
        (cell.precision or "").casefold(),
        (cell.runtime or "").casefold(),
        (cell.runtime_options or "").casefold(),
        (cell.parallelism or "").casefold(),
    )
    network = _network(
        cell.model,
        cell.family,
        cell.architecture,
        cell.parameters_m,
        cell.gmacs,
        cell.activations_m,
        cell.input_size,
        cell.sequence_in,
        cell.sequence_out,
        cell.kv_values_per_token,
    )
    row = _linear(cell, setup, network)
    known = network.sized + (cell.batch_size is not None) + setup.sheet
    keys = _keys(cell, setup, network, row[5])
    names = tuple(one & _SHORT for one in (keys.group, keys.stem, keys.model, *keys.parts))
    return keys, row, names, 1.0 - known / 3.0, cell.assumed > 0


@lru_cache(maxsize=16_384)
def _network(
    model: str, family: str | None, architecture: str | None, *sizes: float | None
) -> Network:
    """Return what is known or imputed of a network; many cells are of few networks.

    Args:
        model: its name.
        family: what it does.
        architecture: what it is like.
        sizes: parameters, multiply-accumulates, activations, input, tokens read, tokens written,
            values kept for each token, each as in `Cell`.
    """
    parameters_m, gmacs_said, activations_m, input_size, sequence_in, sequence_out, kept = sizes
    stem = _TAG.split(model, maxsplit=1)[0]
    said = hints(stem)
    has_params, params = _log(parameters_m or said.parameters_m, _PARAMS)
    # What counts for time is what runs; what else lies in memory has a column of its own.
    idle = -math.log(said.active)
    params -= idle
    has_gmacs, gmacs = _log(gmacs_said or said.gmacs, _GMACS)
    has_kept, values = _log(kept or published_values(stem), 0.0)
    if not has_kept and has_params:
        has_kept, values = True, math.log(usual_values(math.exp(params + idle)))
    has_acts, acts = _log(activations_m or said.activations_m, 0.0)
    has_input, edge = _log(input_size or said.input_size, _EDGE)
    if said.gmacs and input_size and said.input_size:
        # What a network is published with holds for the input that it is published for.
        area = 2.0 * (edge - math.log(said.input_size))
        gmacs += 0.0 if gmacs_said else area
        acts += 0.0 if activations_m else area
    has_in, seq_in = _log(sequence_in, _SEQ_IN)
    has_out, seq_out = _log(sequence_out, _SEQ_OUT)

    tokens = _TOKENS
    if has_in or has_out:
        tokens = math.log(has_in * math.exp(seq_in) + has_out * math.exp(seq_out))
    if not has_gmacs and has_params:
        gmacs = params + tokens - _THOUSAND
    elif has_gmacs and not has_params:
        params = gmacs - tokens + _THOUSAND
    elif not has_gmacs:
        gmacs += said.log_work
        params += said.log_work
    if not has_acts:
        acts = _ACTS + 0.6 * (gmacs - _GMACS)

    p, g, a = (params - _PARAMS) / 2, (gmacs - _GMACS) / 2, (acts - _ACTS) / 2
    bent_g, bent_a = (min(max(size, -_BENT), _BENT) for size in (g, a))
    si, so = (seq_in - _SEQ_IN) / 2, (seq_out - _SEQ_OUT) / 2
    # A network that nobody described is like those of its name: its imputed sizes say little.
    group = number_of("named", said.family)
    if architecture or parameters_m or gmacs_said:
        group = number_of("group", architecture or family or "")
    return Network(
        model=number_of("model", model.casefold()),
        stem=number_of("stem", stem.casefold()),
        group=group,
        size=hash((_PARAMS, round(4.0 * p))),
        sized=(parameters_m or gmacs_said or said.parameters_m) is not None,
        gmacs=gmacs,
        weights=params + _MILLION,
        activations=acts + _MILLION + _TWO,
        reads=has_out * seq_out,
        sizes=(p, g, a, edge - _EDGE),
        lengths=(si, so),
        length_products=(si * si / 2, so * so / 2, si * so / 2),
        size_products=(bent_g * bent_g / 2, bent_a * bent_a / 2, bent_g * bent_a / 2),
        lacks=(1.0 - has_params, 1.0 - has_gmacs, 1.0 - has_acts, 1.0 - has_input),
        lacks_lengths=1.0 - (has_in or has_out),
        idle=idle / 2,
        # Each token that is written reads what is kept of those before it.
        cached=values + seq_out + log_sum(seq_in, seq_out - _TWO) if has_kept and has_out else None,
    )


@lru_cache(maxsize=16_384)
def _setup(catalogue: Catalogue, hardware: str, hardware_class: str, *way: str) -> Setup:
    """Return what hardware and a way to run on it say.

    Args:
        catalogue: of data sheets.
        hardware: its name.
        hardware_class: its class, or nothing.
        way: task, precision, runtime, runtime options, parallelism.
    """
    task, precision, runtime, options, parallelism = way
    sheet = catalogue.find(hardware)
    size = bytes_per_weight(precision) or 2.0
    named = _VERSION.split(runtime, maxsplit=1)[0]
    parts = (hardware, task, precision, runtime, *_each(options), parallelism, named)
    known_class = hardware_class or (sheet.hardware_class if sheet else None) or ""
    return Setup(
        number=number_of(hardware, *way),
        parts=tuple(number_of(*one) for one in zip(PARTS, parts, strict=True)),
        sheet=sheet is not None,
        rates=_rates(sheet, known_class, size),
        bytes_log=math.log(size),
        work_log=math.log(TRAINING_FACTOR) if task == "training" else 0.0,
    )


def _each(options: str) -> list[str]:
    """Return `_OPTIONS` options; where there are fewer, the last one stands for the others too."""
    each = _BETWEEN.split(options, maxsplit=_OPTIONS - 1)
    return each + each[-1:] * (_OPTIONS - len(each))


def _keys(cell: Cell, setup: Setup, network: Network, batch: float) -> Keys:
    # Hashes of numbers, unlike those of texts, are the same in every process.
    shape = hash(
        (
            cell.device_count or 1.0,
            cell.batch_size or 0.0,
            cell.input_size or 0.0,
            cell.sequence_in or 0.0,
            cell.sequence_out or 0.0,
            cell.concurrency or 0.0,
        )
    )
    model, stem, group, size = network[:4]
    number, hardware = setup.number, setup.parts[0]
    here, kin = number ^ stem, number ^ group
    return Keys(
        model=model,
        stem=stem,
        group=group,
        task=setup.parts[1],
        hardware=hardware,
        setup=number,
        cell=model ^ number ^ shape,
        parts=setup.parts,
        rings=(
            here ^ hash((_BATCH, round(4.0 * batch))),
            here,
            kin ^ size,
            kin,
            number ^ shape,
            number,
            stem ^ shape,
            stem,
            stem ^ hardware,
            group ^ size,
        ),
    )


def _linear(cell: Cell, setup: Setup, network: Network) -> tuple[float, ...]:
    has_batch, batch = _log(cell.batch_size, _BATCH)
    _, concurrency = _log(cell.concurrency, _CONCURRENCY)
    _, devices = _log(cell.device_count, 0.0)

    items = has_batch * batch
    operations, moved = _work(setup, network, items)
    compute = operations - (setup.rates[0] + devices)
    bandwidth = setup.rates[1] + devices
    memory = moved - bandwidth
    here = max(compute, memory)
    reference = max(operations - _REFERENCE[0], moved - _REFERENCE[1])

    # By how much longer it would take if everything that theory says were read as well.
    touched = cached = 0.0
    if network.idle:
        _, more = _work(setup, network, items, log_touched(-2.0 * network.idle, items))
        touched = max(compute, more - bandwidth) - here
    if network.cached is not None:
        width = math.log(bytes_per_weight(cell.kv_precision) or USUAL_BYTES)
        cached = log_sum(here, network.cached + width - bandwidth) - here

    b = (batch - _BATCH) / 2
    p, g, _, _ = network.sizes
    si, so = network.lengths
    return (
        1.0,
        *network.sizes,
        b,
        si,
        so,
        (concurrency - _CONCURRENCY) / 2,
        devices,
        (reference + 7.0) / 2,
        (here - reference) / 2,
        math.tanh((compute - memory) / 2),
        b * b / 2,
        b * p / 2,
        b * g / 2,
        b * si / 2,
        b * so / 2,
        b * devices / 2,
        *network.length_products,
        p * devices / 2,
        *network.size_products,
        setup.bytes_log - _TWO,
        *network.lacks,
        1.0 - has_batch,
        network.lacks_lengths,
        1.0 - setup.sheet,
        network.idle,
        touched / 2,
        cached / 2,
    )


def _work(
    setup: Setup, network: Network, items: float, touched: float = 0.0
) -> tuple[float, float]:
    """Return the logs of the operations and of the bytes of one item in a batch (log).

    Args:
        setup: how it is run.
        network: what is run.
        items: log of the items in the batch.
        touched: log of how many weights it reads over those that run for one item.
    """
    return log_work(
        network.gmacs + setup.work_log,
        network.weights + setup.bytes_log + touched,
        network.activations + max(setup.bytes_log, _TWO),
        network.reads - items,
    )


def _log(value: float | None, usual: float) -> tuple[bool, float]:
    """Return whether a size is known, and its log or the usual one."""
    if value is None or not 0.0 < value < 1e15:
        return False, usual
    return True, math.log(max(value, 1e-9))


def _rates(sheet: Sheet | None, hardware_class: str, weight_bytes: float) -> tuple[float, float]:
    """Return the logs of the peak rate (flop/s) and bandwidth (bytes/s) of one device."""
    usual = _USUAL_BY_CLASS.get(hardware_class, _USUAL_SHEET)
    sheet = sheet or usual
    half = sheet.fp16_tflops or sheet.fp32_tflops or usual.fp16_tflops or 1.0
    full = sheet.fp32_tflops or half / 2
    tflops = full if weight_bytes >= 4 else half * (2.0 if weight_bytes == 1.0 else 1.0)
    bandwidth = sheet.bandwidth_gb_per_s or usual.bandwidth_gb_per_s or 1.0
    return math.log(tflops * 1e12), math.log(bandwidth * 1e9)
