"""Requests and predictions for the tests of decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from schemas.replies import Estimate, Estimates
from schemas.requests import Device, HardwareOption, PlaceRequest, StrategyRequest, WorkItem
from strategies.contention import ALONE, Speed
from strategies.place import PlacementCell
from strategies.recommend import HardwareCandidate


def about(value: float, share: float = 0.1, unit: str | None = None) -> Estimate:
    """An estimate with an interval of `share` to either side."""
    return Estimate(
        value=value, low=value * (1 - share), high=value * (1 + share), confidence=0.9, unit=unit
    )


def predicted(
    latency: float | None = None,
    throughput: float | None = None,
    memory: float | None = None,
    power: float | None = None,
    share: float = 0.1,
    unit: str = "images/s",
) -> Estimates:
    found: Estimates = {}
    if latency is not None:
        found["latency_ms"] = about(latency, share)
    if throughput is not None:
        found["throughput_per_s"] = about(throughput, share, unit)
    if memory is not None:
        found["memory_mb"] = about(memory, share)
    if power is not None:
        found["power_w"] = about(power, share)
    return found


def candidate(
    name: str,
    throughput: float | None = None,
    *,
    precision: str | None = None,
    cost: float | None = None,
    availability: float | None = None,
    capacity: float | None = None,
    **metrics: float,
) -> HardwareCandidate:
    return HardwareCandidate(
        HardwareOption(
            name=name, cost_per_hour=cost, availability=availability, memory_mb=capacity
        ),
        precision,
        f"p/{name}",
        predicted(throughput=throughput, **metrics),
    )


def work(
    names: Sequence[str], own: Mapping[str, float] | None = None, **fields: object
) -> StrategyRequest:
    return StrategyRequest(
        models=[WorkItem(model=name, latency_limit_ms=(own or {}).get(name)) for name in names],
        hardware="gpu",
        **fields,
    )


def fleet(
    models: int,
    devices: int,
    seed: int,
    *,
    tight: float | None = None,
    latency_limit: float | None = None,
    **fields: object,
) -> tuple[PlaceRequest, dict[tuple[str, str], PlacementCell]]:
    """A random fleet. `tight` is the capacity of all devices over the memory of all models."""
    chance = np.random.default_rng(seed)
    base = chance.uniform(0.1, 1, devices)
    latency = chance.uniform(2, 200, models)
    memory = chance.uniform(100, 2_000, models)
    capacity = None if tight is None else float(tight * 1.1 * memory.sum() / devices)
    cells = {}
    for i in range(models):
        for d in range(devices):
            speed = base[d] * chance.uniform(0.6, 1)
            cells[f"m{i:03}", f"d{d:03}"] = PlacementCell(
                f"p/{i}/{d}",
                predicted(
                    latency=float(latency[i] / speed),
                    throughput=float(1_000 / latency[i] * speed),
                    memory=float(memory[i]),
                    power=float(50 + 100 * base[d] * chance.uniform(0.8, 1)),
                ),
            )
    request = PlaceRequest(
        models=[WorkItem(model=f"m{i:03}", latency_limit_ms=latency_limit) for i in range(models)],
        devices=[
            Device(name=f"d{d:03}", hardware=f"h{d % 3}", memory_mb=capacity)
            for d in range(devices)
        ],
        **fields,
    )
    return request, cells


class Pairwise:
    """A contention that depends on who shares: each model weighs on the others."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.asked = 0

    def speeds(self, models: Sequence[str], device: str) -> Sequence[Speed]:
        self.asked += 1
        if len(models) == 1:
            return [ALONE]
        whole = sum(self.weights[name] for name in models)
        found = []
        for name in models:
            value = 1 / (1 + whole - self.weights[name])
            found.append(Speed(value, 0.8 * value, min(1.0, 1.1 * value)))
        return found

    def held(self, device: str) -> float:
        return 0.0

    def many(self, models: Sequence[str], device: str, sets: object) -> None:
        return None

    def by_count(self, count: int, device: str) -> None:
        return None


@st.composite
def workloads(
    draw: st.DrawFn, most: int = 6, least: int = 1
) -> tuple[list[str], dict[str, Estimates]]:
    """Models, and what each is predicted to be alone. Some of it may be unknown."""
    count = draw(st.integers(least, most))
    positive = st.floats(0.5, 500).map(lambda value: round(value, 2))
    names = [f"m{i}" for i in range(count)]
    memory_known, power_known = draw(st.booleans()), draw(st.booleans())
    return names, {
        name: predicted(
            latency=draw(positive),
            throughput=draw(st.none() | positive),
            memory=draw(positive) if memory_known else None,
            power=draw(positive) if power_known else None,
            share=draw(st.sampled_from([0.0, 0.1, 0.5])),
        )
        for name in names
    }
