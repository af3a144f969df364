"""Python's collector of cyclic garbage, kept from holding up whoever waits for an answer."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SET_ASIDE_SECONDS = 1.0


@contextmanager
def short_collections() -> Iterator[Callable[[], None]]:
    """Have collections look at what is new only; give what sets aside what lives by then.

    A collection of all that was learnt takes a tenth of a second and more, in one go. So what was
    there before is set aside, and so is what has lived until what is given is called, every
    `SET_ASIDE_SECONDS`. Cycles that die later stay until the end: what is learnt holds none.
    """
    gc.freeze()
    try:
        yield _set_aside
    finally:
        gc.unfreeze()


def _set_aside() -> None:
    gc.collect(1)
    gc.freeze()
