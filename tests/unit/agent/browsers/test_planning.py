"""What a job's inputs may take, and the shelf where tabs find them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.browsers import planning, shelf
from agent.browsers.groups import Group, grouped
from agent.browsers.planning import check_job, plan
from agent.browsers.shelf import Shelf
from agent.worker.feeding import CHECK_BATCH
from schemas.errors import BadInput
from schemas.jobs import JobModel, RunJob
from schemas.models import InputSpec, ModelFile, ModelManifest, Origin, OutputCheck
from tests.support.tabs import hello
from web_bridge.tab import Tab


def manifest(*inputs: InputSpec, **changes: Any) -> ModelManifest:
    described: dict[str, Any] = {
        "id": "one",
        "family": "vision",
        "file": "one.onnx",
        "sha256": "1" * 64,
        "size_bytes": 10,
        "licence": "MIT",
        "origin": Origin(package="p", version="1", path="x"),
        "inputs": list(inputs),
        "outputs": [OutputCheck(name="y", shape=[1], values=[0.5], tolerance=0.01)],
        "parameters_m": 1.0,
    }
    return ModelManifest(reference="onnxruntime-1", models=[ModelFile(**{**described, **changes})])


IMAGES = manifest(InputSpec(name="x", dtype="float32", shape=["batch", 3, 224, 224]))
TEXTS = manifest(
    InputSpec(name="ids", dtype="int64", shape=["batch", "length"], high=100.0),
    InputSpec(name="mask", dtype="int32", shape=["batch", "length"], low=1.0, high=1.0),
    sizes={"length": 4},
)


def group() -> Group:
    (found,) = grouped("rack1", [Tab.of(hello(), 0.0, "")]).values()
    return found


def asked(batch_size: int, **sizes: int) -> RunJob:
    return RunJob(
        job_id="job",
        models=[JobModel(model="one", batch_size=batch_size, sizes=sizes)],
        strategy="sequential",
        waves=[["one"]],
    )


@pytest.mark.parametrize("batch_size", [223, 4_096])
def test_inputs_that_are_too_large_are_refused_before_they_are_made(batch_size: int) -> None:
    on_shelf = Shelf()
    with pytest.raises(BadInput) as refused:
        plan(asked(batch_size), group(), IMAGES, on_shelf)
    (detail,) = refused.value.details
    assert detail.field == "batch_size"
    assert f"{batch_size} inputs of one take" in detail.problem
    assert detail.expected == "a smaller one: at most 128 MiB"
    assert not on_shelf._values


def test_all_inputs_of_a_model_count_in_the_sizes_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whole numbers of eight bytes and of four, in sequences of 10.
    monkeypatch.setattr(planning, "MAX_INPUT_BYTES", 3 * 10 * (8 + 4))
    on_shelf = Shelf()
    (seat,) = plan(asked(3, length=10), group(), TEXTS, on_shelf).job.seats
    assert [one.shape for one in seat.models[0].inputs] == [[3, 10], [3, 10]]
    assert on_shelf._held == planning.MAX_INPUT_BYTES
    for more in (asked(4, length=10), asked(3, length=11)):
        with pytest.raises(BadInput):
            plan(more, group(), TEXTS, on_shelf)
    assert on_shelf._held == planning.MAX_INPUT_BYTES


def test_a_models_own_inputs_to_check_it_with_are_bounded_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (model,) = TEXTS.models
    own = CHECK_BATCH * 4 * (8 + 4)
    monkeypatch.setattr(planning, "MAX_INPUT_BYTES", own)
    assert check_job("check", model, group(), Shelf()).seats[0].models[0].inputs
    monkeypatch.setattr(planning, "MAX_INPUT_BYTES", own - 1)
    with pytest.raises(BadInput):
        check_job("check", model, group(), Shelf())


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Let threads take turns after every few steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_a_shelf_that_several_threads_fill_keeps_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shelf, "MAX_HELD_BYTES", 100_000)
    threads, each = 8, 400
    on_shelf = Shelf()
    on_shelf.put_file("f" * 64, Path("/nowhere"))

    def fill(thread: int) -> list[tuple[str, bytes]]:
        put = []
        for number in range(each):
            # Some of them are everybody's, as the same inputs of two jobs are.
            whose = thread if number % 4 else "all"
            value = f"{whose} {number} ".encode() * 100
            put.append((on_shelf.put_value(value), value))
            assert on_shelf._held >= 0
        return put

    with ThreadPoolExecutor(threads) as pool:
        put = dict(one for some in pool.map(fill, range(threads)) for one in some)
    values = on_shelf._values
    assert on_shelf._held == sum(map(len, values.values()))
    assert 90_000 < on_shelf._held <= 100_000
    assert values.items() <= put.items()
