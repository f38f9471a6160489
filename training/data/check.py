"""What is wrong with a corpus, and how to put each thing right, before hours are spent training on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ...runtime.frontend_spec import STUDENT
from ...runtime.output import Output
from .check_lists import Finding, check_lists
from .corpus import AUDIO_SUFFIXES, Clip, Corpus, assemble, make_clip, read_lists
from .listening import Heard, listen_to
from .progress import track
from .snippets import TOLERANCE_S, WORKERS

#: Quieter than this a file holds no sound (16-bit rounding alone is at -101 dB).
SILENT_DB = -85.0

#: A larger share of samples in clipped runs distorts what is learnt.
CLIPPED_SHARE = 1e-3


@dataclass(frozen=True)
class Report:
    """Everything found in a corpus, lists first, and how much was looked at."""

    corpus: Corpus
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check(root: Path, fold: int | None = None, output: Output | None = None) -> Report:
    """Compare the lists of the corpus in `root` with each other and listen to every file.

    With `fold` only that fold is looked at for leakage. Raises `InputError` when a list cannot be read at all or the
    fold is not there.
    """
    lists = read_lists(root)
    clips: dict[str, Clip] = {}
    for row in lists.rows:
        clips.setdefault(row.filename, make_clip(row))
    corpus = assemble(lists, tuple(clips.values()))
    if fold is not None and fold not in corpus.folds:
        corpus.fold(fold)  # raises, and says which folds there are
    numbers = [fold] if fold is not None else list(corpus.folds)
    findings = [*check_lists(lists, corpus, numbers), *_unlisted(corpus)]
    with ThreadPoolExecutor(WORKERS) as pool:
        paths = [corpus.path(clip) for clip in corpus.clips]
        heard = list(track(pool.map(listen_to, paths), "listening", len(paths), output))
    for clip, facts in zip(corpus.clips, heard, strict=True):
        findings += _file(corpus, clip, facts)
    findings += _same_content(corpus, heard, numbers)
    return Report(corpus, tuple(findings), sum(facts.seconds for facts in heard))


def _unlisted(corpus: Corpus) -> Iterator[Finding]:
    """Audio files beside listed ones: only the folders that listed files lie in are searched."""
    for folder in sorted({corpus.path(clip).parent for clip in corpus.clips}):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for file in files:
            name = file.relative_to(corpus.root).as_posix()
            if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith(".") and name not in corpus.index:
                yield Finding("unlisted", "warning", name, "is in no list, so it is never used", "list it or remove it")


def _file(corpus: Corpus, clip: Clip, heard: Heard) -> Iterator[Finding]:
    name = clip.filename
    if not corpus.path(clip).is_file():
        yield Finding("missing", "error", name, "is listed but not there", "restore it, or remove it from the lists")
        return
    if heard.error is not None:
        # The reader's sentence without its advice, which is for one file.
        message = heard.error.removeprefix(f"{corpus.path(clip)} ").split(": replace the file")[0]
        yield Finding("unreadable", "error", name, message, "fetch it again, or remove it from the lists")
        return
    seconds = STUDENT.clip_samples / STUDENT.sample_rate_hz
    if heard.seconds < seconds - TOLERANCE_S:
        message = f"lasts {heard.seconds:.3f} s, less than one snippet of {seconds:g} s"
        yield Finding("too short", "error", name, message, "replace it, or remove it from the lists")
    if heard.level_db < SILENT_DB:
        message = f"is silent (level {heard.level_db:.0f} dB, less than {SILENT_DB:.0f})"
        yield Finding("silent", "warning", name, message, "record it again, or remove it from the lists")
    if heard.clipped_share > CLIPPED_SHARE:
        message = f"is clipped: {100 * heard.clipped_share:.1f} % of its samples stand at full scale"
        yield Finding("clipped", "warning", name, message, "record it at a lower level, or remove it from the lists")
    if heard.sample_rate_hz < 2 * STUDENT.fmax_hz:
        message = f"is sampled at {heard.sample_rate_hz:,} Hz, so it is empty above {heard.sample_rate_hz / 2:,.0f} Hz"
        yield Finding("narrow band", "warning", name, message, "record at 32 kHz or more, or train on such files only")


def _same_content(corpus: Corpus, heard: Sequence[Heard], numbers: Sequence[int]) -> Iterator[Finding]:
    copies: dict[str, list[Clip]] = defaultdict(list)
    for clip, facts in zip(corpus.clips, heard, strict=True):
        if facts.error is None and facts.level_db >= SILENT_DB:
            copies[facts.digest].append(clip)
    sides = [(n, set(corpus.folds[n].train), set(corpus.folds[n].evaluate)) for n in numbers]
    for clips in copies.values():
        first = clips[0]
        for clip in clips[1:]:
            across = [
                n
                for n, train, evaluate in sides
                if any(
                    one.filename in train and two.filename in evaluate for one, two in ((first, clip), (clip, first))
                )
            ]
            message = f"holds the same sound as {first.filename}"
            if first.scene != clip.scene:
                message += f", which is {first.scene!r} where this is {clip.scene!r}"
            if across:
                message += f", on the other side of fold {', '.join(map(str, across))}"
            severity = "error" if across or first.scene != clip.scene else "warning"
            yield Finding("duplicate", severity, clip.filename, message, "remove one of the two from the lists")
