"""Inputs from a manifest's recipe, and whether outputs are what they must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schemas.models import SAMPLES, InputSpec, ModelFile, OutputCheck

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]

CHECK_BATCH = 2
_KNUTH = np.uint64(2_654_435_761)
_WORD = np.uint64(0xFFFF_FFFF)
_AT_ONCE = 1 << 20
"""Values that are made at a time: on their way they take eight times as much room."""


def made_input(spec: InputSpec, batch: int, sizes: Mapping[str, int]) -> Array:
    """Return one input's values by the recipe of `schemas.models`."""
    shape = spec.dimensions(batch, dict(sizes))
    made = np.empty(math.prod(shape), dtype=spec.dtype)
    for start in range(0, len(made), _AT_ONCE):
        some = made[start : start + _AT_ONCE]
        index = np.arange(start, start + len(some), dtype=np.uint64)
        share = ((index * _KNUTH) & _WORD).astype(np.float64) / 2.0**32
        values = spec.low + share * (spec.high - spec.low)
        some[:] = values if spec.dtype == "float32" else np.floor(values)
    return made.reshape(shape)


def input_bytes(model: ModelFile, batch: int, sizes: Mapping[str, int]) -> int:
    """Return how much room all inputs of a model take."""
    return sum(
        math.prod(spec.dimensions(batch, dict(sizes))) * np.dtype(spec.dtype).itemsize
        for spec in model.inputs
    )


def made_inputs(model: ModelFile, batch: int, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return all inputs of a model; sizes that are left out have the manifest's default."""
    whole = {**model.sizes, **sizes}
    return {spec.name: made_input(spec, batch, whole) for spec in model.inputs}


def sampled(output: Array) -> list[float]:
    """Return an output's values at evenly spread positions."""
    flat = output.reshape(-1)
    count = min(SAMPLES, flat.size)
    positions = np.arange(count, dtype=np.int64) * flat.size // max(1, count)
    return [float(value) for value in flat[positions]]


def wrong_output(checks: Sequence[OutputCheck], outputs: Arrays) -> str | None:
    """Return in words how outputs differ from the reference, or None if they agree."""
    for check in checks:
        output = outputs.get(check.name)
        if output is None:
            return f"no output {check.name}"
        if list(output.shape) != check.shape:
            return f"{check.name} has shape {list(output.shape)} in place of {check.shape}"
        if not np.isfinite(output).all():
            return f"{check.name} has values that are not finite"
        wanted = np.array(check.values)
        scale = float(np.abs(wanted).max()) or 1.0
        error = float(np.abs(np.array(sampled(output)) - wanted).max()) / scale
        if error > check.tolerance:
            return f"{check.name} is off by {error:.2g} of its largest value"
    return None
