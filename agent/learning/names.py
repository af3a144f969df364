"""What the name of a model says of its size, for want of better.

Names are written for people, and people write sizes into them: `Qwen1.5-7B`, `Mixtral-8x7B`,
`Qwen3-30B-A3B`, `mobilenet-v2-0.75-160`. Some names stand for networks whose sizes are public.
Nothing is read out of them that was said otherwise, but for one thing that no descriptor says: how
much of a mixture of experts runs for each token.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from agent.learning.networks import Published, known_network

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
        log_work: log of the work by width and input, relative to the usual ones; 0 where what
            the network is published with is known, which counts them in.
        family: the name without the numbers that are understood.
        gmacs: operations of a forward pass, in thousand millions, at `input_size`.
        activations_m: values between layers, in millions, at `input_size`.
    """

    parameters_m: float | None
    active: float
    input_size: float | None
    log_work: float
    family: str
    gmacs: float | None = None
    activations_m: float | None = None


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
    known = known_network(text)
    edge, width = _edge_and_width(text if known is None else known[1])
    family = text
    for understood in _edge_and_width(text):
        family = family.replace(understood or "", "", 1)
    if known is not None:
        return _published(known[0], _number(edge), _number(width) or 1.0, family)
    log_work = 2.0 * math.log(float(edge) / _USUAL_EDGE) if edge else 0.0
    # Work grows with the square of the channels, and so does what they are multiplied with.
    log_work += 2.0 * math.log(float(width)) if width else 0.0
    return Hints(None, 1.0, _number(edge), log_work, family)


def _published(network: Published, edge: float | None, width: float, family: str) -> Hints:
    """Return what is known of a network, at the input and the width that its name says."""
    area = (edge / network.input_size) ** 2 if edge and network.input_size else 1.0
    return Hints(
        parameters_m=network.parameters_m * width**2,
        active=1.0,
        input_size=edge or network.input_size,
        log_work=0.0,
        family=family,
        gmacs=network.gmacs and network.gmacs * area * width**2,
        activations_m=network.activations_m and network.activations_m * area * width,
    )


def _edge_and_width(text: str) -> tuple[str | None, str | None]:
    """Return the edge of the input and the width of the channels that a text says."""
    edges = [edge for edge in _EDGE.findall(text) if int(edge) in _EDGES]
    widths = [width for width in _WIDTH.findall(text) if float(width) > 0.0]
    return (edges[-1] if edges else None), (widths[0] if widths else None)


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
