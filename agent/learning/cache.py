"""The key-value cache: how many numbers what writes text keeps of each token that it has seen.

It takes memory, and reading it takes time: each token that is written reads what is kept of all
tokens before it.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

from agent.learning.tables import Spelt, aliases, shipped_rows

USUAL_BYTES: Final = 2.0
"""Of a number whose precision nobody said: half precision."""

_LAYER_SHAPE = 128.0
_GROUPED = 0.25
"""Width of a transformer over its depth, and key-value heads over heads, where neither is known.

Assumptions: the shape is that of Llama 2 and 3; their heads are grouped by 1 to 8.
"""


@lru_cache(maxsize=4096)
def published_values(model: str) -> float | None:
    """Return how many values a network that everybody knows keeps; None for any other.

    A key and a value in each layer for each of its key-value heads. The words of its name stand
    anywhere in that of the model, without the owner before a slash; the most of them win.

    Examples:
        >>> published_values("meta-llama/Meta-Llama-3-8B-Instruct")
        65536.0
        >>> published_values("lmsys/vicuna-7b-v1.5")
        262144.0
        >>> published_values("my own network") is None
        True
    """
    return _transformers().within(model.rpartition("/")[2])


def usual_values(parameters_m: float) -> float:
    """Return how many values a network of so many weights, in millions, usually keeps.

    A transformer has about 12 x depth x width^2 parameters (Kaplan et al. 2020).
    """
    depth: float = (parameters_m * 1e6 / (12.0 * _LAYER_SHAPE**2)) ** (1.0 / 3.0)
    return 2.0 * depth * depth * _LAYER_SHAPE * _GROUPED


@cache
def _transformers() -> Spelt[float]:
    """Return what the shipped networks keep."""
    return Spelt(
        (spelling, 2.0 * int(row["layers"]) * int(row["kv_heads"]) * int(row["head_size"]))
        for row in shipped_rows("transformers.csv")
        for spelling in (row["name"], *aliases(row))
    )


# Read with the module, once: the first prediction would otherwise open a file on the event loop.
_transformers()
