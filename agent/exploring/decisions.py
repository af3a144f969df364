"""Which benchmarks would change for the better what hardware is chosen.

The worth of a measurement is by how much the best choice is expected to become better for it (the
knowledge gradient with correlated beliefs, Frazier, Powell and Dayanik 2009): a cell that is sure
to be worse, or sure to be known already, changes nothing, however uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.exploring.choosing import Choice, Design, Field, wanted
from agent.exploring.likeness import NOISE
from agent.heart.cells import words_of
from schemas.exploration import DecisionAtHand, IntegrateReply, IntegrateRequest, MeasuredGain

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Choosing:
    """A model for which hardware is to be chosen.

    Attributes:
        places: of its alternatives, in the field's candidates.
        centre: `(k,)` logs of what is expected of each, more being better.
        spread: `(k,)` standard deviations of that, by the learner's calibrated intervals.
    """

    places: tuple[int, ...]
    centre: Floats
    spread: Floats


def deciding(
    *,
    field: Field,
    request: IntegrateRequest,
    request_id: str,
    choosings: Sequence[Choosing],
    open_places: frozenset[int],
    earlier: list[MeasuredGain],
    reasons: list[str],
) -> IntegrateReply:
    """Choose the benchmarks that decisions gain most by, and tell how doubtful those are.

    Args:
        field: its candidates are all alternatives, the measured ones among them.
        request: how many to choose.
        request_id: from which each gets its id.
        choosings: the decisions at hand.
        open_places: the candidates that were not measured.
        earlier: what earlier ones were worth.
        reasons: what to say besides.
    """
    design = Design(field, request)
    for place in range(len(field.candidates)):
        design.open[place] &= place in open_places
    before = design.spread
    chosen = choose(design, choosings, request.budget)
    gained = {choice.place: {"decision_gain": gain} for choice, gain in chosen}
    return IntegrateReply(
        wanted=wanted(field, [choice for choice, _ in chosen], request_id, gained),
        candidates=int(sum(1 for _ in open_places)),
        cells=len(field.targets),
        uncertainty=before,
        expected_uncertainty=design.spread,
        measured=earlier,
        reasons=reasons,
        metric=request.metric,
        decisions=sorted(
            (_at_hand(field, one, request.seed) for one in choosings),
            key=lambda one: (-one.expected_regret, one.model),
        ),
    )


def choose(design: Design, choosings: Sequence[Choosing], count: int) -> list[tuple[Choice, float]]:
    """Choose so many open candidates of a design, with what decisions gain by each (a share)."""
    priors = [design.posterior.prior_among(one.places) for one in choosings]
    first = design.posterior.first.copy()
    chosen: list[tuple[Choice, float]] = []
    while len(chosen) < count and design.open.any():
        gain = _gains(design, choosings, priors, first)
        # Where no decision gains, what teaches most comes first.
        worth = gain * design.chances / design.per + 1e-6 * design.worth()
        place = int(np.where(design.open, worth, -1.0).argmax())
        chosen.append((design.take(place), float(gain[place])))
    return chosen


def knowledge_gradient(centre: Floats, change: Floats) -> Floats:
    """Return `(n,)`, by how much the best of `k` alternatives is expected to rise (log).

    Args:
        centre: `(k,)`, what is expected of each now.
        change: `(n, k)`, what each of `n` measurements moves them by when it comes out one standard
            deviation above what is expected.
    """
    after = (centre + change[:, None, :] * _NODES[:, None]).max(axis=2) @ _WEIGHTS
    gain: Floats = np.maximum(after - centre.max(), 0.0)
    return gain


def _gains(
    design: Design, choosings: Sequence[Choosing], priors: Sequence[Floats], first: Floats
) -> Floats:
    """Return `(candidates,)`, by which share decisions gain from each, on average over them.

    Args:
        design: says what was taken.
        choosings: the decisions.
        priors: for each, `(k, k)` covariances of its alternatives before anything was measured.
        first: `(candidates,)` variances before anything was chosen.
    """
    gains = np.zeros(len(design.field.candidates))
    for one, prior in zip(choosings, priors, strict=True):
        places = np.array(one.places)
        among = prior - design.posterior.taught(one.places)
        own = np.maximum(np.diag(among), 0.0)
        # The process knows how errors hang together; how large they are, the intervals know.
        scale = one.spread / np.sqrt(np.maximum(first[places], 1e-12))
        change = among * scale[:, None] * scale / np.sqrt(own * scale**2 + NOISE**2)[:, None]
        gains[places] += knowledge_gradient(one.centre, change)
    return gains / max(len(choosings), 1)


def _at_hand(field: Field, one: Choosing, seed: int) -> DecisionAtHand:
    """Tell how doubtful a decision is, errors being drawn apart from each other."""
    chance = np.random.default_rng(seed)
    worlds = one.centre + one.spread * chance.standard_normal((_DRAWS, len(one.centre)))
    order = np.argsort(-one.centre, kind="stable")
    best = int(order[0])
    model, hardware, setup = words_of(field.candidates[one.places[best]])
    others = [words_of(field.candidates[one.places[at]])[1].name for at in order.tolist()]
    return DecisionAtHand(
        model=model.name,
        setup=setup,
        recommended=hardware.name,
        runner_up=next((name for name in others if name != hardware.name), None),
        chance_best=float((worlds.argmax(axis=1) == best).mean()),
        expected_regret=float(-np.expm1(worlds[:, best] - worlds.max(axis=1)).mean()),
    )
