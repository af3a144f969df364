"""Which records the log holds already.

Three ways were measured, appending 256 records to a log of a million: a primary key on source
and id needs 120 ms to find the known ones, a primary key on a 128-bit digest 12 to 20 ms, a
scan of digests 9 to 24 ms (and more with every million). Digests in memory need 1 ms, most of
it for making them, and take less memory than either index; without an index, a checkpoint also
costs the same however long the log is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agent.store.port import LogRecord

DIGEST_BYTES = 16
MAX_RECENT = 65_536
"""How many digests are kept unsorted before they are sorted in: a set is quick to add to, but
takes five times the memory."""

Halves = npt.NDArray[np.uint64]


def digest_of(record: LogRecord) -> bytes:
    """Return 128 bits of source and id; the length keeps "ab"+"c" and "a"+"bc" apart."""
    text = f"{len(record.source)}:{record.source}{record.id}"
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def halves_of(digests: Sequence[bytes]) -> tuple[Halves, Halves]:
    """Return the digests as two columns of numbers, which is how the file keeps them."""
    both = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
    return both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64)


class KnownDigests:
    """A set of digests that takes 16 bytes for each, and a little more for the newest.

    Args:
        high: first halves of the digests known from the start.
        low: their second halves.
    """

    def __init__(self, high: Halves, low: Halves) -> None:
        self._high, self._low = _sorted(high, low)
        self._recent: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._high) + len(self._recent)

    def which(self, digests: Sequence[bytes]) -> list[bool]:
        """Return for each digest whether it is known."""
        high, low = halves_of(digests)
        found = np.zeros(len(digests), dtype=bool)
        position = np.searchsorted(self._high, high)
        # Different digests with equal first halves stand side by side: look at each of them.
        open_ = np.arange(len(digests))
        while len(open_):
            open_ = open_[position[open_] < len(self._high)]
            open_ = open_[self._high[position[open_]] == high[open_]]
            found[open_] |= self._low[position[open_]] == low[open_]
            position[open_] += 1
        return [
            bool(old) or digest in self._recent for old, digest in zip(found, digests, strict=True)
        ]

    def add(self, digests: Sequence[bytes]) -> None:
        """Take up digests that are not known yet."""
        self._recent.update(digests)
        if len(self._recent) > MAX_RECENT:
            high, low = halves_of(list(self._recent))
            self._high, self._low = _sorted(
                np.concatenate([self._high, high]), np.concatenate([self._low, low])
            )
            self._recent.clear()


def _sorted(high: Halves, low: Halves) -> tuple[Halves, Halves]:
    # A stable sort merges what is sorted already, and so takes up new digests in one pass.
    order = np.argsort(high, kind="stable")
    return high[order], low[order]
