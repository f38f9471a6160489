"""A folder of labelled recordings: which clips there are, what is known about each, and which fold trains on them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from ...runtime.errors import InputError
from .folds import deal
from .tables import Row, find_folds, find_splits, read_table

#: Audio files that a folder without `meta.csv` is searched for.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")

#: Device of clips of which nothing is said: the reference device of the TAU data sets.
DEFAULT_DEVICE = "a"

#: Scene of clips of which nothing says it, where labels are not needed.
UNLABELLED = "unlabelled"

# SCENE-CITY-LOCATION-SEGMENT[-CHUNK]-DEVICE.SUFFIX
_TAU_NAME = re.compile(
    r"(?P<scene>[a-z]+(?:_[a-z]+)*)-(?P<city>[a-z_]+)-(?P<location>\w+)-(?P<segment>\w+)(?:-(?P<chunk>\w+))?"
    r"-(?P<device>[a-z]\d*)\.[A-Za-z0-9]+",
    re.ASCII,
)
# NAME_START_END: a cut of the recording NAME, in seconds (TUT Acoustic Scenes).
_CUT = re.compile(r"(?P<recording>.+)_\d+_\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TauName:
    """What a TAU file name says; `chunk` is None in the 10-s names of 2019 and 2020."""

    scene: str
    city: str
    location: str
    segment: str
    chunk: str | None
    device: str

    @property
    def identifier(self) -> str:
        """CITY-LOCATION, the unit that may not lie on both sides of a fold."""
        return f"{self.city}-{self.location}"


@dataclass(frozen=True, slots=True)
class Clip:
    """One file of a corpus; `city` and `location` are empty when neither list nor name says them."""

    filename: str  # relative to the corpus folder, with forward slashes
    scene: str
    identifier: str
    city: str
    location: str
    device: str


@dataclass(frozen=True)
class Fold:
    """Indices into `Corpus.clips` of a fold's two sides, in the order of their lists."""

    train: tuple[int, ...]
    evaluate: tuple[int, ...]


@dataclass(frozen=True)
class FoldList:
    """File names of a fold's two sides, as its lists give them."""

    train: tuple[str, ...]
    evaluate: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """The clips of the folder `root` and its folds; `splits` maps a percentage to DCASE 2024's training list."""

    root: Path
    clips: tuple[Clip, ...]
    folds: Mapping[int, FoldList]
    splits: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The scenes in alphabetical order: a label's index is the class number of every model trained here."""
        return tuple(sorted({clip.scene for clip in self.clips}))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """File name -> index into `clips`."""
        return {clip.filename: i for i, clip in enumerate(self.clips)}

    def path(self, clip: Clip) -> Path:
        """Where the clip's audio is."""
        return self.root / clip.filename

    def fold(self, n: int, split: int | None = None) -> Fold:
        """Both sides of fold `n`; `split` (5, 10, 25, 50, 100) replaces the training side by `split{split}.csv`.

        Raises `InputError` for a fold or split the corpus has no lists of, and for a listed file it does not know.
        """
        if n not in self.folds:
            has = _listed(self.folds) or "none: every scene is a single recording, so write evaluation_setup lists"
            raise InputError(f"{self.root} has no fold {n}, expected one of {has}")
        train, evaluate = self.folds[n].train, self.folds[n].evaluate
        if split is not None:
            if split not in self.splits:
                has = _listed(self.splits) or f"none: put split{split}.csv into {self.root / 'evaluation_setup'}"
                raise InputError(f"{self.root} has no training list split{split}.csv, expected one of {has}")
            train = self.splits[split]
        return Fold(self._indices(train, f"fold {n}"), self._indices(evaluate, f"fold {n}"))

    def _indices(self, filenames: Iterable[str], where: str) -> tuple[int, ...]:
        try:
            return tuple(self.index[name] for name in filenames)
        except KeyError as error:
            raise InputError(
                f"{where} of {self.root} lists {error.args[0]}, which meta.csv does not: "
                f"run `tinyscene data check {self.root}`"
            ) from None


@dataclass(frozen=True)
class Lists:
    """The rows of a folder's lists, as they stand in the files."""

    root: Path
    rows: list[Row]  # of meta.csv, or of what stands in for it
    folds: Mapping[int, Mapping[str, list[Row]]]  # number -> side -> rows
    splits: Mapping[int, list[Row]]


def parse_name(filename: str) -> TauName | None:
    """Read a TAU 2019-2022 Mobile file name, folders before it ignored; None when it is not one."""
    match = _TAU_NAME.fullmatch(filename.rpartition("/")[2])
    return TauName(*match.groups()) if match else None


