"""What a strategy is, and the registry of strategies.

A strategy is one file in this package: a class with a name, a rank and a `plan`, under
`@register`. Nothing else has to be changed: the registry finds it, `choose` weighs it, and the
contract suite of the tests covers it.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import ClassVar, Protocol, TypeVar

import strategies
from schemas.measurement import StrategyName
from strategies.outcome import Evaluator
from strategies.workload import Waves


class Strategy(Protocol):
    """A way of running a workload.

    `plan` returns waves that name each model of the workload exactly once. Where it has a choice
    it takes the waves that are best for the workload's goal under its limits; where no choice
    meets the limits it returns its nearest, and the evaluation says what they violate. It never
    raises for a workload of one or more jobs, and takes time polynomial in their number.

    Among outcomes that are equal in all that is predicted, the lower `rank` is chosen.
    """

    name: ClassVar[StrategyName]
    rank: ClassVar[int]

    def plan(self, evaluator: Evaluator) -> Waves:
        """Return the waves for the evaluator's workload."""
        ...


S = TypeVar("S", bound=type[Strategy])

_REGISTRY: dict[str, type[Strategy]] = {}


def register(strategy: S) -> S:
    """Add a strategy to the registry (a class decorator).

    Raises:
        ValueError: another strategy has its name or its rank.
    """
    for other in _REGISTRY.values():
        if other.name == strategy.name or other.rank == strategy.rank:
            raise ValueError(
                f"{strategy.__qualname__} has the name or rank of {other.__qualname__}: "
                f"{strategy.name}, {strategy.rank}"
            )
    _REGISTRY[strategy.name] = strategy
    return strategy


def registered() -> tuple[Strategy, ...]:
    """Return one of each strategy in this package, by rank."""
    _discover()
    return tuple(kind() for kind in sorted(_REGISTRY.values(), key=lambda kind: kind.rank))


@cache
def _discover() -> None:
    """Import every module of this package, so that each strategy has registered itself."""
    for module in pkgutil.iter_modules(strategies.__path__, f"{strategies.__name__}."):
        importlib.import_module(module.name)
