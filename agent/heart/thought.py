"""A decision that is still to be made: everything that it rests on, and no learned state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.heart.stimuli import RequestReceived
from schemas.replies import AnyReply


@dataclass(frozen=True, slots=True)
class Thought:
    """A pure function and what it is given; can be pickled, and thought wherever there is room.

    Attributes:
        decide: a function of a module, which comes to the same reply wherever it runs.
        given: its arguments.
    """

    decide: Callable[..., AnyReply]
    given: Mapping[str, Any]

    def think(self) -> AnyReply:
        """Return what it comes to."""
        return self.decide(**self.given)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and its answer as far as learned state is needed for it.

    Attributes:
        answer: the reply itself, or the thought that comes to it.
        logged: whether the reply goes into the log, because it may be measured later.
        as_of_seq: the newest log record that the answer rests on.
    """

    stimulus: RequestReceived
    answer: AnyReply | Thought
    logged: bool
    as_of_seq: int
