"""What measuring one cell tells of others."""

from __future__ import annotations

import random

import numpy as np
import pytest

from agent.exploring.design import Posterior
from agent.exploring.likeness import Points, covariance, points_of, variances
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
