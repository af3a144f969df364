from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from agent.settings import PASSWORD_CREDENTIAL, Settings, load_settings

SYSTEMD = Path(__file__).parents[3] / "systemd"
UNIT = SYSTEMD / "placewise.service"
WORST_SCORE = 2.0

pytestmark = pytest.mark.integration

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=30, check=False
    )


def installed_copy(folder: Path, extra: str = "") -> Path:
    """The unit with an ExecStart that exists here: verify looks for the program."""
    program = folder / "placewise"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text, replaced = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={program}", UNIT.read_text())
    assert replaced == 1
    unit = folder / UNIT.name
    unit.write_text(text.replace("[Service]\n", f"[Service]\n{extra}"))
    return unit


def verified(unit: Path) -> str:
    """All that verify says: its exit code is 0 even where it ignores a key."""
    outcome = run("systemd-analyze", "verify", "--man=no", unit)
    return outcome.stdout + outcome.stderr


@needs_analyze
def test_verify_prints_nothing(tmp_path: Path) -> None:
    assert verified(installed_copy(tmp_path)) == ""


@needs_analyze
@pytest.mark.parametrize(
    "fault", ["ProtectSytem=strict\n", "WatchdogSec=soon\n", "LoadCredential=\x01\n"]
)
def test_verify_would_notice(fault: str, tmp_path: Path) -> None:
    assert verified(installed_copy(tmp_path, fault))


@needs_analyze
def test_security_score(tmp_path: Path) -> None:
    outcome = run(
        "systemd-analyze", "security", "--offline=true", "--no-pager", installed_copy(tmp_path)
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", outcome.stdout)
    assert found is not None, outcome.stdout + outcome.stderr
    assert float(found[1]) <= WORST_SCORE
    threshold = run(
        "systemd-analyze", "security", "--offline=true", "--threshold=20", installed_copy(tmp_path)
    )
    assert threshold.returncode == 0


def test_unit_says_what_the_daemon_relies_on() -> None:
    text = UNIT.read_text()
    for line in (
        "Type=notify",
        "DynamicUser=yes",
        "StateDirectory=placewise",
        "CacheDirectory=placewise",
        "Environment=NUMBA_CACHE_DIR=%C/placewise",
        f"LoadCredential={PASSWORD_CREDENTIAL}",
    ):
        assert f"\n{line}\n" in text
    assert re.search(r"(?m)^WatchdogSec=\d+s$", text)
    assert re.search(r"(?m)^ExecStart=/opt/placewise/bin/placewise run --config \S+$", text)


def test_sysusers(tmp_path: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed")
    (tmp_path / "etc").mkdir()
    outcome = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "sysusers.d/placewise.conf")
    assert outcome.returncode == 0, outcome.stderr
    (entry,) = (tmp_path / "etc/passwd").read_text().splitlines()
    name, *_, home, shell = entry.split(":")
    assert (name, home) == ("placewise", "/var/lib/placewise")
    assert shell.endswith("nologin")


def test_tmpfiles(tmp_path: Path) -> None:
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can give folders to root")
    outcome = run(
        "systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "tmpfiles.d/placewise.conf"
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777
        for name in ("etc/placewise", "etc/credstore", "var/backups/placewise")
    }
    assert modes == {"etc/placewise": 0o755, "etc/credstore": 0o700, "var/backups/placewise": 0o700}


def test_example_settings_are_the_defaults(tmp_path: Path) -> None:
    example = SYSTEMD / "placewise.toml.example"
    assert load_settings(example).model_fields_set == set()
    shown = re.findall(r"(?m)^# ([a-z_]+ = .*)$", example.read_text())
    values = tomllib.loads("\n".join(shown))
    assert values.keys() == Settings.model_fields.keys()
    path = tmp_path / "placewise.toml"
    path.write_text("\n".join(shown))
    loaded = load_settings(path).model_dump()
    # These have no fixed default: what they are without being set depends on the machine.
    free = {"broker", "broker_username", "broker_password", "store", "agent_id"}
    free |= {"browser_token", "browser_websocket_url", "explore", "hardware_sheets"}
    defaults = Settings().model_dump()
    assert {k: v for k, v in loaded.items() if k not in free} == {
        k: v for k, v in defaults.items() if k not in free
    }
