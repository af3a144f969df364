"""Which of many candidates to measure, so that little is left unknown of the cells that matter.

Greedy integrated error reduction (active learning by Cohn 1996; for Gaussian processes Seo et al.
2000; near-optimal since returns diminish, Krause et al. 2008). The worth of a candidate is by how
much measuring it lowers the errors to be expected of all cells that matter, not how uncertain it is
itself. Each choice is taken as measured before the next, so that near-duplicates lose worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from agent.exploring.likeness import NOISE, Points, covariance, variances

Floats = NDArray[np.float64]


class Posterior:
    """What stays unknown of candidates and of the cells that matter, together.

    Args:
        measured: what is known already; None for nothing.
        candidates: what may be measured next.
        targets: the cells that matter.

    Attributes:
        across: `(candidates, targets)` covariances.
        own: `(candidates,)` variances.
        left: `(targets,)` variances.
    """

    def __init__(self, measured: Points | None, candidates: Points, targets: Points) -> None:
        self._candidates = candidates
        self.across = covariance(candidates, targets)
        self.own = variances(candidates)
        self.left = variances(targets)
        self._known = np.zeros((0, len(candidates)))
        if measured is not None:
            among = covariance(measured, measured)
            among[np.diag_indices_from(among)] += NOISE**2
            root = cholesky(among, lower=True, overwrite_a=True, check_finite=False)
            self._known = solve_triangular(
                root, covariance(measured, candidates), lower=True, check_finite=False
            )
            known = solve_triangular(
                root, covariance(measured, targets), lower=True, check_finite=False
            )
            self.across -= self._known.T @ known
            self.own = np.maximum(self.own - np.square(self._known).sum(axis=0), 0.0)
            self.left = np.maximum(self.left - np.square(known).sum(axis=0), 0.0)
        self.first = self.own.copy()

    def gains(self, weights: Floats) -> Floats:
        """Return `(candidates,)`, what measuring each removes of the weighted sum of `left`."""
        removed: Floats = (np.square(self.across) @ weights) / (self.own + NOISE**2)
        return removed

    def eased(self, weights: Floats, doubts: Floats) -> Floats:
        """Return `(candidates,)`, the share of the errors to be expected that measuring each saves.

        Args:
            weights: `(targets,)`, how much each cell matters.
            doubts: `(targets,)`, by which the variances of cells are multiplied.
        """
        after = self.left - np.square(self.across) / (self.own + NOISE**2)[:, None]
        shares = errors(doubts * np.maximum(after, 0.0)) @ weights
        shares /= weights @ errors(doubts * self.left)
        saved: Floats = 1.0 - shares
        return saved

    def novelty(self) -> Floats:
        """Return `(candidates,)`, which share of each one's own variance the choices have left."""
        share: Floats = (self.own + 1e-12) / (self.first + 1e-12)
        return share

    def with_candidates(self, chosen: int) -> Floats:
        """Return `(candidates,)` covariances with one of them, given all that was taken."""
        prior = covariance(self._candidates, self._candidates.at([chosen]))[:, 0]
        left: Floats = prior - self._known.T @ self._known[:, chosen]
        return left

    def prior_among(self, places: Sequence[int]) -> Floats:
        """Return `(k, k)` covariances of some candidates before anything was measured."""
        some = self._candidates.at(places)
        return covariance(some, some)

    def taught(self, places: Sequence[int]) -> Floats:
        """Return `(k, k)`, what all that was taken removed of the covariances of candidates."""
        known = self._known[:, list(places)]
        removed: Floats = known.T @ known
        return removed

    def take(self, chosen: int) -> None:
        """Take a candidate as measured."""
        spread = np.sqrt(self.own[chosen] + NOISE**2)
        line = self.with_candidates(chosen) / spread
        shared = self.across[chosen] / spread
        self.across -= line[:, None] * shared[None]
        self.own = np.maximum(self.own - line**2, 0.0)
        self.left = np.maximum(self.left - shared**2, 0.0)
        self._known = np.concatenate((self._known, line[None]))


def errors(variances: Floats) -> Floats:
    """Return the relative errors to be expected of predictions whose logs have such variances.

    Of a normal error e of the log, |exp(e) - 1| is sqrt(2 / pi) (s + s**3 / 3 + s**5 / 15 + ...) on
    average, s being its standard deviation. The first two terms are taken, without the factor:
    what is hardly known must not outweigh everything else. A next measurement is noisy itself.
    """
    variances = variances + NOISE**2
    expected: Floats = np.sqrt(variances) * (1.0 + variances / 3.0)
    return expected


def drawn(weights: Floats, left: Floats, across: Floats, seed: int) -> Floats:
    """Return weights of cells in one world, drawn from what may be so (Thompson 1933).

    In it, a cell counts by how wrong its prediction is there, which on average is as uncertain as
    it is.

    Args:
        weights: `(targets,)`.
        left: `(targets,)` variances.
        across: `(candidates, targets)` covariances, by which errors of like cells are alike.
        seed: of the draw.
    """
    chance = np.random.default_rng(seed)
    shared = across.T @ chance.standard_normal(len(across))
    spread = np.sqrt(np.square(across).sum(axis=0)) + 1e-12
    errors: Floats = np.square(shared / spread)
    return weights * errors * (left > 0.0)
