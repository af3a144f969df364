"""Models opened with onnxruntime: on the device that was asked for, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _runtime

Backend = Literal["cpu", "cuda"]

_PROVIDERS: Final[dict[Backend, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
_OPTIONS: Final[dict[Backend, dict[str, str]]] = {
    "cpu": {},
    "cuda": {
        # By default an arena doubles: memory would tell its steps, not what a model needs.
        "arena_extend_strategy": "kSameAsRequested",
        # By default products are rounded to 10 bits, and runs are told as fp32.
        "use_tf32": "0",
    },
}

RUNTIME_ERRORS: Final[tuple[type[Exception], ...]] = tuple(
    one for one in vars(_runtime).values() if isinstance(one, type) and issubclass(one, Exception)
)
"""What onnxruntime raises: kinds of its own, which have nothing in common but `Exception`."""


class FellBack(RuntimeError):
    """onnxruntime would run a model on something else than was asked for."""


def offered(backend: Backend) -> bool:
    """Return whether the installed onnxruntime was built for a backend.

    Its libraries, and the device, may be missing all the same: that `opened` finds out.
    """
    return _PROVIDERS[backend] in onnxruntime.get_available_providers()


def opened(model: Path | bytes, backend: Backend, threads: int) -> Any:
    """Return a session of onnxruntime that runs a model on a backend.

    What a GPU can't run of a model runs on the processor, with `threads`.

    Raises:
        FellBack: the backend can't be used; onnxruntime itself would only warn.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait by spinning would keep cores from the models of the next wave.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model,
        options,
        providers=[(_PROVIDERS[backend], _OPTIONS[backend])],
        enable_fallback=0,  # neither now, nor when a run fails
    )
    actual = session.get_providers()[0]
    if actual != _PROVIDERS[backend]:
        raise FellBack(f"onnxruntime can't use {backend} here, and would run on {actual}")
    return session


def preload() -> None:
    """Load CUDA's libraries where they came as Python packages, in which no loader looks."""
    # Since onnxruntime 1.21, where it is built for CUDA.
    load = getattr(onnxruntime, "preload_dlls", None)
    if load is not None:
        load()
