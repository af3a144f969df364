"""Frames over the pipes of a process of our own: a length, then so many bytes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import BinaryIO

from schemas.errors import ProcessEnded

_LENGTH_BYTES = 8


class Peer:
    """A process that answers each frame with one."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        to: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
    ) -> None:
        self._process, self._to, self._from = process, to, answers

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
            raise ProcessEnded(await asyncio.to_thread(self._process.wait)) from error


@asynccontextmanager
async def peer(module: str) -> AsyncIterator[Peer]:
    """Start `python -m module`; end it in any case."""
    process = await _start(module)
    loop = asyncio.get_running_loop()
    answers = asyncio.StreamReader()
    with ExitStack() as pipes:
        try:
            reading, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(answers), process.stdout
            )
            pipes.callback(reading.close)
            writing, protocol = await loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), process.stdin
            )
            writer = asyncio.StreamWriter(writing, protocol, None, loop)
            pipes.callback(writer.close)
            yield Peer(process, writer, answers)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


async def _start(module: str) -> subprocess.Popen[bytes]:
    """Start a process without holding up the loop, however much memory this one has.

    The new one has this one's memory until it runs its own program (vfork). A loop of uvloop starts
    one with a copy of the tables of all that memory: 20 ms for a gigabyte, in which nothing else
    happens.
    """
    starting = asyncio.create_task(asyncio.to_thread(_popen, module), name=f"start-{module}")
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        process.kill()
        await asyncio.to_thread(process.communicate)  # waits, and closes its pipes
        raise


def _popen(module: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)  # noqa: S603 - our own


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
