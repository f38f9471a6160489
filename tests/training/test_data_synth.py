"""The procedural corpus: its layout, its determinism, and what its sounds and recorders do."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyscene.runtime.cli import main
from tinyscene.runtime.errors import InputError
from tinyscene.training.data import sounds
from tinyscene.training.data.check import check
from tinyscene.training.data.corpus import parse_name, read_corpus
from tinyscene.training.data.probe import probe, ridge
from tinyscene.training.data.recorders import RECORDERS, record
from tinyscene.training.data.scenes import SCENES, make_location, render
from tinyscene.training.data.sounds import Place
from tinyscene.training.data.synth import SynthSpec, generate, plan, write_segment
from tinyscene.training.data.synthesis import RATE_HZ, beat, glide, noise, place_events, ring

SMALL = SynthSpec(clips_per_scene=14)
N = 2 * RATE_HZ


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    assert generate(folder, SMALL)
    return folder


def test_layout_is_tau_2022(small: Path) -> None:
    corpus = read_corpus(small)
    assert corpus.labels == tuple(sorted(SCENES))
    assert Counter(clip.scene for clip in corpus.clips) == dict.fromkeys(SCENES, 14)
    for clip in corpus.clips:
        name = parse_name(clip.filename)
        assert name is not None
        assert name.chunk is not None
        assert (name.scene, name.identifier, name.device) == (clip.scene, clip.identifier, clip.device)
        info = soundfile.info(corpus.path(clip))
        assert (info.samplerate, info.frames, info.channels, info.subtype) == (44_100, 44_100, 1, "PCM_16")
    fold = corpus.fold(1)
    assert (len(fold.train), len(fold.evaluate)) == (100, 40)
    train, evaluate = ({corpus.clips[i].location for i in side} for side in (fold.train, fold.evaluate))
    assert not train & evaluate


def test_check_finds_nothing_wrong(small: Path) -> None:
    assert check(small).findings == ()


def test_same_seed_same_bytes_whatever_the_workers(small: Path, tmp_path: Path) -> None:
    assert generate(tmp_path / "again", SMALL, workers=1)
    assert tree(tmp_path / "again") == tree(small)
    (tmp_path / "other" / "audio").mkdir(parents=True)
    segment = plan(SMALL)[0]
    write_segment(tmp_path / "other", 1, segment)
    (name,) = {segment.filename(0)} & tree(small).keys()
    assert tree(tmp_path / "other")[name] != tree(small)[name]


def test_default_plan() -> None:
    segments = plan(SynthSpec())
    sides = {side: [s for s in segments if s.side == side] for side in ("train", "evaluate")}
    assert {side: sum(s.chunks for s in found) for side, found in sides.items()} == {"train": 1500, "evaluate": 600}
    train = Counter(s.device for s in sides["train"])
    assert set(train) == {"a", "b", "c", "s1", "s2", "s3"}
    assert train["a"] == pytest.approx(375, rel=0.05)
    evaluate = Counter(s.device for s in sides["evaluate"])
    assert set(evaluate) == set(RECORDERS)
    assert max(evaluate.values()) - min(evaluate.values()) <= 1
    assert len({s.city for s in sides["evaluate"]} - {s.city for s in sides["train"]}) == 2
    assert not {s.location for s in sides["train"]} & {s.location for s in sides["evaluate"]}
    scene_of = {s.location: s.scene for s in segments}
    assert all(scene_of[s.location] == s.scene for s in segments)
    assert len({s.filename(c) for s in segments for c in range(s.chunks)}) == 2100


def test_a_corpus_is_kept_and_nothing_else_is_overwritten(small: Path, tmp_path: Path) -> None:
    before = tree(small)
    assert not generate(small, SMALL)
    with pytest.raises(InputError, match="holds another generated corpus \\(clips per scene 14, seed 0"):
        generate(small, SynthSpec(14, seed=5))
    assert tree(small) == before
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a generated corpus: choose another folder"):
        generate(tmp_path, SMALL)
    assert tree(tmp_path) == {"thesis.txt": hashlib.sha256(b"mine").hexdigest()}


def test_verb(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synth", str(small), "--clips-per-scene", "14"]) == 0
    out = capsys.readouterr().out
    assert "was there already: 100 clips to train, 40 to evaluate, 10 scenes" in out
    assert "linear probe on the mean log-mel, fold 1: 0." in out
    assert main(["data", "synth", str(small), "--clips-per-scene", "3"]) == 2
    assert main(["data", "synth", str(small), "--seed", "-1"]) == 2
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "tinyscene: clips per scene is 3",
        "tinyscene: seed is -1",
    ]


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_renders_with_unit_level_and_moves(scene: str) -> None:
    location = make_location(scene, np.random.default_rng(1), N)
    one, two = (render(scene, location, np.random.default_rng(seed), N) for seed in (2, 3))
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert np.sqrt(np.mean(one**2)) == pytest.approx(1, rel=1e-3)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.3


def envelope_peak_hz(wave: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Strongest rate of the wave's power between two rates."""
    power = np.abs(np.fft.rfft(wave**2 - np.mean(wave**2)))
    rates = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    inside = (rates >= low_hz) & (rates <= high_hz)
    return float(rates[inside][power[inside].argmax()])


