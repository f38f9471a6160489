"""Generated C as a project that builds somewhere else: a plain folder, CMake, an Arduino library, a Zephyr module.

Every form has the same C; `project_layouts` puts it into the places that each build system looks in. Plain and CMake
projects can prove themselves: a self-test replays recorded inputs and compares every tensor, see `vectors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...runtime.atomic import directory
from ...runtime.errors import InputError
from ..boards.image import protocol_files

#: Written into every project: what a folder has to hold to be replaced by a later export.
MARKER = "tinyscene-project"

FORMS = ("plain", "cmake", "arduino", "zephyr")

#: Families of kernels in portable C, which run on whatever machine compiles them.
PORTABLE = ("scalar", "word", "host")


@dataclass(frozen=True, eq=False)
class Sources:
    """What a project is made of: the library's files by name, the same of the serial protocol's firmware, the self-
    test's recorded vectors or None, and what `model.h` says of the model."""

    library: Mapping[str, str | bytes]
    firmware: Mapping[str, str | bytes]
    vectors: bytes | None
    name: str
    family: str

    @property
    def listens(self) -> bool:
        """Whether the front end is there, so that audio goes in."""
        return "ts_scene.h" in self.library

    @property
    def portable(self) -> bool:
        """Whether the kernels run on the machine that exports."""
        return self.family in PORTABLE


def export_project(
    files: Mapping[str, str | bytes], out: Path, form: str = "plain", *, vectors: bytes | None = None
) -> tuple[str, ...]:
    """Write the C `files` (name -> content, as `generate` or `assemble` gave them) as a project into the folder `out`.

    `vectors` is what `vectors.record` made; without it a project has no self-test. An older project at `out` is
    replaced in one step. Returns the paths written, relative to `out`. Raises `InputError` for another form, for files
    that are no model, and for an `out` that holds something else.
    """
    from .project_layouts import LAYOUTS

    if form not in LAYOUTS:
        raise InputError(f"unknown form {form!r}, expected one of {', '.join(LAYOUTS)}")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file())):
        raise InputError(f"{out} exists and is no project of this program: choose another folder")
    tree = LAYOUTS[form](_sources(files, vectors))
    tree[MARKER] = f"form: {form}\nWritten by tinyscene; the next export to this folder replaces all of it.\n"
    with directory(out) as temporary:
        for name, content in tree.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tuple(sorted(tree))


def _sources(files: Mapping[str, str | bytes], vectors: bytes | None) -> Sources:
    header = files.get("model.h", "")
    text = header.decode() if isinstance(header, bytes) else header
    found = {key: re.search(rf'^#define {key} "((?:[^"\\]|\\.)*)"', text, re.MULTILINE) for key in _DESCRIBED}
    if found["TS_MODEL_NAME"] is None or "model.c" not in files:
        raise InputError(f"no model among {', '.join(sorted(files)) or 'no files'}: make the files with `generate`")
    names = {key: match[1] if match is not None else "scalar" for key, match in found.items()}
    return Sources(files, protocol_files(), vectors, names["TS_MODEL_NAME"], names["TS_MODEL_FAMILY"])


_DESCRIBED = ("TS_MODEL_NAME", "TS_MODEL_FAMILY")
