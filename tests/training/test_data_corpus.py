"""File names, lists and folds of corpora, the genuine TAU lists among them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyscene.runtime.errors import InputError
from tinyscene.training.data.corpus import TauName, parse_name, read_corpus
from tinyscene.training.data.folds import N_FOLDS, deal
from tinyscene.training.data.tables import read_table

TAU_SCENES = (
    "airport", "bus", "metro", "metro_station", "park",
    "public_square", "shopping_mall", "street_pedestrian", "street_traffic", "tram",
)  # fmt: skip

words = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8}){0,2}", fullmatch=True)
numbers = st.integers(0, 99_999).map(str)
devices = st.sampled_from(["a", "b", "c", "d", "s1", "s6"])


@given(words, words, numbers, numbers, st.none() | numbers, devices)
def test_names_read_back(scene: str, city: str, location: str, segment: str, chunk: str | None, device: str) -> None:
    parts = [scene, city, location, segment, *([chunk] if chunk is not None else []), device]
    assert parse_name(f"audio/{'-'.join(parts)}.wav") == TauName(scene, city, location, segment, chunk, device)


@given(st.text(max_size=40))
def test_other_names_are_refused_or_rebuilt_exactly(text: str) -> None:
    name = parse_name(text)
    if name is not None:
        parts = [name.scene, name.city, name.location, name.segment, name.chunk, name.device]
        assert text.startswith("-".join(part for part in parts if part is not None) + ".") or "/" in text


@pytest.mark.parametrize("name", ["a002_40_50.flac", "1-100032-A.ogg", "bus-paris-1-2.wav", "bus-paris-1-2-3-a-b.wav"])
def test_foreign_names_are_not_tau_names(name: str) -> None:
    assert parse_name(name) is None


def lay_out(root: Path, lists: dict[str, str], meta: str | None = None) -> Path:
    (root / "evaluation_setup").mkdir(parents=True)
    for name, text in lists.items():
        (root / "evaluation_setup" / name).write_text(text)
    if meta is not None:
        (root / "meta.csv").write_text(meta)
    return root


def test_genuine_tau2020_lists(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation_setup").mkdir()
    for side in ("train", "evaluate"):
        source = shared / "data" / "tau_lists" / f"tau2020_fold1_{side}.csv"
        shutil.copy(source, tmp_path / "evaluation_setup" / f"fold1_{side}.csv")
    corpus = read_corpus(tmp_path)
    fold = corpus.fold(1)
    assert (len(fold.train), len(fold.evaluate)) == (13_965, 2_970)
    assert corpus.labels == TAU_SCENES
    evaluated = Counter(corpus.clips[i].device for i in fold.evaluate)
    assert {device: evaluated[device] for device in ("s4", "s5", "s6")} == {"s4": 330, "s5": 330, "s6": 330}
    assert not {corpus.clips[i].device for i in fold.train} & {"s4", "s5", "s6"}
    # The organisers keep the sides apart in location: so must the identifiers we derive.
    assert not {corpus.clips[i].identifier for i in fold.train} & {corpus.clips[i].identifier for i in fold.evaluate}


def test_genuine_tau2022_lists(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation_setup").mkdir()
    lists = shared / "data" / "tau_lists"
    shutil.copy(lists / "tau2022_fold1_evaluate.csv", tmp_path / "evaluation_setup" / "fold1_evaluate.csv")
    shutil.copy(lists / "tau2022_split5.csv", tmp_path / "evaluation_setup" / "split5.csv")
    corpus = read_corpus(tmp_path)
    fold = corpus.fold(1, split=5)
    assert (len(fold.train), len(fold.evaluate)) == (6_980, 29_680)
    clip = corpus.clips[fold.evaluate[1]]
    assert clip.filename == "audio/airport-barcelona-203-6129-1-a.wav"
    assert (clip.scene, clip.identifier, clip.city, clip.location) == ("airport", "barcelona-203", "barcelona", "203")
    assert {parse_name(clip.filename) is not None for clip in corpus.clips} == {True}
    assert {corpus.clips[i].city for i in fold.train} >= {"barcelona", "helsinki", "vienna"}
    with pytest.raises(InputError, match=r"no training list split10\.csv, expected one of 5"):
        corpus.fold(1, split=10)


def test_real_recordings(shared: Path) -> None:
    corpus = read_corpus(shared / "data" / "tut2017")
    assert len(corpus.clips) == 438
    assert len({clip.identifier for clip in corpus.clips}) == 163
    assert len(corpus.labels) == 15
    assert list(corpus.folds) == [1, 2, 3, 4]
    evaluated: list[int] = []
    for number in corpus.folds:
        fold = corpus.fold(number)
        train, evaluate = ({corpus.clips[i].identifier for i in side} for side in (fold.train, fold.evaluate))
        assert not train & evaluate
        assert len(fold.train) + len(fold.evaluate) == 438
        evaluated += fold.evaluate
    assert sorted(evaluated) == list(range(438))


def test_meta_wins_over_names_and_names_fill_its_gaps(tmp_path: Path) -> None:
    names = ["audio/bus-paris-7-8-0-s1.wav", "audio/bus-lyon-9-8-0-b.wav"]
    meta = f"filename\tscene_label\tidentifier\n{names[0]}\ttram\tnight-7\n{names[1]}\t\t\n"
    lists = {"fold1_train.csv": f"filename\n{names[0]}\n", "fold1_evaluate.csv": f"filename\n{names[1]}\n"}
    first, second = read_corpus(lay_out(tmp_path, lists, meta)).clips
    assert (first.scene, first.identifier, first.device) == ("tram", "night-7", "s1")
    assert (second.scene, second.identifier, second.device) == ("bus", "lyon-9", "b")


def test_one_folder_a_scene(tmp_path: Path) -> None:
    for name in ("bus/a_0_10.wav", "bus/a_10_20.wav", "bus/b.flac", "park/ride/1.ogg", "park/ride/2.ogg", "park/c.WAV"):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "audio" / name).touch()
    (tmp_path / "audio" / "notes.txt").touch()
    (tmp_path / "audio" / ".trash").mkdir()
    (tmp_path / "audio" / ".trash" / "x.wav").touch()
    corpus = read_corpus(tmp_path)
    assert {clip.filename.removeprefix("audio/"): (clip.scene, clip.identifier) for clip in corpus.clips} == {
        "bus/a_0_10.wav": ("bus", "bus/a"),
        "bus/a_10_20.wav": ("bus", "bus/a"),
        "bus/b.flac": ("bus", "bus/b"),
        "park/ride/1.ogg": ("park", "park/ride"),
        "park/ride/2.ogg": ("park", "park/ride"),
        "park/c.WAV": ("park", "park/c"),
    }
    for number in corpus.folds:
        fold = corpus.fold(number)
        assert sorted(fold.train + fold.evaluate) == list(range(6))


def test_tau_names_without_lists(tmp_path: Path) -> None:
    for location in range(8):
        for segment in range(3):
            (tmp_path / f"bus-paris-{location}-{segment}-a.wav").touch()
    corpus = read_corpus(tmp_path)
    assert {len(corpus.fold(n).evaluate) for n in corpus.folds} == {6}
    assert len({clip.identifier for clip in corpus.clips}) == 8


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 12)), min_size=1, max_size=80), st.randoms())
def test_dealt_folds_keep_recordings_whole(clips: list[tuple[str, int]], random: object) -> None:
    scenes = [scene for scene, _ in clips]
    identifiers = [str(number) for _, number in clips]  # a recording may hold several scenes
    dealt = deal(scenes, identifiers)
    sides: dict[str, set[int | None]] = {}
    for identifier, fold in zip(identifiers, dealt, strict=True):
        sides.setdefault(identifier, set()).add(fold)
    assert all(len(folds) == 1 for folds in sides.values())
    assert set(dealt) <= {None, *range(1, N_FOLDS + 1)}
    order = list(range(len(clips)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = deal([scenes[i] for i in order], [identifiers[i] for i in order])
    assert again == [dealt[i] for i in order]


@given(st.dictionaries(st.sampled_from("ABCD"), st.integers(1, 30), min_size=1))
def test_dealt_folds_are_even_and_leave_something_to_learn(recordings: dict[str, int]) -> None:
    pairs = [(scene, f"{scene}{i}") for scene, count in recordings.items() for i in range(count)]
    dealt = deal([scene for scene, _ in pairs], [identifier for _, identifier in pairs])
    for scene, count in recordings.items():
        folds = Counter(fold for (one, _), fold in zip(pairs, dealt, strict=True) if one == scene)
        if count == 1:
            assert folds == {None: 1}
        else:
            assert max(folds.values()) - min(folds.get(n, 0) for n in range(1, N_FOLDS + 1)) <= 1
            assert max(folds.values()) < count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,scene_label\na.wav,bus\n", "separated by commas"),
        ("scene_label\nbus\n", "expected tab-separated column names with 'filename'"),
        ("", "expected tab-separated column names"),
        ("filename\tscene_label\n", "lists no files"),
        ("filename\tscene_label\na.wav\tbus\tmore\n", "line 2: 3 columns, expected 2"),
        ("filename\n../../secret.wav\n", "line 2: file name '../../secret.wav'"),
        ("filename\nb.wav\n/etc/secret.wav\n", "line 3: file name '/etc/secret.wav'"),
    ],
)
def test_bad_lists_are_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_corpus(tmp_path)
    assert message in str(error.value)
    assert "meta.csv" in str(error.value)


def test_binary_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_bytes(b"filename\n\xff\xfe\x00\n")
    with pytest.raises(InputError, match="cannot be read as a tab-separated list"):
        read_table(tmp_path / "meta.csv")


@given(st.binary(max_size=200))
def test_any_bytes_read_or_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"filename\tscene_label\n" + data)
    try:
        rows = read_table(path)
    except InputError:
        return
    assert all(row.filename and ".." not in Path(row.filename).parts for row in rows)


def test_wrong_corpora_name_the_trouble(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(InputError, match=r"has no meta\.csv and no \.wav"):
        read_corpus(tmp_path)
    (tmp_path / "x.wav").touch()
    with pytest.raises(InputError, match=r"x\.wav: nothing tells its scene"):
        read_corpus(tmp_path)
    (tmp_path / "meta.csv").write_text("filename\tscene_label\nx.wav\tbus\nx.wav\ttram\n")
    with pytest.raises(InputError, match=r"x\.wav is listed as 'bus' and as 'tram'"):
        read_corpus(tmp_path)
    (tmp_path / "meta.csv").write_text("filename\nx.wav\n")
    with pytest.raises(InputError, match="no scene_label in line 2"):
        read_corpus(tmp_path)


def test_folds_that_are_not_there(tmp_path: Path) -> None:
    meta = "filename\tscene_label\nx.wav\tbus\ny.wav\ttram\n"
    corpus = read_corpus(lay_out(tmp_path / "none", {}, meta))
    with pytest.raises(InputError, match="has no fold 1, expected one of none: every scene is a single recording"):
        corpus.fold(1)
    lists = {"fold1_train.csv": "filename\nz.wav\n", "fold1_evaluate.csv": "filename\ny.wav\n"}
    corpus = read_corpus(lay_out(tmp_path / "some", lists, meta))
    with pytest.raises(InputError, match="has no fold 2, expected one of 1"):
        corpus.fold(2)
    with pytest.raises(InputError, match=r"lists z\.wav, which meta\.csv does not: run `tinyscene data check"):
        corpus.fold(1)
