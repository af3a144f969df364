"""A real agent, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_pair, free_port

READY_SECONDS = 60.0
STOP_SECONDS = 20.0


def wait_until(condition: Any, seconds: float, what: str, pause: float = 0.02) -> Any:
    """Return the first true value of `condition()`; fail after `seconds`, saying `what`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)


class AgentProcess:
    """`placewise run` on a store of its own; started by `start`, surely ended by `with`."""

    def __init__(self, folder: Path, broker_port: int | None, **settings: Any) -> None:
        self.store = folder / "agent.duckdb"
        self.log = folder / "agent.log"
        self.embedded_port = free_pair()
        self.http_port = free_port()
        self.agent_id = "test-agent"
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PLACEWISE_")
        } | {
            "PLACEWISE_STORE": str(self.store),
            "PLACEWISE_AGENT_ID": self.agent_id,
            "PLACEWISE_HTTP_PORT": str(self.http_port),
            # Learning what ships takes seconds; test_knowledge.py does it.
            "PLACEWISE_KNOWLEDGE": "false",
            "PLACEWISE_EMBEDDED_PORT": str(self.embedded_port),
            **{f"PLACEWISE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        if broker_port is not None:
            self._environment["PLACEWISE_BROKER"] = f"mqtt://127.0.0.1:{broker_port}"
        self.broker_port = broker_port or self.embedded_port
        self.old_clients_port = self.broker_port
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> Self:
        """Start it, and wait until it takes events."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent.cli", "run"],
                env=self._environment | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        wait_until(self._is_ready, seconds, f"agent ready; its log:\n{self.log.read_text()}")

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of an HTTP page; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.http_port}{path}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def counter(self, name: str) -> float:
        """Return the sum over the labels of a Prometheus counter or gauge."""
        _, text = self.get("/metrics")
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((f"{name} ", f"{name}{{"))
        )

    def kill(self) -> None:
        """SIGKILL: no chance to finish anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def terminate(self) -> int:
        """SIGTERM, as systemd does; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(STOP_SECONDS)
            self.process = None

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the agent ended: {self.log.read_text()}"
        status, _ = self.get("/readyz")
        return status == 200


def benchmark_event(event_id: str, **changes: Any) -> dict[str, Any]:
    """Return a valid benchmark event; `changes` replace parts of its `data`."""
    data: dict[str, Any] = {
        "model": {"name": "resnet50", "family": "vision", "parameters_m": 25.6, "gmacs": 4.1},
        "hardware": {"name": "nvidia-rtx-3090", "class": "gpu"},
        "setup": {"task": "inference", "batch_size": 32, "precision": "fp16"},
        "metrics": {
            "throughput_per_s": 1000.0,
            "throughput_unit": "images/s",
            "latency_ms": 32.0,
            "latency_kind": "batch_step",
            "memory_mb": 2000.0,
            "power_w": 250.0,
        },
    }
    data.update(changes)
    return {
        "specversion": "1.0",
        "type": "placewise.benchmark.v1",
        "source": "test",
        "id": event_id,
        "data": data,
    }


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()
