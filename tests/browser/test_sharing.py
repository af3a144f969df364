"""One encoder, two heads, in a real tab: the same outputs, in less time and memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent.browsers.planning import plan
from schemas.browser import OutputSample
from schemas.jobs import JobModel, RunJob
from tests.support.browsers import Browser, kind
from tests.support.tabpool import TabPool, needs, tab_pool
from web_bridge.job import Done, Round

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PAIR = ["minilm-mean", "minilm-pooler"]


def job(job_id: str, *, share: bool) -> RunJob:
    return RunJob(
        job_id=job_id,
        models=[JobModel(model=one, sizes={"sequence": 16}) for one in PAIR],
        strategy="parallel" if share else "sequential",
        waves=[PAIR] if share else [[one] for one in PAIR],
        repeats=3,
        share_encoders=share,
    )


async def outputs(pool: TabPool, backend: str, *, share: bool) -> dict[str, OutputSample]:
    """Return the outputs of the pair, by name."""
    planned = plan(
        job(f"{backend}-{share}", share=share), pool.group(backend), pool.manifest, pool.shelf
    )
    (one, *_) = planned.job.rounds
    shown = replace(planned.job, rounds=(Round(one.orders, samples=512),))
    done = await pool.bridge.run(shown)
    assert isinstance(done, Done), done
    (seat,) = done.seats
    samples = [sample for model in seat.laps[-1].outputs for sample in model]
    if share:
        assert [model.kept for model in seat.prepared.models] == [
            {"wasm": "cpu", "webnn": "ml-tensor", "webgpu": "gpu-buffer"}[backend],
            None,
            None,
        ]
    return {sample.name: sample for sample in samples}


@pytest.mark.parametrize(
    ("browser", "backend"),
    [
        ("chromium", "wasm"),
        ("chromium-webnn", "webnn"),
        ("chromium", "webgpu"),
        ("firefox", "webgpu"),
    ],
)
def test_heads_of_one_encoder_give_what_whole_models_give(browser: str, backend: str) -> None:
    needs(kind(browser))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind(browser), pool.address):
                await pool.tabs(1)
                if backend not in {one.backend for one in pool.service.groups().values()}:
                    pytest.skip(f"{browser} gives no {backend} on this machine")
                whole = await outputs(pool, backend, share=False)
                shared = await outputs(pool, backend, share=True)
                for name in ("embedding", "pooled"):
                    assert shared[name] == whole[name], f"{name} is not identical"

    asyncio.run(main())


def test_sharing_an_encoder_takes_less_time_and_memory() -> None:
    needs(kind("chromium"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                shared = await pool.run(PAIR, waves=[PAIR], measure_memory=True)
                assert shared.outcome == "ok", shared.message
                assert {one.shared_encoder for one in shared.models} == {"minilm-encoder"}
            assert await pool.bridge.until(lambda now: not now.tabs, 30)
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                whole = await pool.run(PAIR, share_encoders=False, measure_memory=True)
                assert whole.outcome == "ok", whole.message
                assert {one.shared_encoder for one in whole.models} == {None}
            assert shared.wall_time_ms is not None
            assert whole.wall_time_ms is not None
            print(
                f"\nshared: {shared.wall_time_ms.median:.0f} ms, {shared.peak_memory_mb} MB; "
                f"separate: {whole.wall_time_ms.median:.0f} ms, {whole.peak_memory_mb} MB"
            )
            assert shared.peak_memory_mb is not None
            assert whole.peak_memory_mb is not None
            # Half the weights, so well below; time varies more than that on a busy machine.
            assert shared.peak_memory_mb < 0.8 * whole.peak_memory_mb
            assert shared.wall_time_ms.low < whole.wall_time_ms.high

    asyncio.run(main())


def test_embeddings_are_reused_across_jobs_by_the_hash_of_their_input() -> None:
    needs(kind("chromium"))

    async def main() -> None:
        async with tab_pool() as pool:
            with Browser(kind("chromium"), pool.address):
                await pool.tabs(1)
                anew = await pool.run(PAIR, waves=[PAIR])
                first = await pool.run(PAIR, waves=[PAIR], reuse_embeddings=True, repeats=3)
                await pool.run(["silero-vad"])  # another job lies between
                known = await pool.run(PAIR, waves=[PAIR], reuse_embeddings=True, repeats=5)
                other = await pool.run(
                    [f"{one}@2" for one in PAIR], waves=[PAIR], reuse_embeddings=True, repeats=5
                )
                for result in (anew, first, known, other):
                    assert result.outcome == "ok", result.message
                hits = [one.ran_in.cached_runs for one in known.models if one.ran_in]
                assert hits == [5, 5], "every run after the first job's"
                assert anew.reuse is None
                for result, runs in ((first, 5), (other, 7)):
                    # Once to prepare and once to warm up, and what was counted.
                    assert result.reuse is not None
                    assert (result.reuse.runs, result.reuse.reused) == (runs, runs - 1)
                assert known.reuse is not None
                # Its session had gone with the job between: it ran once to be prepared anew.
                assert (known.reuse.runs, known.reuse.reused) == (7, 6)
                assert known.reuse.saved_ms > 0
                # 64 tokens of 384 numbers of four bytes, for batches of one, and of two.
                assert known.reuse.kept_mb == pytest.approx(64 * 384 * 4 / 1e6)
                assert other.reuse is not None
                assert other.reuse.kept_mb == pytest.approx(3 * 64 * 384 * 4 / 1e6)
                assert anew.wall_time_ms is not None
                assert known.wall_time_ms is not None
                print(
                    f"\nreused: {known.wall_time_ms.median:.2f} ms; anew: "
                    f"{anew.wall_time_ms.median:.0f} ms; {known.reuse}"
                )
                assert known.wall_time_ms.median < anew.wall_time_ms.median / 2
                events = [one for one in pool.events() if "runs" in one]
                assert len(events) == 1, "what was not run is no measurement"

    asyncio.run(main())
