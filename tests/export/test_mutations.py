"""Damaged files: always an `InputError`, never a crash, a hang or anything else.

`make fuzz`, or TINYSCENE_MUTATIONS=10000 pytest tests/export/test_mutations.py, damages each kind that many times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mutations import mutate

from tinyscene.export.formats.model_file import open_model
from tinyscene.export.verification.golden import load_golden
from tinyscene.runtime.bundle import MANIFEST, load_bundle
from tinyscene.runtime.errors import InputError

COUNT = int(os.environ.get("TINYSCENE_MUTATIONS", "150"))

#: Damaged models that one process reads; seconds that it may take, a hundred times what it does.
CHUNK, CHUNK_S = 500, 1200

FOREIGN = Path(__file__).with_name("foreign")


@pytest.mark.parametrize("model", ["own", "keras_int8.tflite", "keras_float_ends.tflite"])
def test_a_damaged_model_is_refused_or_runs(model: str, bundle: Path) -> None:
    file = bundle / "model.tflite" if model == "own" else FOREIGN / model
    program = Path(__file__).with_name("mutations.py")
    for first in range(0, COUNT, CHUNK):
        count = min(CHUNK, COUNT - first)
        result = subprocess.run(
            [sys.executable, program, file, str(first), str(count)],
            capture_output=True,
            text=True,
            timeout=CHUNK_S,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        last = result.stderr.strip().replace("\r", "\n").splitlines()[-1:]
        assert result.returncode == 0, f"status {result.returncode} at damage {last}: {result.stderr[-2000:]}"
        refused, unread, ran, failed = (int(number) for number in result.stdout.split())
        assert refused + unread + ran + failed == count
        assert refused > count / 3, "most damage goes unseen"


def test_a_damaged_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    intact = (bundle / MANIFEST).read_bytes()
    _assert_refused(intact, copy / MANIFEST, lambda: load_bundle(copy))


def test_damaged_golden_vectors_are_refused(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "golden.npz"
    _assert_refused((bundle / "golden.npz").read_bytes(), file, lambda: load_golden(file))


def test_damaged_files_of_a_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    for seed in range(20):
        damaged = mutate((bundle / "model.tflite").read_bytes(), seed)
        (copy / "model.tflite").write_bytes(damaged)
        if damaged != (bundle / "model.tflite").read_bytes():
            with pytest.raises(InputError, match="SHA-256"):
                open_model(copy)


def _assert_refused(intact: bytes, file: Path, read: Callable[[], object]) -> None:
    errors: list[tuple[int, Exception]] = []
    for seed in range(COUNT):
        file.write_bytes(mutate(intact, seed))
        try:
            read()
        except Exception as error:
            errors.append((seed, error))
    assert [(seed, error) for seed, error in errors if not isinstance(error, InputError)] == []
    assert [(seed, error) for seed, error in errors if len(str(error)) > 1000] == [], "messages to read"
    assert len(errors) > COUNT / 4, "most damage goes unseen"
