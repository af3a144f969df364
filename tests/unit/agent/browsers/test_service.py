"""The pool on the bus, with tabs in Python: jobs, results, events, quarantine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.browsers.service import BrowserService
from agent.browsers.shelf import Shelf
from agent.bus.memory import MemoryBroker, MemoryBus
from agent.bus.port import Outgoing
from schemas import topics
from schemas.browser import Beat, Go, Prepare
from schemas.jobs import CancelJob, JobModel, JobResult, RunJob, WorkerState
from schemas.models import (
    InputSpec,
    ModelFile,
    ModelManifest,
    Origin,
    OutputCheck,
    Parts,
)
from tests.support.tabs import PythonTab, honest, lap, prepared
from web_bridge.pool import PoolConfig
from web_bridge.server import Bridge, BridgeConfig, open_bridge

WASM = "rack1.chromium-156.wasm."


def model(name: str, sha: str, **changes: Any) -> ModelFile:
    described: dict[str, Any] = {
        "id": name,
        "family": "vision",
        "file": f"{name}.onnx",
        "sha256": sha * 64,
        "size_bytes": 10,
        "licence": "MIT",
        "origin": Origin(package="p", version="1", path="x"),
        "inputs": [InputSpec(name="x", dtype="float32", shape=["batch", 3])],
        "outputs": [OutputCheck(name="y", shape=[1], values=[0.5], tolerance=0.01)],
        "parameters_m": 1.0,
    }
    return ModelFile(**{**described, **changes})


HEAD = [InputSpec(name="y", dtype="float32", shape=["batch", 3])]
MANIFEST = ModelManifest(
    reference="onnxruntime-1",
    models=[
        model("one", "1"),
        model("two", "2"),
        model("encoder", "3", part=True),
        model("head-a", "4", part=True, inputs=HEAD),
        model("head-b", "5", part=True, inputs=HEAD),
        model("whole-a", "6", parts=Parts(encoder="encoder", head="head-a")),
        model("whole-b", "7", parts=Parts(encoder="encoder", head="head-b")),
        model("wrong", "8", outputs=[OutputCheck(name="y", shape=[1], values=[9], tolerance=0.01)]),
    ],
)


class Bench:
    """A service on a bus in memory, and somebody who gives it jobs."""

    def __init__(
        self, service: BrowserService, bridge: Bridge, client: MemoryBus, broker: MemoryBroker
    ) -> None:
        self.service, self.bridge, self.client, self.broker = service, bridge, client, broker
        self.port = bridge.port
        self.heard: list[Any] = []
        self.inbox = client.inbox([f"{topics.PREFIX}/#"], capacity=1_000)

    async def until(self, found: Callable[[str, Any], bool]) -> Any:
        """Return the first message that is as wanted, of those not yet looked at."""
        async with asyncio.timeout(10):
            while True:
                for topic, body in self.heard:
                    if found(topic, body):
                        self.heard.remove((topic, body))
                        return body
                for delivery in await self.inbox.receive(10):
                    body = json.loads(delivery.payload) if delivery.payload else None
                    self.heard.append((delivery.topic, body))
                    await self.inbox.acknowledge([delivery])

    async def worker(self, backend: str = "wasm") -> WorkerState:
        body = await self.until(
            lambda topic, body: topic.endswith("/state") and backend in (body.get("backends") or [])
        )
        return WorkerState.model_validate(body)

    async def run(self, worker: str, *names: str, **changes: Any) -> JobResult:
        told: dict[str, Any] = {
            "job_id": f"job-{len(names)}-{changes.get('strategy', '')}{id(changes)}",
            "models": [JobModel(model=name) for name in names],
            "strategy": "sequential",
            "waves": [[name] for name in names],
            "measure_memory": False,
            **changes,
        }
        await self.give(worker, RunJob(**told))
        return await self.answer()

    async def give(self, worker: str, job: RunJob | CancelJob) -> None:
        await self.client.publish(
            Outgoing(
                topics.worker(worker, "jobs"),
                job.model_dump_json().encode(),
                response_topic=f"{topics.PREFIX}/answers",
            )
        )

    async def answer(self) -> JobResult:
        body = await self.until(lambda topic, _: topic.endswith("/answers"))
        return JobResult.model_validate(body)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    broker = MemoryBroker()
    bus, client = MemoryBus(broker), MemoryBus(broker)
    async with open_bridge(BridgeConfig(pool=PoolConfig())) as bridge:
        service = BrowserService(
            bridge,
            bus,
            agent_id="rack1",
            manifest=MANIFEST,
            folder=Path("/nowhere"),
            shelf=Shelf(),
            engine="onnxruntime-web-1.30.0",
        )
        made = Bench(service, bridge, client, broker)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one) for one in (bus.run(), client.run(), service.run())]
            yield made
            running[2].cancel()
            if broker.is_running:
                await asyncio.wait([running[2]])
            for one in (bus, client):
                await one.close()
            await asyncio.wait([running[2]])
            assert running[2].cancelled()
            for task in running:
                task.cancel()


def test_a_tab_is_a_worker_on_the_bus_and_its_measurement_an_event() -> None:
    async def main() -> None:
        async with bench() as table, PythonTab(table.port):
            worker = await table.worker()
            assert worker.worker_id.startswith(WASM)
            assert worker.kind == "browser"
            assert {one.model for one in worker.models} == {
                "one",
                "two",
                "whole-a",
                "whole-b",
                "wrong",
            }
            result = await table.run(worker.worker_id, "one", repeats=4)
            assert result.outcome == "ok", result.message
            assert result.models[0].latency_ms.count == 4
            assert result.models[0].output_checked is True
            event = await table.until(lambda topic, _: topic.startswith(topics.EVENTS_BENCHMARK))
            assert event["id"] == result.event_id
            data = event["data"]
            assert data["hardware"] == {"name": "linux-x86-64-4core-cpu", "class": "cpu"}
            assert data["setup"]["runtime"] == "none wasm chromium-156"
            assert data["metrics"]["latency_ms"] == pytest.approx(2.0)

    asyncio.run(main())


def test_a_wave_of_two_takes_two_tabs_and_is_an_execution() -> None:
    async def main() -> None:
        async with bench() as table, PythonTab(table.port), PythonTab(table.port):
            worker = await table.worker()
            result = await table.run(
                worker.worker_id, "one", "two", strategy="parallel", waves=[["one", "two"]]
            )
            assert result.outcome == "ok", result.message
            tabs = {one.ran_in.tab for one in result.models if one.ran_in}
            assert len(tabs) == 2
            event = await table.until(lambda topic, _: topic.startswith(topics.EVENTS_EXECUTION))
            assert event["data"]["strategy"] == "parallel"
            assert event["data"]["waves"] == [["one", "two"]]

    asyncio.run(main())


def test_models_with_one_encoder_share_a_tab_and_the_encoder() -> None:
    async def main() -> None:
        told: list[Prepare] = []

        async def watched(tab: PythonTab, message: Any) -> Any:
            if isinstance(message, Prepare):
                told.append(message)
            return await honest(tab, message)

        async with bench() as table, PythonTab(table.port, answers=watched):
            worker = await table.worker()
            pair = ["whole-a", "whole-b"]
            result = await table.run(worker.worker_id, *pair, strategy="parallel", waves=[pair])
            assert result.outcome == "ok", result.message
            assert {one.shared_encoder for one in result.models} == {"encoder"}
            encoder, *heads = told[-1].models
            assert encoder.keep
            assert [one.name for one in (encoder, *heads)] == ["encoder", "head-a", "head-b"]
            assert all(one.inputs[0].source is not None for one in heads)
            apart = await table.run(worker.worker_id, *pair, share_encoders=False)
            assert {one.shared_encoder for one in apart.models} == {None}

    asyncio.run(main())


def test_a_wrong_output_is_quarantined_told_and_teaches_nothing() -> None:
    async def main() -> None:
        async with bench() as table, PythonTab(table.port):
            worker = await table.worker()
            result = await table.run(worker.worker_id, "wrong")
            assert result.outcome == "wrong_output"
            assert "off by" in result.message
            alert = await table.until(lambda topic, _: topic.endswith("/alerts"))
            assert alert["data"]["kind"] == "wrong_output"
            state = await table.until(
                lambda topic, body: (
                    topic.endswith("/state")
                    and bool((body.get("browser") or {}).get("quarantined"))
                )
            )
            assert "wrong" in state["browser"]["quarantined"]
            assert not [topic for topic, _ in table.heard if "/events/" in topic]

    asyncio.run(main())


def test_what_really_ran_a_model_stands_in_the_event() -> None:
    async def fallen_back(tab: PythonTab, message: Any) -> Any:
        if isinstance(message, Prepare):
            return prepared(message, actual="wasm", placement={"wasm": 10})
        return lap(message, 0.5) if isinstance(message, Go) else None

    async def main() -> None:
        async with bench() as table:
            async with PythonTab(table.port, answers=fallen_back, backends=["wasm", "webnn"]):
                worker = await table.worker("webnn")
                result = await table.run(worker.worker_id, "one")
                assert result.models[0].requested_backend == "webnn"
                assert result.models[0].actual_backend == "wasm"
                event = await table.until(lambda topic, _: "/events/" in topic)
                assert event["data"]["hardware"]["name"] == "linux-x86-64-4core-cpu"
                assert event["data"]["setup"]["runtime_options"] == "asked for webnn"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "webgpu"}, "runs wasm"),
        ({"models": [JobModel(model="none-such")], "waves": [["none-such"]]}, "none-such"),
        ({"models": [JobModel(model="one", sha256="9" * 64)]}, "111111111111"),
        ({"models": [JobModel(model="one", sizes={"width": 3})]}, "width"),
    ],
)
def test_a_job_that_can_not_be_done_is_refused_with_the_reason(changes: Any, said: str) -> None:
    async def main() -> JobResult:
        async with bench() as table, PythonTab(table.port):
            worker = await table.worker()
            return await table.run(worker.worker_id, "one", **changes)

    result = asyncio.run(main())
    assert result.outcome == "refused"
    assert said in result.message


def test_a_job_that_takes_too_long_is_given_up() -> None:
    async def silent(tab: PythonTab, message: Any) -> Any:
        return None if isinstance(message, Go) else await honest(tab, message)

    async def main() -> JobResult:
        async with bench() as table, PythonTab(table.port, answers=silent):
            worker = await table.worker()
            return await table.run(worker.worker_id, "one", deadline_s=0.3)

    assert asyncio.run(main()).outcome == "too_late"


def test_workers_go_offline_with_their_tabs() -> None:
    async def main() -> None:
        async with bench() as table:
            async with PythonTab(table.port):
                worker = await table.worker()
            gone = await table.until(
                lambda topic, body: topic.endswith("/state") and body["status"] == "offline"
            )
            assert gone["worker_id"] == worker.worker_id

    asyncio.run(main())


def cancellable() -> RunJob:
    return RunJob(
        job_id="explore-1",
        models=[JobModel(model="one")],
        strategy="sequential",
        waves=[["one"]],
        measure_memory=False,
        gives_way=True,
    )


def test_a_job_that_is_cancelled_before_it_begins_is_answered() -> None:
    """Both come in one batch: the job's task has not had its turn when it is cancelled."""

    async def main() -> None:
        job = cancellable()
        async with bench() as table, PythonTab(table.port) as tab:
            worker_id = (await table.worker()).worker_id
            await asyncio.gather(
                table.give(worker_id, job),
                table.give(worker_id, CancelJob(job_id=job.job_id)),
            )
            result = await table.answer()
            assert (result.job_id, result.outcome) == (job.job_id, "refused")
            assert result.message == "cancelled"
            assert not table.service._running
            assert not table.service._cancelled
            assert tab.jobs == 0
            # Of the same name: nothing of the first one is left that it could be taken for.
            await table.give(worker_id, job)
            assert (await table.answer()).outcome == "ok"

    asyncio.run(main())


