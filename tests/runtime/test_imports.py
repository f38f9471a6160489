"""The runtime is what a small board installs: importing all of it must not pull the training stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tinyscene.runtime

HEAVY = ("torch", "lightning", "onnx", "onnxruntime", "scipy", "flatbuffers", "tinyscene.training", "tinyscene.export")


def test_importing_the_whole_runtime_imports_nothing_heavy() -> None:
    root = Path(tinyscene.runtime.__path__[0])
    parts = [path.relative_to(root).with_suffix("").parts for path in root.rglob("[a-z]*.py")]
    modules = [".".join(("tinyscene.runtime", *part)) for part in parts]
    assert "tinyscene.runtime.engines.litert" in modules
    code = (
        f"import importlib, json, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    imported = json.loads(done.stdout)
    assert "tinyscene.runtime.stream.stream" in imported
    assert [name for name in imported if name.startswith(HEAVY)] == []


def test_a_verb_module_is_light() -> None:
    """`tinyscene --help` loads every verb's module: numpy and the audio libraries wait until a verb runs."""
    modules = ", ".join(f"tinyscene.runtime.verbs_{verb}" for verb in ("listen", "devices", "bench"))
    code = f"import sys, {modules}; print([n for n in ('numpy', 'soundfile', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
