"""A run: the directory that one training, fine-tuning or import leaves behind.

`config.yaml` is there from the start, `logs/` and `checkpoints/` grow on the way; `weights.safetensors` and, last of
all, `run.json` (schema tinyscene.run/1) make it complete. What is read back is checked against `run.json`: the
weights' hash, the front end's, and every tensor's shape; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from ..runtime.atomic import write_file
from ..runtime.errors import InputError
from ..runtime.frontend_spec import FrontendSpec
from .models.build import build_model
from .models.sizes import DEFAULTS

SCHEMA = "tinyscene.run/1"
MANIFEST = "run.json"
WEIGHTS = "weights.safetensors"
CONFIG = "config.yaml"
KINDS = ("student", "teacher", "qat", "imported")


@dataclass(frozen=True)
class Run:
    """A complete run whose every file has matched its hash."""

    path: Path
    kind: str
    arch: str
    arguments: Mapping[str, Any]
    labels: tuple[str, ...]
    frontend: FrontendSpec
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    files: Mapping[str, str]  # file name -> SHA-256

    def file(self, name: str) -> Path:
        """Path of one of the run's files; raises `InputError` when the run has none of that name."""
        if name not in self.files:
            raise InputError(f"run {self.path} has no {name}, only {', '.join(self.files)}")
        return self.path / name

    def weights(self) -> dict[str, Tensor]:
        """The network's state, parameters and buffers by name."""
        try:
            return load_tensors((self.path / WEIGHTS).read_bytes())
        except SafetensorError as error:
            raise InputError(f"{self.path / WEIGHTS} is not a safetensors file ({error}): train again") from error

    def build(self) -> nn.Module:
        """The network with the run's weights, in evaluation mode; raises `InputError` when the two do not fit."""
        model = build_model(self.arch, self.arguments, len(self.labels))
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.path / WEIGHTS} does not fit {self.arch} {dict(self.arguments)}: {reason}"
            ) from error
        return model.eval()


def save_run(
    path: Path,
    *,
    kind: str,
    arch: str,
    arguments: Mapping[str, Any],
    labels: tuple[str, ...],
    frontend: FrontendSpec,
    weights: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Run:
    """Complete the run at `path`: `weights`, further `files` (name -> bytes), then `run.json` last.

    `config` is written as `config.yaml` unless that is there already (a training writes it at its start).
    """
    if kind not in KINDS:
        raise ValueError(f"run kind is {kind!r}, expected one of {KINDS}")
    contents = {
        WEIGHTS: dump_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}),
        **(files or {}),
    }
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        write_config(path, config)
    for name, data in contents.items():
        write_file(path / name, data)
    manifest = {
        "schema": SCHEMA,
        "kind": kind,
        "arch": arch,
        "arguments": {**DEFAULTS.get(arch, {}), **arguments},
        "labels": list(labels),
        "frontend": frontend.to_dict(),
        "frontend_hash": frontend.hash(),
        "metrics": dict(metrics),
        "provenance": dict(provenance),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    text = json.dumps(manifest, indent=1, allow_nan=False, default=_plain) + "\n"
    write_file(path / MANIFEST, text.encode())
    return load_run(path)


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write `config.yaml` into the run at `path` unless it is there already."""
    file = path / CONFIG
    if not file.exists():
        write_file(file, yaml.safe_dump(dict(config), sort_keys=False).encode())


def is_complete(path: Path) -> bool:
    """Whether a run at `path` was finished: `run.json` is the last file to be written."""
    return (path / MANIFEST).is_file()


def load_run(path: Path) -> Run:
    """Read the run at `path`, checking its form and hashes; raises `InputError` that names what is wrong."""
    if not path.is_dir():
        raise InputError(f"no run at {path}: make one with `tinyscene train student --data DIR --out {path}`")
    if not is_complete(path):
        hint = "start its training again with the same command" if (path / CONFIG).exists() else "train one first"
        raise InputError(f"{path} is not a finished run (it has no {MANIFEST}): {hint}")
    manifest = _read_manifest(path / MANIFEST)
    frontend = FrontendSpec.from_dict(manifest["frontend"])
    if frontend.hash() != manifest["frontend_hash"]:
        raise InputError(f"{path / MANIFEST}: the front-end contract does not match its hash: train again")
    if WEIGHTS not in manifest["files"]:
        raise InputError(f"{path / MANIFEST} does not list {WEIGHTS}: train again")
    for name, digest in manifest["files"].items():
        if "/" in name or "\\" in name or name.startswith("."):
            raise InputError(f"{path / MANIFEST}: bad file name {name!r}")
        file = path / name
        if not file.is_file():
            raise InputError(f"run {path} lacks {name}: copy the whole folder, or train again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise InputError(f"{file} was changed or damaged (its SHA-256 is not {MANIFEST}'s): train again")
    return Run(
        path=path,
        kind=manifest["kind"],
        arch=manifest["arch"],
        arguments=manifest["arguments"],
        labels=tuple(manifest["labels"]),
        frontend=frontend,
        metrics=manifest["metrics"],
        provenance=manifest["provenance"],
        files=manifest["files"],
    )


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not valid JSON ({error}): train again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{file}: schema is {found!r}, this program reads {SCHEMA!r}")
    expected: dict[str, type] = {
        "kind": str, "arch": str, "arguments": dict, "labels": list, "frontend": dict, "frontend_hash": str,
        "metrics": dict, "provenance": dict, "files": dict,
    }  # fmt: skip
    for key, kind in expected.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{file}: {key!r} is missing or not a {kind.__name__}: train again")
    if manifest["kind"] not in KINDS:
        raise InputError(f"{file}: kind is {manifest['kind']!r}, expected one of {', '.join(KINDS)}")
    labels = manifest["labels"]
    if not labels or not all(isinstance(label, str) and label for label in labels) or len(set(labels)) != len(labels):
        raise InputError(f"{file}: labels must be a list of different names, got {labels!r:.80}")
    return manifest


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in {MANIFEST}")
