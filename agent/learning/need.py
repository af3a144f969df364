"""How much memory a run needs by what is known of it: weights, key-value cache, activations.

This is arithmetic, not learning: what frameworks take beyond it is what `agent.learning.fit`
learns.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from agent.learning.cache import USUAL_BYTES, published_values, usual_values
from agent.learning.cell import Cell
from agent.learning.names import hints
from agent.learning.roofline import bytes_per_weight

Part = Literal["weights", "kv_cache", "activations"]

_TRAINING_COPIES = 4.0
"""Training holds gradients and two moments beside the weights."""

_ALIVE, _ALIVE_TRAINING = 0.25, 2.0
"""Activations held at a time, relative to all of them: an assumption. Inference frees most."""

_UNSAID_SHARE = 0.01
"""What an item takes, relative to the weights, where nothing is said of it: a first guess."""


class Need(NamedTuple):
    """What a run needs of all its devices together, in MB (1e6 bytes).

    Attributes:
        unsaid_mb: a guess of what each item takes, where nothing was said that grows with items.
        kv_estimated: whether the cache had to be guessed from the model's size.
    """

    weights_mb: float
    kv_cache_mb: float
    activations_mb: float
    unsaid_mb: float
    kv_estimated: bool

    @property
    def counted_mb(self) -> float:
        """What follows from what was said."""
        cache_mb = 0.0 if self.kv_estimated else self.kv_cache_mb
        return self.weights_mb + cache_mb + self.activations_mb

    @property
    def guessed_mb(self) -> float:
        """What had to be guessed."""
        return self.unsaid_mb + (self.kv_cache_mb if self.kv_estimated else 0.0)

    @property
    def largest(self) -> Part:
        """The part that takes the most."""
        parts: dict[Part, float] = {
            "weights": self.weights_mb,
            "kv_cache": self.kv_cache_mb,
            "activations": self.activations_mb + self.unsaid_mb,
        }
        return max(parts, key=lambda part: parts[part])


def parameters_of(cell: Cell) -> float | None:
    """Return a model's weights, in millions: as was said, or else by its name; None if neither."""
    return _size(cell.parameters_m) or hints(cell.model).parameters_m


def weights_mb(cell: Cell) -> float | None:
    """Return what the weights take, on all devices together; None if their number is unknown."""
    parameters_m = parameters_of(cell)
    if parameters_m is None:
        return None
    return parameters_m * (bytes_per_weight(cell.precision) or USUAL_BYTES)


def need_of(cell: Cell) -> Need | None:
    """Return what a cell needs, or None where not even its weights are known."""
    weights = weights_mb(cell)
    if weights is None:
        return None
    training = cell.task == "training"
    items = _size(cell.batch_size) or 1.0
    activations_m = _size(cell.activations_m) or _published_activations(cell)
    held = max(bytes_per_weight(cell.precision) or USUAL_BYTES, USUAL_BYTES)
    alive = _ALIVE_TRAINING if training else _ALIVE
    values, estimated = _kv_values_per_token(cell)
    kv_bytes = bytes_per_weight(cell.kv_precision) or USUAL_BYTES
    cache_mb = items * _tokens(cell) * values * kv_bytes / 1e6
    grows = activations_m is not None or cache_mb > 0.0
    return Need(
        weights_mb=weights * (_TRAINING_COPIES if training else 1.0),
        kv_cache_mb=cache_mb,
        activations_mb=items * (activations_m or 0.0) * held * alive,
        unsaid_mb=0.0 if grows else items * _UNSAID_SHARE * weights,
        kv_estimated=estimated,
    )


def with_batch(cell: Cell, batch_size: float) -> Cell:
    """Return a cell at another batch size."""
    return cell._replace(batch_size=batch_size)


def with_context(cell: Cell, tokens: float) -> Cell:
    """Return a cell at another context: tokens read and written, together."""
    return cell._replace(sequence_in=tokens, sequence_out=0.0)


def _kv_values_per_token(cell: Cell) -> tuple[float, bool]:
    """Return how many numbers are kept for a token, and whether that had to be guessed.

    Only what writes text token by token keeps any, unless it is said otherwise.
    """
    declared, parameters_m = _size(cell.kv_values_per_token), parameters_of(cell)
    if declared is not None:
        return declared, False
    writes = cell.sequence_out is not None or cell.family == "text_generation"
    if not writes or cell.task == "training" or parameters_m is None:
        return 0.0, False
    published = published_values(cell.model)
    return (usual_values(parameters_m), True) if published is None else (published, False)


def _published_activations(cell: Cell) -> float | None:
    """Return what a network of its name is published with, for the cell's input; None if none."""
    said = hints(cell.model)
    edge = _size(cell.input_size)
    if said.activations_m is None or edge is None or said.input_size is None:
        return said.activations_m
    return said.activations_m * (edge / said.input_size) ** 2


def _tokens(cell: Cell) -> float:
    return (_size(cell.sequence_in) or 0.0) + (_size(cell.sequence_out) or 0.0)


def _size(value: float | None) -> float | None:
    """Return a size that something can have; nothing has none, or more than 1e15."""
    return value if value is not None and 0.0 < value < 1e15 else None
