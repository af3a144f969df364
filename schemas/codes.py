"""The codes that errors have on the wire, read off `schemas.errors`."""

from __future__ import annotations

from schemas import errors


def error_kinds() -> list[type[errors.PlacewiseError]]:
    """Return one kind of error per code, sorted by code.

    Where a subclass has no code of its own, its parent, which comes first on the page,
    stands for both.
    """
    kinds: dict[str, type[errors.PlacewiseError]] = {}
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.PlacewiseError):
            kinds.setdefault(value.code, value)
    return [kinds[code] for code in sorted(kinds)]


def error_codes() -> list[str]:
    """Return every code, sorted."""
    return [kind.code for kind in error_kinds()]
