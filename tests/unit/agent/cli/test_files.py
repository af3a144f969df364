"""Files for answers: refused before any work, or written, all of it or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.cli import files
from schemas.errors import BadInput


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        files.to_write("--output", path)
    (detail,) = caught.value.details
    assert detail.field == "--output"
    return detail.problem


def test_what_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path).endswith(": a folder")
    assert "no folder" in refused(tmp_path / "none" / "x.json")
    assert "no folder" in refused(tmp_path / "file" / "x.json")
    assert "too long" in refused(tmp_path / ("x" * 300)).lower()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "denied" in refused(tmp_path / "x.json").lower()
    finally:
        tmp_path.chmod(0o700)


def test_that_it_can_be_written_is_found_out_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    files.to_write("--output", tmp_path / "new.json")
    files.to_write("--output", tmp_path / "old.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_it_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    old, link = tmp_path / "old.json", tmp_path / "link.json"
    old.write_text("old")
    old.chmod(0o640)
    link.symlink_to(old)
    files.to_write("--output", link).write("neu: ü")
    assert old.read_text(encoding="utf-8") == "neu: ü"
    assert old.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "old.json"]


def test_what_fails_on_the_way_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "old.json"
    path.write_text("old")
    to = files.to_write("--output", path)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        to.write("new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["old.json"]


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    files.to_write("--output", Path(f"/dev/fd/{writing}")).write("through")
    os.close(writing)
    assert os.read(reading, 100) == b"through"
    os.close(reading)


def test_where_no_file_is_wanted_none_is_written() -> None:
    files.to_write("--output", None).write("nothing")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"])
def test_an_empty_table_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"empty\.csv is empty"):
        files.refuse_empty(path)


def test_what_is_wrong_with_other_files_their_readers_tell(tmp_path: Path) -> None:
    files.refuse_empty(tmp_path / "none.csv")
    for name, content in (("a.csv", "model_name\n"), ("a.jsonl", "")):
        (tmp_path / name).write_text(content)
        files.refuse_empty(tmp_path / name)
