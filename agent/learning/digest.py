"""One fingerprint of learned state, equal if and only if the state is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import numpy as np


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest(state: object) -> str:
    """Return the SHA-256 of a state of numbers, texts, arrays, collections and plain objects.

    Order counts in mappings, because learners forget the oldest first.

    Raises:
        TypeError: the state holds something whose value cannot be told.
    """
    hasher = hashlib.sha256()
    _feed(hasher, state)
    return hasher.hexdigest()


def _feed(hasher: _Hash, value: Any) -> None:
    if value is None or isinstance(value, (bool, int, float, str)):
        hasher.update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, np.ndarray):
        hasher.update(f"array:{value.dtype.str}:{value.shape};".encode())
        hasher.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, np.generic):
        _feed(hasher, value.item())
    elif isinstance(value, Mapping):
        hasher.update(f"mapping:{len(value)};".encode())
        for key, one in value.items():
            _feed(hasher, key)
            _feed(hasher, one)
    elif isinstance(value, Sequence):
        hasher.update(f"sequence:{len(value)};".encode())
        for one in value:
            _feed(hasher, one)
    elif isinstance(value, Set):
        hasher.update(f"set:{len(value)};".encode())
        for one in sorted(digest(one) for one in value):
            hasher.update(one.encode())
    else:
        _feed_object(hasher, value)


def _feed_object(hasher: _Hash, value: Any) -> None:
    hasher.update(f"object:{type(value).__qualname__};".encode())
    if is_dataclass(value):
        _feed(hasher, {one.name: getattr(value, one.name) for one in fields(value)})
    elif hasattr(value, "__dict__"):
        _feed(hasher, dict(sorted(value.__getstate__().items())))
    else:
        raise TypeError(f"no way to tell the value of {type(value).__qualname__}")
