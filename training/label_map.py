"""Which scene of a model each scene of a corpus is, where the two have different names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.errors import InputError
from .config import read_yaml


def read_label_map(file: Path) -> dict[str, str]:
    """The YAML mapping in `file`, corpus scene -> model scene; several scenes may be one of the model's.

    Raises `InputError` when it cannot be read or is no mapping of names to names.
    """
    contents = read_yaml(file, "label map")
    if not isinstance(contents, dict) or not contents:
        raise InputError(f"{file}: expected a line `CORPUS SCENE: MODEL SCENE` for each scene")
    for scene, meant in contents.items():
        if not isinstance(scene, str) or not isinstance(meant, str):
            raise InputError(f"{file}: {scene!r}: {meant!r} is no pair of names: write `CORPUS SCENE: MODEL SCENE`")
    return contents


def check_label_map(label_map: Mapping[str, str], corpus_labels: Sequence[str]) -> None:
    """Raise `InputError` for a scene in `label_map` that the corpus does not have, naming the nearest."""
    for scene in label_map:
        if scene not in corpus_labels:
            raise InputError(f"label map: the corpus has no scene {scene!r}: {_nearest(scene, corpus_labels)}")


def translate(
    corpus_labels: Sequence[str], model_labels: Sequence[str], label_map: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The scene of the model that each corpus scene is; scenes that the model does not know are left out.

    A scene that `label_map` does not name is the model's of the same name. Raises `InputError` for a scene that
    `label_map` names and the model does not know, naming the nearest.
    """
    label_map = label_map or {}
    for scene, meant in label_map.items():
        if meant not in model_labels:
            raise InputError(
                f"label map: {scene!r} is to be {meant!r}, which the model does not know: "
                f"{_nearest(meant, model_labels)}"
            )
    meanings = {scene: label_map.get(scene, scene) for scene in corpus_labels}
    return {scene: meant for scene, meant in meanings.items() if meant in model_labels}


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
