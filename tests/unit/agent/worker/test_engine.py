"""The engine on a device of the tests: what it measures, what it refuses, what it survives."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from agent.worker import engine as engine_module
from agent.worker.device import Device, Processor
from agent.worker.engine import Engine
from agent.worker.opening import RUNTIME_ERRORS, FellBack, opened
from schemas.jobs import Gauges, RunJob
from schemas.measurement import HardwareSpec
from schemas.models import InputSpec, ModelFile, ModelManifest, Origin, OutputCheck


def tiny(operator: str = "Neg") -> onnx.ModelProto:
    value = [
        helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", 3]) for one in ("x", "y")
    ]
    node = helper.make_node(operator, ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value[0]], [value[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def listed(folder: Path, name: str, data: bytes, wanted: float = 0.0) -> ModelFile:
    (folder / f"{name}.onnx").write_bytes(data)
    return ModelFile(
        id=name,
        family="vision",
        file=f"{name}.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        licence="MIT",
        origin=Origin(package="p", version="1", path="m.onnx"),
        inputs=[InputSpec(name="x", dtype="float32", shape=["batch", 3], low=0, high=0)],
        outputs=[OutputCheck(name="y", shape=[2, 3], values=[wanted] * 6, tolerance=0.1)],
        parameters_m=1.0,
    )


class FakeDevice(Processor):
    """The processor, said to be another device: its counter ticks every `tick_s` at 300 W."""

    tick_s = 0.02
    window_s = 0.2
    ticks: ClassVar[bool] = True

    def __init__(self) -> None:
        self.looks = 0
        self.taken_mb = 100.0
        self._peak_mb = 0.0

    def hardware(self) -> HardwareSpec:
        return HardwareSpec(name="fake", hardware_class="gpu")

    def energy_j(self) -> float | None:
        import time

        self.looks += 1
        return 300.0 * (time.perf_counter() // self.tick_s) * self.tick_s

    def begin_peak(self) -> None:
        self._peak_mb = 0.0

    def memory_mb(self) -> float:
        self._peak_mb = max(self._peak_mb, self.taken_mb)
        return self.taken_mb

    def peak_mb(self) -> float:
        return self._peak_mb

    def gauges(self) -> Gauges:
        return Gauges(temperature_c=91.0)


class Silent(FakeDevice):
    """It tells no energy."""

    def energy_j(self) -> float | None:
        return None


def held(folder: Path, device: Device) -> Engine:
    models = [
        listed(folder, "neg", tiny().SerializeToString()),
        listed(folder, "abs", tiny("Abs").SerializeToString()),
        listed(folder, "wrong", tiny("Exp").SerializeToString()),
        listed(folder, "broken", b"no model"),
    ]
    return Engine(folder, ModelManifest(reference="r", models=models), device=device)


def job(*models: str, **fields: Any) -> RunJob:
    return RunJob.model_validate(
        {
            "job_id": "j",
            "models": [{"model": one} for one in models],
            "strategy": "sequential",
            "waves": [[one] for one in models],
            "measure_memory": False,
            **fields,
        }
    )


def counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by one with each execution."""
    seen: list[int] = []
    execute = engine._execute

    def spy(*arguments: Any) -> Any:
        seen.append(1)
        return execute(*arguments)

    monkeypatch.setattr(engine, "_execute", spy)
    return seen


def test_energy_is_measured_over_a_window_and_times_over_the_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = held(tmp_path, FakeDevice())
    seen = counted(engine, monkeypatch)
    result = engine.run(job("neg", repeats=3), "w")
    assert result.outcome == "ok"
    assert result.wall_time_ms is not None
    assert result.wall_time_ms.count == 3
    assert result.power_w == pytest.approx(300.0, rel=0.1)
    assert result.energy_j is not None
    # The laps are shorter than a tick: nothing could be told of three of them.
    assert len(seen) > 20
    assert result.energy_j == pytest.approx(300.0 * 0.2 / len(seen), rel=0.6)


