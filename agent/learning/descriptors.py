"""What was last said about models and hardware, to fill in what a candidate leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from agent.learning.cell import Cell

T = TypeVar("T")


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


class Descriptors:
    """Remembers the last description of each model and hardware.

    Args:
        capacity: how many of each are kept; the ones unused for longest go first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._models: dict[str, ModelDescriptors] = {}
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
        self._models[cell.model] = _described(filled)
        self._hardware.pop(cell.hardware, None)
        self._hardware[cell.hardware] = HardwareDescriptors(filled.hardware_class)
        if len(self._models) > self.capacity:
            del self._models[next(iter(self._models))]
        if len(self._hardware) > self.capacity:
            del self._hardware[next(iter(self._hardware))]
        return filled

    def fill(self, cell: Cell) -> Cell:
        """Return a cell with what it leaves out put in from what was last said.

        Operations and activations follow the area of the input where it is another one.
        """
        model = self._models.get(cell.model)
        hardware = self._hardware.get(cell.hardware)
        if hardware is not None and cell.hardware_class is None and hardware.hardware_class:
            cell = cell._replace(hardware_class=hardware.hardware_class)
        said = _described(cell)
        if model is None or None not in said:
            return cell
        area = 1.0
        if cell.input_size and model.input_size:
            area = (cell.input_size / model.input_size) ** 2
        filled = ModelDescriptors(
            _either(cell.family, model.family),
            _either(cell.architecture, model.architecture),
            _either(cell.parameters_m, model.parameters_m),
            _either(cell.gmacs, _times(model.gmacs, area)),
            _either(cell.activations_m, _times(model.activations_m, area)),
            _either(cell.input_size, model.input_size),
            _either(cell.kv_values_per_token, model.kv_values_per_token),
        )
        if filled == said:
            return cell
        return cell._replace(
            family=filled.family,
            architecture=filled.architecture,
            parameters_m=filled.parameters_m,
            gmacs=filled.gmacs,
            activations_m=filled.activations_m,
            input_size=filled.input_size,
            kv_values_per_token=filled.kv_values_per_token,
        )


def _described(cell: Cell) -> ModelDescriptors:
    return ModelDescriptors(
        cell.family,
        cell.architecture,
        cell.parameters_m,
        cell.gmacs,
        cell.activations_m,
        cell.input_size,
        cell.kv_values_per_token,
    )


def _either(given: T | None, known: T | None) -> T | None:
    return known if given is None else given


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
