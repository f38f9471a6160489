"""Streams made of held-out recordings, and what is found out about a network on them."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.bundle import Bundle
from tinyscene.runtime.engines.catalogue import open_named_engine
from tinyscene.runtime.errors import InputError
from tinyscene.runtime.sources.source import Block
from tinyscene.runtime.stream.metrics import StreamScore, Truth
from tinyscene.runtime.stream.settings import StreamSettings
from tinyscene.runtime.stream.smoothing import Thresholds
from tinyscene.runtime.stream.stream import SceneStream
from tinyscene.training.data.corpus import Clip, Corpus, read_corpus
from tinyscene.training.stream_evaluation import (
    Heard,
    Setting,
    Trade,
    default_setting,
    elsewhere,
    grid,
    hear,
    recommend,
    weigh,
    worth,
)
from tinyscene.training.stream_plan import LONGEST_S, SHORTEST_S, StreamPlan, _recordings, plan_stream

RATE_HZ = 32_000
#: Bands (Hz) of noise: a third of the mel bands each, which is what the tests' bundle hears. It knows no "gale".
BANDS_HZ = {"bus": (50, 1200), "park": (1500, 4600), "tram": (5500, 15000), "gale": (50, 15000), "hum": (50, 15000)}
MEANINGS = {"bus": "low", "park": "middle", "tram": "high"}


def noise(band_hz: tuple[float, float], seconds: int, seed: int) -> np.ndarray:
    """Noise within a band only."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(seconds * RATE_HZ))
    hertz = np.fft.rfftfreq(seconds * RATE_HZ, 1 / RATE_HZ)
    spectrum[(hertz < band_hz[0]) | (hertz > band_hz[1])] = 0.0
    wave = np.fft.irfft(spectrum)
    return 0.1 * wave / np.sqrt(np.mean(wave**2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of band noise: a scene's two recordings of two clips (3 and 4 s) held out, and one that is not."""
    root = tmp_path_factory.mktemp("stream") / "corpus"
    for name in ("audio", "evaluation_setup"):
        (root / name).mkdir(parents=True)
    rows: dict[str, list[str]] = {"train": [], "evaluate": []}
    for scene, band in BANDS_HZ.items():
        for recording in range(3):
            for number in range(2):
                name = f"audio/{scene}-{recording}-{number}.wav"
                soundfile.write(root / name, noise(band, 3 + number, recording), RATE_HZ, subtype="PCM_16")
                side = "train" if recording == 2 else "evaluate"
                rows[side].append(f"{name}\t{scene}\t{scene}{recording}\ta")
    header = "filename\tscene_label\tidentifier\tsource_label\n"
    (root / "meta.csv").write_text(header + "\n".join([*rows["train"], *rows["evaluate"]]) + "\n")
    for side, lines in rows.items():
        (root / "evaluation_setup" / f"fold1_{side}.csv").write_text(header + "\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    """The same, read."""
    return read_corpus(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of the runtime's tests: it hears whether a sound is low, middle or high."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "runtime"))
        network = importlib.import_module("band_network")
    return network.write_band_bundle(tmp_path_factory.mktemp("bundle") / "bands", network.band_network())


@pytest.fixture(scope="module")
def plan(corpus: Corpus) -> StreamPlan:
    """Five minutes."""
    return plan_stream(corpus, 1, MEANINGS, 5.0, seed=0)


@pytest.fixture(scope="module")
def heard(plan: StreamPlan, bundle: Bundle) -> Heard:
    """What the tests' bundle makes of them."""
    return hear(bundle.frontend, bundle.labels, open_named_engine(bundle), plan.audio())


@given(st.floats(1.01, 60.0), st.integers(0, 99))
def test_stays_cover_the_stream_and_scenes_take_turns(corpus: Corpus, minutes: float, seed: int) -> None:
    stays = plan_stream(corpus, 1, MEANINGS, minutes, seed).stays
    assert (stays[0].start, stays[-1].end) == (0, round(minutes * 60 * RATE_HZ))
    assert all(one.end == other.start and one.scene != other.scene for one, other in pairwise(stays))
    lengths = np.array([stay.end - stay.start for stay in stays]) / RATE_HZ
    assert len(stays) > 1
    assert lengths.min() >= SHORTEST_S - 1e-4
    assert lengths[:-1].max() <= LONGEST_S
    assert lengths[-1] <= LONGEST_S + SHORTEST_S
    visits = [sum(stay.scene == scene for stay in stays) for scene in MEANINGS.values()]
    assert max(visits) - min(visits) <= 1


def test_the_seed_is_the_stream(corpus: Corpus) -> None:
    streams = [plan_stream(corpus, 1, MEANINGS, 1.5, seed) for seed in (0, 0, *range(1, 6))]
    assert streams[0].stays == streams[1].stays
    assert len({stream.stays for stream in streams}) > 2
    one, other = (np.concatenate(list(stream.audio())) for stream in streams[:2])
    assert (one == other).all()


def test_what_is_said_to_be_there_is_there(plan: StreamPlan) -> None:
    """The band that holds the energy of each quarter of a second, against the truth in its middle."""
    wave = np.concatenate(list(plan.audio()))
    assert len(wave) == 5 * 60 * RATE_HZ
    spectra = np.abs(np.fft.rfft(wave.reshape(-1, RATE_HZ // 4))) ** 2
    hertz = np.fft.rfftfreq(RATE_HZ // 4, 1 / RATE_HZ)
    energy = [
        spectra[:, (hertz >= BANDS_HZ[scene][0]) & (hertz <= BANDS_HZ[scene][1])].sum(axis=1) for scene in MEANINGS
    ]
    truth = plan.truth(("low", "middle", "high"))
    middles = (np.arange(len(spectra)) + 0.5) / 4
    changes = np.array(truth.starts_s[1:])
    clear = np.abs(middles[:, np.newaxis] - changes).min(axis=1) > 0.125  # of a change within it
    assert (np.argmax(energy, axis=0) == truth.at(middles))[clear].all()


def test_only_what_was_held_out_is_played(plan: StreamPlan) -> None:
    identifiers = {clip.identifier for clips in plan.clips.values() for clip in clips}
    assert identifiers == {f"{scene}{number}" for scene in MEANINGS for number in (0, 1)}


def test_every_recording_is_played_before_one_comes_again() -> None:
    clips = [Clip(f"{number}-{part}", "bus", f"r{number}", "", "", "a") for number in range(4) for part in "ba"]
    played = list(islice(_recordings(clips, np.random.default_rng(0)), 12))
    names = [[clip.filename for clip in recording] for recording in played]
    assert all(name == sorted(name) and len(name) == 2 for name in names)
    for first in (0, 4, 8):
        assert sorted(name[0] for name in names[first : first + 4]) == ["0-a", "1-a", "2-a", "3-a"]
    assert names[:4] != names[4:8] or names[4:8] != names[8:]


@pytest.mark.parametrize("minutes", [0.0, 1.0, -3.0, math.nan, math.inf])
def test_impossible_lengths_are_refused(corpus: Corpus, minutes: float) -> None:
    with pytest.raises(InputError, match="minutes is not possible"):
        plan_stream(corpus, 1, MEANINGS, minutes, 0)


def test_a_stream_needs_two_scenes_of_the_model(corpus: Corpus) -> None:
    with pytest.raises(InputError, match=r"knows 1 of the scenes .* --label-map"):
        plan_stream(corpus, 1, {"bus": "low", "gale": "low"}, 5.0, 0)


def test_two_scenes_of_the_corpus_may_be_one_of_the_model(corpus: Corpus) -> None:
    both = plan_stream(corpus, 1, {"bus": "low", "gale": "low", "park": "middle"}, 9.0, 0)
    assert {clip.scene for clip in both.clips["low"]} == {"bus", "gale"}
    assert all(one.scene != other.scene for one, other in pairwise(both.stays))


def test_the_network_is_heard_every_hop_to_the_end(plan: StreamPlan, heard: Heard) -> None:
    assert heard.hop_s == 0.25
    assert heard.times_s[0] == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(np.diff(heard.times_s), 0.25, atol=1e-9)
    assert plan.duration_s - heard.times_s[-1] < 0.25
    np.testing.assert_allclose(heard.probabilities.sum(axis=1), 1.0)


def test_a_swept_setting_shows_what_the_stream_shows(plan: StreamPlan, heard: Heard, bundle: Bundle) -> None:
    """On the whole way: the stream runs again with smoothing, on other blocks."""
    truth = plan.truth(bundle.labels)
    wave = np.concatenate(list(plan.audio()))[: 100 * RATE_HZ]
    for setting in (default_setting(), Setting(5.0, 0.7, 0.25)):
        settings = StreamSettings(smoothing_s=setting.smoothing_s, thresholds=Thresholds(setting.enter, setting.leave))
        stream = SceneStream(bundle.frontend, bundle.labels, open_named_engine(bundle), RATE_HZ, settings)
        scenes = [
            decision.scene
            for start in range(0, len(wave), 1280)
            for decision in stream.push(Block(wave[start : start + 1280], 0.0))
        ]
        shown = weigh(heard, truth, [setting])[0].shown[: len(scenes)]
        assert len(scenes) > 390
        assert [bundle.labels[scene] if scene >= 0 else None for scene in shown] == scenes


def test_a_network_that_hears_the_bands_follows_them(plan: StreamPlan, heard: Heard, bundle: Bundle) -> None:
    trades = {trade.setting: trade for trade in weigh(heard, plan.truth(bundle.labels), grid())}
    default = trades[default_setting()].score
    assert default.accuracy > 0.93
    assert default.missed == 0.0
    assert default.flickers == 0
    none = trades[Setting(0.0, 0.5, 0.35)].score
    slow = trades[Setting(12.0, 0.5, 0.35)].score
    assert none.delay_median_s < default.delay_median_s < slow.delay_median_s
    assert none.accuracy > default.accuracy > slow.accuracy
    assert any(trade.on_front for trade in trades.values())


def test_the_default_is_among_those_tried_and_leave_never_above_enter() -> None:
    settings = grid()
    assert default_setting() in settings
    assert len(set(settings)) == len(settings) > 100
    assert all(one.leave <= one.enter for one in settings)


def score(accuracy: float, wrong: float, flickers: int, delay_s: float) -> StreamScore:
    """A score of one hour."""
    return StreamScore(14400, 1.0, accuracy, 1.0 - accuracy - wrong, flickers, 20, delay_s, 2 * delay_s, 0.0)


def test_worth_weighs_right_against_wrong_and_flicker() -> None:
    assert worth(score(1.0, 0.0, 0, 1.0)) == 1.0
    assert worth(score(0.0, 0.0, 0, math.inf)) == 0.0
    assert worth(score(0.8, 0.1, 36, 1.0)) == pytest.approx(0.6)  # 36 flickers of 10 s are a tenth of the hour


def test_the_rule_takes_the_worthiest_and_of_equals_the_quicker() -> None:
    def trade(*values: float) -> Trade:
        nothing = np.empty(0)
        return Trade(Setting(values[3], 0.5, 0.3), nothing, nothing, score(*values))  # type: ignore[arg-type]

    jumpy, steady, slow = trade(0.95, 0.05, 360, 1.0), trade(0.8, 0.1, 0, 4.0), trade(0.8, 0.1, 0, 8.0)
    assert recommend([jumpy, slow, steady]) is steady
    assert recommend([jumpy]) is jumpy


def test_the_front_is_what_none_beats() -> None:
    """Two scenes, 2 s each, told apart without doubt but for one window: no smoothing is the quickest, and flickers."""
    certain = np.array([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 16)
    certain[4] = [0.0, 1.0]
    heard = Heard(np.arange(24) * 0.25, certain, 0.25)
    truth = Truth((0.0, 2.0), (0, 1), 6.0)
    settings = [Setting(0.0, 0.5, 0.3), Setting(0.5, 0.6, 0.3), Setting(100.0, 0.9, 0.3)]
    jumpy, steady, mute = weigh(heard, truth, settings)
    assert (jumpy.score.flickers, jumpy.score.delay_median_s) == (2, 0.0)
    assert (steady.score.flickers, steady.score.missed) == (0, 0.0)
    assert steady.score.delay_median_s > 0.0
    assert mute.score.missed == 1.0
    assert (jumpy.on_front, steady.on_front, mute.on_front) == (True, True, False)


def test_share_unsure_where_nothing_known_is_heard() -> None:
    probabilities = np.array([[0.6, 0.4], [0.5, 0.5], [0.45, 0.55], [0.2, 0.8]])
    heard = Heard(np.arange(4) * 0.25, probabilities, 0.25)
    settings = [Setting(0.0, 0.5, 0.5), Setting(0.0, 0.7, 0.1), Setting(0.0, 0.9, 0.1), Setting(2.0, 0.9, 0.1)]
    assert elsewhere(heard, settings) == [0.0, 0.75, 1.0, 1.0]


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    """The corpus' scenes in the bundle's words."""
    path = tmp_path / "map.yaml"
    path.write_text("".join(f"{scene}: {meant}\n" for scene, meant in MEANINGS.items()))
    return path


def test_the_verb_from_end_to_end(
    folder: Path,
    bundle: Bundle,
    label_map: Path,
    tmp_path: Path,
    tinyscene: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["evaluate", bundle.path, "--data", folder, "--stream", "--stream-minutes", 3, "--label-map", label_map]
    assert tinyscene(*base, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert record["schema"] == "tinyscene.stream_evaluation/1"
    assert (record["clips"], record["recordings"]) == (12, 6)
    assert record["scenes"] == ["high", "low", "middle"]
    assert record["unknown_scenes"] == ["gale", "hum"]
    assert record["default"]["accuracy"] == record["per_scene"]["all"]["accuracy"] > 0.9
    assert len(record["trades"]) == len(grid())
    assert record["recommended"]["worth"] == max(trade["worth"] for trade in record["trades"])
    assert all(0.0 <= trade["unsure_elsewhere"] <= 1.0 for trade in record["trades"])

    assert tinyscene(*base, "--plot", tmp_path / "plot.png") == 0
    text = capsys.readouterr().out
    assert "by what was there" in text
    assert "recommended here: --smoothing-s" in text
    (row,) = [row for row in text.splitlines() if row.startswith("|") and "default" in row]
    assert [float(cell) for cell in row.split("|")[1:4]] == list(vars(default_setting()).values())
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plot", "x.png"], "add --stream"),
        (["another", "--stream"], "got 2 models"),
        (["--stream", "--ensemble", "mean"], "--ensemble does not go with --stream"),
        (["--stream", "--stream-seed", "-1"], "--stream-seed is -1"),
        (["--stream", "--stream-minutes", "0.5"], "0.5 minutes is not possible"),
        (["--stream"], "knows 0 of the scenes"),  # without a label map
    ],
)
def test_wrong_usage_is_explained(
    options: list[str],
    said: str,
    folder: Path,
    bundle: Bundle,
    tinyscene: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tinyscene("evaluate", bundle.path, *options, "--data", folder) == 2
    assert said in capsys.readouterr().err
