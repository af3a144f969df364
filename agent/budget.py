"""What exploration may take: so many benchmarks, so much time, or so much energy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import BadInput, shown
from schemas.explore import BudgetUnit

MOST: Final = 1e9
"""In any unit. That is no bound on anything that could be measured, but exact as a number."""

FORM: Final = "a number above zero: of benchmarks (50), of time (90s, 10min, 2h) or of energy (2kJ)"

_UNITS: Final[dict[str, tuple[BudgetUnit, float]]] = {
    "": ("runs", 1.0),
    "s": ("s", 1.0),
    "min": ("s", 60.0),
    "h": ("s", 3_600.0),
    "j": ("J", 1.0),
    "kj": ("J", 1_000.0),
    "wh": ("J", 3_600.0),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in one unit.

    Attributes:
        text: as it was given.
        limit: in `unit`; above zero, at most `MOST`.
    """

    text: str
    unit: BudgetUnit
    limit: float


def parse_budget(text: str) -> Budget:
    """Read a budget: `50` benchmarks, `90s`, `10min`, `2h`, `500J`, `2kJ` or `1Wh`.

    Raises:
        BadInput: it is none, it is not above zero or too large, or part of a benchmark.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)", text.strip())
    known = _UNITS.get(found[2].lower()) if found else None
    if found is None or known is None:
        raise BadInput.of_field("explore", f"got {shown(text)}", FORM)
    unit, factor = known
    limit = float(found[1]) * factor
    if limit <= 0:
        raise BadInput.of_field("explore", "a budget of zero", f"{FORM}; left out to explore not")
    if limit > MOST:
        raise BadInput.of_field("explore", f"got {shown(text)}", f"{FORM}; at most {MOST:g} {unit}")
    if unit == "runs" and limit != int(limit):
        raise BadInput.of_field("explore", f"got {shown(text)}", FORM)
    return Budget(text.strip(), unit, limit)
