"""What a tab's measurement is called: its hardware, its runtime.

Hardware is what computes. A software adapter is hardware of its own, so that it never speaks for
a real GPU; WebNN says only what was asked for, so that stands in the name. The browser is part
of the runtime: the same processor runs the same model differently in another browser.
"""

from __future__ import annotations

import re

from schemas.browser import Adapter, Backend, Capabilities, PreparedModel, WebnnDevice
from schemas.measurement import HardwareSpec

_SOFTWARE = re.compile(r"swiftshader|llvmpipe|lavapipe|basic render|software", re.IGNORECASE)


def is_software(adapter: Adapter) -> bool:
    """Return whether an adapter is the processor in disguise, by its word or by its name."""
    named = " ".join((adapter.vendor, adapter.architecture, adapter.device, adapter.description))
    return bool(adapter.is_fallback) or _SOFTWARE.search(named) is not None


def adapter_name(adapter: Adapter) -> str:
    """Return a name for an adapter, `unnamed` where the browser gives none."""
    named = _slug(adapter.vendor, adapter.architecture, adapter.device or adapter.description)
    return f"{named or 'unnamed'}{'-software' if is_software(adapter) else ''}"


def machine_name(capabilities: Capabilities, label: str | None) -> str:
    """Return a name for the machine behind a tab: what a person called it, or what it is like."""
    if label:
        return _slug(label)
    cores = f"{capabilities.cores}core" if capabilities.cores else ""
    return _slug(capabilities.platform, cores) or "machine"


def hardware_of(
    capabilities: Capabilities,
    backend: Backend,
    label: str | None = None,
    webnn_device: WebnnDevice = "cpu",
) -> HardwareSpec:
    """Return the hardware that a backend of a tab runs on."""
    machine = machine_name(capabilities, label)
    if backend == "webgpu" and capabilities.webgpu is not None:
        software = is_software(capabilities.webgpu)
        adapter = adapter_name(capabilities.webgpu)
        # Software runs on the machine's processor; nameless adapters differ by machine.
        of = f"{machine}-{adapter}" if software or label or "unnamed" in adapter else adapter
        kind = "software-gpu" if software else "gpu"
        return HardwareSpec(name=of, hardware_class=kind)
    if backend == "webnn":
        kind = "cpu" if webnn_device == "cpu" else "webnn"
        return HardwareSpec(name=f"{machine}-webnn-{webnn_device}", hardware_class=kind)
    return HardwareSpec(name=f"{machine}-cpu", hardware_class="cpu")


def browser_name(capabilities: Capabilities) -> str:
    """Return browser and major version, e.g. `chromium-156`."""
    return f"{capabilities.browser}-{capabilities.version.split('.')[0]}"


def runtime_of(capabilities: Capabilities, model: PreparedModel) -> str:
    """Return engine, place and browser, e.g. `onnxruntime-web-1.30.0 wasm chromium-156`."""
    engine = model.bundle.split("/")[0]
    return f"{engine} {model.actual} {browser_name(capabilities)}"


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(filter(None, parts)).lower()).strip("-")[:120]
