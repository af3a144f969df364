from __future__ import annotations

import numpy as np
import pytest

from agent.learning.catalogue import catalogue
from agent.learning.cell import Cell
from agent.learning.early import Early
from agent.learning.features import WIDTH, Frame, frame_of

DOMAIN, OTHER = 4, 7


def frame(*batches: float, hardware: str = "h") -> Frame:
    return frame_of(
        [Cell("a", hardware, gmacs=1.0, batch_size=one) for one in batches], catalogue()
    )


def taught(count: int, domains: tuple[int, ...] = (DOMAIN,)) -> Early:
    early = Early()
    for domain in domains:
        early.start(domain, np.zeros(WIDTH))
    for number in range(count):
        batch = float(1 + number % 16)
        z = np.full(len(domains), np.log(batch))
        early.learn(frame(batch), domains, [1] * len(domains), z, number)
    return early


def of(early: Early, domain: int, *batches: float) -> tuple[list[float], list[float]]:
    told = early.told(frame(*batches), np.full((len(batches), 1), domain))
    assert told is not None
    return told.mean[:, 0].tolist(), told.odds[:, 0].tolist()


def test_a_small_domain_is_told_and_no_other() -> None:
    early = taught(40)

    told = early.told(frame(4.0, 8.0), np.array([[DOMAIN, OTHER]] * 2))

    assert told is not None
    assert told.known.tolist() == [[True, False]] * 2
    assert told.mean[:, 0] == pytest.approx(np.log([4.0, 8.0]), abs=0.05)
    assert early.told(frame(4.0), np.array([[OTHER]])) is None


def test_cells_of_several_domains_are_told_each_by_its_own() -> None:
    early = taught(20, (DOMAIN, OTHER))
    early.learn(frame(4.0), [OTHER], [1], np.array([3.0]), 99)

    told = early.told(frame(4.0, 4.0), np.array([[DOMAIN, OTHER], [OTHER, DOMAIN]]))

    assert told is not None
    assert told.mean[0].tolist() == told.mean[1][::-1].tolist()
    assert told.mean[0, 0] != told.mean[0, 1]


def test_who_errs_less_counts_more() -> None:
    early = taught(40)
    (first,) = of(early, DOMAIN, 4.0)[1]

    for _ in range(300):
        # Others are right, and the process lies beside them.
        early.judge(np.array([DOMAIN]), np.array([0.01]), np.array([0.3]))
    (wrong,) = of(early, DOMAIN, 4.0)[1]
    for _ in range(600):
        early.judge(np.array([DOMAIN]), np.array([0.3]), np.array([0.3]))
    (right,) = of(early, DOMAIN, 4.0)[1]

    assert first > 0.0
    assert wrong < -1.0
    assert right > first


def test_a_grown_domain_that_needs_no_process_has_none() -> None:
    early = taught(1_100)
    assert of(early, DOMAIN, 4.0)

    for _ in range(600):
        early.judge(np.array([DOMAIN]), np.array([0.0]), np.array([0.3]))
    early.learn(frame(4.0), [DOMAIN], [1], np.array([0.0]), 9_999)

    assert early.told(frame(4.0), np.array([[DOMAIN]])) is None


def test_domains_are_bounded_and_those_unused_for_longest_go() -> None:
    early = taught(5, (DOMAIN, OTHER))
    for domain in range(100, 131):
        early.start(domain, np.zeros(WIDTH))
        early.learn(frame(1.0), [domain, DOMAIN], [1, 1], np.zeros(2), domain)

    assert early.told(frame(1.0), np.array([[OTHER]])) is None
    assert early.told(frame(1.0), np.array([[DOMAIN]])) is not None


def test_a_row_that_stands_for_another_domain_starts_anew() -> None:
    early = taught(20)

    early.start(DOMAIN, np.zeros(WIDTH))

    assert early.told(frame(1.0), np.array([[DOMAIN]])) is None
