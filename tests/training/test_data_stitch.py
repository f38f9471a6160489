"""One recording of several places holds each place's clips, in order, for as long as was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tinyscene.runtime.errors import InputError
from tinyscene.training.data.corpus import read_corpus
from tinyscene.training.data.stitch import RATE_HZ, stitch

LEVELS = {"bus": 0.125, "park": 0.25, "tram": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus whose clips are constant signals: 1, 2 and 3 s of each scene at its level, evaluated in fold 1."""
    audio, setup = tmp_path / "corpus" / "audio", tmp_path / "corpus" / "evaluation_setup"
    audio.mkdir(parents=True)
    setup.mkdir()
    rows = ["filename\tscene_label\tidentifier\tsource_label"]
    for scene, level in LEVELS.items():
        for segment in range(3):
            name = f"audio/{scene}-town-1-{segment}-a.wav"
            wave = np.full(RATE_HZ * (segment + 1), level, np.float32)
            soundfile.write(tmp_path / "corpus" / name, wave, RATE_HZ, subtype="PCM_16")
            rows.append(f"{name}\t{scene}\ttown-{scene}\ta")
    (setup / "fold1_evaluate.csv").write_text("\n".join(rows) + "\n")
    other = "audio/bus-city-2-0-a.wav\tbus\tcity-2\ta"
    soundfile.write(tmp_path / "corpus" / "audio" / "bus-city-2-0-a.wav", np.zeros(RATE_HZ), RATE_HZ)
    (setup / "fold1_train.csv").write_text("\n".join([rows[0], other]) + "\n")
    (tmp_path / "corpus" / "meta.csv").write_text("\n".join([*rows, other]) + "\n")
    return tmp_path / "corpus"


def test_every_scene_is_heard_where_it_is_said_to_be(folder: Path, tmp_path: Path) -> None:
    stretches = stitch(read_corpus(folder), 1, 4.0, seed=3, out=tmp_path / "walk.wav")
    wave, rate = soundfile.read(tmp_path / "walk.wav")
    assert (rate, len(wave)) == (RATE_HZ, 3 * 4 * RATE_HZ)
    assert sorted(stretch.scene for stretch in stretches) == sorted(LEVELS)
    for stretch in stretches:
        start = round(stretch.start_s * RATE_HZ)
        np.testing.assert_allclose(wave[start : start + 4 * RATE_HZ], LEVELS[stretch.scene], atol=2 / 32768)


def test_the_same_seed_is_the_same_walk(folder: Path, tmp_path: Path) -> None:
    corpus = read_corpus(folder)
    walks = [stitch(corpus, 1, 1.0, seed, tmp_path / "walk.wav") for seed in (0, 0, *range(1, 12))]
    assert walks[0] == walks[1]
    assert len({tuple(stretch.scene for stretch in walk) for walk in walks}) > 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 1e9])
def test_impossible_lengths_are_refused(folder: Path, tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InputError, match="a place is not possible"):
        stitch(read_corpus(folder), 1, seconds, 0, tmp_path / "walk.wav")
    assert not (tmp_path / "walk.wav").exists()
