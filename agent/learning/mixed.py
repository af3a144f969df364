"""One linear law per domain, and how far each hardware and set-up stays from it.

A linear mixed model with random intercepts (Laird and Ware 1982): the weights are shared by a
whole domain, the offsets are drawn towards zero, those of a set-up on top of its hardware's.
Everything is kept as sufficient statistics, so that offsets always fit the weights of now and
the weights are freed of the offsets exactly, whatever the order of the events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Path = tuple[int, int, int]
"""Keys of a domain, of a hardware in it, and of a set-up of that."""

_SHARE_AFTER = 100.0
"""Events of one offset after which its further events count less and less for the weights: the
law is to hold for the next set-up, and not for the one that was measured most."""

_MEMORY = 1.0 - 1.0 / 400.0
"""What an offset keeps of its past with every event, so that it follows slow change."""

_HARDWARE_FIRMNESS = 0.04
_SETUP_FIRMNESS = 0.16
"""Variance of one event over the variance between hardware, and between set-ups of one."""


class _Rows:
    """Arrays that grow together, with a dictionary from keys to rows."""

    def __init__(self, width: int, capacity: int) -> None:
        self.capacity = capacity
        self.index: dict[int, int] = {}
        self.parent = np.zeros(8, dtype=np.int64)
        self.count = np.zeros(8)
        self.sum_x = np.zeros((8, width))
        self.sum_z = np.zeros(8)
        self.offset = np.zeros(8)

    def place(self, key: int, parent: int) -> int:
        row = self.index.pop(key, -1)
        if row < 0:
            row = len(self.index)
            if row >= self.capacity:
                row = self.index.pop(next(iter(self.index)))
            elif row >= len(self.count):
                for name in ("parent", "count", "sum_x", "sum_z", "offset"):
                    old = getattr(self, name)
                    setattr(self, name, np.concatenate((old, np.zeros_like(old))))
            self.parent[row] = parent
            self.count[row] = self.sum_z[row] = self.offset[row] = 0.0
            self.sum_x[row] = 0.0
        self.index[key] = row
        return row

    def add(self, row: int, x: Floats, z: float) -> None:
        self.count[row] = self.count[row] * _MEMORY + 1.0
        self.sum_x[row] = self.sum_x[row] * _MEMORY + x
        self.sum_z[row] = self.sum_z[row] * _MEMORY + z


class MixedModel:
    """Predicts by the law of a domain and the offset of a set-up or, failing that, a hardware.

    Args:
        root: `(d,)`, the weights to start from: physics.
        precision: `(d,)`: how firmly weights are drawn to the root, in events' information.
        capacity: how many set-ups are kept; the ones unused for longest go first.
        domains: how many domains are kept.
    """

    def __init__(
        self, root: Floats, precision: Floats, capacity: int = 1024, domains: int = 64
    ) -> None:
        width = len(root)
        self.capacity = capacity
        self._root = np.array(root, dtype=float)
        self._precision = np.array(precision, dtype=float)
        self._domains = _Rows(width, domains)
        self._hardware = _Rows(width, capacity)
        self._setups = _Rows(width, capacity)
        self._weights = np.tile(self._root, (domains, 1))
        self._gram = np.zeros((domains, width, width))
        self._moment = np.zeros((domains, width))
        self._unsolved = np.zeros(domains)
        self._shared = _Shares(width)

    def __len__(self) -> int:
        return len(self._setups.index)

    def find(self, path: Path) -> tuple[int, int, int]:
        """Return the rows of a domain, a hardware and a set-up; -1 for one that is not known."""
        return (
            self._domains.index.get(path[0], -1),
            self._hardware.index.get(path[1], -1),
            self._setups.index.get(path[2], -1),
        )

    def predict(self, rows: Integers, x: Floats) -> Floats:
        """Return the `(n,)` values at features `(n, d)` for rows `(n, 3)` as of `find`."""
        domain, hardware, setup = rows.T
        value: Floats = np.einsum("nd,nd->n", self._weights[domain], x)
        known = np.where(hardware >= 0, self._hardware.offset[hardware], 0.0)
        value += np.where(setup >= 0, self._setups.offset[setup], known)
        return value

    def of_setups(self, setups: Integers, x: Floats) -> Floats:
        """Return the values at features `(..., d)` for known set-ups `(...)`."""
        domains = self._setups.parent.take(setups)
        if (domains == domains.flat[0]).all():
            value: Floats = x @ self._weights[domains.flat[0]]
        else:
            value = np.einsum("...d,...d->...", self._weights.take(domains, axis=0), x)
        return value + self._setups.offset.take(setups)

    def learn(self, path: Path, x: Floats, z: float) -> int:
        """Learn one event `x (d,)`, `z`; return the row of its set-up."""
        top = self._domains.place(path[0], 0)
        middle = self._hardware.place(path[1], top)
        row = self._setups.place(path[2], top)
        self._shared.fit(len(self._setups.count))
        share = min(1.0, _SHARE_AFTER / (1.0 + self._shared.events[row]))
        share *= min(1.0, 3.0 * _SHARE_AFTER / (1.0 + float(self._hardware.sum_x[middle, 0])))
        self._gram[top] += np.outer(share * x, x)
        self._moment[top] += (share * z) * x
        self._domains.count[top] += 1.0
        self._unsolved[top] += 1.0
        self._shared.add(row, share, x, z)
        self._hardware.add(middle, x, z)
        self._setups.add(row, x, z)
        self._shared.hardware[row] = middle
        if self._unsolved[top] * 24.0 > self._domains.count[top]:
            self._solve(top)
        else:
            self._offset(np.array([row]), np.array([middle]), self._weights[top])
        return row

    def shift(self, setups: Integers, size: float) -> None:
        """Move what set-ups and their hardware rest on, as if all had been measured so."""
        here, above = self._setups, self._hardware
        here.sum_z[setups] += size * here.count[setups]
        hardware = self._shared.hardware[setups]
        np.add.at(above.sum_z, hardware, size * here.count[setups])
        self._shared.sum_z[setups] += size * self._shared.count[setups]
        for row in setups:
            top = int(here.parent[row])
            self._moment[top] += size * self._shared.sum_x[row]
            self._offset(np.array([row]), self._shared.hardware[row : row + 1], self._weights[top])

    def keys_of(self, setups: Integers) -> list[int]:
        """Return the keys of set-ups by their rows."""
        wanted = set(setups.tolist())
        return [key for key, row in self._setups.index.items() if row in wanted]

    def setups_of(self, path: Path, *, hardware: bool) -> Integers:
        """Return the rows of the set-up of a path, or of all set-ups of its hardware."""
        if not hardware:
            return np.array([self._setups.index[path[2]]])
        used = len(self._setups.index)
        found: Integers = np.flatnonzero(
            self._shared.hardware[:used] == self._hardware.index[path[1]]
        )
        return found

    def _solve(self, top: int) -> None:
        rows = np.flatnonzero(self._setups.parent[: len(self._setups.index)] == top)
        share = self._shared
        spread = 1.0 / (share.count[rows] + _HARDWARE_FIRMNESS)
        sums = share.sum_x[rows]
        gram = self._gram[top] - (sums * spread[:, None]).T @ sums
        moment = self._moment[top] - sums.T @ (share.sum_z[rows] * spread)
        gram[np.diag_indices_from(gram)] += self._precision
        moment += self._precision * self._root
        self._weights[top] = np.linalg.solve(gram, moment)
        self._unsolved[top] = 0.0
        self._offset(rows, share.hardware[rows], self._weights[top])

    def _offset(self, rows: Integers, hardware: Integers, weights: Floats) -> None:
        above, here = self._hardware, self._setups
        left = above.sum_z[hardware] - above.sum_x[hardware] @ weights
        above.offset[hardware] = left / (above.count[hardware] + _HARDWARE_FIRMNESS)
        count = here.count[rows]
        left = here.sum_z[rows] - here.sum_x[rows] @ weights - count * above.offset[hardware]
        here.offset[rows] = above.offset[hardware] + left / (count + _SETUP_FIRMNESS)


class _Shares:
    """What each set-up gave to the weights of its domain, to take its offset out of them."""

    def __init__(self, width: int) -> None:
        self.count = np.zeros(0)
        self.events = np.zeros(0)
        self.sum_x = np.zeros((0, width))
        self.sum_z = np.zeros(0)
        self.hardware = np.zeros(0, dtype=np.int64)

    def fit(self, rows: int) -> None:
        missing = rows - len(self.count)
        if missing > 0:
            for name in ("count", "events", "sum_x", "sum_z", "hardware"):
                old = getattr(self, name)
                more = np.zeros((missing, *old.shape[1:]), dtype=old.dtype)
                setattr(self, name, np.concatenate((old, more)))

    def add(self, row: int, share: float, x: Floats, z: float) -> None:
        self.count[row] += share
        self.events[row] += 1.0
        self.sum_x[row] += share * x
        self.sum_z[row] += share * z