def test_where_no_energy_is_told_nothing_more_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = held(tmp_path, Silent())
    seen = counted(engine, monkeypatch)
    result = engine.run(job("neg", repeats=3), "w")
    assert (result.outcome, result.energy_j, result.power_w) == ("ok", None, None)
    assert len(seen) == 4  # with the one that warms up


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
def test_the_window_ends_with_the_job(tmp_path: Path, how: str) -> None:
    device = FakeDevice()
    engine = held(tmp_path, device)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return how == "cancelled" and asked > 3

    wanted = {"deadline_s": 0.05} if how == "deadline" else {}
    result = engine.run(job("neg", repeats=3, **wanted), "w", cancelled)
    # All that was to be measured for time was: it is told, and of energy nothing.
    assert (result.outcome, result.energy_j) == ("ok", None)


def test_another_backend_is_refused(tmp_path: Path) -> None:
    result = held(tmp_path, Processor()).run(job("neg", backend="cuda"), "w")
    assert (result.outcome, result.message) == ("refused", "backend cuda: here are cpu")


def test_wrong_output_counts_for_nothing(tmp_path: Path) -> None:
    result = held(tmp_path, Silent()).run(job("wrong"), "w")
    assert result.outcome == "wrong_output"
    assert result.message.startswith("wrong on cpu: y is off by")


def test_what_onnxruntime_raises_is_the_result_of_one_job(tmp_path: Path) -> None:
    engine = held(tmp_path, Silent())
    assert engine.run(job("broken"), "w").outcome == "failed"
    assert engine.run(job("neg"), "w").outcome == "ok"


@pytest.mark.parametrize(
    "message",
    [
        "Failed to allocate memory for requested buffer of size 4294967296",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=rack1 ; expr=cudaMalloc",
        "CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "std::bad_alloc",
    ],
)
def test_too_little_memory_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    kind = next(one for one in RUNTIME_ERRORS if one.__name__ == "RuntimeException")

    def full(*_: Any) -> Any:
        raise kind(message)

    monkeypatch.setattr(engine_module, "opened", full)
    result = held(tmp_path, Silent()).run(job("neg"), "w")
    assert (result.outcome, message in result.message) == ("out_of_memory", True)


def test_a_device_that_onnxruntime_cannot_use_gives_no_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where CUDA's libraries are missing, onnxruntime warns, and runs on the processor.
    real = onnxruntime.InferenceSession

    def falls_back(model: Any, options: Any, *_: Any, **__: Any) -> Any:
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(FellBack, match="cuda"):
        opened(tiny().SerializeToString(), "cuda", 1)
    device = Silent()
    device.backend = "cuda"  # type: ignore[misc]
    result = held(tmp_path, device).run(job("neg"), "w")
    assert result.outcome == "refused"
    assert "can't use cuda" in result.message


@pytest.mark.parametrize("keeps_code", [False, True])
def test_what_the_device_keeps_of_first_use_belongs_to_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_code: bool
) -> None:
    device = Silent()
    device.keeps_code = keeps_code
    engine = held(tmp_path, device)
    load = engine._load

    def loads(name: str, threads: int) -> Any:
        first = not engine._checked
        found = load(name, threads)
        device.taken_mb += 7.0 + (500.0 if first else 0.0)  # the context, with the first
        return found

    def gives_back() -> None:
        device.taken_mb = 600.0 if device.taken_mb > 500 else 100.0

    monkeypatch.setattr(engine, "_load", loads)
    monkeypatch.setattr(device, "give_back", gives_back)
    result = engine.run(job("neg", "abs", measure_memory=True), "w")
    assert result.peak_memory_mb == (7.0 if keeps_code else 507.0)
    assert result.models[1].memory_mb == 7.0


def test_models_of_a_wave_run_together(tmp_path: Path) -> None:
    result = held(tmp_path, Silent()).run(
        job("neg", "abs", strategy="parallel", waves=[["neg", "abs"]]), "w"
    )
    assert [one.model for one in result.models] == ["neg", "abs"]
    assert {one.actual_backend for one in result.models} == {"cpu"}
