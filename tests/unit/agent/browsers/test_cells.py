"""What a tab's measurement is called."""

from __future__ import annotations

import pytest

from agent.browsers.cells import browser_name, hardware_of, is_software
from agent.browsers.groups import grouped
from schemas.browser import Adapter
from tests.support.tabs import capabilities, hello
from web_bridge.tab import Tab


@pytest.mark.parametrize(
    ("adapter", "software"),
    [
        (Adapter(vendor="google", architecture="swiftshader"), True),
        (Adapter(vendor="mesa", description="llvmpipe (LLVM 15)"), True),
        (Adapter(vendor="", is_fallback=True), True),
        (Adapter(vendor="nvidia", architecture="ada"), False),
        (Adapter(vendor="nvidia", architecture="ada", is_fallback=False), False),
    ],
)
def test_a_software_adapter_is_known_by_its_word_or_its_name(
    adapter: Adapter, software: bool
) -> None:
    assert is_software(adapter) is software
    hardware = hardware_of(capabilities(backends=["webgpu"], webgpu=adapter), "webgpu")
    assert hardware.hardware_class == ("software-gpu" if software else "gpu")
    assert hardware.name.endswith("-software") is software


def test_the_processor_and_webnn_are_hardware_of_their_own() -> None:
    about = capabilities(backends=["wasm", "webnn"])
    assert hardware_of(about, "wasm").name == "linux-x86-64-4core-cpu"
    assert hardware_of(about, "webnn").name == "linux-x86-64-4core-webnn-cpu"
    assert hardware_of(about, "wasm", "Office 3").name == "office-3-cpu"
    assert hardware_of(about, "webnn", webnn_device="npu").hardware_class == "webnn"


def test_like_tabs_are_one_group_per_backend() -> None:
    tabs = [
        Tab.of(hello("tab-000a", backends=["wasm", "webgpu"]), 0.0, ""),
        Tab.of(hello("tab-000b", backends=["wasm", "webgpu"]), 0.0, ""),
        Tab.of(hello("tab-000c", browser="firefox", version="153.0"), 0.0, ""),
    ]
    groups = grouped("rack1", tabs)
    assert sorted((one.browser, one.backend, len(one.tabs)) for one in groups.values()) == [
        ("chromium-156", "wasm", 2),
        ("chromium-156", "webgpu", 2),
        ("firefox-153", "wasm", 1),
    ]
    for worker_id, group in groups.items():
        assert worker_id.startswith(f"rack1.{group.browser}.{group.backend}.")
        assert all(group.includes(tab.capabilities, tab.label) for tab in group.tabs.values())
    assert browser_name(tabs[2].capabilities) == "firefox-153"
