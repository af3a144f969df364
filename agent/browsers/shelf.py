"""Files that tabs may fetch, by content hash and by nothing else."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

MAX_HELD_BYTES = 256 << 20


@dataclass(slots=True)
class Shelf:
    """What can be fetched: files on disk, and values that were made for a job.

    A file is put here by its hash before any tab is told of it, so nothing on this machine can
    be fetched that was not meant to be. Values may be put from several threads at a time.
    """

    _files: dict[str, Path] = field(default_factory=dict)
    _values: dict[str, bytes] = field(default_factory=dict)
    _held: int = 0
    _putting: threading.Lock = field(default_factory=threading.Lock)

    def put_file(self, sha256: str, path: Path) -> None:
        """Offer a file whose hash is known (see the manifest); the tab checks it again."""
        self._files[sha256] = path

    def put_value(self, value: bytes) -> str:
        """Offer a value; return its hash. The oldest make room when too much is held."""
        sha256 = hashlib.sha256(value).hexdigest()
        with self._putting:
            if sha256 not in self._values:
                self._values[sha256] = value
                self._held += len(value)
            while self._held > MAX_HELD_BYTES and len(self._values) > 1:
                self._held -= len(self._values.pop(next(iter(self._values))))
        return sha256

    def find(self, sha256: str) -> Path | bytes | None:
        """Return what is offered under a hash."""
        return self._files.get(sha256) or self._values.get(sha256)
