"""How functions are compiled, and where that is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agent.learning.loops import compiled


class Line(NamedTuple):
    """A named tuple of one type."""

    slope: float
    base: float


class Places(NamedTuple):
    """A named tuple of several types."""

    values: compiled.Floats
    chosen: int


def half(values: compiled.Floats) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / 2.0


def inverse(value: float) -> float:
    return 1.0 / value


def line(one: Line, places: Places) -> float:
    return one.base + one.slope * places.values[places.chosen]


def whole_and_rest(value: float) -> tuple[int, float]:
    return int(value), value - int(value)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sources that stands for them."""
    copy = tmp_path / "loops"
    copy.mkdir()
    for source in compiled._HERE.glob("*.py"):
        shutil.copy(source, copy)
    monkeypatch.setattr(compiled, "_HERE", copy)
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return copy


def test_compiled_code_is_kept_where_numba_is_told_to(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / "one", tmp_path / "other"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(place))
        kept = compiled._kept()

        assert kept is not None
        assert kept.is_dir()
        assert place in kept.parents
        assert list(kept.iterdir()) == [], "what tries whether it may be written to is gone"


def test_compiled_code_is_kept_beside_the_sources(sources: Path) -> None:
    kept = compiled._kept()

    assert kept is not None
    assert sources in kept.parents


@pytest.mark.parametrize(
    ("name", "folder"), [("HOME", ".cache/placewise-compiled"), ("XDG_CACHE_HOME", "")]
)
def test_compiled_code_is_kept_at_home_where_sources_may_not_be_written(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    (sources / "__pycache__").touch()
    monkeypatch.setenv(name, str(tmp_path / "home"))
    kept = compiled._kept()

    assert kept is not None
    assert tmp_path / "home" / folder in kept.parents


def test_the_same_sources_share_a_folder_and_others_do_not(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(sources / "kept"))
    folders = [compiled._kept(), compiled._kept()]
    for source in sorted(sources.glob("*.py")):
        text = source.read_text()
        source.write_text(("'" if text[0] != "'" else '"') + text[1:])
        assert len(source.read_text()) == len(text)
        folders.append(compiled._kept())

    assert folders[0] == folders[1]
    assert len(set(folders)) == len(folders) - 1 > 5


def test_nothing_is_kept_where_nothing_may_be_written(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(sources / "file" / "below"))

    assert compiled._kept() is None


def test_nothing_is_kept_in_a_folder_that_is_there_but_may_not_be_written_to(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**place: Path) -> None:
        raise PermissionError(place)

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(sources))
    assert compiled._kept() is not None
    monkeypatch.setattr(compiled.tempfile, "TemporaryFile", refuse)

    assert compiled._kept() is None


@pytest.mark.parametrize("how", [compiled.compiled, compiled.summed_in_any_order])
def test_functions_work_where_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, how: Callable[..., Any]
) -> None:
    monkeypatch.setattr(compiled, "_KEPT", None)
    made = how(half)

    assert made(np.arange(10.0)) == 22.5
    assert made.stats.cache_path is None


def test_functions_divide_by_zero_as_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_KEPT", None)

    assert compiled.compiled(inverse)(0.0) == np.inf


def test_functions_take_named_tuples_of_one_type_or_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "_KEPT", None)
    made = compiled.compiled(line)

    assert made(Line(2.0, 1.0), Places(np.array([1.0, 3.0]), 1)) == 7.0


def test_functions_return_several_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_KEPT", None)

    assert compiled.compiled(whole_and_rest)(3.25) == (3, 0.25)


@pytest.mark.parametrize(
    "values", [np.arange(10.0)[::2], np.arange(10), np.ones((2, 2)), np.ones(3, dtype=np.float32)]
)
def test_functions_take_no_arrays_but_those_they_were_compiled_for(
    monkeypatch: pytest.MonkeyPatch, values: np.ndarray
) -> None:
    monkeypatch.setattr(compiled, "_KEPT", None)
    made = compiled.compiled(half)

    with pytest.raises(TypeError, match="No matching definition"):
        made(values)
