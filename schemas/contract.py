"""The machine-readable contract."""

from __future__ import annotations

from schemas import errors


def error_codes() -> list[str]:
    """Return the code of every error, sorted."""
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PlacewiseError)
    ]
    return sorted({kind.code for kind in kinds})
