"""A folder as one stream: in order, at one rate, and what cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyscene.runtime.audio import read_mono
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.sources.files import FolderSource


def test_files_come_in_order_at_one_rate_and_bad_ones_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "b").mkdir()
    for name, rate in (("a.wav", 44_100), ("b/c.flac", 16_000), ("d.wav", 32_000)):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(rate), rate)
    (tmp_path / "b/bad.wav").write_bytes(b"RIFF....WAVE")
    (tmp_path / "notes.txt").write_text("not audio")
    said: list[str] = []
    source = FolderSource(tmp_path, 32_000, log=said.append)
    heard = np.concatenate([block.samples for block in source.blocks()])
    expected = [read_mono(tmp_path / name, 32_000) for name in ("a.wav", "b/c.flac", "d.wav")]
    np.testing.assert_array_equal(heard, np.concatenate(expected))
    assert source.skipped == 1
    assert "skipped: " in said[0]
    assert "bad.wav" in said[0]
    assert said[1] == "1 of 4 files could not be read whole"


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no audio files under"):
        FolderSource(tmp_path, 32_000)
