"""What may be measured, without listing every combination of everything.

Known ways to run a family of models are combined with known models of that family, one model
after another along the ways, until there are enough: of millions of combinations a bounded,
seeded sample that holds all models and all ways evenly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from agent.heart.cells import cell_of
from agent.learning.cell import Cell
from schemas.errors import BadInput
from schemas.exploration import ExplorationRequest
from schemas.measurement import HardwareSpec, ModelSpec

MOST_CANDIDATES = 1_500

_OF_MODEL = (
    "family",
    "architecture",
    "parameters_m",
    "gmacs",
    "activations_m",
    "input_size",
    "kv_values_per_token",
)
"""What a cell says of its model; the rest is how, and on what, it runs."""

_NO_MODEL: dict[str, Any] = dict.fromkeys(_OF_MODEL)
_ANY = ModelSpec(name="any")

_WAY = itemgetter(
    *(at for at, name in enumerate(Cell._fields) if name not in {"model", *_OF_MODEL})
)
"""What a cell says of the way to run it. Many cells have it in common."""

_Ways = dict[Cell, set[str | None] | None]
"""Ways to run a model, each as a cell without one, with the families that it is known of; None for
those that are for all."""


class Known(NamedTuple):
    """What is known to combine.

    Attributes:
        cells: that were measured, the newest last.
        models: the newest cell of each model, which may not be among `cells` any more.
        hardware: all that was measured, though its cells may be forgotten.
    """

    cells: Sequence[Cell]
    models: Mapping[str, Cell]
    hardware: Collection[str]


@dataclass(frozen=True, slots=True)
class Space:
    """The candidates, and where each comes from.

    Attributes:
        cells: those that may be measured.
        of: how many combinations there are, those already measured among them.
    """

    cells: list[Cell]
    of: int


def space(request: ExplorationRequest, is_measured: Callable[[Cell], bool], known: Known) -> Space:
    """Return what may be measured by a request.

    Args:
        request: names what is allowed; what it leaves out is taken from what was measured.
        is_measured: says of a cell that it need not be measured again.
        known: models, hardware and ways to run them are taken from it.

    Raises:
        BadInput: nothing is known that could be combined.
    """
    models = _models(request, known.models)
    ways = dict(_varied(request, _ways(request, known)))
    if not models or not ways:
        raise BadInput.of_field(
            "models" if not models else "hardware",
            "left out, and none was ever measured",
            "their names",
        )
    found: dict[Cell, None] = {}
    combinations = 0
    for family, some in models.items():
        # A model of which nobody said what it does may run in any way that is known.
        fitting = [
            way
            for way, families in ways.items()
            if family is None or families is None or family in families
        ]
        combinations += len(some) * len(fitting)
        for cell in _spread(some, fitting, MOST_CANDIDATES, request.seed):
            if not is_measured(cell):
                found[cell] = None
    cells = list(found)
    if len(cells) > MOST_CANDIDATES:
        cells = random.Random(request.seed).sample(cells, MOST_CANDIDATES)
    return Space(cells, combinations)


def _spread(models: Sequence[Cell], ways: Sequence[Cell], most: int, seed: int) -> Iterator[Cell]:
    """Yield combinations, `4 * most` at most, each model and each way about as often."""
    if not ways:
        return
    chance = random.Random(seed)
    total = len(models) * len(ways)
    if total <= 4 * most:
        places: Iterable[int] = range(total)
    else:
        places = chance.sample(range(total), 4 * most)
    for place in places:
        model, way = models[place // len(ways)], ways[place % len(ways)]
        yield way._replace(model=model.model, **{name: getattr(model, name) for name in _OF_MODEL})


def _models(request: ExplorationRequest, known: Mapping[str, Cell]) -> dict[str | None, list[Cell]]:
    """Return models by family, each as the newest cell says it."""
    if request.models is not None:
        chosen = [_named(model, known.get(model.name)) for model in request.models]
    else:
        chosen = list(known.values())
    families: dict[str | None, list[Cell]] = {}
    for cell in chosen:
        families.setdefault(cell.family, []).append(cell)
    return families


def _named(model: ModelSpec, known: Cell | None) -> Cell:
    cell = known or Cell(model=model.name, hardware="")
    said: dict[str, Any] = {
        "family": model.family,
        "architecture": model.architecture,
        "parameters_m": model.parameters_m,
        "gmacs": model.gmacs,
        "activations_m": model.activations_m,
        "kv_values_per_token": model.kv_values_per_token,
    }
    return cell._replace(**{name: value for name, value in said.items() if value is not None})


def _ways(request: ExplorationRequest, known: Known) -> _Ways:
    """Return the ways to run a model that are declared, or known."""
    if request.setups is not None:
        hardware = request.hardware or [HardwareSpec(name=name) for name in known.hardware]
        return {
            cell_of(_ANY, one, setup)._replace(model=""): None
            for one in hardware
            for setup in request.setups
        }
    measured = _measured_ways(known.cells)
    named = {one.name: one for one in request.hardware or ()}
    ways: _Ways = {
        way: families for way, families in measured if not named or way.hardware in named
    }
    met = {way.hardware for way, _ in measured}
    for one in named.values():
        if one.name in met:
            continue
        # Hardware of which no cell is known may run whatever ways are known elsewhere.
        for way, families in measured:
            there = way._replace(
                hardware=one.name,
                hardware_class=one.hardware_class,
                device_count=one.count or way.device_count,
            )
            ways[there] = (ways.get(there) or set()) | families
    return ways


def _measured_ways(cells: Iterable[Cell]) -> list[tuple[Cell, set[str | None]]]:
    """Return the ways in which cells were measured, and of which families."""
    ways: dict[tuple[Any, ...], tuple[Cell, set[str | None]]] = {}
    for cell in cells:
        key = _WAY(cell)
        if key not in ways:
            ways[key] = cell._replace(model="", **_NO_MODEL), set()
        ways[key][1].add(cell.family)
    return list(ways.values())


def _varied(
    request: ExplorationRequest, ways: _Ways
) -> Iterator[tuple[Cell, set[str | None] | None]]:
    """Yield ways with the batch sizes, precisions and runtimes that were asked for."""
    for way, families in ways.items():
        for batch in request.batch_sizes or (way.batch_size,):
            for precision in request.precisions or (way.precision,):
                for runtime in request.runtimes or (way.runtime,):
                    yield (
                        way._replace(batch_size=batch, precision=precision, runtime=runtime),
                        families,
                    )
