"""Linear heads that learn one event at a time and stand on one another.

Each node of a tree keeps the sufficient statistics of a ridge regression and draws its weights
towards those that its parent has *now*:

    w = (A + L)^-1 (b + L w_parent),    A = sum x x', b = sum x z

This equals recursive least squares with the parent's weights as its prior (Haykin, "Adaptive
Filter Theory", chapter on RLS), without a stale prior when the parent learns more. A head is
solved anew at every event while it is young and ever more rarely later, so that the mean cost
is O(1) per event.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SHARE_AFTER = 100.0
"""Events of a child after which its further events count less and less for its parent, so that
the parent weighs children, which is what a new child will resemble, and not their events."""


class HeadTree:
    """A tree of ridge regressions of one width.

    Args:
        root: `(d,)`, the weights of the root, which learns nothing: physics.
        precisions: for each level below the root `(d,)`: how firmly its weights are drawn to its
            parent's, in units of one event's information.
        capacity: how many heads are kept at most; the ones unused for longest go first.
    """

    def __init__(self, root: Floats, precisions: Sequence[Floats], capacity: int = 512) -> None:
        width = len(root)
        self.capacity = capacity
        self._width = width
        self._precisions = [np.array(one, dtype=float) for one in precisions]
        self._index: dict[Hashable, int] = {}
        self._weights = np.tile(root, (8, 1))
        self._gram = np.zeros((8, width, width))
        self._moment = np.zeros((8, width))
        self._count = np.zeros(8)
        self._used = np.zeros(8, dtype=np.int64)
        self._unsolved = np.zeros(8)
        self._clock = 0

    def __len__(self) -> int:
        return len(self._index)

    def find(self, path: Sequence[Hashable]) -> int:
        """Return the deepest known head along a path of keys; 0, the root, when none is."""
        for key in reversed(path):
            node = self._index.get(key)
            if node is not None:
                return node
        return 0

    def count(self, key: Hashable) -> float:
        """Return how many events a head has learnt; zero when it is not known."""
        node = self._index.get(key)
        return 0.0 if node is None else float(self._count[node])

    def predict(self, nodes: Integers, x: Floats) -> Floats:
        """Return the `(n,)` values of heads `(n,)` at features `(n, d)`."""
        values: Floats = np.einsum("nd,nd->n", self._weights[nodes], x)
        return values

    def learn(self, path: Sequence[Hashable], x: Floats, z: float) -> None:
        """Learn one event `x (d,)`, `z` in every head along a path, the root's child first.

        Each key must always come with the same keys before it.
        """
        self._clock += 1
        nodes = [self._node(key) for key in path]
        share = 1.0
        outer = np.outer(x, x)
        for node in reversed(nodes):
            self._gram[node] += share * outer
            self._moment[node] += (share * z) * x
            self._count[node] += 1
            self._used[node] = self._clock
            self._unsolved[node] += 1
            share *= min(1.0, _SHARE_AFTER / float(self._count[node]))
        parent, moved = 0, False
        for level, node in enumerate(nodes):
            due = self._unsolved[node] * 24 > self._count[node]
            if due or (moved and self._count[node] < 50):
                self._solve(node, parent, level)
                moved = True
            parent = node

    def forget(self, key: Hashable, keep: float) -> None:
        """Let what a head has learnt count only `keep` (0 to 1) of what it did."""
        node = self._index.get(key)
        if node is not None:
            self._gram[node] *= keep
            self._moment[node] *= keep
            self._count[node] *= keep

    def _solve(self, node: int, parent: int, level: int) -> None:
        precision = self._precisions[level]
        gram = self._gram[node] + np.diag(precision)
        moment = self._moment[node] + precision * self._weights[parent]
        self._weights[node] = np.linalg.solve(gram, moment)
        self._unsolved[node] = 0

    def _node(self, key: Hashable) -> int:
        node = self._index.get(key)
        if node is None:
            node = len(self._index) + 1
            if node > self.capacity:
                node = self._evict()
            elif node >= len(self._weights):
                self._grow()
            self._index[key] = node
            self._gram[node] = 0
            self._moment[node] = 0
            self._count[node] = self._unsolved[node] = 0
        self._used[node] = self._clock
        return node

    def _evict(self) -> int:
        idle = min(self._index, key=lambda key: int(self._used[self._index[key]]))
        return self._index.pop(idle)

    def _grow(self) -> None:
        for name in ("_weights", "_gram", "_moment", "_count", "_used", "_unsolved"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros_like(old))))
