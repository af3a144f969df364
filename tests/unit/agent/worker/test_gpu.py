"""What a GPU tells, by a double of NVML, and by a real GPU where one answers."""

from __future__ import annotations

import builtins
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.learning.catalogue import catalogue
from agent.runnable import why_not
from agent.worker import device as device_module
from agent.worker import gpu as gpu_module
from agent.worker.device import Device, Processor, chosen
from agent.worker.engine import Engine
from agent.worker.gpu import Gpu
from agent.worker.service import native_state, new_worker_id
from schemas.errors import BadInput, Unavailable
from schemas.jobs import RunJob
from schemas.models import ModelManifest
from tests.support.models import FOLDER, manifest, needs_models

MEBI = 1 << 20
BUS_ID = "00000000:1B:00.0"


class FakeNvml:
    """Of the shape of `pynvml`, for one GPU. What is set to None is not supported there."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.name = "NVIDIA H100 80GB HBM3"
        self.used_mb: float | None = 900.0
        self.processes: list[Any] | None = None
        self.energy_mj: int | None = 5_000_000
        self.celsius: int | None = 41
        self.partitioned: int | None = 0
        self.answers = True

    def _told(self, value: Any) -> Any:
        if value is None:
            raise self.NVMLError("Not Supported")
        return value

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        self._told(True if self.answers else None)

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> str:  # noqa: N802
        return str(self._told("handle" if bus_id == BUS_ID else None))

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return self.name

    def nvmlDeviceGetIndex(self, handle: str) -> int:  # noqa: N802
        return 3

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:  # noqa: N802
        return [int(self._told(self.partitioned))] * 2

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(total=81_559 * MEBI, used=self._told(self.used_mb) * MEBI)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return list(self._told(self.processes))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return int(self._told(self.energy_mj))

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return int(self._told(self.celsius))


def a_gpu(**fields: Any) -> tuple[Gpu, FakeNvml]:
    nvml = FakeNvml()
    for name, value in fields.items():
        setattr(nvml, name, value)
    return Gpu(nvml, BUS_ID), nvml


@pytest.mark.parametrize(
    ("told", "name", "sheet", "memory_gb"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3", "nvidia-h100", 80),
        ("NVIDIA H100 PCIe", "nvidia-h100-pcie", "nvidia-h100-pcie", 80),
        ("NVIDIA H200", "nvidia-h200", "nvidia-h200", 141),
        ("NVIDIA A100-SXM4-80GB", "nvidia-a100-sxm4-80gb", "nvidia-a100-sxm-80gb", 80),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090", "nvidia-rtx-4090", 24),
        ("Tesla T4", "tesla-t4", "nvidia-t4", 16),
    ],
)
def test_its_name_is_one_that_the_catalogue_knows(
    told: str, name: str, sheet: str, memory_gb: float
) -> None:
    found = a_gpu(name=told)[0].hardware()
    assert (found.name, found.hardware_class) == (name, "gpu")
    known = catalogue().find(found.name)
    assert known is not None
    assert (known.name, known.memory_gb, known.hardware_class) == (sheet, memory_gb, "gpu")


def test_memory_is_that_of_the_process_where_it_is_told() -> None:
    gpu, nvml = a_gpu(
        processes=[
            SimpleNamespace(pid=1, usedGpuMemory=50 * MEBI),
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=500 * MEBI),
        ]
    )
    gpu.begin_peak()
    assert gpu.memory_mb() == 500.0
    assert nvml.processes is not None
    nvml.processes[1].usedGpuMemory = 700 * MEBI
    assert gpu.memory_mb() == 700.0
    nvml.processes[1].usedGpuMemory = 500 * MEBI
    assert (gpu.memory_mb(), gpu.peak_mb()) == (500.0, 700.0)


@pytest.mark.parametrize(
    "processes",
    [
        None,
        [],
        [SimpleNamespace(pid=1, usedGpuMemory=50 * MEBI)],
        [SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)],
    ],
)
def test_memory_is_that_of_the_device_where_the_process_is_not_told(processes: Any) -> None:
    gpu, nvml = a_gpu(processes=processes)
    gpu.begin_peak()
    assert gpu.memory_mb() == 900.0
    nvml.used_mb = 1_300.0
    gpu.memory_mb()
    nvml.used_mb = 1_000.0
    gpu.memory_mb()
    assert gpu.peak_mb() == 1_300.0
    gpu.begin_peak()
    assert gpu.peak_mb() == 0.0


def test_one_pass_has_one_kind_of_memory() -> None:
    # The process is told from its first allocation on: not in the middle of a comparison.
    gpu, nvml = a_gpu(processes=[])
    gpu.begin_peak()
    before = gpu.memory_mb()
    nvml.processes = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=500 * MEBI)]
    assert gpu.memory_mb() == before


def test_memory_that_cannot_be_told_fails_the_job_and_no_more() -> None:
    gpu, _ = a_gpu(used_mb=None)
    with pytest.raises(RuntimeError, match="NVML: Not Supported"):
        gpu.memory_mb()


def test_what_it_tells_of_energy_and_warmth() -> None:
    gpu, nvml = a_gpu()
    assert gpu.energy_j() == 5_000.0
    told = gpu.gauges()
    assert (told.temperature_c, told.tells_energy) == (41.0, True)
    nvml.energy_mj = nvml.celsius = None
    told = gpu.gauges()
    assert (told.temperature_c, told.tells_energy) == (None, False)
    assert gpu.energy_j() is None


def test_a_hot_gpu_explores_not() -> None:
    none = ModelManifest(reference="r", models=[])
    engine = Engine(Path(), none, device=a_gpu(celsius=86)[0])
    state = native_state("w", engine, none, datetime.now(UTC))
    assert state.memory_mb == 81_559.0
    assert state.backends == ["cuda"]
    assert state.hardware is not None
    assert state.hardware.name == "nvidia-h100-80gb-hbm3"
    assert why_not(state, energy=True) == "it has 86 degrees C; at most 85"


def test_two_workers_of_one_machine_have_two_names() -> None:
    gpu: Device = a_gpu()[0]
    assert new_worker_id("rack1", gpu) == "rack1-cuda3"
    assert new_worker_id("rack1", Processor()) == "rack1-native"


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"answers": False}, "no GPU: NVML says of 00000000:1B:00.0: Not Supported"),
        ({"partitioned": 1}, "is partitioned"),
    ],
)
def test_a_gpu_that_cannot_be_measured_is_none(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(Unavailable, match=what):
        a_gpu(**fields)


def test_a_gpu_that_knows_no_partitions_is_whole() -> None:
    assert a_gpu(partitioned=None)[0].total_memory_mb() == 81_559.0


def test_there_is_no_such_backend() -> None:
    with pytest.raises(BadInput) as caught:
        chosen("rocm")
    assert caught.value.details[0].expected == "cpu or cuda"


def test_without_cuda_in_onnxruntime_the_processor_runs_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device_module, "offered", lambda backend: backend == "cpu")
    assert isinstance(chosen(), Processor)
    with pytest.raises(Unavailable, match=r"not built for CUDA.*placewise\[gpu\]"):
        chosen("cuda")


def test_without_a_driver_the_processor_runs_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "offered", lambda _: True)
    monkeypatch.setattr(gpu_module, "_DRIVER", "libno-such-driver.so.1")
    assert isinstance(chosen(), Processor)
    with pytest.raises(Unavailable, match="driver is not here"):
        chosen("cuda")


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fails(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "pynvml":
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(device_module, "offered", lambda _: True)
    monkeypatch.setattr(gpu_module, "first_bus_id", lambda: BUS_ID)
    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(Unavailable, match="nvidia-ml-py is missing"):
        chosen("cuda")


class FakeDriver:
    """Of the shape of libcuda: one GPU, or the code that a call ends with."""

    def __init__(self, codes: dict[str, int]) -> None:
        self._codes = codes

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuDeviceGetPCIBusId":
                arguments[0].value = BUS_ID.encode()
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_NO_DEVICE"
            return self._codes.get(name, 0)

        return call


@pytest.mark.parametrize(
    ("codes", "what"),
    [
        ({"cuInit": 100}, "cuInit of the driver says CUDA_ERROR_NO_DEVICE"),
        ({"cuInit": 999, "cuGetErrorName": 1}, "cuInit of the driver says error 999"),
        ({"cuDeviceGet": 101}, "cuDeviceGet of"),
    ],
)
def test_a_driver_that_shows_no_gpu(
    monkeypatch: pytest.MonkeyPatch, codes: dict[str, int], what: str
) -> None:
    monkeypatch.setattr(gpu_module.ctypes, "CDLL", lambda _: FakeDriver(codes))
    with pytest.raises(Unavailable, match=what):
        gpu_module.first_bus_id()


def test_the_driver_tells_the_address_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_module.ctypes, "CDLL", lambda _: FakeDriver({}))
    assert gpu_module.first_bus_id() == BUS_ID


# On a real GPU


def why_no_gpu() -> str | None:
    try:
        chosen("cuda")
    except Unavailable as error:
        return f"no GPU here: {error.message}"
    return None


WHY = why_no_gpu()
needs_gpu = pytest.mark.skipif(WHY is not None, reason=str(WHY))


@needs_gpu
def test_a_real_gpu_is_preferred_and_tells_of_itself() -> None:
    gpu = chosen()
    assert gpu.backend == "cuda"
    assert gpu.hardware().hardware_class == "gpu"
    assert gpu.total_memory_mb() > 1_000
    gpu.begin_peak()
    assert 0 < gpu.memory_mb() <= gpu.total_memory_mb()
    told = gpu.gauges()
    assert told.temperature_c is not None
    assert 10 < told.temperature_c < 110


@needs_gpu
def test_the_counter_of_a_real_gpu_ticks_at_least_as_often_as_is_said() -> None:
    gpu = chosen("cuda")
    if gpu.energy_j() is None:
        pytest.skip("this GPU tells no energy")
    gaps, last, since = [], gpu.energy_j(), time.perf_counter()
    while len(gaps) < 10 and time.perf_counter() - since < 5.0:
        now = gpu.energy_j()
        if now != last:
            gaps.append(time.perf_counter() - since)
            last, since = now, time.perf_counter()
        time.sleep(0.001)
    assert len(gaps) == 10
    assert sorted(gaps)[5] < 1.5 * gpu.tick_s


@needs_gpu
@needs_models
def test_a_real_gpu_runs_models_and_agrees_with_the_processor() -> None:
    held = manifest()
    engine = Engine(FOLDER, held, device=chosen("cuda"))
    whole = [one for one in held.models if not one.part]
    try:
        for one in whole:
            result = engine.run(
                RunJob.model_validate(
                    {
                        "job_id": one.id,
                        "models": [{"model": one.id, "batch_size": 4}],
                        "strategy": "sequential",
                        "waves": [[one.id]],
                        "repeats": 5,
                    }
                ),
                "w",
            )
            assert (result.outcome, result.message) == ("ok", ""), one.id
            (told,) = result.models
            assert (told.actual_backend, told.output_checked) == ("cuda", True)
            # Weights at least, and far less than a context that was counted in by mistake.
            assert told.memory_mb is not None
            assert 0.5 * one.size_bytes / MEBI < told.memory_mb < 1_000 + one.size_bytes / MEBI
            if engine.device.gauges().tells_energy:
                assert result.power_w is not None
                assert 20 < result.power_w < 1_500
    finally:
        engine.close()
    refused = engine.run(
        RunJob.model_validate(
            {
                "job_id": "cpu",
                "models": [{"model": whole[0].id}],
                "strategy": "sequential",
                "waves": [[whole[0].id]],
                "backend": "cpu",
            }
        ),
        "w",
    )
    assert (refused.outcome, refused.message) == ("refused", "backend cpu: here are cuda")
