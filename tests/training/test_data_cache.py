"""The snippet cache: what it holds, and that a killed or outdated build never passes for a whole one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.errors import InputError
from tinyscene.runtime.frontend import log_mel
from tinyscene.runtime.frontend_spec import STUDENT
from tinyscene.runtime.output import Output
from tinyscene.training.data import cache as cache_module
from tinyscene.training.data.cache import SnippetCache, open_cache
from tinyscene.training.data.corpus import read_corpus
from tinyscene.training.data.snippets import cut_file, to_int16


def write(folder: Path, durations_s: dict[str, float], rate_hz: int = 32_000) -> Path:
    """One recording of noise a name (scene/file), each of its own loudness."""
    rng = np.random.default_rng(len(durations_s))
    for i, (name, seconds) in enumerate(durations_s.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        wave = 0.01 * (i + 1) * rng.standard_normal(round(seconds * rate_hz))
        soundfile.write(folder / name, wave, rate_hz, subtype="PCM_16")
    return folder


TWELVE = {f"{scene}/{i}.wav": 1.0 + i for scene in ("bus", "park", "tram") for i in range(4)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus", TWELVE)


def test_snippets_are_the_recordings_cut_in_order(folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    cache = open_cache(corpus, tmp_path / "cache")
    assert cache.waves.shape == (30, 32_000)
    assert not cache.waves.flags.writeable
    start = 0
    for i, clip in enumerate(corpus.clips):
        wave, _ = soundfile.read(corpus.path(clip), dtype="int16")
        n = len(wave) // 32_000
        np.testing.assert_array_equal(cache.waves[start : start + n].reshape(-1), wave[: n * 32_000])
        np.testing.assert_array_equal(cache.clip[start : start + n], i)
        assert {corpus.labels[label] for label in cache.label[start : start + n]} == {clip.scene}
        start += n
    assert start == len(cache) == len(cache.label) == len(cache.device)
    assert cache.devices == ("a",)


@given(st.lists(st.integers(0, 11), max_size=12))
def test_of_clips_gives_every_snippet_of_each_clip(clips: list[int]) -> None:
    counts = np.array([1, 2, 3, 4] * 3)
    clip = np.repeat(np.arange(12, dtype=np.int32), counts)
    none = np.zeros(0)
    cache = SnippetCache(none, clip, none, none, (), "", Path())
    expected = [i for wanted in clips for i in np.flatnonzero(clip == wanted)]
    assert cache.of_clips(clips).tolist() == expected


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate_hz", "channels"),
    [
        (".wav", "PCM_24", 48_000, 2),
        (".wav", "FLOAT", 32_000, 1),
        (".flac", "PCM_24", 44_100, 3),
        (".ogg", "VORBIS", 44_100, 2),
    ],
)
def test_any_format_rate_and_channels(suffix: str, subtype: str, rate_hz: int, channels: int, tmp_path: Path) -> None:
    time_s = np.arange(round(2.5 * rate_hz)) / rate_hz
    tones = np.stack([0.2 * np.sin(2 * np.pi * 300 * (k + 1) * time_s) for k in range(channels)], axis=1)
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, tones, rate_hz, subtype=subtype)
    snippets = cut_file(path, 32_000, 32_000)
    decoded, _ = soundfile.read(path, dtype="float32", always_2d=True)
    expected = soxr.resample(decoded.mean(axis=1), rate_hz, 32_000, "HQ")[:64_000].reshape(2, 32_000)
    assert snippets.dtype == np.int16
    assert snippets.shape == (2, 32_000)
    assert np.abs(snippets / 32768 - expected).max() < 2 / 32768
    assert np.abs(expected).max() > 0.05


def test_esc10_ogg(shared: Path) -> None:
    path = min((shared / "data" / "esc10" / "audio").glob("*.ogg"))
    snippets = cut_file(path, 32_000, 32_000)
    assert len(snippets) in (4, 5)
    assert np.abs(snippets).max() > 300


@pytest.mark.parametrize(("samples", "expected"), [(31_680, 1), (32_000, 1), (63_679, 1), (63_680, 2), (95_999, 3)])
def test_a_rest_is_dropped_and_a_missing_moment_filled(samples: int, expected: int, tmp_path: Path) -> None:
    wave = np.full(samples, 1000, dtype=np.int16)
    soundfile.write(tmp_path / "x.wav", wave, 32_000)
    snippets = cut_file(tmp_path / "x.wav", 32_000, 32_000)
    assert snippets.shape == (expected, 32_000)
    assert (snippets.reshape(-1) == 1000).sum() == min(samples, expected * 32_000)
    assert not snippets.reshape(-1)[samples:].any()


def test_sixteen_bits_stay_under_the_log_offset() -> None:
    rng = np.random.default_rng(0)
    for level in (0.0, 1e-5, 1e-4, 1e-2):
        wave = (level * rng.standard_normal(32_000)).astype(np.float32)
        stored = to_int16(wave).astype(np.float32) / np.float32(32768)
        change = np.abs(log_mel(wave, STUDENT) - log_mel(stored, STUDENT))
        # The offset itself is worth 0.14 normalised units at the widest triangle (snippets.py derives it).
        assert change.max() < 0.2
        assert change.mean() < 0.03
    assert to_int16(np.array([-1.0, 1.0, 2.0, -2.0, 0.6 / 32768], dtype=np.float32)).tolist() == [
        -32768, 32767, 32767, -32768, 1,
    ]  # fmt: skip


def test_a_second_opening_decodes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_cache(read_corpus(folder), tmp_path / "cache")
    monkeypatch.setattr(cache_module, "cut_files", None)
    second = open_cache(read_corpus(folder), tmp_path / "cache")
    np.testing.assert_array_equal(first.waves, second.waves)
    assert first.data_hash == second.data_hash


KILLED_AFTER = 5

KILLED_BUILD = f"""
import os, signal, sys
from pathlib import Path
from tinyscene.training.data import cache
from tinyscene.training.data.corpus import read_corpus
whole = cache.cut_files
def until_killed(*arguments):
    for i, snippets in enumerate(whole(*arguments)):
        if i == {KILLED_AFTER}:
            os.kill(os.getpid(), signal.SIGKILL)
        yield snippets
