"""Tabs in Python: they speak the protocol as the page does, and run nothing.

What they say they measured is made up, so they serve to test the bridge and nothing else.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from schemas.browser import (
    SUBPROTOCOL,
    TOKEN_SUBPROTOCOL_PREFIX,
    Adapter,
    Capabilities,
    FromBridge,
    Go,
    Hello,
    Lap,
    ModelTask,
    OutputSample,
    Prepare,
    Prepared,
    PreparedModel,
    Recycle,
    Span,
    WasmFeatures,
    WebnnContext,
    decode_from_bridge,
)

MODEL = ModelTask(name="a-model", sha256="a" * 64, size_bytes=1_000)
OTHER = ModelTask(name="another-model", sha256="b" * 64, size_bytes=1_000)


def capabilities(
    browser: str = "chromium",
    backends: Sequence[str] = ("wasm",),
    version: str = "156.0.1.2",
    **changes: Any,
) -> Capabilities:
    """Return what a tab says of itself."""
    described: dict[str, Any] = {
        "browser": browser,
        "version": version,
        "engine": "gecko" if browser == "firefox" else "blink",
        "user_agent": "a tab in Python",
        "platform": "Linux x86 64",
        "cores": 4,
        "secure_context": True,
        "cross_origin_isolated": True,
        "can_measure_memory": True,
        "wasm": WasmFeatures(simd="wasm" in backends, threads=True),
        "webgpu": Adapter(vendor="acme", is_fallback=False) if "webgpu" in backends else None,
        "webnn": [WebnnContext(device_type="cpu")] if "webnn" in backends else [],
    }
    return Capabilities(**{**described, **changes})


def hello(tab: str = "tab-00001", **about: Any) -> Hello:
    """Return the first word of a tab."""
    return Hello(
        type="hello",
        protocol=1,
        tab=tab,
        page=uuid.uuid4().hex,
        label=None,
        capabilities=capabilities(**about),
    )


def prepared(prepare: Prepare, **changes: Any) -> Prepared:
    """Return the answer of a tab that prepared as it was told; `changes` are of each model."""
    models = [
        PreparedModel(
            **{
                "sha256": task.sha256,
                "requested": task.backend,
                "actual": task.backend,
                "placement": {task.backend: 10},
                "bundle": "none",
                "threads": task.threads,
                "fetch_ms": 1.0,
                "load_ms": 2.0,
                "first_run_ms": 3.0,
                "outputs": [OutputSample(name="y", shape=[1], finite=True, values=[0.5])],
                **changes,
            }
        )
        for task in prepare.models
    ]
    return Prepared(type="prepared", job=prepare.job, attempt=prepare.attempt, models=models)


def lap(go: Go, run_ms: float = 1.0, start_ms: float = 1e12, **changes: Any) -> Lap:
    """Return the answer of a tab that ran as it was told."""
    spans = [
        Span(model=model, start_ms=start_ms + i * run_ms, end_ms=start_ms + (i + 1) * run_ms)
        for i, model in enumerate(go.order)
    ]
    said: dict[str, Any] = {
        "type": "lap",
        "job": go.job,
        "attempt": go.attempt,
        "lap": go.lap,
        "spans": spans,
    }
    return Lap(**{**said, **changes})


Answers = Callable[["PythonTab", FromBridge], Any]


class PythonTab:
    """A tab on a real websocket.

    Args:
        port: of the bridge.
        answers: given each job's words; returns the message to say, or None for silence. May be
            a coroutine function. An honest tab by default.
    """

    def __init__(
        self,
        port: int,
        tab: str | None = None,
        token: str | None = None,
        origin: str | None = None,
        answers: Answers | None = None,
        run_ms: float = 2.0,
        **about: Any,
    ) -> None:
        self.address = f"ws://127.0.0.1:{port}/"
        self.id = tab or str(uuid.uuid4())
        self.heard: list[FromBridge] = []
        self.jobs = 0
        self._answers = answers or honest
        self._hello = hello(self.id, **about)
        self._protocols = [Subprotocol(SUBPROTOCOL)]
        if token is not None:
            self._protocols.append(Subprotocol(TOKEN_SUBPROTOCOL_PREFIX + token))
        self._origin = origin
        self.run_ms = run_ms
        self.socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PythonTab:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def open(self) -> None:
        """Connect, greet, and take jobs."""
        self.socket = await connect(
            self.address,
            subprotocols=self._protocols,
            origin=self._origin,  # type: ignore[arg-type]
            compression=None,
            proxy=None,
        )
        await self.say(self._hello)
        self._task = asyncio.create_task(self._work(), name="python-tab")

    async def die(self) -> None:
        """Vanish as a killed process does: no close frame."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.socket is not None:
            self.socket.transport.abort()
            await self.socket.wait_closed()

    async def say(self, message: Any) -> None:
        """Send a message, or any text."""
        assert self.socket is not None
        await self.socket.send(
            message if isinstance(message, (str, bytes)) else message.model_dump_json()
        )

    async def _work(self) -> None:
        assert self.socket is not None
        async for frame in self.socket:
            message = decode_from_bridge(frame)
            self.heard.append(message)
            answer = self._answers(self, message)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is not None:
                await self.say(answer)


async def honest(tab: PythonTab, message: FromBridge) -> Any:
    """Answer as an honest tab does: a lap takes as long as it says."""
    match message:
        case Prepare():
            tab.jobs += 1
            return prepared(message)
        case Go():
            await asyncio.sleep(len(message.order) * tab.run_ms / 1_000)
            return lap(message, tab.run_ms)
        case Recycle():
            assert tab.socket is not None
            await tab.socket.close()
    return None
