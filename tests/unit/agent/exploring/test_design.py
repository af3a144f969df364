"""What measuring one cell tells of others."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.special import erf

from agent.exploring.design import Posterior, errors
from agent.exploring.likeness import NOISE, Points, covariance, points_of, variances
from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell


def cells(count: int, seed: int = 0) -> list[Cell]:
    chance = random.Random(seed)
    return [
        Cell(
            f"net{chance.randrange(5)}",
            chance.choice(("nvidia_a100", "nvidia_t4", "a-laptop")),
            task="inference",
            architecture=chance.choice(("vit", "resnet")),
            gmacs=chance.uniform(0.5, 20.0),
            batch_size=float(chance.choice((1, 4, 16))),
            runtime=chance.choice(("pytorch", "onnx")),
            precision=chance.choice(("fp16", "fp32")),
        )
        for _ in range(count)
    ]


def points(count: int, seed: int = 0) -> Points:
    return points_of(cells(count, seed), catalogue(()))


def test_covariances_are_those_of_some_process() -> None:
    some = points(60)
    among = covariance(some, some)
    np.testing.assert_allclose(among, among.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(among), variances(some), rtol=1e-6)
    assert np.linalg.eigvalsh(among).min() > -1e-8


def test_a_network_tells_more_of_itself_elsewhere_than_of_another() -> None:
    here = Cell("net", "one", task="inference", architecture="vit", gmacs=4.0, batch_size=8.0)
    there = Cell("net", "two", task="inference", architecture="vit", gmacs=4.0, batch_size=8.0)
    other = Cell("odd", "two", task="inference", architecture="mlp", gmacs=4.0, batch_size=8.0)
    some = points_of([here, there, other], catalogue(()))
    among = covariance(some, some)
    assert among[0, 1] > among[0, 2]


def test_sizes_beside_each_other_tell_more_than_sizes_far_apart() -> None:
    sizes = (8.0, 16.0, 1024.0)
    some = points_of([Cell("net", "one", batch_size=size) for size in sizes], catalogue(()))
    left = Posterior(some.at([0]), some, some).left / variances(some)
    assert left[0] < left[1] < left[2]


def test_families_tell_nothing_of_each_other() -> None:
    some = points_of(
        [Cell("net", "one", family=family) for family in ("vision", "text_generation")],
        catalogue(()),
    )
    assert covariance(some, some)[0, 1] == 0.0


def test_errors_are_those_of_a_prediction_whose_log_is_normal() -> None:
    """The mean of |exp(e) - 1| is exp(v / 2) erf(sqrt(v / 2)), up to the factor."""
    v = np.linspace(0.0, 0.5, 20) + NOISE**2
    exact = np.exp(v / 2) * erf(np.sqrt(v / 2)) * np.sqrt(np.pi / 2)
    np.testing.assert_allclose(errors(v - NOISE**2), exact, rtol=0.02)


def test_what_is_doubted_more_is_eased_first() -> None:
    apart = [Cell("a", "one", family="vision"), Cell("b", "one", family="text_generation")]
    some = points_of(apart, catalogue(()))
    posterior = Posterior(None, some, some)
    posterior.own[:] = posterior.left[:] = 0.2
    posterior.across[:] = np.diag([0.2, 0.2])
    alike = posterior.eased(np.full(2, 0.5), np.ones(2))
    doubted = posterior.eased(np.full(2, 0.5), np.array([1.0, 3.0]))
    assert alike[0] == pytest.approx(alike[1])
    assert doubted[1] > 1.5 * doubted[0]
    assert 0.0 < doubted.min() < doubted.sum() < 1.0


@pytest.mark.parametrize("taken", [[], [3], [3, 11, 7]])
def test_what_was_taken_is_off_the_covariances_of_few_as_of_all(taken: list[int]) -> None:
    candidates = points(20, seed=1)
    posterior = Posterior(points(10, seed=2), candidates, candidates)
    for place in taken:
        posterior.take(place)
    places = (2, 5, 11)
    all_of_them = np.stack([posterior.with_candidates(place)[list(places)] for place in places])
    few = posterior.prior_among(places) - posterior.taught(places)
    np.testing.assert_allclose(few, all_of_them, atol=1e-9)
