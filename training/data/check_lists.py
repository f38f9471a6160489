"""Findings from a corpus' lists alone: contradictions, misspelt labels, leakage between a fold's sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from .corpus import Clip, Corpus, Lists, parse_name
from .tables import Row

#: Labels at least this alike are one label misspelt when one is this rare beside the other.
ALIKE, RARE = 0.85, 0.1


@dataclass(frozen=True)
class Finding:
    """One thing wrong: an error spoils training or its evaluation, a warning is worth a look."""

    kind: str
    severity: str  # "error" or "warning"
    where: str  # a file, a list, a label or an identifier
    message: str
    fix: str


def check_lists(lists: Lists, corpus: Corpus, numbers: Sequence[int]) -> Iterator[Finding]:
    """Everything the lists of `corpus` say about themselves; leakage and missing scenes for the folds `numbers`."""
    yield from _listed_twice(lists)
    yield from _labels(corpus)
    yield from _side_lists(lists, {clip.filename: clip for clip in corpus.clips})
    for number in numbers:
        yield from _leakage(corpus, number)
        yield from _scenes_on_one_side(corpus, number)


def _listed_twice(lists: Lists) -> Iterator[Finding]:
    if not (lists.root / "meta.csv").is_file():
        scenes: dict[str, str | None] = {}
        for row in lists.rows:
            if scenes.setdefault(row.filename, row.scene) != row.scene:
                yield _contradiction(row.filename, scenes[row.filename], row.scene, "the lists")
        return
    first: dict[str, Row] = {}
    for row in lists.rows:
        known = first.setdefault(row.filename, row)
        if known is row:
            continue
        if (known.scene, known.identifier) != (row.scene, row.identifier):
            yield _contradiction(row.filename, known.scene, row.scene, f"lines {known.line} and {row.line} of meta.csv")
        else:
            message = f"stands in lines {known.line} and {row.line} of meta.csv"
            yield Finding("listed twice", "warning", row.filename, message, f"remove line {row.line}")


def _contradiction(filename: str, one: str | None, other: str | None, where: str) -> Finding:
    message = f"is {one!r} and {other!r}, or of two recordings, in {where}"
    return Finding("contradiction", "error", filename, message, "listen to it and keep the right line")


def _labels(corpus: Corpus) -> Iterator[Finding]:
    counts = Counter(clip.scene for clip in corpus.clips)
    for label, count in sorted(counts.items()):
        for other, more in counts.most_common():
            spelling = _letters(label) == _letters(other)
            alike = SequenceMatcher(None, label, other).ratio() >= ALIKE and count <= RARE * more
            if label != other and (count, label) < (more, other) and (spelling or alike):
                message = f"has {count} clips and is spelt almost like {other!r} with {more}"
                fix = f"write {other!r} in every list if it is the same scene"
                yield Finding("label typo", "error", label, message, fix)
                break
    for clip in corpus.clips:
        name = parse_name(clip.filename)
        if name and name.scene != clip.scene:
            message = f"is listed as {clip.scene!r}, its name says {name.scene!r}"
            yield Finding("label differs", "error", clip.filename, message, "listen to it and correct meta.csv")


def _letters(label: str) -> str:
    return "".join(letter for letter in label.casefold() if letter.isalnum())


def _side_lists(lists: Lists, clips: Mapping[str, Clip]) -> Iterator[Finding]:
    sides = [(f"fold{n}_{side}.csv", rows) for n, sides in lists.folds.items() for side, rows in sides.items()]
    sides += [(f"split{percent}.csv", rows) for percent, rows in lists.splits.items()]
    for name, rows in sides:
        for row in rows:
            clip = clips.get(row.filename)
            if clip is None:
                message = f"is in line {row.line} of {name} but not in meta.csv"
                yield Finding(
                    "not in meta.csv", "error", row.filename, message, f"add it to meta.csv or drop it from {name}"
                )
            elif row.scene is not None and row.scene != clip.scene and (lists.root / "meta.csv").is_file():
                message = f"is {row.scene!r} in line {row.line} of {name} and {clip.scene!r} in meta.csv"
                yield Finding("label differs", "error", row.filename, message, "make both lists say the same")
    for number, found in lists.folds.items():
        for side in ("train", "evaluate"):
            if side not in found:
                message = f"fold {number} has no list of its {side} side"
                yield Finding(
                    "list missing", "error", f"fold{number}_{side}.csv", message, "put it into evaluation_setup"
                )


def _leakage(corpus: Corpus, number: int) -> Iterator[Finding]:
    fold = corpus.folds[number]
    training = {f"fold{number}_train.csv": fold.train}
    if number == min(corpus.folds):  # DCASE 2024's smaller lists are parts of fold 1's
        training |= {f"split{percent}.csv": names for percent, names in corpus.splits.items()}
    evaluate = Counter(clip.identifier for clip in _known(corpus, fold.evaluate))
    for name, names in training.items():
        train = Counter(clip.identifier for clip in _known(corpus, names))
        for identifier in sorted(train.keys() & evaluate.keys()):
            message = (
                f"{train[identifier]} of its clips are in {name} and {evaluate[identifier]} in "
                f"fold{number}_evaluate.csv, so the score counts what was learnt by heart"
            )
            yield Finding(
                "leakage", "error", identifier, message, "move all clips of this recording or place to one side"
            )


def _scenes_on_one_side(corpus: Corpus, number: int) -> Iterator[Finding]:
    fold = corpus.folds[number]
    train = {clip.scene for clip in _known(corpus, fold.train)}
    evaluate = {clip.scene for clip in _known(corpus, fold.evaluate)}
    for scene in sorted(evaluate - train):
        message = f"fold {number} evaluates this scene and never trains on it"
        yield Finding("scene on one side", "error", scene, message, "give some of its recordings to the training list")
    for scene in sorted(train - evaluate):
        message = f"fold {number} trains on this scene and never evaluates it"
        yield Finding("scene on one side", "warning", scene, message, "give some of its recordings to the other list")


def _known(corpus: Corpus, names: Sequence[str]) -> list[Clip]:
    return [corpus.clips[corpus.index[name]] for name in names if name in corpus.index]
