"""Which browser is best: measurements decide, rules of thumb tip near equals and fade."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.replies import Basis, Estimate
from strategies.browsers import Candidate, decided_by, rank


def candidate(
    browser: str = "chromium",
    backend: str = "wasm",
    per_s: float | None = None,
    measured: int = 0,
    hardware: int | None = None,
    **changes: Any,
) -> Candidate:
    basis = Basis(
        cell=measured,
        model=measured,
        hardware=measured if hardware is None else hardware,
        setup=measured,
        total=100,
    )
    estimates = (
        {}
        if per_s is None
        else {
            "throughput_per_s": Estimate(
                value=per_s, low=per_s * 0.8, high=per_s * 1.2, confidence=0.9, basis=basis
            ),
            "latency_ms": Estimate(
                value=1_000 / per_s, low=1.0, high=1e4, confidence=0.9, basis=basis
            ),
        }
    )
    said: dict[str, Any] = {
        "worker": f"w.{browser}.{backend}",
        "browser": browser,
        "version": "1.0",
        "backend": backend,
        "hardware": "h",
        "software": None,
        "tabs": 1,
        "prediction_id": "p/0",
        "estimates": estimates,
    }
    return Candidate(**{**said, **changes})


def best(*candidates: Candidate, family: str | None = None, goal: Any = "throughput") -> Any:
    ranked = rank(candidates, family, goal)
    return ranked[0].candidate.worker, decided_by(ranked)


@pytest.mark.parametrize("goal", ["throughput", "latency"])
def test_measurements_decide(goal: str) -> None:
    slow, fast = (
        candidate("chromium", per_s=10, measured=5),
        candidate("firefox", per_s=20, measured=5),
    )
    assert best(slow, fast, goal=goal) == ("w.firefox.wasm", "measurements")


@pytest.mark.parametrize(
    ("family", "browser", "backend"),
    [
        ("audio", "firefox", "wasm"),
        ("text_embedding", "edge", "webnn"),
        ("vision", "chrome", "wasm"),
    ],
)
def test_a_rule_of_thumb_tips_near_equals_of_which_nothing_is_known(
    family: str, browser: str, backend: str
) -> None:
    # "aaa" would come first by name.
    other = candidate("aaa", backend)
    assert best(candidate(browser, backend), other, family=family) == (
        f"w.{browser}.{backend}",
        "rules_of_thumb",
    )


def test_measurements_overrule_a_rule_of_thumb() -> None:
    firefox = candidate("firefox", per_s=10.0, measured=10)
    chromium = candidate("chromium", per_s=10.5, measured=10)
    assert best(firefox, chromium, family="audio") == ("w.chromium.wasm", "measurements")
    once = (
        candidate("firefox", per_s=10.0, measured=1),
        candidate("chromium", per_s=10.5, measured=1),
    )
    assert best(*once, family="audio") == ("w.firefox.wasm", "rules_of_thumb")


def test_a_rule_of_thumb_never_outweighs_a_clear_difference() -> None:
    firefox = candidate("firefox", per_s=10.0, measured=1)
    chromium = candidate("chromium", per_s=15.0, measured=1)
    assert best(firefox, chromium, family="audio")[0] == "w.chromium.wasm"


def test_with_nothing_measured_what_browsers_can_do_decides() -> None:
    gpu, cpu = candidate(backend="webgpu"), candidate(backend="wasm")
    assert best(gpu, cpu) == ("w.chromium.webgpu", "capabilities")


def test_a_software_adapter_is_not_tried_for_its_name() -> None:
    software, cpu = candidate(backend="webgpu", software=True), candidate(backend="wasm")
    assert best(software, cpu)[0] == "w.chromium.wasm"


def test_what_is_predicted_from_other_hardware_counts_for_nothing() -> None:
    hearsay = candidate(backend="webgpu", per_s=1_000, hardware=0, software=True)
    known = candidate(backend="wasm", per_s=10, measured=1)
    assert best(hearsay, known) == ("w.chromium.wasm", "measurements")


def test_the_order_of_the_candidates_changes_nothing() -> None:
    some = [candidate("chromium", per_s=10, measured=1), candidate("firefox"), candidate("edge")]
    assert rank(some, "vision", "throughput") == rank(some[::-1], "vision", "throughput")
