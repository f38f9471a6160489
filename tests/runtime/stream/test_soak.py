"""A simulated day with losses, in a minute: nothing unaccounted for, nothing different outside them, memory flat.

The whole day runs on a front end of 5 frames a second at 8 kHz, as 86,400 s of the student's take minutes;
half an hour runs on the student's own, at the recordings' rate through the resampler.
"""

from __future__ import annotations

import gc
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from band_network import band_network, write_band_bundle
from numpy.typing import NDArray

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.engine import Engine
from tinyscene.runtime.engines.litert import open_engine
from tinyscene.runtime.frontend_spec import FrontendSpec
from tinyscene.runtime.stream import soak
from tinyscene.runtime.stream.smoothing import Thresholds
from tinyscene.runtime.stream.soak import Fault, Soak, faults, recordings
from tinyscene.runtime.stream.stream import SceneStream, StreamSettings

SPEC = FrontendSpec(
    sample_rate_hz=8000, clip_samples=8000, n_fft=512, win_length=512, hop_length=1600, n_mels=24, fmax_hz=4000.0
)


def shared_audio() -> Path | None:
    folder = Path(os.environ.get("TINYSCENE_SHARED", Path(__file__).resolve().parents[4] / "shared"))
    audio = folder / "data/tut2017/audio"
    return audio if audio.is_dir() else None


def audio(rate_hz: int, seconds: int) -> NDArray[np.float32]:
    """Real recordings where there are some, else noise whose colour and level change every few seconds."""
    folder = shared_audio()
    if folder is not None:
        wave, rate = recordings(folder, seconds)
        if rate == rate_hz:
            return wave
        step = rate / rate_hz  # crude, which is no matter: it only has to be varied
        return wave[(np.arange(int(len(wave) / step)) * step).astype(int)]
    rng, parts = np.random.default_rng(0), []
    while sum(map(len, parts)) < seconds * rate_hz:
        noise = rng.standard_normal(int(rng.integers(2, 12) * rate_hz))
        kernel = np.cos(np.arange(16) * rng.uniform(0, np.pi))
        parts.append(rng.uniform(0.001, 0.2) * np.convolve(noise, kernel, "same") / 4)
    return np.concatenate(parts).astype(np.float32)


def soaked(bundle: Bundle, wave: NDArray[np.float32], rate_hz: int, hop_ms: float) -> Soak:
    def make_stream(engine: Engine) -> SceneStream:
        # Thresholds between which this network often comes and goes, whatever the defaults are.
        settings = StreamSettings(hop_ms=hop_ms, smoothing_s=2.0, thresholds=Thresholds(0.5, 0.35))
        return SceneStream(bundle.frontend, bundle.labels, engine, rate_hz, settings)

    return Soak(make_stream, open_engine(bundle), wave)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_band_bundle(tmp_path_factory.mktemp("bundle") / "bands", band_network(SPEC), SPEC)


@pytest.mark.slow
def test_a_day(small_bundle: Bundle) -> None:
    objects: list[int] = []
    day = soaked(small_bundle, audio(8000, 600), 8000, hop_ms=2000)

    def count(_: object) -> None:
        gc.collect()  # what only waits to be collected is no leak
        objects.append(len(gc.get_objects()))

    report = day.run(24, count)
    assert report.problems == []
    assert report.clock_samples == 24 * 3600 * 8000 == report.heard_samples + report.lost_samples
    assert report.faults > 80
    assert report.lost_samples > 3600 * 8000
    assert report.reference_decisions == 24 * 3600 // 2
    assert report.compared_windows > 0.9 * (24 * 3600 - report.lost_samples / 8000) / 2
    assert report.compared_states > 0.5 * report.compared_windows
    # Both streams' waiting decisions come and go, a few thousand objects; a leak of one a second would be 80,000.
    assert max(objects[1:]) - min(objects[1:]) < 20_000
    assert report.rss_mb[-1] - report.rss_mb[0] < 5


@pytest.mark.slow
def test_half_an_hour_of_the_real_front_end_through_the_resampler(bundle: Bundle) -> None:
    half = soaked(bundle, audio(44_100, 60), 44_100, hop_ms=500)
    report = half.run(0.5)
    assert report.problems == []
    assert report.faults > 0
    assert report.heard_samples + report.lost_samples == 1800 * 44_100


def test_losses_are_of_every_size() -> None:
    lengths = [fault.stop - fault.start for fault in faults(24 * 3600 * 48_000, 48_000, seed=0)]
    assert len(lengths) > 80
    assert min(lengths) < 48
    assert max(lengths) > 60 * 48_000


def test_a_lost_sample_that_nobody_counted_is_found(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: a source that hides one lost sample."""
    monkeypatch.setattr(soak, "faults", lambda *_: iter([Fault(80_000, 80_100, False)]))
    hiding = soaked(small_bundle, audio(8000, 60), 8000, hop_ms=1000)
    whole = hiding._blocks

    def blocks(length: int):  # type: ignore[no-untyped-def]
        for block, through in whole(length):
            yield replace(block, dropped=max(0, block.dropped - 1)), through

    monkeypatch.setattr(hiding, "_blocks", blocks)
    report = hiding.run(0.01)
    assert report.unaccounted_samples == 2  # in the count, and in the place of everything after it
    assert report.different_windows > 0


def test_a_stream_that_judges_differently_is_found(small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "faults", lambda *_: iter([Fault(80_000, 88_000, True)]))
    running = soaked(small_bundle, audio(8000, 60), 8000, hop_ms=1000)
    running.faulty._windows._features._weight = np.float32(0.9)
    report = running.run(0.02)
    assert report.different_windows == report.compared_windows > 0
    assert any("judged differently" in problem for problem in report.problems)


def test_the_command_reports_as_json(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", audio(8000, 30)[: 30 * 8000], 8000)
    monkeypatch.setattr(
        "sys.argv",
        ["soak", str(small_bundle.path), "--hours", "1", "--source", str(tmp_path), "--json", "--hop-ms", "2000"],
    )
    assert soak.main() == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["unaccounted_samples"] == line["different_windows"] == line["different_states"] == 0
    assert line["clock_samples"] == 3600 * 8000
