"""Python's collector of cyclic garbage, kept from holding up whoever waits for an answer."""

from __future__ import annotations

import gc
from types import TracebackType
from typing import Self

SET_ASIDE_SECONDS = 1.0


class ShortCollections:
    """A context in which collections look at what is new only.

    A collection of all that was learnt takes a tenth of a second and more, in one go. So what was
    there before is set aside, and so is what has lived until `set_aside`, which is to be called
    every `SET_ASIDE_SECONDS`. Cycles that die later stay until the end: what is learnt holds none.
    """

    def __enter__(self) -> Self:
        gc.freeze()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gc.unfreeze()

    def set_aside(self) -> None:
        """Collect what is new, and set aside what lives."""
        gc.collect(1)
        gc.freeze()
