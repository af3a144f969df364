"""Loopback ports for the servers of tests."""

from __future__ import annotations

import os
import random
from itertools import cycle, islice
from typing import Final

from agent.bus.embedded import is_free

# Below what Linux gives to connections (32,768 and up, net.ipv4.ip_local_port_range): a server
# that starts later, or again, would find such a port taken by some other test's connection.
_FIRST: Final = 10_000
_EACH: Final = 1_000
_PROCESSES: Final = 20
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_own = range(_FIRST + _worker * _EACH, _FIRST + (_worker + 1) * _EACH, 2)
_from = random.SystemRandom().randrange(len(_own))
_pairs = cycle([*_own[_from:], *_own[:_from]])


def free_port() -> int:
    """Return a loopback port that is free, which no other process of this run will choose."""
    return free_pair()


def free_pair() -> int:
    """Return the first of two such ports that follow each other."""
    for port in islice(_pairs, len(_own)):
        if is_free(port) and is_free(port + 1):
            return port
    raise AssertionError(f"no two ports are free among {_own}")
