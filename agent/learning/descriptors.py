"""What was last said about models and hardware, to fill in what a candidate leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from agent.learning.cell import Cell


class ModelDescriptors(NamedTuple):
    """What describes a model; None where it was never said."""

    family: str | None = None
    architecture: str | None = None
    parameters_m: float | None = None
    gmacs: float | None = None
    activations_m: float | None = None
    input_size: float | None = None
    kv_values_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class HardwareDescriptors:
    """What describes hardware; None where it was never said."""

    hardware_class: str | None = None


class Lengths(NamedTuple):
    """With how many tokens a model last ran; None where it was not said."""

    sequence_in: float | None
    sequence_out: float | None


_SAID = attrgetter(*ModelDescriptors._fields)
"""What a cell says of its model, in the order of `ModelDescriptors`."""

_OF_THE_INPUT = {"gmacs", "activations_m"}


class Descriptors:
    """Remembers the last description of each model and hardware.

    Args:
        capacity: how many of each are kept; the ones unused for longest go first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._models: dict[str, ModelDescriptors] = {}
        self._lengths: dict[str, Lengths] = {}
        self._hardware: dict[str, HardwareDescriptors] = {}

    @property
    def models(self) -> list[str]:
        """The names of the models that are known, in alphabetical order."""
        return sorted(self._models)

    @property
    def hardware(self) -> list[str]:
        """The names of the hardware that is known, in alphabetical order."""
        return sorted(self._hardware)

    def model(self, name: str) -> ModelDescriptors | None:
        """Return what was last said about a model; None when it was never met."""
        return self._models.get(name)

    def of_hardware(self, name: str) -> HardwareDescriptors | None:
        """Return what was last said about hardware; None when it was never met."""
        return self._hardware.get(name)

    def learn(self, cell: Cell) -> Cell:
        """Remember what a cell says about its model and hardware; return it filled in."""
        filled = self.fill(cell)
        self._models.pop(cell.model, None)
        self._models[cell.model] = ModelDescriptors._make(_SAID(filled))
        self._lengths.pop(cell.model, None)
        if cell.sequence_in is not None or cell.sequence_out is not None:
            self._lengths[cell.model] = Lengths(cell.sequence_in, cell.sequence_out)
        self._hardware.pop(cell.hardware, None)
        self._hardware[cell.hardware] = HardwareDescriptors(filled.hardware_class)
        if len(self._models) > self.capacity:
            gone = next(iter(self._models))
            del self._models[gone]
            self._lengths.pop(gone, None)
        if len(self._hardware) > self.capacity:
            del self._hardware[next(iter(self._hardware))]
        return filled

    def assume(self, cell: Cell) -> Cell:
        """Return a cell with the lengths that it does not say, and with which its model last ran.

        What is learnt keeps to what was said: this is for cells that are asked for.
        """
        lacking: dict[str, Any] = self.assumed(cell)
        return cell._replace(**lacking, assumed=len(lacking)) if lacking else cell

    def assumed(self, cell: Cell) -> dict[str, float]:
        """Return the lengths that `assume` fills in, by name."""
        lengths = self._lengths.get(cell.model)
        if lengths is None:
            return {}
        return {
            name: length
            for name, length in zip(Lengths._fields, lengths, strict=True)
            if length is not None and getattr(cell, name) is None
        }

    def fill(self, cell: Cell) -> Cell:
        """Return a cell with what it leaves out put in from what was last said.

        Operations and activations follow the area of the input where it is another one.
        """
        model = self._models.get(cell.model)
        hardware = self._hardware.get(cell.hardware)
        if hardware is not None and cell.hardware_class is None and hardware.hardware_class:
            cell = cell._replace(hardware_class=hardware.hardware_class)
        said = _SAID(cell)
        if model is None or None not in said or said == model:
            return cell
        area = 1.0
        if cell.input_size and model.input_size:
            area = (cell.input_size / model.input_size) ** 2
        lacking: dict[str, Any] = {
            name: known
            for name, given, known in zip(ModelDescriptors._fields, said, model, strict=True)
            if given is None and known is not None
        }
        if area != 1.0:
            for name in _OF_THE_INPUT & lacking.keys():
                lacking[name] *= area
        return cell._replace(**lacking) if lacking else cell