def test_rhythms_are_where_the_sounds_say() -> None:
    place, rng, n = Place(1.0, 1.0, 0.5), np.random.default_rng(0), 8 * RATE_HZ
    assert 7.5 <= envelope_peak_hz(sounds.corrugation(place, rng, n), 4, 40) <= 11
    assert 9.5 <= envelope_peak_hz(sounds.trolley(place, rng, n), 4, 18) <= 14.5
    slow, fast = (
        envelope_peak_hz(sounds.corrugation(Place(tempo, 1.0, 0.5), np.random.default_rng(7), n), 4, 40)
        for tempo in (0.8, 1.2)
    )
    assert fast / slow == pytest.approx(1.5, rel=0.03)


def test_parts_of_sounds() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.abs(np.fft.rfft(glide(np.full(RATE_HZ, 1000.0), (1.0, 0.5))))
    assert np.argsort(spectrum)[-2:].tolist() == [2000, 1000]
    assert spectrum[2000] / spectrum[1000] == pytest.approx(0.5, rel=1e-3)

    hiss = np.abs(np.fft.rfft(noise(rng, 16 * RATE_HZ, 20, 20_000, slope_db=-6.02))) ** 2
    octave = [np.mean(hiss[16 * low : 32 * low]) for low in (500, 1000, 2000)]
    assert np.diff(10 * np.log10(octave)).tolist() == pytest.approx([-6, -6], abs=0.5)

    bell = ring((500.0,), (1.0,), (0.1,))
    times = np.array([0.1, 0.3])
    peaks = [np.abs(bell[int(t * RATE_HZ) : int((t + 0.004) * RATE_HZ)]).max() for t in times]
    assert peaks[1] / peaks[0] == pytest.approx(np.exp(-2), rel=0.02)

    loop = place_events(100, [90 / RATE_HZ + 1e-9], [np.arange(1, 31, dtype=np.float32)], [2.0])
    np.testing.assert_array_equal(loop[90:], 2.0 * np.arange(1, 11))
    np.testing.assert_array_equal(loop[:20], 2.0 * np.arange(11, 31))
    assert not loop[20:90].any()

    assert len(beat(rng, N, 0.5, 0.0)) == 4
    assert np.diff(beat(rng, N, 0.5, 0.0)).tolist() == pytest.approx([0.5] * 3)


@pytest.mark.parametrize("device", RECORDERS)
def test_recorders_colour_and_keep_level(device: str) -> None:
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(4 * RATE_HZ).astype(np.float32)
    heard = record(wave, device, -26.0, rng)
    assert 20 * np.log10(np.std(heard)) == pytest.approx(-26, abs=0.3)
    assert np.abs(heard).max() < 1
    power = np.abs(np.fft.rfft(heard)) ** 2
    # The response between two points of the table, away from the hiss that fills what the device cannot hear.
    bands_db = [10 * np.log10(np.mean(power[4 * low : 4 * high])) for low, high in ((600, 660), (1500, 1700))]
    table = RECORDERS[device].response_db
    assert bands_db[1] - bands_db[0] == pytest.approx(table[4] - table[3], abs=1.2)


def test_silence_records_as_hiss_alone() -> None:
    rng = np.random.default_rng(0)
    loud = np.zeros(N, dtype=np.float32)
    loud[100] = 1.0
    heard = record(loud, "s6", -60.0, rng)
    assert 20 * np.log10(np.std(heard[RATE_HZ:])) == pytest.approx(RECORDERS["s6"].noise_db, abs=1)


def test_ridge_is_penalised_least_squares() -> None:
    rng = np.random.default_rng(0)
    x, labels, new = rng.standard_normal((60, 5)), rng.integers(3, size=60), rng.standard_normal((200, 5))
    mean, scale = x.mean(0), x.std(0) + 1e-6
    # The same problem as an ordinary least-squares one, with a row for each penalised weight.
    rows = np.vstack([(x - mean) / scale, np.sqrt(0.1 * 60) * np.eye(5)])
    targets = np.eye(3)[labels]
    weights = np.linalg.lstsq(rows, np.vstack([targets - targets.mean(0), np.zeros((5, 3))]), rcond=None)[0]
    expected = (((new - mean) / scale) @ weights + targets.mean(0)).argmax(1)
    np.testing.assert_array_equal(ridge(x, labels, new, 3), expected)
    assert len(set(expected.tolist())) == 3


def test_probe_sees_spectra_and_not_the_order_of_things(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(32_000) / 32_000
    for kind in ("spectrum", "order"):
        for recording in range(32):
            for scene, pitch_hz, ramp in (("one", 500, time_s), ("two", 900, time_s[::-1])):
                tone = np.sin(2 * np.pi * pitch_hz * time_s) if kind == "spectrum" else 0.0
                swell = np.roll(ramp, rng.integers(32_000)) if kind == "order" else 1.0
                path = tmp_path / kind / scene / f"{recording}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(
                    path, 0.1 * rng.uniform(0.3, 1) * swell * (noise(rng, 32_000, 200, 6000) + tone), 32_000
                )
    spectrum, order = (probe(read_corpus(tmp_path / kind), 1) for kind in ("spectrum", "order"))
    assert (spectrum.accuracy, spectrum.chance, spectrum.evaluate_snippets) == (1.0, 0.5, 16)
    assert 0.2 < order.accuracy < 0.8
