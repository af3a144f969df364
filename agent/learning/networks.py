"""Sizes of networks that everybody knows by name, for when nobody told them.

Benchmarks are published under names alone: `resnet50`, `bert-99`, `mobilenet-v1-0.5-128`. What
those stand for is public, and says more of a network that was never met than what is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from agent.learning.tables import WORD, Spelt, aliases, number, shipped_rows


@dataclass(frozen=True, slots=True)
class Published:
    """One network as it was published; None where nobody says.

    Attributes:
        parameters_m: weights, in millions.
        gmacs: multiplications and additions of one forward pass, in thousand millions.
        activations_m: values between its layers, in millions.
        input_size: edge of the square input that these hold for, in pixels.
    """

    parameters_m: float
    gmacs: float | None
    activations_m: float | None
    input_size: float | None


def known_network(name: str) -> tuple[Published, str] | None:
    """Return the network that a name begins with, and the rest of the name; None if unknown.

    Words count, however they are joined, without the owner before a slash; the most of them win.

    Examples:
        >>> known_network("google/ResNet-50-v1.5")[1]
        '-v1.5'
        >>> known_network("my own network") is None
        True
    """
    text = name.casefold().rpartition("/")[2]
    found = list(WORD.finditer(text))
    known = _networks().beginning(tuple(word[0] for word in found))
    if known is None:
        return None
    network, count = known
    return network, text[found[count - 1].end() :]


@cache
def _networks() -> Spelt[Published]:
    """Return the shipped networks."""
    return Spelt(
        (spelling, _published(row))
        for row in shipped_rows("networks.csv")
        for spelling in (row["name"], *aliases(row))
    )


def _published(row: Mapping[str, str]) -> Published:
    return Published(
        parameters_m=float(row["parameters_m"]),
        gmacs=number(row, "gmacs"),
        activations_m=number(row, "activations_m"),
        input_size=number(row, "input_size"),
    )


# Read with the module, once: the first prediction would otherwise open a file on the event loop.
_networks()