def make_clip(row: Row) -> Clip:
    """The clip a list's row describes; what the row lacks comes from a TAU file name.

    A row without identifier whose name is not a TAU name counts as a recording of its own, except that
    NAME_START_END is a cut of the recording NAME. Raises `InputError` when nothing says the scene.
    """
    name = parse_name(row.filename)
    scene = row.scene or (name.scene if name else None)
    if scene is None:
        raise InputError(
            f"{row.filename}: no scene_label in line {row.line}, and the file name is not "
            "SCENE-CITY-LOCATION-SEGMENT[-CHUNK]-DEVICE: add the column scene_label to meta.csv"
        )
    return Clip(
        filename=row.filename,
        scene=scene,
        identifier=row.identifier or (name.identifier if name else _recording(row.filename)),
        city=name.city if name else "",
        location=name.location if name else "",
        device=row.device or (name.device if name else DEFAULT_DEVICE),
    )


def read_corpus(root: Path, labelled: bool = True) -> Corpus:
    """Read the corpus in the folder `root` from its lists; no audio file is opened.

    Clips come from `meta.csv`; without it from the fold and split lists; without those from the audio files found,
    which must have TAU names or lie in one folder a scene (SCENE/FILE, or SCENE/RECORDING/FILE). A corpus without
    fold lists gets four folds that keep recordings whole. Unless `labelled`, files of which nothing tells the scene are
    of the scene `UNLABELLED`. Raises `InputError` for a missing folder, an unreadable
    list, a file listed twice with different scenes, or files whose scene nothing tells.
    """
    lists = read_lists(root, labelled)
    return assemble(lists, _unique_clips(root, lists.rows))


def read_lists(root: Path, labelled: bool = True) -> Lists:
    """Read whatever lists the folder `root` has, nothing compared with anything yet; raises as `read_corpus` does."""
    if not root.is_dir():
        raise InputError(f"no folder {root}: give a corpus, or make one with `tinyscene data synth {root}`")
    folds = {
        number: {side: read_table(path) for side, path in sides.items()} for number, sides in find_folds(root).items()
    }
    splits = {percent: read_table(path) for percent, path in find_splits(root).items()}
    if (root / "meta.csv").is_file():
        rows = read_table(root / "meta.csv")
    elif folds or splits:
        rows = [row for sides in folds.values() for side in sides.values() for row in side]
        rows += [row for side in splits.values() for row in side]
    else:
        rows = _rows_of_folder(root, labelled)
    return Lists(root, rows, folds, splits)


def assemble(lists: Lists, clips: tuple[Clip, ...]) -> Corpus:
    """The corpus of `clips` with the folds and splits of the lists; dealt folds when the lists have none."""
    folds = {
        number: FoldList(_names(sides.get("train", [])), _names(sides.get("evaluate", [])))
        for number, sides in lists.folds.items()
    }
    splits = {percent: _names(rows) for percent, rows in lists.splits.items()}
    return Corpus(lists.root, clips, folds or _dealt_folds(clips), splits)


def _unique_clips(root: Path, rows: Iterable[Row]) -> tuple[Clip, ...]:
    clips: dict[str, Clip] = {}
    for row in rows:
        clip = make_clip(row)
        known = clips.setdefault(clip.filename, clip)
        if known.scene != clip.scene:
            raise InputError(
                f"{clip.filename} is listed as {known.scene!r} and as {clip.scene!r}: run `tinyscene data check {root}`"
            )
    return tuple(clips.values())


def _rows_of_folder(root: Path, labelled: bool) -> list[Row]:
    files = sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not files:
        raise InputError(
            f"{root} has no meta.csv and no {', '.join(AUDIO_SUFFIXES)} files: "
            "give a TAU-layout folder or one folder a scene"
        )
    if all(parse_name(file.name) for file in files):
        return [Row(0, file.as_posix(), None, None, None) for file in files]
    rows = []
    for file in files:
        # A folder `audio` around everything is packaging, not a scene.
        parts = file.parts[1:] if all(other.parts[0] == "audio" for other in files) else file.parts
        if len(parts) < 2 and not labelled:
            rows.append(Row(0, file.as_posix(), UNLABELLED, _recording(parts[-1]), None))
            continue
        if len(parts) < 2:
            raise InputError(
                f"{root / file}: nothing tells its scene: write a meta.csv, or put each scene's files into a folder"
            )
        scene = parts[0]
        recording = "/".join(parts[1:-1]) or _recording(file.name)
        rows.append(Row(0, file.as_posix(), scene, f"{scene}/{recording}", None))
    return rows


def _dealt_folds(clips: tuple[Clip, ...]) -> dict[int, FoldList]:
    fold_of = deal([clip.scene for clip in clips], [clip.identifier for clip in clips])
    return {
        n: FoldList(
            tuple(clip.filename for clip, fold in zip(clips, fold_of, strict=True) if fold != n),
            tuple(clip.filename for clip, fold in zip(clips, fold_of, strict=True) if fold == n),
        )
        for n in sorted({fold for fold in fold_of if fold is not None})
    }


def _recording(filename: str) -> str:
    stem = PurePosixPath(filename).stem
    match = _CUT.fullmatch(stem)
    return match["recording"] if match else stem


def _names(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.filename for row in rows)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
