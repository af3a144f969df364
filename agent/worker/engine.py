"""Runs jobs on this machine with onnxruntime, and measures them.

**Waves.** The models of a wave start together, each in a thread of its own, and share the cores:
a wave of n gives each model `cores // n` threads, at least one. A model alone has them all. That
is what a serving process would do; more threads than cores only get in each other's way.

**Times** are those of executions with everything loaded, after one that is not counted. What
loading and the first run took is told apart.

On a GPU they include what goes there and comes back: inputs are copied to it and outputs from it,
as in a process that serves requests. Each model of a wave has a CUDA stream of its own, which is
onnxruntime's default, so that the GPU may run them at once.

**Memory** is measured in a pass of its own, which loads the models of each wave when the wave
starts and gives them back when it ends: its peak is what the strategy needs.

**Energy** is the device's, over all counted executions. Where these take too short a time for its
counter, more executions follow, which count for nothing else.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnxruntime

from agent.worker import gauges
from agent.worker.device import Device, Processor
from agent.worker.energy import Meter
from agent.worker.feeding import CHECK_BATCH, Array, made_inputs, wrong_output
from agent.worker.opening import RUNTIME_ERRORS, FellBack, opened
from schemas.jobs import JobModel, JobOutcome, JobResult, ModelMeasured, RunJob, Spread
from schemas.models import ModelFile, ModelManifest

_SESSIONS: Final = 32
"""Sessions that are kept for later jobs; the oldest are released first."""

_NO_MEMORY: Final = (
    *("bad_alloc", "bad allocation", "failed to allocate", "out of memory"),
    *("cuda failure 2:", "alloc_failed", "allocation_failed"),  # CUDA, cuBLAS and cuDNN
)

_FAILURES: Final[tuple[type[Exception], ...]] = (
    *(RuntimeError, ValueError, MemoryError),
    *RUNTIME_ERRORS,
)
"""What a model may do wrong; a job in which it does has failed, and the next is taken."""


class Refused(Exception):
    """A job that can't be run here; `outcome` is what its result says."""

    def __init__(self, message: str, outcome: JobOutcome = "refused") -> None:
        super().__init__(message)
        self.outcome: JobOutcome = outcome


@dataclass(slots=True)
class _Session:
    """A loaded model, with what loading and its first run took."""

    model: ModelFile
    run: Callable[[Mapping[str, Array]], dict[str, Array]]
    load_ms: float
    first_run_ms: float
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class _Unit:
    """What one thread does in a wave: a model, or an encoder that feeds the heads of several.

    `names` are the models whose outputs come of it, `batches` how many runs one execution has.
    """

    names: tuple[str, ...]
    files: tuple[str, ...]
    encoder: str | None
    feed: dict[str, Array]
    batches: int


