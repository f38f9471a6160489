"""Asking an installed interpreter whether it takes a model: LiteRT and TFLite-Micro, each in a child process."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .child import Finished, run_tool
from .operators import ModelView
from .verdict import TargetLint, Tool

# One inference on zeros: some kernels refuse an element type only then.
_LITERT = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for given in interpreter.get_input_details():
    interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
interpreter.invoke()
"""

# Its Python package tells how much of the arena is used nowhere else than in `print_allocations`.
_MICRO = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=64 << 20)
given = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(given["shape"], given["dtype"]), 0)
interpreter.invoke()
interpreter.print_allocations()
"""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter's Python package: what to import and install, and the program that loads a model."""

    name: str
    module: str
    distribution: str
    program: str
    install: str


LITERT = Interpreter("LiteRT", "ai_edge_litert", "ai-edge-litert", _LITERT, "`pip install ai-edge-litert`")
MICRO = Interpreter(
    "TFLite-Micro", "tflite_micro", "tflite-micro", _MICRO, "`pip install tflite-micro` (in tinyscene's extra 'micro')"
)


def ask(lint: TargetLint, view: ModelView, interpreter: Interpreter) -> TargetLint:
    """`lint` with what `interpreter` says when it is to prepare the model."""
    if view.data is None:
        return lint
    if importlib.util.find_spec(interpreter.module) is None:
        return replace(lint, tool=Tool(interpreter.name, "not installed", install=interpreter.install))
    try:
        installed = version(interpreter.distribution)
    except PackageNotFoundError:
        installed = "of unknown version"
    with tempfile.TemporaryDirectory(prefix="tinyscene-lint-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(view.data)
        ended = run_tool([sys.executable, "-c", interpreter.program, "model.tflite"], folder)
    if ended.status != 0:
        return replace(lint, tool=Tool(interpreter.name, "failed", f"{installed} {_reason(ended)}", False))
    arena = re.search(r"Arena allocation total (\d+) bytes", ended.text)
    figures = {} if arena is None else {"arena_bytes": int(arena.group(1))}
    detail = f"{installed} runs it" + (f", arena {figures['arena_bytes']:,} bytes" if figures else "")
    return replace(lint, tool=Tool(interpreter.name, "run", detail, True, figures))


def _reason(ended: Finished) -> str:
    """What the interpreter itself said: it prints the cause before Python prints the exception."""
    first = ended.text.partition("Traceback")[0].strip().splitlines()
    said = [line for line in first if not line.startswith(("INFO", "W0000"))]
    if ended.status == 1 and said:
        return f"refuses it: {said[0][:200]}"
    return ended.ending()
