"""The bundle is read only when every byte of it is what was written."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyscene.runtime.bundle import MANIFEST, Bundle, Quantization, load_bundle, write_bundle
from tinyscene.runtime.errors import InputError, TinysceneError
from tinyscene.runtime.frontend_spec import STUDENT

QUANTIZATION = Quantization(0.05, -3, 0.1, 12, "ptq")


def write(path: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "name": "test",
        "labels": ("bus", "park"),
        "frontend": STUDENT,
        "quantization": QUANTIZATION,
        "model": {"parameters": 10},
        "budget": {"name": "default"},
        "metrics": {"accuracy": 0.5},
        "provenance": {"seed": 0},
        "files": {"model.tflite": b"network", "README.md": b"# card"},
    }
    return write_bundle(path, **{**arguments, **changes})


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b")
    assert bundle.labels == ("bus", "park")
    assert bundle.frontend == STUDENT
    assert bundle.quantization == QUANTIZATION
    assert bundle.file("model.tflite").read_bytes() == b"network"
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == ["README.md", MANIFEST, "model.tflite"]
    assert [file.name for file in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["model.tflite", "README.md"])
def test_one_changed_byte_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "b")
    file = tmp_path / "b" / name
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match=name):
        load_bundle(tmp_path / "b")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "b")
    (tmp_path / "b" / "model.tflite").unlink()
    with pytest.raises(InputError, match=r"lacks model\.tflite"):
        load_bundle(tmp_path / "b")


def test_a_changed_contract_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b")
    manifest = tmp_path / "b" / MANIFEST
    values = json.loads(manifest.read_text())
    values["frontend"]["hop_length"] = 501
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match="does not match its hash"):
        load_bundle(tmp_path / "b")


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "b")
    manifest = tmp_path / "b" / MANIFEST
    values = json.loads(manifest.read_text())
    values["files"]["../secret"] = values["files"].pop("README.md")
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match="bad file entry"):
        load_bundle(tmp_path / "b")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_manifest_never_escapes_as_another_error(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path / "b")
    manifest = tmp_path / "b" / MANIFEST
    raw = bytearray(manifest.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    manifest.write_bytes(raw)
    with suppress(TinysceneError):
        load_bundle(tmp_path / "b")


def test_a_new_bundle_replaces_the_old_one_whole(tmp_path: Path) -> None:
    write(tmp_path / "b", files={"model.tflite": b"one", "old.txt": b""})
    write(tmp_path / "b", files={"model.tflite": b"two"})
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == [MANIFEST, "model.tflite"]


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with pytest.raises(InputError, match="is not a bundle"):
        write(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "precious"


def test_the_contract_hash_changes_with_every_field() -> None:
    variants = [STUDENT] + [
        replace(STUDENT, **{name: value * 2 if name != "norm_shift" else 4.0})
        for name, value in STUDENT.to_dict().items()
        if name not in ("fmin_hz", "fmax_hz", "win_length", "n_fft")
    ]
    variants += [replace(STUDENT, fmin_hz=50.0), replace(STUDENT, fmax_hz=15_000.0), replace(STUDENT, win_length=2048)]
    variants += [replace(STUDENT, n_fft=8192)]
    assert len({spec.hash() for spec in variants}) == len(variants) == len(STUDENT.to_dict()) + 1
    assert STUDENT.differences(replace(STUDENT, hop_length=750)) == ["hop_length: 500 != 750"]
