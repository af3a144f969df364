"""Pickling a large state piece by piece, so that a loop can do other work in between.

`pickle.dumps` of a heart that has learnt much takes a tenth of a second or more in one go. Here
the objects that make up the state are found first; each, and each slice of a large collection or
array, is then pickled by itself, and refers to the others by number. The pieces come in parts of
about a megabyte, because copying forty of them at once would take long as well.
"""

from __future__ import annotations

import io
import pickle
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_SLICE = 150
"""Items of a large collection that are pickled at once, or objects looked at, if they are small."""

_SLICE_BYTES, _FIRST_SLICE = 1 << 16, 8
"""Bytes that a slice of larger items may have, about a millisecond; how many are tried first."""

_LARGE_ARRAY_BYTES = 1 << 16
_PART_BYTES = 1 << 20
_COLLECTIONS = (dict, list, set, deque)

T = TypeVar("T")


def dump(root: object) -> Generator[None, None, list[bytes]]:
    """Pickle an object; yield often, and return the parts in the end, the contents first.

    Nothing that the object holds may change before the end. What is pickled is what `pickle`
    would take: an object's `__getstate__` is honoured, and references from one plain object
    (an instance with a `__dict__`) to another stay what they are.
    """
    parts = _Parts()
    yield from parts.find(root)
    table: list[tuple[str, list[int]]] = []
    written = _Written()
    for part in parts.found:
        kind, head, rest = part.pieces()
        lengths = [written.add(parts.dumps(head, part.owner))]
        for piece in rest:
            yield
            lengths.append(written.add(parts.dumps(piece, part.owner)))
            if isinstance(rest, _Slices):
                rest.took(lengths[-1])
        table.append((kind, lengths))
        yield
    return [pickle.dumps(table, protocol=5), *written.parts()]


def dumps(root: object) -> list[bytes]:
    """Do what `dump` does, in one go."""
    return _whole(dump(root))


def load(parts: Sequence[bytes]) -> Any:
    """Return the object that was dumped. Only for data of our own making: this is `pickle`."""
    return _whole(loading(parts))


def loading(parts: Sequence[bytes]) -> Generator[None, None, Any]:
    """Do what `load` does; yield often, and return the object in the end."""
    contents, *rest = parts
    written = _Reader(rest)
    objects: list[Any] = []
    waiting: list[tuple[str, list[memoryview]]] = []
    for kind, lengths in pickle.loads(contents):  # noqa: S301 - see above
        head, *slices = [written.read(length) for length in lengths]
        objects.append(_EMPTY[kind](_loads(head, objects)))
        waiting.append((kind, slices))
        yield
    # What was found later is part of what was found before: the inner ones are filled first.
    for (kind, slices), one in zip(reversed(waiting), reversed(objects), strict=True):
        for piece in slices:
            _FILL[kind](one, _loads(piece, objects))
            yield
    return objects[0]


def _whole(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


class _Written:
    """Pieces, put together to parts."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, piece: bytes) -> int:
        """Take a piece; return its length."""
        self._pieces.append(piece)
        self._bytes += len(piece)
        if self._bytes >= _PART_BYTES:
            self._parts = self.parts()
            self._pieces, self._bytes = [], 0
        return len(piece)

    def parts(self) -> list[bytes]:
        """Return all parts; no piece lies in two."""
        return [*self._parts, b"".join(self._pieces)]


class _Reader:
    """Takes parts to pieces again."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = iter(parts)
        self._rest = memoryview(b"")

    def read(self, length: int) -> memoryview:
        """Return the next piece."""
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        piece, self._rest = self._rest[:length], self._rest[length:]
        return piece


class _Part:
    """One object that is pickled by itself; keeps alive what its numbers refer to."""

    def __init__(self, owner: object, state: Any = None) -> None:
        self.owner = owner
        self.state = state

    def pieces(self) -> tuple[str, object, Iterable[object]]:
        match self.owner:
            case np.ndarray():
                return _array_pieces(self.owner)
            case dict():
                return "dict", None, _Slices(self.owner.items())
            case list():
                return "list", None, _Slices(self.owner)
            case set():
                return "set", None, _Slices(self.owner)
            case deque():
                return "deque", self.owner.maxlen, _Slices(self.owner)
            case _:
                return "object", type(self.owner), (self.state,)


class _Parts:
    """The parts of a state, by the identity of what they stand for."""

    def __init__(self) -> None:
        self.found: list[_Part] = []
        self._numbers: dict[int, int] = {}

    def find(self, root: object) -> Iterator[None]:
        waiting: list[Any] = [root]
        visited = 0
        met: dict[int, object] = {}
        while waiting:
            one = waiting.pop()
            visited += 1
            if visited % _SLICE == 0:
                yield
            if id(one) in self._numbers:
                continue
            if isinstance(one, np.ndarray) or type(one) in _COLLECTIONS:
                # What is held in two places is pickled once, however small, and stays one.
                if _is_large(one) or id(one) in met:
                    self._note(_Part(one))
                elif not isinstance(one, np.ndarray):
                    waiting += one.values() if type(one) is dict else one
                met[id(one)] = one
            elif type(one) is tuple:
                waiting += one
            elif _is_plain(one):
                state = one.__getstate__()
                self._note(_Part(one, state))
                waiting += state.values() if isinstance(state, dict) else ()

    def dumps(self, value: object, owner: object) -> bytes:
        file = io.BytesIO()
        _Pickler(file, self._numbers, owner if value is owner else None).dump(value)
        return file.getvalue()

    def _note(self, part: _Part) -> None:
        self._numbers[id(part.owner)] = len(self.found)
        self.found.append(part)


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, numbers: dict[int, int], itself: object) -> None:
        super().__init__(file, protocol=5)
        self._numbers = numbers
        self._itself = itself

    def persistent_id(self, obj: object) -> int | None:
        return None if obj is self._itself else self._numbers.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, objects: Sequence[Any]) -> None:
        super().__init__(file)
        self._objects = objects

    def persistent_load(self, number: int) -> Any:
        return self._objects[number]


