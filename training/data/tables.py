"""The tab-separated lists of a TAU-layout folder: `meta.csv`, `foldN_train.csv`, `foldN_evaluate.csv`, `splitN.csv`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError

#: Folder of the fold lists inside a corpus.
SETUP = "evaluation_setup"
_FOLD = re.compile(r"fold(\d+)_(train|evaluate)\.csv")
_SPLIT = re.compile(r"split(\d+)\.csv")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list; a column that the list lacks, or leaves empty, is None."""

    line: int  # counted from 1, the header included
    filename: str
    scene: str | None
    identifier: str | None
    device: str | None


def read_table(path: Path) -> list[Row]:
    """Read a list whose header names `filename` and any of `scene_label`, `identifier`, `source_label`.

    Raises `InputError` naming the file and line when it is not a tab-separated UTF-8 table or a file name leaves the
    corpus folder.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return _rows(path, csv.reader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a tab-separated list ({error})") from error


def _rows(path: Path, lines: Iterator[list[str]]) -> list[Row]:
    header = [name.strip() for name in next(lines, [])]
    if "filename" not in header:
        hint = "; it seems to be separated by commas" if len(header) == 1 and "," in header[0] else ""
        raise InputError(
            f"{path}: the first line is {header!r:.80}, expected tab-separated column names with 'filename'{hint}"
        )
    at = {name: position for position, name in enumerate(header)}
    filename = at["filename"]
    optional = [at.get(key, len(header)) for key in ("scene_label", "identifier", "source_label")]
    kept: dict[str, str | None] = {"": None}  # hundreds of thousands of rows share a few scenes, places and devices
    rows = []
    for number, cells in enumerate(lines, start=2):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) > len(header):
            raise InputError(
                f"{path}, line {number}: {len(cells)} columns, expected {len(header)} ({', '.join(header)})"
            )
        cells += [""] * (len(header) + 1 - len(cells))
        name = cells[filename]
        if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise InputError(f"{path}, line {number}: file name {name!r}, expected a path inside the corpus folder")
        scene, identifier, device = (kept.setdefault(cells[column], cells[column]) for column in optional)
        rows.append(Row(number, name, scene, identifier, device))
    if not rows:
        raise InputError(f"{path} lists no files (columns: {', '.join(at)})")
    return rows


def find_folds(root: Path) -> dict[int, dict[str, Path]]:
    """Fold number -> {"train": path, "evaluate": path} of the lists under `root`; a side without a list is absent."""
    found: dict[int, dict[str, Path]] = {}
    for path in sorted((root / SETUP).glob("fold*.csv")):
        match = _FOLD.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = path
    return dict(sorted(found.items()))


def find_splits(root: Path) -> dict[int, Path]:
    """Percentage -> path of DCASE 2024's `splitN.csv` training lists, in `evaluation_setup` or in `root` itself."""
    found = {}
    for folder in (root, root / SETUP):
        for path in sorted(folder.glob("split*.csv")):
            match = _SPLIT.fullmatch(path.name)
            if match:
                found[int(match[1])] = path
    return dict(sorted(found.items()))
