"""The runtime is what a small board installs: importing all of it must not pull the training stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tinyscene.runtime

HEAVY = ("torch", "lightning", "onnx", "onnxruntime", "scipy", "flatbuffers", "tinyscene.training", "tinyscene.export")


def test_importing_the_whole_runtime_imports_nothing_heavy() -> None:
    modules = [f"tinyscene.runtime.{path.stem}" for path in Path(tinyscene.runtime.__path__[0]).glob("[a-z]*.py")]
    assert "tinyscene.runtime.engine" in modules
    code = (
        f"import importlib, json, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    imported = json.loads(done.stdout)
    assert "tinyscene.runtime.stream" in imported
    assert [name for name in imported if name.startswith(HEAVY)] == []


def test_a_verb_module_is_light() -> None:
    """`tinyscene --help` loads every verb's module: numpy and the audio libraries wait until a verb runs."""
    code = "import sys, tinyscene.runtime.verbs; print([n for n in ('numpy', 'soundfile', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
