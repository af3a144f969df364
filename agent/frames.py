"""Frames over the pipes of a process of our own: a length, then so many bytes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO

from schemas.errors import ProcessEnded

_LENGTH_BYTES = 8


class Peer:
    """A process that answers each frame with one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to, self._from = process.stdin, process.stdout

    async def ask(self, data: bytes) -> bytes:
        """Send a message; return the answer.

        Raises:
            ProcessEnded: it ended before it had answered.
        """
        try:
            self._to.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
            self._to.write(data)
            await self._to.drain()
            length = int.from_bytes(await self._from.readexactly(_LENGTH_BYTES), "big")
            return await self._from.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise ProcessEnded(await self._process.wait()) from error


@asynccontextmanager
async def peer(module: str) -> AsyncIterator[Peer]:
    """Start `python -m module`; end it in any case."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Peer(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def read(stream: BinaryIO) -> bytes:
    """Return the next message of the process that started this one.

    Raises:
        EOFError: there will be none.
    """
    length = stream.read(_LENGTH_BYTES)
    if not length:
        raise EOFError
    return stream.read(int.from_bytes(length, "big"))


def write(stream: BinaryIO, data: bytes) -> None:
    """Answer a message."""
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(data)
    stream.flush()