@dataclass(slots=True)
class _Lap:
    """One execution: when each model began and ended, in ms from the start."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def wall_ms(self) -> float:
        """First start to last end."""
        return max(end for _, end in self.spans.values()) - min(
            start for start, _ in self.spans.values()
        )


class Engine:
    """Holds sessions, and runs one job at a time. Not thread-safe: one caller at a time.

    Args:
        folder: where the manifest's files are.
        manifest: what is in there.
        cores: how many threads a model alone has; those of this process if left out.
        device: what runs the models; the processor if left out.
    """

    def __init__(
        self,
        folder: Path,
        manifest: ModelManifest,
        cores: int | None = None,
        device: Device | None = None,
    ) -> None:
        self.device = device or Processor()
        self._folder = folder
        self._manifest = manifest
        self._cores = cores or gauges.cores()
        self._sessions: dict[tuple[str, int], _Session] = {}
        self._checked: dict[str, str | None] = {}
        self._memory: dict[tuple[str, int], float] = {}
        self._threads = ThreadPoolExecutor(self._most_at_once(), thread_name_prefix="model")

    @property
    def backends(self) -> list[str]:
        """What models can be run on here: one device, so that nothing is told of another."""
        return [self.device.backend]

    @property
    def runtime(self) -> str:
        """The engine that runs the models, with its version."""
        return f"onnxruntime-{onnxruntime.__version__}"

    def close(self) -> None:
        """Release what is held."""
        self._threads.shutdown()
        self._sessions.clear()

    def run(
        self, job: RunJob, worker_id: str, cancelled: Callable[[], bool] = lambda: False
    ) -> JobResult:
        """Run a job to its end, and say what came of it. Never raises for what a job may hold.

        Args:
            job: what to run.
            worker_id: for the result.
            cancelled: asked between executions; what is cancelled is refused.
        """
        try:
            return self._measured(job, worker_id, cancelled)
        except Refused as refusal:
            outcome, message = refusal.outcome, str(refusal)
        except FellBack as error:
            outcome, message = "refused", str(error)
        except _FAILURES as error:
            message = f"{type(error).__name__}: {error}"[:400]
            full = isinstance(error, MemoryError) or any(
                word in message.lower() for word in _NO_MEMORY
            )
            outcome = "out_of_memory" if full else "failed"
            self._sessions.clear()
        return JobResult(
            job_id=job.job_id,
            worker_id=worker_id,
            outcome=outcome,
            message=message,
            decision_id=job.decision_id,
        )

    # A job

    def _measured(self, job: RunJob, worker_id: str, cancelled: Callable[[], bool]) -> JobResult:
        deadline = time.monotonic() + job.deadline_s
        self._refuse_others(job)
        waves = self._waves(job)
        peak = self._peak(waves) if job.measure_memory else None
        sessions = [self._loaded(wave) for wave in waves]
        loaded = {
            one.model.id: (one.load_ms, one.first_run_ms)
            for wave in sessions
            for one in wave.values()
            if one.fresh
        }
        if job.warm_up:
            self._execute(waves, sessions)  # not counted: it warms what loading left cold
        laps: list[_Lap] = []
        meter = Meter(self.device.energy_j, self.device.tick_s, self.device.window_s)
        for _ in range(job.repeats):
            if cancelled():
                raise Refused("cancelled")
            if time.monotonic() > deadline:
                raise Refused(f"not done within {job.deadline_s:g} s", "too_late")
            laps.append(self._execute(waves, sessions))
            meter.executed()
        while meter.wants_more and not cancelled() and time.monotonic() < deadline:
            self._execute(waves, sessions)
            meter.executed()
        drawn = meter.drawn()
        for wave in sessions:
            for one in wave.values():
                one.fresh = False
        units = {name: unit for wave in waves for unit in wave for name in unit.names}
        return JobResult(
            job_id=job.job_id,
            worker_id=worker_id,
            outcome="ok",
            strategy=job.strategy,
            waves=job.waves,
            models=[
                self._model(model, job, units[model.model], laps, loaded) for model in job.models
            ],
            wall_time_ms=_spread([lap.wall_ms for lap in laps]),
            peak_memory_mb=peak,
            energy_j=drawn.joules,
            power_w=drawn.watts,
            decision_id=job.decision_id,
        )

    def _model(
        self,
        asked: JobModel,
        job: RunJob,
        unit: _Unit,
        laps: Sequence[_Lap],
        loaded: Mapping[str, tuple[float, float]],
    ) -> ModelMeasured:
        spans = [lap.spans[asked.model] for lap in laps]
        times = [loaded[file] for file in unit.files if file in loaded]
        return ModelMeasured(
            model=asked.model,
            batch_size=asked.batch_size,
            runs=asked.runs,
            requested_backend=job.backend or self.device.backend,
            actual_backend=self.device.backend,
            load_ms=math.fsum(load for load, _ in times),
            first_run_ms=math.fsum(first for _, first in times) if times else None,
            start_ms=statistics.median(start for start, _ in spans),
            latency_ms=_spread([end - start for start, end in spans]),
            memory_mb=self._memory.get((asked.model, asked.batch_size)),
            shared_encoder=unit.encoder if len(unit.names) > 1 else None,
            output_checked=all(self._checked.get(file, "") is None for file in unit.files),
        )

    def _refuse_others(self, job: RunJob) -> None:
        if job.backend is not None and job.backend not in self.backends:
            raise Refused(f"backend {job.backend}: here are {', '.join(self.backends)}")

    def _waves(self, job: RunJob) -> list[list[_Unit]]:
        asked = {one.model: one for one in job.models}
        found = {name: self._file(one) for name, one in asked.items()}
        return [
            _units([(asked[name], found[name]) for name in wave], share=job.share_encoders)
            for wave in job.waves
        ]

    def _file(self, asked: JobModel) -> ModelFile:
        found = self._manifest.find(asked.model)
        if found is None:
            raise Refused(f"no model {asked.model} here")
        if asked.sha256 is not None and asked.sha256 != found.sha256:
            raise Refused(f"{asked.model} here has hash {found.sha256}, not {asked.sha256}")
        unknown = sorted(asked.sizes.keys() - found.sizes.keys())
        if unknown:
            raise Refused(f"{asked.model} has no size {', '.join(unknown)}")
        return found

    # Execution

    def _execute(
        self, waves: Sequence[Sequence[_Unit]], sessions: Sequence[Mapping[str, _Session]]
    ) -> _Lap:
        lap = _Lap()
        origin = time.perf_counter()
        for wave, held in zip(waves, sessions, strict=True):
            if len(wave) == 1:
                _run(wave[0], held, lap, origin, None)
                continue
            together = threading.Barrier(len(wave))
            running = [
                self._threads.submit(_run, unit, held, lap, origin, together) for unit in wave
            ]
            wait(running)  # what one of them raises must not leave the others running
            for one in running:
                one.result()
        return lap

    def _peak(self, waves: Sequence[Sequence[_Unit]]) -> float:
        """Return the peak of memory over an execution that holds a wave's models only."""
        device = self.device
        self._release()
        if device.keeps_code and not all(
            file in self._checked for wave in waves for unit in wave for file in unit.files
        ):
            for wave in waves:
                self._execute([wave], [self._loaded(wave)])
                self._release()
        device.begin_peak()
        idle = device.memory_mb()
        for wave in waves:
            before = device.memory_mb()
            held = self._loaded(wave)
            self._execute([wave], [held])
            after = device.memory_mb()
            if len(wave) == 1 and len(wave[0].names) == 1:
                batch = next(iter(wave[0].feed.values())).shape[:1]
                key = (wave[0].names[0], batch[0] if batch else 1)
                self._memory[key] = max(0.1, after - before)
            held.clear()
            self._release()
        return max(0.1, device.peak_mb() - idle)

    def _release(self) -> None:
        self._sessions.clear()
        self.device.give_back()

    # Sessions

    def _loaded(self, wave: Sequence[_Unit]) -> dict[str, _Session]:
        threads = max(1, self._cores // len(wave))
        return {file: self._session(file, threads) for unit in wave for file in unit.files}

    def _session(self, name: str, threads: int) -> _Session:
        key = (name, threads)
        found = self._sessions.pop(key, None)
        if found is None:
            found = self._load(name, threads)
        self._sessions[key] = found  # the newest last
        while len(self._sessions) > _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return found

    def _load(self, name: str, threads: int) -> _Session:
        model = self._manifest.find(name)
        assert model is not None, "a manifest holds the parts of its models"
        began = time.perf_counter()
        session = opened(self._folder / model.file, self.device.backend, threads)
        loaded = time.perf_counter()
        names = [one.name for one in session.get_outputs()]

        def run(feed: Mapping[str, Array]) -> dict[str, Array]:
            values: list[Any] = session.run(names, feed)
            return dict(zip(names, values, strict=True))

        outputs = run(made_inputs(model, CHECK_BATCH, {}))
        first = time.perf_counter()
        wrong = self._checked[name] = wrong_output(model.outputs, outputs)
        if wrong is not None:
            raise Refused(f"{name} on {self.device.backend}: {wrong}", "wrong_output")
        return _Session(model, run, 1e3 * (loaded - began), 1e3 * (first - loaded))

    def _most_at_once(self) -> int:
        return max(4, len(self._manifest.models))


def _units(wave: Sequence[tuple[JobModel, ModelFile]], *, share: bool) -> list[_Unit]:
    """Return what runs at once: models that are fed the same through one encoder are one unit."""
    groups: dict[tuple[object, ...], list[tuple[JobModel, ModelFile]]] = {}
    for asked, model in wave:
        alone = not share or model.parts is None
        key = (
            (asked.model,)
            if alone
            else (
                "shared",
                model.shares,
                asked.batch_size,
                asked.runs,
                tuple(sorted(asked.sizes.items())),
            )
        )
        groups.setdefault(key, []).append((asked, model))
    return [_unit(members) for members in groups.values()]


def _unit(members: Sequence[tuple[JobModel, ModelFile]]) -> _Unit:
    asked, model = members[0]
    feed = made_inputs(model, asked.batch_size, asked.sizes)
    if len(members) == 1:
        return _Unit((model.id,), (model.id,), None, feed, asked.runs)
    heads = [one.parts.head for _, one in members if one.parts is not None]
    assert model.parts is not None, "only models in parts share"
    encoder = model.parts.encoder
    names = tuple(one.id for _, one in members)
    return _Unit(names, (encoder, *heads), encoder, feed, asked.runs)


def _run(
    unit: _Unit,
    held: Mapping[str, _Session],
    lap: _Lap,
    origin: float,
    together: threading.Barrier | None,
) -> None:
    """Run one unit's batches; note when each of its models began and was done."""
    if together is not None:
        together.wait()
    start = 1e3 * (time.perf_counter() - origin)
    if unit.encoder is None:
        only = held[unit.files[0]]
        for _ in range(unit.batches):
            only.run(unit.feed)
        lap.spans[unit.names[0]] = (start, 1e3 * (time.perf_counter() - origin))
        return
    for _ in range(unit.batches):
        hidden = held[unit.encoder].run(unit.feed)
        for name, head in zip(unit.names, unit.files[1:], strict=True):
            session = held[head]
            wanted = {one.name for one in session.model.inputs}
            feed = {key: value for key, value in (unit.feed | hidden).items() if key in wanted}
            session.run(feed)
            lap.spans[name] = (start, 1e3 * (time.perf_counter() - origin))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        median=statistics.median(values), low=min(values), high=max(values), count=len(values)
    )
