"""Real browsers, each in a process group of its own that surely ends."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
WEBNN_CHROMIUM = ROOT / "tools" / "browser" / "webnn-chromium" / "chromium"
END_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--enable-blink-features=ForceEagerMeasureMemory",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
_FIREFOX_PREFERENCES = {
    "dom.webgpu.enabled": True,
    "gfx.webgpu.ignore-blocklist": True,
    "dom.webgpu.workers.enabled": True,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


@dataclass(frozen=True, slots=True)
class BrowserKind:
    """A browser that this machine may have.

    Attributes:
        offers: the backends that it is known to give here.
    """

    name: str
    program: str | None
    engine: str
    offers: tuple[str, ...]
    flags: tuple[str, ...] = ()
    missing: str = ""


def _die_with_parent() -> None:
    """Have the kernel end the browser when the test's process is killed and can't do it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def known_kinds() -> list[BrowserKind]:
    """Return every kind of browser that the tests know; `program` is None where it is missing."""
    webnn = str(WEBNN_CHROMIUM) if WEBNN_CHROMIUM.exists() else None
    return [
        BrowserKind(
            "chromium",
            shutil.which("chromium"),
            "blink",
            ("wasm", "webgpu"),
            (
                "--enable-unsafe-webgpu",
                "--enable-features=Vulkan",
                "--use-webgpu-adapter=swiftshader",
            ),
            "apt-get install chromium",
        ),
        BrowserKind(
            "chromium-webnn",
            webnn,
            "blink",
            ("wasm", "webnn"),
            ("--enable-features=WebMachineLearningNeuralNetwork",),
            "tools/browser-test-setup.sh (npm: @sparticuz/chromium)",
        ),
        BrowserKind(
            "firefox",
            shutil.which("firefox-esr") or shutil.which("firefox"),
            "gecko",
            ("wasm", "webgpu"),
            (),
            "apt-get install firefox-esr mesa-vulkan-drivers",
        ),
    ]


def kind(name: str) -> BrowserKind:
    """Return a kind by name."""
    return next(one for one in known_kinds() if one.name == name)


@dataclass
class Browser:
    """A running browser; `with` ends its whole process group."""

    kind: BrowserKind
    address: str
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix=f"placewise-browser-{os.getpid()}-"))
        try:
            self._start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def open(self, address: str) -> str:
        """Open one more tab; return its id for `close_tab`. Chromium only."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._debugging_port()}/json/new?{quote(address, safe='')}",
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["id"])

    def tabs(self) -> list[dict[str, str]]:
        """Return what is open. Chromium only."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._debugging_port()}/json/list", timeout=10
        ) as answer:
            return [one for one in json.load(answer) if one["type"] == "page"]

    def close_tab(self, tab: str) -> None:
        """Close a tab without asking it. Chromium only."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._debugging_port()}/json/close/{tab}", timeout=10
        ):
            pass

    def text(self, address: str) -> str:
        """Return what a person reads in the open tab of an address. Chromium only."""
        tab = next(one for one in self.tabs() if one["url"] == address)
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as devtools:
            asked = {"expression": "document.body?.innerText ?? ''"}
            devtools.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": asked}))
            return str(json.loads(devtools.recv(timeout=10))["result"]["result"]["value"])

    def log(self) -> str:
        """Return what the browser printed."""
        return (self.folder / "log").read_text(errors="replace")

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the browser."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def renderers(self) -> list[int]:
        """Return the processes that run tabs. Chromium only."""
        assert self.process is not None
        found = []
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes()  # one text or several: forked processes rewrite it
                group = os.getpgid(int(status.parent.name))
            except (OSError, ValueError):
                continue  # it ended meanwhile
            if group == self.process.pid and b"--type=renderer" in words:
                found.append(int(status.parent.name))
        return sorted(found)

    def end(self) -> None:
        """End the process group, for certain, and remove the profile."""
        if self.process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, signal.SIGCONT)
                    os.killpg(self.process.pid, number)
                except ProcessLookupError:
                    break
                if self._group_ended(END_SECONDS):
                    break
            self.process.wait(END_SECONDS)
            assert self._group_ended(END_SECONDS), "a browser outlived its test"
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        assert self.kind.program is not None, f"{self.kind.name} is missing: {self.kind.missing}"
        environment = {**os.environ, "HOME": str(self.folder)}
        if self.kind.engine == "gecko":
            lines = [
                f"user_pref({json.dumps(name)}, {json.dumps(value)});"
                for name, value in _FIREFOX_PREFERENCES.items()
            ]
            (self.folder / "user.js").write_text("\n".join(lines))
            command = [
                self.kind.program, "--headless", "--no-remote", "--profile", str(self.folder),
                self.address,
            ]  # fmt: skip
        else:
            command = [
                self.kind.program, *_CHROMIUM_FLAGS, *self.kind.flags,
                f"--user-data-dir={self.folder}", self.address,
            ]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a fork without threads of ours
            )

    def _debugging_port(self) -> int:
        path = self.folder / "DevToolsActivePort"
        deadline = time.monotonic() + END_SECONDS
        while not (path.exists() and path.read_text().strip()):
            assert time.monotonic() < deadline, f"no debugging port:\n{self.log()}"
            time.sleep(0.05)
        return int(path.read_text().split()[0])

    def _group_ended(self, seconds: float) -> bool:
        """Return whether no process of the group is left, waiting up to `seconds`."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.process.poll()  # reaps it: a zombie would count as alive
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False
