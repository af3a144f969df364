"""What a worker runs models on, and what that tells: one device for each worker."""

from __future__ import annotations

from typing import ClassVar, Protocol

import structlog

from agent.worker import gauges
from agent.worker.opening import Backend, offered
from schemas.errors import BadInput, Unavailable, shown
from schemas.jobs import Gauges
from schemas.measurement import HardwareSpec

log = structlog.get_logger(__name__)


class Device(Protocol):
    """A device that models run on. Not thread-safe, but for `gauges`."""

    @property
    def backend(self) -> Backend:
        """How jobs name it."""

    @property
    def tick_s(self) -> float:
        """How long its counter of energy may stand still while energy is drawn."""

    @property
    def window_s(self) -> float:
        """How long energy has to be measured for, so that a tick more or less is little."""

    @property
    def keeps_code(self) -> bool:
        """Whether what first use loads (contexts, kernels) stays in its memory.

        It is there for as long as the process lives then, and belongs to no model.
        """

    def label(self) -> str:
        """Return what sets its worker apart from others of the same machine."""

    def hardware(self) -> HardwareSpec:
        """Return what it is."""

    def total_memory_mb(self) -> float:
        """Return the memory that it has."""

    def begin_peak(self) -> None:
        """Forget the peak of memory: it begins anew."""

    def memory_mb(self) -> float:
        """Return the memory that this process takes of it now."""

    def peak_mb(self) -> float:
        """Return the most that `memory_mb` was since `begin_peak`.

        Not every device keeps it by itself: read `memory_mb` before models are released.
        """

    def give_back(self) -> None:
        """Return to the system what was freed, where it would be counted otherwise."""

    def energy_j(self) -> float | None:
        """Return a counter of the energy that it has drawn; None if nothing tells.

        It is the whole device's, whoever uses it, and what it draws when idle is part of it.
        """

    def gauges(self) -> Gauges:
        """Return how warm it is and what its machine runs on, as far as that is told."""


class Processor:
    """The processor that this process runs on, with the machine's memory."""

    backend: ClassVar[Backend] = "cpu"
    tick_s = 0.001  # RAPL's counters are updated about every millisecond (Intel SDM, 16.10.1)
    window_s = 0.05
    keeps_code = False

    def label(self) -> str:
        """Return the name that native workers had before there were others."""
        return "native"

    def hardware(self) -> HardwareSpec:
        """Return the processor's name, and how much of it this process may use."""
        return HardwareSpec(name=gauges.hardware_name(), hardware_class="cpu")

    def total_memory_mb(self) -> float:
        """Return the machine's memory."""
        return gauges.machine_memory_mb()

    def begin_peak(self) -> None:
        """Have the kernel begin anew."""
        gauges.begin_peak()

    def memory_mb(self) -> float:
        """Return the resident memory of this process."""
        return gauges.memory_mb()

    def peak_mb(self) -> float:
        """Return the kernel's own peak."""
        return gauges.peak_mb()

    def give_back(self) -> None:
        """Have glibc return what was freed."""
        gauges.give_back()

    def energy_j(self) -> float | None:
        """Return what the processor packages have drawn."""
        return gauges.energy_j()

    def gauges(self) -> Gauges:
        """Return what the kernel tells of this machine."""
        return gauges.gauges()


def chosen(backend: str | None = None) -> Device:
    """Return the device to run models on.

    Args:
        backend: which one; if left out a GPU, where onnxruntime can use one and one answers,
            else the processor.

    Raises:
        BadInput: there is no such backend.
        Unavailable: `cuda` was asked for, and something that it needs is missing.
    """
    if backend not in {None, "cpu", "cuda"}:
        raise BadInput.of_field("backend", shown(backend), "cpu or cuda")
    if backend == "cpu" or (backend is None and not offered("cuda")):
        return Processor()
    try:
        return _gpu()
    except Unavailable as error:
        if backend is not None:
            raise
        log.warning("no_gpu", problem=error.message, instead="the processor runs models")
        return Processor()


def _gpu() -> Device:
    if not offered("cuda"):
        raise Unavailable(
            "this onnxruntime is not built for CUDA: pip uninstall onnxruntime, "
            "then pip install 'placewise[gpu]'"
        )
    from agent.worker.gpu import Gpu  # noqa: PLC0415 - its libraries are on few machines

    return Gpu.found()
