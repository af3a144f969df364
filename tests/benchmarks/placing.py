"""How long the heart takes to place models: 8 on 8 devices, 64 on 32, before and after it has
learnt what models do to each other.

    python -m tests.benchmarks.placing
"""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Any

from agent.heart.effects import Answer
from agent.heart.heart import Heart
from agent.heart.stimuli import MeasurementLogged, RequestReceived
from schemas.measurement import Execution
from schemas.replies import PlaceReply
from schemas.requests import PlaceRequest
from tests.benchmarks.report import publish, spread_ms

WHEN = datetime(2026, 11, 23, tzinfo=UTC)
KINDS = {"nvidia-a100": 1.0, "nvidia-rtx-4090": 0.8, "nvidia-t4": 0.2, "nvidia-l4": 0.4}
MODELS = 64


def run(model: int, hardware: str, latency: float) -> dict[str, Any]:
    """Return one model's part of an execution."""
    return {
        "model": {
            "name": f"model-{model:02}",
            "gmacs": 0.5 + model % 9,
            "parameters_m": 5.0 + model,
        },
        "hardware": {"name": hardware, "class": "gpu"},
        "setup": {"task": "inference", "batch_size": 8, "precision": "fp16"},
        "metrics": {
            "latency_ms": latency,
            "latency_kind": "batch",
            "throughput_per_s": 8_000 / latency,
            "throughput_unit": "items/s",
            "memory_mb": 300.0 + 20 * model,
        },
    }


def taught(*, together: bool) -> Heart:
    """Return a heart that knows every model on every kind, and with `together` pairs as well."""
    heart = Heart()
    seq = itertools.count(1)

    def tell(**execution: Any) -> None:
        number = next(seq)
        data = Execution.model_validate(execution)
        heart.handle(MeasurementLogged(number, "b", str(number), WHEN, data))

    for hardware, speed in KINDS.items():
        for model in range(MODELS):
            tell(
                runs=[run(model, hardware, (2 + model % 9) / speed)],
                strategy="sequential",
                waves=[[f"model-{model:02}"]],
            )
        for model in range(0, MODELS if together else 0, 2):
            runs = [run(one, hardware, 1.6 * (2 + one % 9) / speed) for one in (model, model + 1)]
            names = [one["model"]["name"] for one in runs]
            tell(runs=runs, strategy="parallel", waves=[names])
    return heart


def request(models: int, devices: int, first: int) -> PlaceRequest:
    """Return a request; `first` makes it another one each time."""
    kinds = list(KINDS)
    return PlaceRequest.model_validate(
        {
            "models": [
                {
                    "model": run(number, "", 1.0)["model"],
                    "setup": {"task": "inference", "batch_size": 8, "precision": "fp16"},
                }
                for number in [(first + one) % MODELS for one in range(models)]
            ],
            "devices": [
                {
                    "name": f"d{number:02}",
                    "hardware": {"name": kinds[(number + first) % len(kinds)], "class": "gpu"},
                    "memory_mb": 16_000.0,
                }
                for number in range(devices)
            ],
        }
    )


def measure(heart: Heart, models: int, devices: int, times: int) -> dict[str, Any]:
    """Return how long requests took, and how good the answers are known to be."""
    seconds, gaps, optimal = [], [], 0
    for number in range(times):
        asked = request(models, devices, number)
        began = time.perf_counter()
        effects = heart.handle(RequestReceived(f"r{number}", "place", asked))
        seconds.append(time.perf_counter() - began)
        (reply,) = [one.reply for one in effects if isinstance(one, Answer)]
        assert isinstance(reply, PlaceReply)
        assert len(reply.placed) == models
        optimal += reply.optimal
        gaps.append(1 - reply.objective / reply.bound)
    return {
        **spread_ms(seconds),
        "proved best": f"{optimal / times:.0%}",
        "most below its bound": max(gaps),
    }


def main() -> None:
    """Measure, print, and leave the figures as JSON."""
    rows = []
    for together in (False, True):
        heart = taught(together=together)
        for models, devices, times in ((8, 8, 300), (64, 32, 20)):
            rows.append(
                {
                    "models on devices": f"{models} on {devices}",
                    "company learnt": "yes" if together else "no",
                    **measure(heart, models, devices, times),
                }
            )
    publish("placing", "Placing models, in the heart", rows)


if __name__ == "__main__":
    main()
