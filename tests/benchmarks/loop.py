"""`make bench-loop`: what exploring unattended is worth, from a cold start, on this machine.

A native worker and a browser tab first measure cells that no agent ever learns: the models in
batch sizes that exploration never tries. Then an agent that knows nothing works for some minutes,
without exploration and with it, in turns, in another order in every second turn. All get the same
small stream of paying jobs. Every few seconds each is asked for all the cells held back, and in the
end these are measured again. What is true of a cell is the median of all its measurements: on a
machine that others use, one alone is far from the next.

    python -m tests.benchmarks.loop [--turns 2] [--seconds 120]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.runnable import BATCH_SIZES
from schemas.jobs import WorkerState
from tests.benchmarks.report import publish
from tests.support.agent import AgentProcess, wait_until
from tests.support.broker import a_broker
from tests.support.browsers import Browser, kind
from tests.support.foreign import Foreign
from tests.support.models import FOLDER, manifest
from tests.support.worker import WorkerProcess

TOKEN = "a-token-for-the-bench"
HELD_BACK = (3, 6)
"""Batch sizes. Exploration tries others, so that nothing held back is measured on the way."""

assert not set(HELD_BACK) & set(BATCH_SIZES)
REPEATS = 5
BUDGET = 60
TURNS, SECONDS = 2, 120.0
ASK_SECONDS = 15.0
PAY_SECONDS = 20.0
PAYING = (("native", "silero-vad"), ("browser", "magika"), ("native", "minilm-mean"))
"""The stream: one after another, one every `PAY_SECONDS`, over and over, in batches of one."""

REQUESTS = "placewise/v1/requests"


@dataclass(frozen=True, slots=True)
class Truth:
    """A cell that was measured and is not learnt.

    Attributes:
        candidate: the cell.
        latencies_ms: as it was measured, time and again.
    """

    candidate: dict[str, Any]
    latencies_ms: list[float]

    @property
    def latency_ms(self) -> float:
        """The median."""
        return statistics.median(self.latencies_ms)


@dataclass(frozen=True, slots=True)
class Site:
    """An agent with its workers."""

    agent: AgentProcess
    client: Foreign
    workers: dict[str, WorkerState]

    def ask(self, request: str, body: dict[str, Any], seconds: float = 90.0) -> dict[str, Any]:
        """Return the reply to a request."""
        return self.client.ask(f"{REQUESTS}/{request}", body, seconds)


@contextmanager
def site(**settings: Any) -> Iterator[Site]:
    """Run a broker, an agent that knows nothing, a native worker and a tab of Chromium."""
    # WebGPU without a GPU would be a third worker on the same two cores.
    browser_kind = replace(kind("chromium"), flags=(), offers=("wasm",))
    with tempfile.TemporaryDirectory(prefix="placewise-loop-") as name:
        folder = Path(name)
        with (
            a_broker("mosquitto", folder) as broker,
            AgentProcess(
                folder,
                broker.port,
                browsers="true",
                browser_port=0,
                browser_token=TOKEN,
                models=FOLDER,
                **settings,
            ) as agent,
            Foreign(broker.port) as listener,
            Foreign(broker.port) as client,
        ):
            agent.start()
            listener.subscribe("placewise/v1/workers/+/state")
            page = f"http://127.0.0.1:{agent.http_port}/tab/#token={TOKEN}"
            workers: dict[str, WorkerState] = {}

            def both() -> bool:
                state = WorkerState.model_validate_json(listener.received(60).payload)
                if state.status == "online":
                    workers[state.kind] = state
                return len(workers) == 2

            with WorkerProcess(folder, broker.port), Browser(browser_kind, page):
                wait_until(both, 60, "a native worker and a tab")
                yield Site(agent, client, workers)


def models() -> list[str]:
    """Return the models that every worker can run in any batch size."""
    return [one.id for one in manifest().models if not one.part]


def measure(one: Site) -> list[Truth]:
    """Have every model measured in the batch sizes held back, on every worker."""
    found = []
    for _, state in sorted(one.workers.items()):
        for model in models():
            for batch_size in HELD_BACK:
                job = {
                    "type": "run",
                    "job_id": f"truth-{model}-{batch_size}",
                    "models": [{"model": model, "batch_size": batch_size}],
                    "strategy": "sequential",
                    "waves": [[model]],
                    "repeats": REPEATS,
                    "measure_memory": False,
                    "publish": False,
                }
                topic = f"placewise/v1/workers/{state.worker_id}/jobs"
                result = one.client.ask(topic, job, 150)
                assert result["outcome"] == "ok", result
                latency_ms = result["models"][0]["latency_ms"]["median"]
                found.append(Truth(_candidate(state, model, batch_size), [latency_ms]))
    return found


def _candidate(state: WorkerState, model: str, batch_size: int) -> dict[str, Any]:
    held = next(one for one in state.models if one.model == model)
    assert state.hardware is not None
    known = held.model_dump(exclude={"model", "sha256"}, exclude_none=True)
    return {
        "model": {"name": model, **known},
        "hardware": state.hardware.model_dump(exclude_none=True, by_alias=True),
        "setup": {
            "task": "inference",
            "batch_size": batch_size,
            "precision": "fp32",
            "runtime": state.runtime,
        },
    }


def asked(one: Site, truths: list[Truth]) -> list[dict[str, Any] | None]:
    """Return what is predicted of the latency of all cells held back; None where nothing is."""
    body = {"candidates": [truth.candidate for truth in truths], "metrics": ["latency_ms"]}
    return [each["metrics"].get("latency_ms") for each in one.ask("predict", body)["predictions"]]


def judged(told: list[dict[str, Any] | None], truths: list[Truth]) -> dict[str, Any]:
    """Return how far off predictions are."""
    pairs = [(p, t.latency_ms) for p, t in zip(told, truths, strict=True) if p]
    errors = [abs(p["value"] - measured) / measured for p, measured in pairs]
    inside = [p["low"] <= measured <= p["high"] for p, measured in pairs]
    return {
        "predicted": len(pairs),
        "of": len(truths),
        "median_ape": statistics.median(errors) if errors else None,
        "mean_ape": statistics.fmean(errors) if errors else None,
        "coverage_90": statistics.fmean(inside) if inside else None,
    }


def arm(
    name: str, turn: int, seconds: float, truths: list[Truth], **settings: Any
) -> list[dict[str, Any]]:
    """Let an agent work, and ask it again and again; return what it said when.

    The cells held back are measured once more at the end, and `truths` grow by that.
    """
    rows = []
    with site(**settings) as one:
        begun = time.monotonic()
        paid = 0
        while (now := time.monotonic() - begun) < seconds:
            if now >= paid * PAY_SECONDS:
                _pay(one, *PAYING[paid % len(PAYING)])
                paid += 1
            if now >= len(rows) * ASK_SECONDS:
                rows.append(_row(name, turn, one, now, paid, truths))
            time.sleep(0.2)
        rows.append(_row(name, turn, one, seconds, paid, truths))
        told = one.ask("explore", {})
        assert told["sent"] == sum(told["jobs"].values()), "all jobs are accounted for"
        print(name, turn, told["jobs"], "gain", told["gain"], "expected", told["expected_gain"])
        for now_measured, before in zip(measure(one), truths, strict=True):
            assert now_measured.candidate == before.candidate, "the workers are the same"
            before.latencies_ms.extend(now_measured.latencies_ms)
    return rows


def floor(truths: list[Truth]) -> dict[str, Any]:
    """Return how far single measurements of the cells held back are from their medians."""
    errors = [
        abs(one - truth.latency_ms) / truth.latency_ms
        for truth in truths
        for one in truth.latencies_ms
    ]
    return {
        "arm": "one measurement for another",
        "median_ape": statistics.median(errors),
        "mean_ape": statistics.fmean(errors),
    }


def _pay(one: Site, where: str, model: str) -> None:
    body = {
        "models": [{"model": model}],
        "worker": one.workers[where].worker_id,
        "repeats": REPEATS,
        "measure_memory": False,
    }
    reply = one.ask("execute", body)
    assert reply.get("result", {}).get("outcome") == "ok", reply


def _row(
    name: str, turn: int, one: Site, now: float, paid: int, truths: list[Truth]
) -> dict[str, Any]:
    told = one.ask("explore", {})
    return {
        "arm": name,
        "turn": turn,
        "seconds": round(now),
        "paying jobs": paid,
        "explored": told["jobs"]["done"],
        "told": asked(one, truths),
        "gave way": told["jobs"]["gave_way"],
        "failed or lost": told["jobs"]["failed"] + told["jobs"]["lost"],
        "sent": told["sent"],
    }


def main() -> None:
    """Measure both, print the table, and hold the ends against each other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with site() as one:
        truths = measure(one)
    arms: list[tuple[str, dict[str, str]]] = [
        ("without", {}),
        ("exploring", {"explore": str(BUDGET)}),
    ]
    rows = []
    for turn in range(options.turns):
        for name, settings in arms if turn % 2 == 0 else reversed(arms):
            rows += arm(name, turn, options.seconds, truths, **settings)
    for row in rows:
        row.update(judged(row.pop("told"), truths))
    publish("loop", f"{len(truths)} cells held back, over time", [*rows, floor(truths)])
    ends = {
        name: statistics.fmean(
            row["mean_ape"]
            for row in rows
            if row["arm"] == name and row["seconds"] == round(options.seconds)
        )
        for name, _ in arms
    }
    print("mean errors at the end, over all turns:", ends)
    assert ends["exploring"] < ends["without"], f"exploring did not help: {ends}"


if __name__ == "__main__":
    main()
