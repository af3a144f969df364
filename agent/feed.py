"""What the agent said last, for whoever watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from schemas.topics import AgentChannel

KEPT = 300
"""Messages of each channel that a new watcher is shown at once."""

WAITING = 1_000
"""Messages that may wait for a watcher; beyond, it misses the oldest."""

Said = tuple[AgentChannel, bytes]
"""A channel, and the CloudEvent said on it, as JSON."""


class Feed:
    """Remembers the newest messages of each channel, and hands on what comes.

    Nobody who watches can hold up the agent: a slow watcher misses messages.
    """

    def __init__(self) -> None:
        self._newest: dict[AgentChannel, deque[bytes]] = {}
        self._watchers: set[asyncio.Queue[Said | None]] = set()
        self._closed = False

    def put(self, channel: AgentChannel, message: bytes) -> None:
        """Take what was said."""
        self._newest.setdefault(channel, deque(maxlen=KEPT)).append(message)
        for watcher in self._watchers:
            _hand(watcher, (channel, message))

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Said | None]]:
        """Give a queue of what was said last, channel by channel, and of all that comes.

        None in it means that nothing more will come.
        """
        queue: asyncio.Queue[Said | None] = asyncio.Queue(WAITING)
        for said in chain.from_iterable(
            ((channel, message) for message in messages)
            for channel, messages in self._newest.items()
        ):
            _hand(queue, said)
        if self._closed:
            _hand(queue, None)
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.remove(queue)

    def close(self) -> None:
        """Tell those who watch that nothing more will come."""
        self._closed = True
        for watcher in self._watchers:
            _hand(watcher, None)


def _hand(watcher: asyncio.Queue[Said | None], said: Said | None) -> None:
    if watcher.full():
        watcher.get_nowait()
    watcher.put_nowait(said)