def test_a_job_that_is_cancelled_while_it_runs_is_answered() -> None:
    async def main() -> None:
        job, at_work = cancellable(), asyncio.Event()

        async def silent(tab: PythonTab, message: Any) -> Any:
            if not isinstance(message, Go):
                return await honest(tab, message)
            at_work.set()
            return None

        async with bench() as table, PythonTab(table.port, answers=silent):
            worker_id = (await table.worker()).worker_id
            await table.give(worker_id, job)
            await at_work.wait()
            await table.give(worker_id, CancelJob(job_id="another"))
            await table.give(worker_id, CancelJob(job_id=job.job_id))
            result = await table.answer()
            assert (result.outcome, result.message) == ("refused", "cancelled")
            assert not table.service._running
            assert not table.service._cancelled

    asyncio.run(main())


def test_tabs_are_grouped_anew_when_they_change() -> None:
    async def main() -> None:
        async with bench() as table:
            assert table.service.groups() == {}
            async with PythonTab(table.port, tab="tab-000a") as first:
                assert await table.bridge.until(lambda now: len(now.tabs) == 1, 10)
                alone = table.service.groups()
                assert [set(one.tabs) for one in alone.values()] == [{first.id}]
                await first.say(Beat(type="beat"))
                await table.run((await table.worker()).worker_id, "one")
                assert table.service.groups() is alone
                async with PythonTab(table.port, tab="tab-000b") as second:
                    assert await table.bridge.until(lambda now: len(now.tabs) == 2, 10)
                    both = table.service.groups()
                    assert [set(one.tabs) for one in both.values()] == [{first.id, second.id}]
                    assert table.service.groups() is both
                assert await table.bridge.until(lambda now: len(now.tabs) == 1, 10)
                assert [set(one.tabs) for one in table.service.groups().values()] == [{first.id}]
                # As many tabs, of the same names: it came back as another browser.
                before = table.bridge.pool.tabs[first.id]
                async with PythonTab(table.port, tab=first.id, browser="firefox", version="153.0"):
                    assert await table.bridge.until(
                        lambda now: now.tabs[first.id] is not before, 10
                    )
                    assert [one.browser for one in table.service.groups().values()] == [
                        "firefox-153"
                    ]

    asyncio.run(main())


def test_it_ends_as_asked_also_where_the_broker_is_away() -> None:
    """Nobody can be told that the tabs are gone: whoever ends it closes the bus, and that is it."""

    async def main() -> None:
        async with bench() as table, PythonTab(table.port), PythonTab(table.port, browser="opera"):
            await table.worker()
            await table.until(
                lambda topic, body: (
                    topic.endswith("/state") and body["browser"]["browser"] == "opera"
                )
            )
            table.broker.stop()

    asyncio.run(main())
