"""The bundle: one directory that carries a model with its contract, its proof and its card.

Layout: `model.tflite`, `model.onnx` (QDQ), `model_float.onnx`, `golden.npz`, `README.md` (model card) and
`bundle.json`, which holds the schema version, labels, front-end contract, quantisation, budget, metrics, provenance and
the SHA-256 of every other file. It is written whole or not at all, and no file of it is used before its hash matched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .atomic import directory
from .errors import InputError
from .frontend_spec import FrontendSpec

SCHEMA = "tinyscene.bundle/1"
MANIFEST = "bundle.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Quantization:
    """How the int8 network reads its input and writes its logits: real = scale * (q - zero_point)."""

    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    method: str  # "qat" or "ptq"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file has matched its hash."""

    path: Path
    name: str
    labels: tuple[str, ...]
    frontend: FrontendSpec
    quantization: Quantization
    model: Mapping[str, Any]  # architecture, parameters, MACs, sizes
    budget: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    files: Mapping[str, str]  # file name -> SHA-256

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files; raises `InputError` when the bundle has none of that name."""
        if name not in self.files:
            raise InputError(f"bundle {self.path} has no {name}: make one with `tinyscene export`")
        return self.path / name


def write_bundle(
    path: Path,
    *,
    name: str,
    labels: tuple[str, ...],
    frontend: FrontendSpec,
    quantization: Quantization,
    model: Mapping[str, Any],
    budget: Mapping[str, Any],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> Bundle:
    """Write `files` and their manifest as a bundle at `path`, replacing an older bundle there in one step.

    Raises `InputError` when `path` is there already and is not a bundle.
    """
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]) and not (path / MANIFEST).is_file():
        raise InputError(f"{path} exists and is not a bundle: choose another folder")
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "labels": list(labels),
        "frontend": frontend.to_dict(),
        "frontend_hash": frontend.hash(),
        "quantization": vars(quantization),
        "model": dict(model),
        "budget": dict(budget),
        "metrics": dict(metrics),
        "provenance": dict(provenance),
        "files": {key: {"sha256": _sha256(data), "bytes": len(data)} for key, data in sorted(files.items())},
    }
    with directory(path) as temporary:
        for key, data in files.items():
            (temporary / key).write_bytes(data)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    return load_bundle(path)


def load_bundle(path: Path) -> Bundle:
    """Read the bundle at `path`, checking the manifest's form, the contract's hash and every file's SHA-256.

    Raises `InputError` that names the file and what is wrong with it.
    """
    if not path.is_dir():
        raise InputError(f"no bundle at {path}: make one with `tinyscene export RUN --out {path}`")
    manifest = _read_manifest(path)
    labels = manifest["labels"]
    if not labels or not all(isinstance(label, str) and label for label in labels):
        raise InputError(f"{path / MANIFEST}: labels must be a list of names, got {labels!r:.80}")
    frontend = FrontendSpec.from_dict(manifest["frontend"])
    if frontend.hash() != manifest["frontend_hash"]:
        raise InputError(f"{path / MANIFEST}: the front-end contract does not match its hash: export the model again")
    files = {}
    for name, entry in manifest["files"].items():
        files[name] = _check_file(path, name, entry)
    return Bundle(
        path=path,
        name=manifest["name"],
        labels=tuple(labels),
        frontend=frontend,
        quantization=_quantization(path, manifest["quantization"]),
        model=manifest["model"],
        budget=manifest["budget"],
        metrics=manifest["metrics"],
        provenance=manifest["provenance"],
        files=files,
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise InputError(f"{path} is not a bundle: it has no {MANIFEST}")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise InputError(f"{file} is larger than {MAX_MANIFEST_BYTES} bytes: not a bundle's manifest")
    try:
        manifest = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not valid JSON ({error}): export the model again") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        found = manifest.get("schema") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{file}: schema is {found!r}, this program reads {SCHEMA!r}")
    expected: dict[str, type] = {
        "name": str, "labels": list, "frontend": dict, "frontend_hash": str, "quantization": dict,
        "model": dict, "budget": dict, "metrics": dict, "provenance": dict, "files": dict,
    }  # fmt: skip
    for key, kind in expected.items():
        if not isinstance(manifest.get(key), kind):
            raise InputError(f"{file}: {key!r} is missing or not a {kind.__name__}: export the model again")
    return manifest


def _quantization(path: Path, values: dict[str, Any]) -> Quantization:
    try:
        quantization = Quantization(
            input_scale=float(values["input_scale"]),
            input_zero_point=int(values["input_zero_point"]),
            output_scale=float(values["output_scale"]),
            output_zero_point=int(values["output_zero_point"]),
            method=str(values["method"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / MANIFEST}: bad quantisation entry ({error}): export the model again") from error
    in_range = -128 <= quantization.input_zero_point <= 127 and -128 <= quantization.output_zero_point <= 127
    if not (quantization.input_scale > 0 and quantization.output_scale > 0 and in_range):
        raise InputError(f"{path / MANIFEST}: quantisation {values} is out of range: export the model again")
    return quantization


def _check_file(path: Path, name: str, entry: Any) -> str:
    if not isinstance(entry, dict) or "/" in name or "\\" in name or name.startswith(".") or name == MANIFEST:
        raise InputError(f"{path / MANIFEST}: bad file entry {name!r}")
    file = path / name
    if not file.is_file() or file.is_symlink():
        raise InputError(f"bundle {path} lacks {name}: copy the whole folder, or export the model again")
    if file.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{file} is larger than {MAX_FILE_BYTES} bytes: not part of a bundle")
    found = _sha256(file.read_bytes())
    if found != entry.get("sha256"):
        raise InputError(f"{file} was changed or damaged (its SHA-256 is not the manifest's): export the model again")
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
