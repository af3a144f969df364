"""Data sheets of a user's own hardware, from a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from agent.learning.catalogue import Sheet, sheet_of
from schemas.errors import BadInput, shown

_NUMBERS = ("fp16_tflops", "fp32_tflops", "bandwidth_gb_per_s", "memory_gb", "tdp_w")
_COLUMNS = ("name", "aliases", "hardware_class", *_NUMBERS)


def read_sheets(path: Path) -> tuple[Sheet, ...]:
    """Return the sheets in a file, one a row.

    Its columns are those of the shipped catalogue, `agent/learning/hardware.csv`: `name`, and any
    of `aliases` (with semicolons between), `hardware_class`, `fp16_tflops`, `fp32_tflops`,
    `bandwidth_gb_per_s`, `memory_gb` and `tdp_w`. What is left empty is not known.

    Raises:
        BadInput: it can't be read, a column is unknown, or a value is none.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput.of_field(
            "hardware_sheets", f"{shown(str(path))}: {error.strerror}", "a readable CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput.of_field(
            "hardware_sheets", f"{shown(str(path))}: {shown(str(error))}", "a CSV file in UTF-8"
        ) from None
    return tuple(
        _sheet(row, f"hardware_sheets, row {number}") for number, row in enumerate(rows, 1)
    )


def _sheet(row: dict[str, str | None], where: str) -> Sheet:
    unknown = sorted(str(column) for column in row.keys() - set(_COLUMNS) - {"origin"})
    if unknown:
        raise BadInput.of_field(where, f"unknown column {shown(unknown[0])}", ", ".join(_COLUMNS))
    said = {column: (row.get(column) or "").strip() for column in _COLUMNS}
    if not said["name"]:
        raise BadInput.of_field(f"{where}, name", "missing", "the hardware's name")
    for column in _NUMBERS:
        _check(said[column], f"{where}, {column}")
    said["aliases"] = ";".join(one.strip() for one in said["aliases"].split(";"))
    return sheet_of(said)


def _check(text: str, where: str) -> None:
    if not text:
        return
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1e9:
        raise BadInput.of_field(where, f"got {shown(text)}", "a positive number")