def _loads(data: memoryview, objects: Sequence[Any]) -> Any:
    return _Unpickler(io.BytesIO(data), objects).load()


def _is_large(one: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.ndim > 0 and one.nbytes > _LARGE_ARRAY_BYTES and not one.dtype.hasobject
    if len(one) > _SLICE:
        return True
    items = one.values() if type(one) is dict else one
    return sum(len(item) for item in items if type(item) in _COLLECTIONS) > _SLICE


def _is_plain(one: object) -> bool:
    """Whether an object is made by its class without arguments and filled from its state."""
    kind = type(one)
    return (
        hasattr(one, "__dict__")
        and not isinstance(one, type)
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__new__ is object.__new__
        and not callable(one)
    )


class _Slices(Iterator[list[object]]):
    """A collection, some items at a time: as many as are pickled in a slice.

    An item may hold many others, which is seen by what those before it came to.
    """

    def __init__(self, items: Iterable[object]) -> None:
        self._rest = iter(items)
        self._count = _FIRST_SLICE

    def __next__(self) -> list[object]:
        if not (piece := list(islice(self._rest, self._count))):
            raise StopIteration
        return piece

    def took(self, length: int) -> None:
        """Note how many bytes the last slice came to."""
        fitting = self._count * _SLICE_BYTES // length
        self._count = max(1, min(fitting, 2 * self._count, _SLICE))


def _array_pieces(array: NDArray[Any]) -> tuple[str, object, Iterable[object]]:
    if not _is_large(array):
        return "small array", array, ()
    order = "C" if array.flags.c_contiguous else "F"
    return "array", (array.shape, array.dtype, order), _blocks(array)


def _blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Return a large array, as many lines at a time as make up a part."""
    lines = max(1, _PART_BYTES * len(array) // array.nbytes)
    for start in range(0, len(array), lines):
        yield start, array[start : start + lines]


def _set_block(array: NDArray[Any], block: tuple[int, NDArray[Any]]) -> None:
    start, lines = block
    array[start : start + len(lines)] = lines


def _set_state(one: Any, state: Any) -> None:
    if hasattr(one, "__setstate__"):
        one.__setstate__(state)
    elif state is not None:
        one.__dict__.update(state)


_EMPTY: dict[str, Callable[[Any], Any]] = {
    "small array": lambda array: array,
    "array": lambda made: np.empty(made[0], made[1], order=made[2]),
    "dict": lambda _: {},
    "list": lambda _: [],
    "set": lambda _: set(),
    "deque": lambda longest: deque(maxlen=longest),
    "object": lambda kind: kind.__new__(kind),
}
_FILL: dict[str, Callable[[Any, Any], None]] = {
    "array": _set_block,
    "dict": lambda one, items: one.update(items),
    "list": lambda one, items: one.extend(items),
    "set": lambda one, items: one.update(items),
    "deque": lambda one, items: one.extend(items),
    "object": _set_state,
}
