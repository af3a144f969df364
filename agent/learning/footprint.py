"""How much memory learned state takes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice

import numpy as np

_LOOKED_AT = 30


def footprint_bytes(state: object) -> int:
    """Return about how many bytes a state of arrays, collections and plain objects takes.

    Arrays and the tables of collections are counted to the byte. Of a large collection, the items
    are taken to be as large as its first thirty: to look at all of them would take a tenth of a
    second. What is held in two places counts once among what is looked at.
    """
    return round(_bytes(state, set()))


def _bytes(one: object, met: set[int]) -> float:
    if one is None or isinstance(one, (type, bool)) or id(one) in met:
        return 0.0
    met.add(id(one))
    own = float(sys.getsizeof(one))
    if isinstance(one, np.ndarray):
        # A view has no memory of its own; what it looks at may be held nowhere else.
        return own + (0.0 if one.base is None else _bytes(one.base, met))
    if isinstance(one, dict):
        own += _of_items(one, len(one), met) + _of_items(one.values(), len(one), met)
    elif isinstance(one, (list, tuple, set, frozenset, deque)):
        own += _of_items(one, len(one), met)
    elif hasattr(one, "__dict__"):
        own += _bytes(vars(one), met)
    else:
        own += sum(_bytes(getattr(one, name), met) for name in getattr(type(one), "__slots__", ()))
    return own


def _of_items(items: Iterable[object], count: int, met: set[int]) -> float:
    if count == 0:
        return 0.0
    looked_at = min(count, _LOOKED_AT)
    return sum(_bytes(one, met) for one in islice(items, looked_at)) * (count / looked_at)
