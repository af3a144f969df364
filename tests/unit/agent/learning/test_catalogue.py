from __future__ import annotations

import pytest

from agent.learning.catalogue import Catalogue, Sheet, catalogue, shipped


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("NVIDIA A100-SXM-80GB (CTS)", "nvidia-a100-sxm-80gb"),
        ("nvidia_a100", "nvidia-a100"),
        ("Tesla T4", "nvidia-t4"),
        ("NVIDIA GeForce RTX 4090", "nvidia-rtx-4090"),
        ("NVIDIA H100 PCIe", "nvidia-h100-pcie"),
        ("nvidia-a10", "nvidia-a10"),
        ("AMD Instinct MI300X", "amd-mi300x"),
    ],
)
def test_common_spellings_are_found(spelling: str, name: str) -> None:
    sheet = catalogue().find(spelling)

    assert sheet is not None
    assert sheet.name == name


@pytest.mark.parametrize("name", ["", "somebody's laptop", "a1000", "nvidia"])
def test_what_is_not_listed_is_not_guessed(name: str) -> None:
    assert catalogue().find(name) is None


def test_a_partition_has_its_share_of_the_device() -> None:
    whole, part = (
        catalogue().find(name) for name in ("nvidia-a100-sxm-80gb", "a100-sxm-80gb-1x1g.10gb-mig")
    )

    assert whole is not None
    assert part is not None
    assert part.fp16_tflops == pytest.approx((whole.fp16_tflops or 0) / 7)
    assert part.bandwidth_gb_per_s == pytest.approx((whole.bandwidth_gb_per_s or 0) / 8)
    assert part.memory_gb == 10


def test_a_users_sheet_replaces_a_shipped_one() -> None:
    mine = Sheet("nvidia-t4", fp16_tflops=1.0, aliases=("t4",))

    found = catalogue((mine,)).find("Tesla T4")

    assert found is mine


def test_what_ships_is_plausible() -> None:
    for sheet in shipped():
        assert sheet.hardware_class in {"gpu", "cpu", "npu"}
        assert sheet.fp16_tflops is not None
        assert 0.01 < sheet.fp16_tflops < 10_000
        assert sheet.bandwidth_gb_per_s is not None
        assert 5 < sheet.bandwidth_gb_per_s < 20_000
        if sheet.fp32_tflops is not None:
            assert sheet.fp32_tflops <= sheet.fp16_tflops


def test_no_spelling_means_two_devices() -> None:
    spellings = [word for sheet in shipped() for word in {sheet.name, *sheet.aliases}]
    doubled = {one for one in spellings if spellings.count(one) > 1}

    assert not doubled


def test_an_empty_catalogue_finds_nothing() -> None:
    assert Catalogue([]).find("nvidia-t4") is None
