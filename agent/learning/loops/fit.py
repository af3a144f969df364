"""One step of a logistic regression on how a need compares with the memory that there is."""

from __future__ import annotations

import math

import numpy as np

from agent.learning.loops.compiled import Floats, FloatTable, compiled

WIDEST = 6.0
"""Log of need over memory beyond which it makes no difference."""

_SUREST = 30.0
"""Log odds beyond which all is as good as certain."""

_LEAST_MB = 1e-3
_LEAST_SPREAD = 1e-4


@compiled
def step(
    weights: Floats,
    covariance: FloatTable,
    least: Floats,
    most: Floats,
    reasons: Floats,
    fitted: bool,
) -> None:
    """Let weights and their covariance follow one run.

    Args:
        weights: sure, need, training, guess, own; as of `fit.Fit`.
        covariance: of these.
        least: below which none of them goes.
        most: beyond which none of them goes.
        reasons: as of `fit.Reasons`.
        fitted: whether it did.
    """
    counted_mb, guessed_mb, own_mb, held_mb, training = reasons
    sure, need, trained, guess, own = weights
    guessed_mb, own_mb = math.exp(guess) * guessed_mb, math.exp(own) * own_mb
    total_mb = max(counted_mb + guessed_mb + own_mb, _LEAST_MB)
    share = min(max(math.log(total_mb / held_mb), -WIDEST), WIDEST)
    odds = min(max(sure + trained * training + need * share, -_SUREST), _SUREST)
    expected = 1.0 / (1.0 + math.exp(-odds))
    error = (1.0 if fitted else 0.0) - expected
    # Guesses enter by their logarithms: by how much those move the whole, to first order.
    row = np.array([1.0, share, training, need * guessed_mb / total_mb, need * own_mb / total_mb])
    for i in range(len(row)):
        # What is at its bound, and would be moved beyond, leaves the event to the others.
        up, down = weights[i] >= most[i], weights[i] <= least[i]
        if (up and error * row[i] > 0.0) or (down and error * row[i] < 0.0):
            row[i] = 0.0
    spread = max(expected * (1.0 - expected), _LEAST_SPREAD)
    projected = np.zeros(len(row))
    for i in range(len(row)):
        for j in range(len(row)):
            projected[i] += covariance[i, j] * row[j]
    scale = 1.0
    for i in range(len(row)):
        scale += spread * row[i] * projected[i]
    for i in range(len(row)):
        gain = projected[i] / scale
        weights[i] = min(max(weights[i] + gain * error, least[i]), most[i])
        for j in range(len(row)):
            covariance[i, j] -= spread * gain * projected[j]
