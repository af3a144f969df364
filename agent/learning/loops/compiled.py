"""Compiles functions once for each machine and version of Placewise, by their annotations."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from agent.learning.loops import kept

_P = ParamSpec("_P")
_R = TypeVar("_R")

Ints = Annotated[NDArray[np.int32], types.int32[::1]]
IntTable = Annotated[NDArray[np.int32], types.int32[:, ::1]]
IntCube = Annotated[NDArray[np.int32], types.int32[:, :, ::1]]
Integers = Annotated[NDArray[np.int64], types.int64[::1]]
IntegerTable = Annotated[NDArray[np.int64], types.int64[:, ::1]]
IntegerCube = Annotated[NDArray[np.int64], types.int64[:, :, ::1]]
Singles = Annotated[NDArray[np.float32], types.float32[::1]]
SingleTable = Annotated[NDArray[np.float32], types.float32[:, ::1]]
Floats = Annotated[NDArray[np.float64], types.float64[::1]]
FloatTable = Annotated[NDArray[np.float64], types.float64[:, ::1]]
FloatCube = Annotated[NDArray[np.float64], types.float64[:, :, ::1]]
"""Arrays of one, two or three dimensions, whose numbers lie one behind the other."""

ShortColumns = Annotated[NDArray[np.int16], types.int16[:, :]]
IntLine = Annotated[NDArray[np.int32], types.int32[:]]
IntColumns = Annotated[NDArray[np.int32], types.int32[:, :]]
IntegerColumn = Annotated[NDArray[np.int64], types.int64[:]]
IntegerColumns = Annotated[NDArray[np.int64], types.int64[:, :]]
SingleLine = Annotated[NDArray[np.float32], types.float32[:]]
SingleColumns = Annotated[NDArray[np.float32], types.float32[:, :]]
FloatColumns = Annotated[NDArray[np.float64], types.float64[:, :]]
"""Columns of a table that has others as well, and lines of such columns."""

Natural = Annotated[np.uint64, types.uint64]
"""A number that cannot be negative."""

_PLAIN = {int: types.int64, float: types.float64, bool: types.boolean, type(None): types.void}

_HERE = Path(__file__).parent


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function compiled now, and not in the middle of an event.

    It takes and returns numbers and the arrays that are named here, or tuples of these.
    """
    return _compile(function, fast=False)


def summed_in_any_order(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function compiled so that it adds up several numbers at once.

    They are added up in the same order each time, but not in the one that is written.
    """
    return _compile(function, fast=True)


def written_out(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function for compiled ones, which is written out in each that calls it.

    It adds up numbers in any order, as `summed_in_any_order` does.
    """
    return _compile(function, fast=True, inline=True)


def _compile(function: Callable[_P, _R], *, fast: bool, inline: bool = False) -> Callable[_P, _R]:
    hints = get_type_hints(function, include_extras=True)
    returned = _type_of(hints.pop("return"))
    made: Callable[_P, _R] = numba.njit(
        returned(*(_type_of(one) for one in hints.values())),
        cache=_KEPT is not None,
        forceinline=inline,
        # Large questions are answered in a thread of their own: the loop goes on meanwhile.
        nogil=True,
        error_model="numpy",
        fastmath={"reassoc", "contract", "nsz"} if fast else False,
    )(function)
    return made


def _type_of(hint: Any) -> types.Type:
    """Return Numba's type for an annotation."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    if get_origin(hint) is tuple:
        return types.Tuple([_type_of(one) for one in get_args(hint)])
    fields = [_type_of(one) for one in get_type_hints(hint, include_extras=True).values()]
    if len(set(fields)) == 1:
        return types.NamedUniTuple(fields[0], len(fields), hint)
    return types.NamedTuple(fields, hint)


def _kept() -> Path | None:
    """Return the folder in which compiled code is kept; None where nothing may be written."""
    own = kept.digest(_HERE)
    for place in kept.places(os.environ, _HERE):
        folder = place / kept.NAME / own
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            # Another place may do; without any, functions are compiled at each start.
            continue
    return None


_KEPT = _kept()
if _KEPT is not None:
    numba.config.CACHE_DIR = str(_KEPT)


@written_out
def natural(number: int) -> Natural:
    """Return a number that is not negative as one that cannot be.

    As an index, it is not looked at for whether it counts from the end, which takes as long as some
    loops' work does. It is an index and nothing else: a sum with other numbers would be a float.
    """
    return np.uint64(number)
