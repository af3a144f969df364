"""An NVIDIA GPU: what NVML, its driver's own library, tells of it.

**Which one.** The first that CUDA shows this process (`CUDA_VISIBLE_DEVICES`), by its address on
the bus: CUDA and NVML number them differently.

**Memory** is this process's where the driver knows that; in containers and virtual machines it
mostly does not, and then it is what is used of the whole device, so that who else comes or goes
while a job is measured is counted in. CUDA's own context is not: `Gpu.found` makes it, and the
engine loads and runs models once before the reading that it compares with. onnxruntime's arena
only ever grows, so what is taken after a run is the most that the run took.

**Energy** is the whole device's, from a counter that stands still for up to 100 ms at a time.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

import numpy as np
from onnx import TensorProto, helper

from agent.worker.gauges import on_battery
from agent.worker.opening import RUNTIME_ERRORS, Backend, FellBack, opened, preload
from schemas.errors import Unavailable, shown
from schemas.jobs import Gauges
from schemas.measurement import HardwareSpec

_MEBI: Final = 1 << 20
_BUS_ID_CHARS: Final = 32
_DRIVER: Final = "libcuda.so.1"


class Gpu:
    """A GPU by what NVML tells of it.

    Args:
        nvml: the module `pynvml`, or one of its shape.
        bus_id: the GPU's address on the PCI bus.

    Raises:
        Unavailable: NVML does not answer, knows no such GPU, or it is partitioned.
    """

    backend: ClassVar[Backend] = "cuda"
    tick_s = 0.1
    window_s = 1.0
    keeps_code = True

    def __init__(self, nvml: Any, bus_id: str) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            self._handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id)
            self._name = str(nvml.nvmlDeviceGetName(self._handle))
            self._index = int(nvml.nvmlDeviceGetIndex(self._handle))
        except nvml.NVMLError as error:
            raise Unavailable(f"no GPU: NVML says of {bus_id}: {error}") from None
        if self._told(lambda: nvml.nvmlDeviceGetMigMode(self._handle)[0]):
            raise Unavailable(f"{self._name} is partitioned (MIG), which can't be measured yet")
        self._by_process = False
        self._peak_mb = 0.0

    @classmethod
    def found(cls) -> Self:
        """Return the GPU that CUDA shows first, once onnxruntime has run on it.

        Raises:
            Unavailable: something is missing: the driver, a GPU, NVML, CUDA's libraries.
        """
        bus_id = first_bus_id()
        try:
            # In the extra `gpu` alone.
            import pynvml  # noqa: PLC0415
        except ModuleNotFoundError:
            raise Unavailable("nvidia-ml-py is missing: pip install 'placewise[gpu]'") from None
        found = cls(pynvml, bus_id)
        _prove()
        return found

    def label(self) -> str:
        """Return a name that no other GPU of this machine has."""
        return f"cuda{self._index}"

    def hardware(self) -> HardwareSpec:
        """Return the product's name, as catalogues spell it."""
        slug = re.sub(r"[^a-z0-9]+", "-", self._name.lower()).strip("-")
        return HardwareSpec(name=slug, hardware_class="gpu")

    def total_memory_mb(self) -> float:
        """Return the GPU's own memory."""
        return float(self._asked(self._nvml.nvmlDeviceGetMemoryInfo).total) / _MEBI

    def begin_peak(self) -> None:
        """Begin anew, and find out whether this process is told apart from others."""
        self._by_process = self._own_memory_mb() is not None
        self._peak_mb = 0.0

    def memory_mb(self) -> float:
        """Return what this process takes; what the device has in use where that is not told."""
        own = self._own_memory_mb() if self._by_process else None
        if own is None:
            own = float(self._asked(self._nvml.nvmlDeviceGetMemoryInfo).used) / _MEBI
        self._peak_mb = max(self._peak_mb, own)
        return own

    def peak_mb(self) -> float:
        """Return the most that was read since `begin_peak`."""
        return self._peak_mb

    def give_back(self) -> None:
        """Do nothing: an arena that is released frees what it had."""

    def energy_j(self) -> float | None:
        """Return what the device has drawn since its driver was loaded."""
        told = self._told(lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if told is None else told / 1_000

    def gauges(self) -> Gauges:
        """Return how warm the GPU is, and what its machine runs on."""
        nvml = self._nvml
        return Gauges(
            temperature_c=self._told(
                lambda: nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            on_battery=on_battery(),
            tells_energy=self.energy_j() is not None,
        )

    def _own_memory_mb(self) -> float | None:
        found = self._told(
            lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle), of=list
        )
        mine = [one.usedGpuMemory for one in found or () if one.pid == os.getpid()]
        # A container's numbers of processes are not the driver's: none of them is ours then.
        return mine[0] / _MEBI if mine and mine[0] is not None else None

    def _asked(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._handle)
        except self._nvml.NVMLError as error:
            raise RuntimeError(f"NVML: {error}") from None

    def _told(self, question: Callable[[], Any], of: Callable[[Any], Any] = float) -> Any:
        """Return an answer; None where this GPU or its driver has none."""
        try:
            return of(question())
        except self._nvml.NVMLError:
            return None


def first_bus_id() -> str:
    """Return the address, on the PCI bus, of the GPU that CUDA shows this process first.

    Raises:
        Unavailable: there is no driver, or it shows none.
    """
    try:
        cuda = ctypes.CDLL(_DRIVER)
    except OSError:
        raise Unavailable(f"no GPU: NVIDIA's driver is not here ({_DRIVER})") from None
    device = ctypes.c_int()
    text = ctypes.create_string_buffer(_BUS_ID_CHARS)
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDeviceGetPCIBusId", (text, _BUS_ID_CHARS, device)),
    ):
        code = getattr(cuda, name)(*arguments)
        if code:
            raise Unavailable(f"no GPU: {name} of the driver says {_reason(cuda, code)}")
    return text.value.decode("ascii", "replace")


def _reason(cuda: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    known = cuda.cuGetErrorName(code, ctypes.byref(name)) == 0 and name.value is not None
    return (name.value or b"").decode("ascii", "replace") if known else f"error {code}"


def _prove() -> None:
    """Run something on the GPU: an onnxruntime built for CUDA may lack its libraries."""
    preload()
    x, y = (helper.make_tensor_value_info(one, TensorProto.FLOAT, [1]) for one in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "proof", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        opened(model.SerializeToString(), "cuda", 1).run(["y"], {"x": np.ones(1, np.float32)})
    except FellBack as error:
        raise Unavailable(f"{error}: are CUDA and cuDNN of its versions installed?") from None
    except RUNTIME_ERRORS as error:
        raise Unavailable(f"nothing runs on the GPU: {shown(str(error))}") from None
