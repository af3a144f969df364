"""The roofline: no item is faster than its operations or its bytes allow.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from agent.learning.catalogue import Sheet

TRAINING_FACTOR = 3.0
"""A training step does about three times the work of a forward pass (Kaplan et al. 2020)."""

_LOG_FLOPS_PER_GMAC = math.log(2e9)

FEWEST_BYTES = 0.5
"""Bytes of a weight where no precision is said: nothing in use is as small and as fast, and nothing
computes faster with less."""

TOLERANCE = 1.15
"""Boost clocks and measurement error: how far over a data sheet a measurement may lie."""

_MOST_LOG_ITEMS = 40.0
"""Beyond so many (log), all weights are read of whatever share."""

_BYTES = (
    (re.compile(r"fp32|float32|tf32|\bf32"), 4.0),
    (re.compile(r"int2|\bw2|\bq2|\b2-?bit|\biq2"), 0.25),
    (re.compile(r"int3|\bw3|\bq3|\b3-?bit|\biq3"), 0.375),
    (re.compile(r"int4|\bq4|4-?bit|awq|gptq|nf4|fp4|\bw4|\biq4"), 0.5),
    (re.compile(r"bf16|fp16|float16|\bamp|half|\bf16|w16"), 2.0),
    (re.compile(r"\bq[56]"), 0.75),
    (re.compile(r"int8|fp8|float8|\bq8|8-?bit|\bw8"), 1.0),
)
"""What one stored number takes, without the scales that some formats keep beside it.

The first that fits holds: `w4a16` has weights of 4 bits, whatever it computes in.
"""


@lru_cache(maxsize=1024)
def bytes_per_weight(precision: str | None) -> float | None:
    """Return how many bytes one weight takes at a precision; None where it does not say."""
    if precision is None:
        return None
    word = precision.casefold()
    for pattern, size in _BYTES:
        if pattern.search(word):
            return size
    return None


def most_tflops(sheet: Sheet, precision: str | None) -> float:
    """Return the peak rate of one device at a precision, in TFLOP/s; 0 where no sheet says it."""
    tflops = max(sheet.fp16_tflops or 0.0, sheet.fp32_tflops or 0.0)
    # Where no precision is said, the fastest one that hardware knows may have been used.
    size = bytes_per_weight(precision) or FEWEST_BYTES
    return tflops * 2.0 / max(size, FEWEST_BYTES) if size <= 1.0 else tflops


def flops_per_item(gmacs: float, task: str | None) -> float:
    """Return the operations of one item of so many billion multiply-accumulates."""
    return gmacs * 2e9 * (TRAINING_FACTOR if task == "training" else 1.0)


def log_touched(log_share: float, log_batch: float) -> float:
    """Return the log of how many weights a batch reads, over those that run for one item.

    Of a mixture of experts each item chooses some, and what any of them chose is read: with a share
    s for each, the share of a batch of B is 1 - (1 - s)**B where they choose independently.

    Args:
        log_share: of the weights, those that run for one item; below 0.
        log_batch: of the items.

    Examples:
        >>> log_touched(math.log(0.25), 0.0)
        0.0
        >>> round(math.exp(log_touched(math.log(0.25), math.log(64.0))), 3)
        4.0
    """
    batch = math.exp(min(log_batch, _MOST_LOG_ITEMS))
    none = batch * math.log1p(-math.exp(log_share))
    return max(0.0, math.log(-math.expm1(none)) - log_share)


def log_sum(log_one: float, log_other: float) -> float:
    """Return the log of a sum by the logs of what is added."""
    most, least = max(log_one, log_other), min(log_one, log_other)
    return most + math.log1p(math.exp(least - most))


def log_work(
    log_gmacs: float, log_weight_bytes: float, log_activation_bytes: float, log_reads: float
) -> tuple[float, float]:
    """Return the natural logs of the operations and of the bytes of one item.

    Less the log of a rate, each is the log of the seconds that it takes.

    Args:
        log_gmacs: of the multiply-accumulates of one item, in billions.
        log_weight_bytes: of the bytes of all weights.
        log_activation_bytes: of the activation bytes that one item moves.
        log_reads: of how often one item's share of the batch reads the weights.
    """
    moved = log_sum(log_weight_bytes + log_reads, log_activation_bytes)
    return _LOG_FLOPS_PER_GMAC + log_gmacs, moved
