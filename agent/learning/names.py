"""What the name of a model says of its size, for want of better.

Names are written for people, and people write sizes into them: `Qwen1.5-7B`, `Mixtral-8x7B`,
`Qwen3-30B-A3B`, `mobilenet-v2-0.75-160`. Nothing is read out of them that was said otherwise,
but for one thing that no descriptor says: how much of a mixture of experts runs for each token.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

_NUMBER = r"(\d+(?:\.\d+)?)"
_EXPERTS = re.compile(rf"(?<![a-z0-9])(\d+)x{_NUMBER}b(?![a-z])")
_ACTIVE = re.compile(rf"(?<![a-z0-9])a{_NUMBER}b(?![a-z])")
_SIZE = re.compile(rf"(?<![a-z0-9.]){_NUMBER}([bm])(?![a-z0-9])")
_EDGE = re.compile(r"(?<![a-z0-9.])(\d{2,4})(?![a-z0-9.])")
_WIDTH = re.compile(r"(?<![a-z0-9.])([0-2]\.\d+)(?![a-z0-9.])")

_RUNNING_EXPERTS = 2.0
"""Experts that run for each token where a name tells no more than how many there are."""

_EDGES = range(64, 1025, 16)
_MILLIONS = {"b": 1000.0, "m": 1.0}
_USUAL_EDGE = 224.0


class Hints(NamedTuple):
    """What a name says; None where it does not.

    Attributes:
        parameters_m: all weights, in millions.
        active: the share of them that runs for each token; 1 for all but mixtures of experts.
        input_size: edge of a square input, in pixels.
        log_work: log of the work by width and input, relative to the usual ones.
        family: the name without the numbers that are understood.
    """

    parameters_m: float | None
    active: float
    input_size: float | None
    log_work: float
    family: str


@lru_cache(maxsize=16_384)
def hints(name: str) -> Hints:
    """Return what the name of a model says.

    Examples:
        >>> hints("Qwen/Qwen1.5-7B").parameters_m
        7000.0
        >>> hints("mistralai/Mixtral-8x7B-v0.1")[:2]
        (56000.0, 0.25)
        >>> hints("Qwen3-30B-A3B")[:2]
        (30000.0, 0.1)
        >>> hints("mobilenet-v2-0.75-160-quantized").input_size
        160.0
    """
    text = name.casefold()
    experts = _EXPERTS.search(text)
    if experts is not None and float(experts[1]) >= 1.0:
        parameters_m = 1000.0 * float(experts[1]) * float(experts[2])
        share = min(1.0, _RUNNING_EXPERTS / float(experts[1]))
        return Hints(parameters_m or None, share, None, 0.0, text)
    size = _SIZE.search(text)
    if size is not None and float(size[1]) > 0.0:
        parameters_m = float(size[1]) * _MILLIONS[size[2]]
        active = _ACTIVE.search(text)
        share = 1.0
        if active is not None and 0.0 < 1000.0 * float(active[1]) < parameters_m:
            share = 1000.0 * float(active[1]) / parameters_m
        return Hints(parameters_m, share, None, 0.0, text)
    edges = [edge for edge in _EDGE.findall(text) if int(edge) in _EDGES][-1:]
    widths = [width for width in _WIDTH.findall(text) if float(width) > 0.0][:1]
    family = text
    for understood in edges + widths:
        family = family.replace(understood, "", 1)
    log_work = 2.0 * math.log(float(edges[0]) / _USUAL_EDGE) if edges else 0.0
    # Work grows with the square of the channels, and so does what they are multiplied with.
    log_work += 2.0 * math.log(float(widths[0])) if widths else 0.0
    return Hints(None, 1.0, float(edges[0]) if edges else None, log_work, family)
