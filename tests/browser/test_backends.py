"""Every backend of every browser that is here runs models as the reference does, or says so."""

from __future__ import annotations

import asyncio

import pytest

from agent.browsers.cells import is_software
from tests.support.browsers import Browser, kind
from tests.support.tabpool import needs, tab_pool

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CASES = [
    ("chromium", "wasm", ["ocr-recogniser", "silero-vad@4", "minilm-mean@2"]),
    ("chromium", "webgpu", ["silero-vad"]),
    ("chromium-webnn", "webnn", ["ocr-recogniser", "silero-vad"]),
    ("firefox", "wasm", ["ocr-recogniser", "silero-vad@4"]),
    ("firefox", "webgpu", ["silero-vad"]),
]


@pytest.mark.parametrize(("browser", "backend", "models"), CASES)
def test_models_agree_with_the_reference(browser: str, backend: str, models: list[str]) -> None:
    needs(kind(browser))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind(browser), pool.address):
                await pool.tabs(1)
                if backend not in {one.backend for one in pool.service.groups().values()}:
                    pytest.skip(f"{browser} gives no {backend} on this machine")
                for model in models:
                    result = await pool.run([model], backend=backend, deadline_s=100.0)
                    if result.outcome == "wrong_output":
                        # Seen, quarantined, told, and nothing learnt of it.
                        assert not pool.events()
                        (alert,) = pool.alerts()
                        assert alert["scope"]["model"] == model.partition("@")[0]
                        assert pool.service.quarantined(result.worker_id)
                        continue
                    assert result.outcome == "ok", result.message
                    (measured,) = result.models
                    assert measured.requested_backend == backend
                    assert measured.actual_backend == backend, measured.ran_in
                    assert measured.output_checked is True
                    assert measured.latency_ms.count == 3
                    ran_in = measured.ran_in
                    assert ran_in is not None
                    assert sum(ran_in.placement.values()) > 0, "placement was read"
                    assert ran_in.browser in browser
                    assert result.event_id is not None
                    event = pool.events()[-1]
                    assert event["model"]["name"] == measured.model
                    assert backend in event["setup"]["runtime"]

    asyncio.run(main())


def test_a_software_adapter_is_its_own_hardware() -> None:
    needs(kind("chromium"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                group = pool.group("webgpu")
                assert group.capabilities.webgpu is not None
                if not is_software(group.capabilities.webgpu):
                    pytest.skip("a real adapter answered")
                assert group.hardware.hardware_class == "software-gpu"
                assert group.hardware.name.endswith("-software")
                assert group.hardware.name != pool.group("wasm").hardware.name

    asyncio.run(main())


def test_a_fallback_to_the_processor_is_seen_and_never_speaks_for_webnn() -> None:
    """The graph leaves sizes open without naming them, so WebNN takes nothing of it."""
    needs(kind("chromium-webnn"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium-webnn"), pool.address):
                await pool.tabs(1)
                result = await pool.run(["ocr-direction"], backend="webnn", deadline_s=100.0)
                assert result.outcome == "ok", result.message
                assert result.models[0].requested_backend == "webnn"
                assert result.models[0].actual_backend == "wasm"
                (event,) = pool.events()
                assert "webnn" not in event["hardware"]["name"]
                assert " wasm " in event["setup"]["runtime"]
                assert event["setup"]["runtime_options"] == "asked for webnn"

    asyncio.run(main())


def test_text_is_written_as_llama_cpp_does_natively() -> None:
    needs(kind("chromium"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                result = await pool.run(["smollm2-135m"], repeats=1, deadline_s=140.0)
                assert result.outcome == "ok", result.message
                assert result.models[0].ran_in is not None
                assert result.models[0].ran_in.tokens == 24
                assert result.models[0].output_checked is True
                (event,) = pool.events()
                assert event["metrics"]["throughput_unit"] == "tokens/s"
                assert event["setup"]["precision"] == "q4_1"
                assert event["metrics"]["time_to_first_token_ms"] > 0

    asyncio.run(main())


def test_memory_is_that_of_the_model_and_first_runs_stand_apart() -> None:
    needs(kind("chromium"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                result = await pool.run(["minilm-mean"], measure_memory=True)
                assert result.outcome == "ok", result.message
                (measured,) = result.models
                assert measured.memory_mb is not None
                # Its weights are 90 MB; a page alone has about one.
                assert 90 < measured.memory_mb < 1_000
                assert result.peak_memory_mb == measured.memory_mb
                assert measured.first_run_ms is not None
                assert measured.first_run_ms > 0
                assert measured.load_ms > 0

    asyncio.run(main())