cache.cut_files = until_killed
cache.open_cache(read_corpus(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def kill_a_build(folder: Path, base: Path) -> Path:
    """Start a build that is killed -9 after `KILLED_AFTER` clips; the folder it leaves."""
    done = subprocess.run([sys.executable, "-c", KILLED_BUILD, folder, base], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = base.iterdir()
    assert not (left / "index.json").exists()
    return left


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are cut from now on."""
    files: list[Path] = []
    whole = cache_module.cut_files

    def count(paths: Iterable[Path], *arguments: int) -> object:
        listed = list(paths)
        files.extend(listed)
        return whole(listed, *arguments)

    monkeypatch.setattr(cache_module, "cut_files", count)
    return files


def test_a_killed_build_goes_on_where_it_stopped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = read_corpus(folder)
    whole = open_cache(corpus, tmp_path / "whole")
    kill_a_build(folder, tmp_path / "killed")
    files = counted(monkeypatch)
    resumed = open_cache(corpus, tmp_path / "killed")
    assert files == [corpus.path(clip) for clip in corpus.clips[KILLED_AFTER:]]
    np.testing.assert_array_equal(resumed.waves, whole.waves)
    assert resumed.data_hash == whole.data_hash


@pytest.mark.parametrize("torn", ["waves.i16", "clips.bin"])
def test_torn_files_of_a_killed_build_are_not_believed(
    torn: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = read_corpus(folder)
    whole = open_cache(corpus, tmp_path / "whole")
    left = kill_a_build(folder, tmp_path / "killed") / torn
    data = left.read_bytes()
    left.write_bytes(data[:-7])  # as a power cut leaves it: the last clip is not whole
    files = counted(monkeypatch)
    resumed = open_cache(corpus, tmp_path / "killed")
    assert files == [corpus.path(clip) for clip in corpus.clips[KILLED_AFTER - 1 :]]
    np.testing.assert_array_equal(resumed.waves, whole.waves)


def test_damage_inside_a_killed_build_is_found(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = read_corpus(folder)
    whole = open_cache(corpus, tmp_path / "whole")
    left = kill_a_build(folder, tmp_path / "killed") / "waves.i16"
    data = bytearray(left.read_bytes())
    data[64_000 + 100] ^= 1  # in the second clip
    left.write_bytes(data)
    files = counted(monkeypatch)
    resumed = open_cache(corpus, tmp_path / "killed")
    assert len(files) == len(corpus.clips) - 1
    np.testing.assert_array_equal(resumed.waves, whole.waves)


@pytest.mark.parametrize("name", ["waves.i16", "clips.bin", "index.json"])
def test_a_damaged_finished_cache_is_made_again(name: str, folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    whole = np.array(open_cache(corpus, tmp_path / "cache").waves)
    (left,) = (tmp_path / "cache").iterdir()
    (left / name).write_bytes((left / name).read_bytes()[:-1])
    np.testing.assert_array_equal(open_cache(corpus, tmp_path / "cache").waves, whole)


def test_changed_audio_makes_the_cache_stale_and_keeps_open_maps(folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    before = open_cache(corpus, tmp_path / "cache")
    copy = np.array(before.waves)
    path = corpus.path(corpus.clips[0])
    soundfile.write(path, np.full(32_000, 0.25), 32_000)
    os.utime(path, ns=(1, 1))  # an edit that kept the size, by its time alone
    after = open_cache(corpus, tmp_path / "cache")
    assert set(after.waves[0]) == {8192}
    assert after.data_hash != before.data_hash
    np.testing.assert_array_equal(before.waves, copy)


def test_the_hash_is_of_content_not_of_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = open_cache(read_corpus(folder), tmp_path / "cache")
    (moved := folder.rename(tmp_path / "elsewhere")).touch()
    assert open_cache(read_corpus(moved), tmp_path / "cache").data_hash == here.data_hash
    rows = "".join(f"{name}\t{name.split('/')[0]}\n" for name in TWELVE)
    (moved / "meta.csv").write_text("filename\tscene_label\n" + rows)
    listed = open_cache(read_corpus(moved), tmp_path / "cache")
    (moved / "meta.csv").write_text("filename\tscene_label\n" + rows.replace("bus/0.wav\tbus", "bus/0.wav\tpark"))
    monkeypatch.setattr(cache_module, "cut_files", None)  # another label is no reason to decode anything
    relabelled = open_cache(read_corpus(moved), tmp_path / "cache")
    assert relabelled.label[0] != listed.label[0]
    assert relabelled.data_hash != listed.data_hash


@pytest.mark.parametrize("fault", ["corrupt", "missing", "short"])
def test_a_bad_file_stops_the_build_by_name(fault: str, folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    path = corpus.path(corpus.clips[7])
    good = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "corrupt":
        path.write_bytes(b"RIFF" + os.urandom(2000))
    else:
        soundfile.write(path, np.zeros(20_000), 32_000)
    with pytest.raises(InputError) as error:
        open_cache(corpus, tmp_path / "cache")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    path.write_bytes(good)
    mended = open_cache(corpus, tmp_path / "cache")
    np.testing.assert_array_equal(mended.waves, open_cache(corpus, tmp_path / "fresh").waves)


def test_a_second_process_waits_for_the_first(folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    open_cache(corpus, tmp_path / "cache")
    (left,) = (tmp_path / "cache").iterdir()
    waiting = threading.Event()

    class Listener(Output):
        def log(self, text: str) -> None:
            if text.startswith("waiting for another process"):
                waiting.set()

    found: list[SnippetCache] = []
    thread = threading.Thread(target=lambda: found.append(open_cache(corpus, tmp_path / "cache", Listener())))
    with (left / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread.start()
        assert waiting.wait(60)
        assert not found
    thread.join(60)
    assert len(found[0]) == 30


def test_default_place_and_a_place_that_cannot_be(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYSCENE_CACHE", str(tmp_path / "mine"))
    assert open_cache(read_corpus(folder)).path.parent == tmp_path / "mine"
    monkeypatch.delenv("TINYSCENE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_cache(read_corpus(folder)).path.parent == tmp_path / "home" / ".cache" / "tinyscene"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="give another with --cache DIR"):
        open_cache(read_corpus(folder), tmp_path / "file")
