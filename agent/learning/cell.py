"""The cell: what can be measured, and so predicted."""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """A model on hardware in a set-up: what identifies it and what describes it.

    Nothing is read out of `hardware` but a look-up in the catalogue. In `model` a tag after a dot
    names other weights of the same network, and sizes are read that nobody gave (`names.hints`).
    None means unknown, which is never the same as zero.

    Attributes:
        parameters_m: weights, in millions.
        gmacs: multiply-accumulates of one item, in billions.
        activations_m: activations of one item, in millions.
        device_count: how many devices work together.
        input_size: edge of a square input, in pixels.
        sequence_in: tokens read per item.
        sequence_out: tokens written per item.
        concurrency: requests in flight.
        kv_values_per_token: numbers that the model keeps for each token that it has seen.
        kv_precision: of those numbers.
        assumed: how many of the two lengths nobody said, and were taken from another run.
    """

    model: str
    hardware: str
    family: str | None = None
    architecture: str | None = None
    hardware_class: str | None = None
    parameters_m: float | None = None
    gmacs: float | None = None
    activations_m: float | None = None
    device_count: float | None = None
    task: str | None = None
    precision: str | None = None
    runtime: str | None = None
    runtime_options: str | None = None
    parallelism: str | None = None
    batch_size: float | None = None
    input_size: float | None = None
    sequence_in: float | None = None
    sequence_out: float | None = None
    concurrency: float | None = None
    kv_values_per_token: float | None = None
    kv_precision: str | None = None
    assumed: int = 0
