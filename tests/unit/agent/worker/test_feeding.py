"""Inputs from the manifest's recipe, made in pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.worker import feeding
from agent.worker.feeding import input_bytes, made_input, made_inputs
from schemas.models import InputSpec, ModelFile, Origin, OutputCheck, TensorType

dtypes = st.sampled_from(["float32", "int64", "int32"])
bounds = st.floats(-1e6, 1e6, width=32)


def by_the_recipe(spec: InputSpec, index: int) -> float | int:
    """Return one value, as the docstring of `schemas.models` says it."""
    share = (index * 2_654_435_761 % 2**32) / 2**32
    value = spec.low + share * (spec.high - spec.low)
    return float(np.float32(value)) if spec.dtype == "float32" else math.floor(value)


@given(dtype=dtypes, low=bounds, high=bounds, rows=st.integers(1, 40), piece=st.integers(1, 150))
def test_pieces_of_any_size_make_the_same(
    dtype: TensorType, low: float, high: float, rows: int, piece: int
) -> None:
    spec = InputSpec(name="x", dtype=dtype, shape=["batch", "width"], low=low, high=high)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feeding, "_AT_ONCE", piece)
        made = made_input(spec, rows, {"width": 3})
    assert (made.dtype, made.shape) == (np.dtype(dtype), (rows, 3))
    assert made.reshape(-1).tolist() == [by_the_recipe(spec, one) for one in range(rows * 3)]


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32"])
@pytest.mark.parametrize("over", [-1, 0, 1, 70_001])
def test_what_is_larger_than_a_piece_goes_on_across_its_border(
    dtype: TensorType, over: int
) -> None:
    piece = feeding._AT_ONCE
    spec = InputSpec(name="x", dtype=dtype, shape=["batch"], low=-30.0, high=1_000.0)
    made = made_input(spec, piece + over, {})
    assert (made.dtype, made.shape) == (np.dtype(dtype), (piece + over,))
    places = {0, 1, *range(piece - 3, piece + 3), *range(0, piece + over, 9_973), piece + over - 1}
    for index in sorted(one for one in places if one < piece + over):
        assert made[index] == by_the_recipe(spec, index), index


def test_the_room_that_inputs_take_is_known_beforehand() -> None:
    model = ModelFile(
        id="one",
        family="text_embedding",
        file="one.onnx",
        sha256="1" * 64,
        size_bytes=10,
        licence="MIT",
        origin=Origin(package="p", version="1", path="x"),
        inputs=[
            InputSpec(name="ids", dtype="int64", shape=["batch", "length"], high=100.0),
            InputSpec(name="mask", dtype="int32", shape=["batch", 1, "length"]),
            InputSpec(name="scale", dtype="float32", shape=[]),
        ],
        sizes={"length": 5},
        outputs=[OutputCheck(name="y", shape=[1], values=[0.5], tolerance=0.01)],
        parameters_m=1.0,
    )
    for batch, length in ((1, 5), (3, 5), (7, 11)):
        made = made_inputs(model, batch, {"length": length})
        room = sum(one.nbytes for one in made.values())
        assert input_bytes(model, batch, {"length": length}) == room
        assert room == batch * length * (8 + 4) + 4
