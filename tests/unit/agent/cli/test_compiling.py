"""Whether loops are still to be compiled, as the compiler sees it, and who is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.cli import compiling, running
from agent.learning.loops import kept


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    folder = tmp_path / "learning" / "loops"
    folder.mkdir(parents=True)
    (folder.parent / "bank.py").write_text("BANK = 1\n")
    (folder / "fit.py").write_text("FIT = 1\n")
    return folder


def keep(place: Path, loops: Path) -> None:
    folder = place / "placewise-compiled" / kept.digest(loops) / "loops_1"
    folder.mkdir(parents=True)
    (folder / "fit.slope.nbi").touch()


@pytest.mark.parametrize("where", ["beside", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_it_is_due_until_something_is_kept_and_again_after_an_upgrade(
    loops: Path, tmp_path: Path, where: str
) -> None:
    environment = {} if where == "beside" else {where: str(tmp_path / "kept")}
    place = {
        "beside": loops / "__pycache__",
        "HOME": tmp_path / "kept" / ".cache",
    }.get(where, tmp_path / "kept")
    assert compiling.is_due(environment, loops)
    keep(place, loops)
    assert not compiling.is_due(environment, loops)
    (loops / "fit.py").write_text("FIT = 2\n")
    assert compiling.is_due(environment, loops)


def test_it_is_not_looked_for_beside_the_sources_where_numba_is_told_another_place(
    loops: Path, tmp_path: Path
) -> None:
    keep(loops / "__pycache__", loops)
    assert compiling.is_due({"NUMBA_CACHE_DIR": str(tmp_path / "other")}, loops)


def test_it_is_where_the_compiler_keeps_it() -> None:
    from agent.learning.loops import compiled

    assert compiled._KEPT is not None
    folder = compiled._kept()
    assert folder is not None
    assert folder.name == kept.digest(compiling._LOOPS)
    assert folder.parent.parent in kept.places(os.environ, compiling._LOOPS)


def test_the_log_and_systemd_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "is_due", lambda _environment: True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, capture_logs() as logged:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        running._tell_of_compiling()
        told = manager.recv(4_096).decode()
    assert [one["event"] for one in logged] == ["compiling"]
    assert "takes about a minute" in logged[0]["what"]
    assert "EXTEND_TIMEOUT_USEC=600000000" in told
    assert f"STATUS={compiling.WHAT}" in told


def test_nobody_is_told_where_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "is_due", lambda _environment: False)
    with capture_logs() as logged:
        running._tell_of_compiling()
    assert logged == []
