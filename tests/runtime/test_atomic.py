"""A write is whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyscene.runtime.atomic import directory, write_file


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.bin"
    write_file(target, b"old")
    write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert [file.name for file in target.parent.iterdir()] == ["file.bin"]


def test_an_error_inside_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with directory(target) as temporary:
        (temporary / "a").write_text("old")

    def fail() -> None:
        with directory(target) as temporary:
            (temporary / "a").write_text("new")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert (target / "a").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
