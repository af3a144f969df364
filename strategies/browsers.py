"""Which browser, and which way of running in it, is best for a model.

Measurements decide. Where there are none of a model in a browser, what is predicted from its
relatives stands in, and published rules of thumb tip the balance between near equals: as weak
priors, which fade with each measurement. The answer says which of them decided.

Sources of the rules: public reports of in-browser inference, in which Firefox led for audio
models, Edge for text models on WebNN, and Chrome for vision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.measurement import MetricName
from schemas.replies import BrowserChoice, DecidedBy, Estimate, Estimates
from schemas.requests import BrowserGoal

RULE_FACTOR = 1.15
"""What a rule of thumb is worth: it tips the balance between near equals, and no more."""

_RULES: tuple[tuple[str, str, str | None, str], ...] = (
    ("audio", "firefox", None, "Firefox for audio models"),
    ("text", "edge", "webnn", "Edge for text models on WebNN"),
    ("vision", "chrome", None, "Chrome for vision models"),
    ("vision", "chromium", None, "Chrome for vision models"),
)

# How fast a way of running is expected to be beside WebAssembly when nothing is known of it.
_CAPABILITY = {"webgpu": 3.0, "webnn": 1.5, "wasm": 1.0}
_SOFTWARE_ADAPTER = 0.05  # 10 to 50 times slower than WebAssembly on the same processor


_METRIC: dict[BrowserGoal, MetricName] = {
    "throughput": "throughput_per_s",
    "latency": "latency_ms",
    "memory": "memory_mb",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of running a model that is there.

    `measured` is how often exactly this was measured, before any prediction.
    """

    worker: str
    browser: str
    version: str
    backend: str
    hardware: str
    software: bool | None
    tabs: int
    prediction_id: str
    estimates: Estimates

    @property
    def measured(self) -> int:
        """How many measurements of exactly this cell there are."""
        basis = [one.basis.cell for one in self.estimates.values() if one.basis is not None]
        return max(basis, default=0)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score: the logarithm of a speed, higher is better."""

    candidate: Candidate
    score: float
    without_rules: float
    rules: tuple[str, ...]
    known: bool

    def choice(self, goal: BrowserGoal) -> BrowserChoice:
        """Return it in the words of the contract."""
        one = self.candidate
        return BrowserChoice(
            worker=one.worker,
            browser=one.browser,
            version=one.version,
            backend=one.backend,
            hardware=one.hardware,
            software=one.software,
            tabs=one.tabs,
            measured=one.measured,
            estimate=_estimate(one, goal),
            rules=list(self.rules),
            prediction_id=one.prediction_id,
        )


def rank(candidates: Sequence[Candidate], family: str | None, goal: BrowserGoal) -> list[Ranked]:
    """Return candidates, the best first."""
    anchor = _anchor(candidates, goal)
    ranked = []
    for one in candidates:
        rules = _rules(one, family)
        value = _known(one, goal)
        if value is not None:
            plain = math.log(value.value) * (1 if goal == "throughput" else -1)
        else:
            plain = anchor + math.log(_capability(one))
        worth = len(rules) * math.log(RULE_FACTOR) / (1 + one.measured)
        ranked.append(Ranked(one, plain + worth, plain, rules, value is not None))
    return sorted(ranked, key=lambda one: (-one.score, one.candidate.worker))


def decided_by(ranked: Sequence[Ranked]) -> DecidedBy:
    """Return what put the first one first."""
    first = ranked[0]
    plain_first = min(ranked, key=lambda one: (-one.without_rules, one.candidate.worker))
    if plain_first.candidate != first.candidate and first.rules:
        return "rules_of_thumb"
    if first.candidate.measured:
        return "measurements"
    return "predictions" if first.known else "capabilities"


def _anchor(candidates: Sequence[Candidate], goal: BrowserGoal) -> float:
    """Return what WebAssembly is worth by the best that is known, to set unknown ways beside it."""
    known = [
        math.log(value.value) * (1 if goal == "throughput" else -1) - math.log(_capability(one))
        for one in candidates
        if (value := _known(one, goal)) is not None
    ]
    return max(known, default=0.0)


def _estimate(one: Candidate, goal: BrowserGoal) -> Estimate | None:
    return one.estimates.get(_METRIC[goal])


def _known(one: Candidate, goal: BrowserGoal) -> Estimate | None:
    """Return an estimate that rests on the hardware itself, not on other kinds of it."""
    value = _estimate(one, goal)
    return None if value is None or value.basis is None or not value.basis.hardware else value


def _capability(one: Candidate) -> float:
    return _SOFTWARE_ADAPTER if one.software else _CAPABILITY.get(one.backend, 1.0)


def _rules(one: Candidate, family: str | None) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            words
            for start, browser, backend, words in _RULES
            if (family or "").startswith(start)
            and browser == one.browser
            and backend in (None, one.backend)
        )
    )
