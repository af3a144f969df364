"""A real native worker, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.agent import wait_until
from tests.support.models import FOLDER

READY_SECONDS = 30.0
WORKER_ID = "test-worker"


class WorkerProcess:
    """`placewise worker`; started and surely ended by `with`."""

    def __init__(self, folder: Path, broker_port: int, models: Path = FOLDER) -> None:
        self.log = folder / "worker.log"
        self._command = [
            *(sys.executable, "-m", "agent.cli", "worker", "--id", WORKER_ID),
            *("--backend", "cpu", "--models", str(models)),
            *("--broker", f"mqtt://127.0.0.1:{broker_port}"),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._is_ready, READY_SECONDS, "worker ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the worker ended: {self.log.read_text()}"
        return "is ready" in self.log.read_text()
