from __future__ import annotations

from pathlib import Path

import pytest

from agent.learning.catalogue import Sheet
from agent.settings import load_settings
from agent.sheets import read_sheets
from agent.wiring import heart_config
from schemas.errors import BadInput


def file_with(folder: Path, text: str) -> Path:
    path = folder / "own.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_and_what_is_empty_is_not_known(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        "name,aliases,memory_gb,tdp_w\nacme-npu,acme x1;x1,48,\nother,,,75\n",
    )

    assert read_sheets(path) == (
        Sheet("acme-npu", memory_gb=48.0, aliases=("acme x1", "x1")),
        Sheet("other", tdp_w=75.0),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,speed\na,3\n", "unknown column speed"),
        ("name,tdp_w\n,3\n", "row 1, name: missing"),
        ("name,tdp_w\na,fast\n", "row 1, tdp_w: got fast"),
        ("name,tdp_w\na,3\nb,-1\n", "row 2, tdp_w: got -1"),
        ("name,tdp_w\na,nan\n", "tdp_w: got nan"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read_sheets(file_with(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_sheets(tmp_path / "none.csv")


def test_a_setting_brings_them_to_the_learner(tmp_path: Path) -> None:
    path = file_with(tmp_path, "name,memory_gb\nacme,48\n")
    settings = load_settings(hardware_sheets=path, knowledge=False)

    assert heart_config(settings).bank.sheets == (Sheet("acme", memory_gb=48.0),)
