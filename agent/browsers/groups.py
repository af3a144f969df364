"""Tabs that are alike: one browser version on one kind of machine, and one backend.

On the bus each such group is a worker of its own: its runs are comparable, and what is predicted
for one of its tabs holds for the others.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from agent.browsers.cells import (
    adapter_name,
    browser_name,
    hardware_of,
    is_software,
)
from schemas.browser import Backend, Capabilities
from schemas.jobs import BrowserKind, EmbeddingReuse, HeldModel, WorkerState
from schemas.measurement import HardwareSpec
from schemas.models import ModelManifest
from web_bridge.tab import Tab

_AGENT_CHARS = 24
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_MB_PER_GB = 1_000


@dataclass(slots=True)
class Group:
    """Tabs of one browser version on one kind of machine, seen through one backend.

    Attributes:
        capabilities: of one of its tabs; those of the others are alike.
        tabs: those that are there now, by id.
    """

    agent_id: str
    worker_id: str
    backend: Backend
    hardware: HardwareSpec
    capabilities: Capabilities
    label: str | None
    tabs: dict[str, Tab] = field(default_factory=dict)

    def includes(self, capabilities: Capabilities, label: str | None) -> bool:
        """Return whether a tab with these capabilities is one of the group."""
        offers = self.backend in capabilities.backends()
        return offers and (
            _worker_id(self.agent_id, capabilities, label, self.backend) == self.worker_id
        )

    @property
    def browser(self) -> str:
        """Browser and major version."""
        return browser_name(self.capabilities)

    @property
    def cores(self) -> int:
        """What models share there."""
        return self.capabilities.cores or 1

    @property
    def threads(self) -> int:
        """How many threads one model alone may have: one core is left to the page and the browser.

        The runtime's threads spin and wait for each other, so that one that gets no core stops
        them all: with as many threads as cores, medians of the same run differ by a third.
        """
        return max(1, self.cores - 1) if self.capabilities.wasm.threads else 1

    @property
    def host(self) -> str | None:
        """The machine of the tabs: its address, this machine's name; None if they have several."""
        hosts = {tab.host for tab in self.tabs.values()}
        return _machine(hosts.pop()) if len(hosts) == 1 else None

    def runtime(self, engine: str) -> str:
        """Return what runs models there, as cells name it (see `agent.browsers.cells`)."""
        return f"{engine} {self.backend} {self.browser}"

    def kind(
        self, quarantined: Mapping[str, str], reuse: EmbeddingReuse | None = None
    ) -> BrowserKind:
        """Return what the bus is told of the browser."""
        gpu = self.capabilities.webgpu if self.backend == "webgpu" else None
        contexts = self.capabilities.webnn if self.backend == "webnn" else []
        return BrowserKind(
            browser=self.capabilities.browser,
            version=self.capabilities.version,
            backend=self.backend,
            tabs=len(self.tabs),
            adapter=None if gpu is None else adapter_name(gpu),
            software=None if gpu is None else is_software(gpu),
            operators=max((one.operators or 0 for one in contexts), default=None),
            quarantined=dict(quarantined),
            reuse=reuse,
        )

    def state(
        self,
        status: Literal["online", "offline"],
        since: datetime,
        engine: str,
        models: list[HeldModel],
        quarantined: Mapping[str, str],
        reuse: EmbeddingReuse | None = None,
    ) -> WorkerState:
        """Return the group as a worker on the bus."""
        memory = self.capabilities.device_memory_gb
        return WorkerState(
            worker_id=self.worker_id,
            kind="browser",
            status=status,
            since=since,
            hardware=self.hardware,
            host=self.host,
            memory_mb=None if memory is None else memory * _MB_PER_GB,
            cores=self.cores,
            runtime=self.runtime(engine),
            backends=[self.backend],
            models=models,
            browser=self.kind(quarantined, reuse),
        )


def grouped(agent_id: str, tabs: Iterable[Tab]) -> dict[str, Group]:
    """Return the groups that tabs make, by worker id. A tab is in one per backend."""
    groups: dict[str, Group] = {}
    for tab in tabs:
        for backend in tab.capabilities.backends():
            worker_id = _worker_id(agent_id, tab.capabilities, tab.label, backend)
            group = groups.get(worker_id)
            if group is None:
                hardware = hardware_of(tab.capabilities, backend, tab.label)
                group = Group(agent_id, worker_id, backend, hardware, tab.capabilities, tab.label)
                groups[worker_id] = group
            group.tabs[tab.id] = tab
    return groups


def held(manifest: ModelManifest, backend: Backend) -> list[HeldModel]:
    """Return what tabs can run on a backend: text generation on WebAssembly alone."""
    models = [
        HeldModel(
            model=one.id,
            sha256=one.sha256,
            family=one.family,
            shares=one.shares,
            parameters_m=one.parameters_m,
            gmacs=one.gmacs,
        )
        for one in manifest.models
        if not one.part
    ]
    if backend == "wasm":
        models += [
            HeldModel(
                model=one.id, sha256=one.sha256, family=one.family, parameters_m=one.parameters_m
            )
            for one in manifest.text_models
        ]
    return models


def prefix_of(agent_id: str) -> str:
    """Return what the ids of an agent's workers begin with."""
    return _FOREIGN.sub("-", agent_id)[:_AGENT_CHARS] + "."


def _machine(address: str) -> str | None:
    try:
        here = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return None
    return socket.gethostname() if here else address


def _worker_id(
    agent_id: str, capabilities: Capabilities, label: str | None, backend: Backend
) -> str:
    hardware = hardware_of(capabilities, backend, label).name
    told = hashlib.sha256(f"{agent_id} {hardware} {capabilities.version}".encode()).hexdigest()
    # The prefix tells pools apart, the hash like browsers on unlike machines.
    # All of it fits into the 64 characters of an id; a browser may call itself anything.
    browser = _FOREIGN.sub("-", browser_name(capabilities))[:21]
    return f"{prefix_of(agent_id)}{browser}.{backend}.{told[:10]}"
