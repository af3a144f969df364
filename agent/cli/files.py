"""Files that commands read and write: what is wrong with one is said before any work is done."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from errno import EACCES, EISDIR, ENOENT
from pathlib import Path

from schemas.errors import BadInput, shown

_WHITE_BYTES = 4_096
"""So much of a file that holds nothing is white space at most."""


class Output:
    """A file for an answer, or none; made by `to_write` before the answer is worked out."""

    def __init__(self, option: str, path: Path | None) -> None:
        self._option = option
        self._path = path

    def write(self, text: str) -> None:
        """Write the text, all of it or nothing; do nothing where no file is wanted.

        Call it when the answer has been shown: a disk that is full must not cost the answer.

        Raises:
            BadInput: it can't be written any more.
        """
        if self._path is None:
            return
        try:
            _write(self._path, text)
        except OSError as error:
            raise _unwritable(self._option, self._path, error) from None


def to_write(option: str, path: Path | None) -> Output:
    """Return the file that an option names, of which is known that it can be written.

    Raises:
        BadInput: it can't, because it is a folder, or there is none for it, or none may.
    """
    if path is not None:
        try:
            _try(path)
        except OSError as error:
            raise _unwritable(option, path, error) from None
    return Output(option, path)


def refuse_empty(path: Path) -> None:
    """Refuse a table without so much as a heading; whatever else it is, its reader tells.

    Raises:
        BadInput: it is empty.
    """
    if path.suffix.lower() != ".csv":
        return
    with suppress(OSError), path.open("rb") as file:
        begins = file.read(_WHITE_BYTES)
        if len(begins) < _WHITE_BYTES and not begins.removeprefix(b"\xef\xbb\xbf").strip():
            raise BadInput.of_field(
                "file", f"{shown(path.name)} is empty", "a line of headings, then measurements"
            )


def _try(path: Path) -> None:
    """Raise OSError if it can't be written. Nothing is left behind, and what is there stays."""
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(ENOENT, f"no folder {shown(str(path.parent))}")
    if _in_place(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
        return
    beside = _beside(path)
    beside.touch(exist_ok=False)
    beside.unlink()


def _write(path: Path, text: str) -> None:
    if _in_place(path):
        path.write_text(text, encoding="utf-8")
        return
    target, beside = path.resolve(), _beside(path)
    try:
        beside.write_text(text, encoding="utf-8")
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _in_place(path: Path) -> bool:
    """Return whether it is no file that another could take the place of: a pipe, a device."""
    return path.exists() and not (
        path.is_file() and os.access(path.resolve().parent, os.W_OK | os.X_OK)
    )


def _beside(path: Path) -> Path:
    """Return the name of a new file where the text goes; what a link leads to is replaced."""
    return path.resolve().parent / f".placewise-{uuid.uuid4().hex}"


def _unwritable(option: str, path: Path, error: OSError) -> BadInput:
    reason = error.strerror or type(error).__name__
    return BadInput.of_field(option, f"{shown(str(path))}: {reason}", "a file that can be written")
