"""What data sheets say about hardware: peak rates, bandwidth, memory, power.

Data-sheet figures are upper bounds that nobody measures. They give a first guess for hardware
that was never seen; the learners correct them as soon as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from agent.learning.tables import Spelt, aliases, number, shipped_rows

_MIG_SLICES = 7
"""Compute slices of an NVIDIA GPU that can be partitioned (Multi-Instance GPU user guide)."""

_MIG = re.compile(r"(?<!\d)([1-7])g[.-](\d+)gb(?!\w)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One device by its data sheet; None where it does not say.

    Rates are dense, without sparsity, for one device.
    """

    name: str
    hardware_class: str | None = None
    fp16_tflops: float | None = None
    fp32_tflops: float | None = None
    bandwidth_gb_per_s: float | None = None
    memory_gb: float | None = None
    tdp_w: float | None = None
    aliases: tuple[str, ...] = ()


class Catalogue:
    """Finds the data sheet of hardware by the spelling of its name.

    A sheet fits when the words of its name, or of an alias, stand side by side in the name that
    is looked up (`a100-sxm-80gb` in `NVIDIA A100-SXM-80GB (CTS)`); the longest fit wins, and
    among equals the sheet that was given last, so that a user's sheet replaces a shipped one.
    """

    def __init__(self, sheets: Iterable[Sheet]) -> None:
        self._spelt = Spelt(
            (spelling, sheet) for sheet in sheets for spelling in (sheet.name, *sheet.aliases)
        )

    def __len__(self) -> int:
        return len(self._spelt)

    def find(self, hardware: str) -> Sheet | None:
        """Return the data sheet of hardware, scaled to a partition where the name says so."""
        return _find(self, hardware)

    def search(self, hardware: str) -> Sheet | None:
        """Do what `find` does, without remembering it."""
        sheet = self._spelt.within(hardware)
        return None if sheet is None else _partition(sheet, hardware)


@lru_cache(maxsize=16_384)
def _find(known: Catalogue, hardware: str) -> Sheet | None:
    return known.search(hardware)


def shipped() -> tuple[Sheet, ...]:
    """Return the sheets that come with the package."""
    return tuple(map(sheet_of, shipped_rows("hardware.csv")))


@cache
def catalogue(extra: tuple[Sheet, ...] = ()) -> Catalogue:
    """Return the shipped catalogue with a user's own sheets, which win."""
    return Catalogue((*shipped(), *extra))


def sheet_of(row: Mapping[str, str]) -> Sheet:
    """Return the sheet in a row of a table; what is left empty there is not known."""
    return Sheet(
        name=row["name"],
        hardware_class=row["hardware_class"] or None,
        fp16_tflops=number(row, "fp16_tflops"),
        fp32_tflops=number(row, "fp32_tflops"),
        bandwidth_gb_per_s=number(row, "bandwidth_gb_per_s"),
        memory_gb=number(row, "memory_gb"),
        tdp_w=number(row, "tdp_w"),
        aliases=aliases(row),
    )


def _partition(sheet: Sheet, hardware: str) -> Sheet:
    found = _MIG.search(hardware.casefold())
    if found is None or sheet.memory_gb is None:
        return sheet
    compute = int(found[1]) / _MIG_SLICES
    memory_gb = float(found[2])

    def share(value: float | None, part: float) -> float | None:
        return None if value is None else value * part

    return Sheet(
        name=sheet.name,
        hardware_class=sheet.hardware_class,
        fp16_tflops=share(sheet.fp16_tflops, compute),
        fp32_tflops=share(sheet.fp32_tflops, compute),
        bandwidth_gb_per_s=share(sheet.bandwidth_gb_per_s, min(1.0, memory_gb / sheet.memory_gb)),
        memory_gb=memory_gb,
        tdp_w=share(sheet.tdp_w, compute),
    )


# Read with the module, once: the first prediction would otherwise open a file on the event loop.
catalogue(())
