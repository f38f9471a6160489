"""Where engines are installed: this environment, or side environments that cannot share it.

tflite-runtime needs an older numpy, TensorFlow is large, and ONNX Runtime Web is JavaScript. `make engines` builds them
under `build/engines`; `$TINYSCENE_ENGINES` names another folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ...runtime.errors import UnavailableError

#: The environment variable that names the folder of the side environments.
VARIABLE = "TINYSCENE_ENGINES"


def folders() -> list[Path]:
    """Folders in which side environments are looked for, in order."""
    named = os.environ.get(VARIABLE)
    if named:
        return [Path(named)]
    return [Path("build/engines").absolute(), Path.home() / ".cache" / "tinyscene" / "engines"]


def python_with(module: str, environment: str | None, name: str, install: str) -> str:
    """The Python that has `module`: this one, or that of the side environment called `environment`.

    Raises `UnavailableError` with the `install` line of the engine `name`.
    """
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    for folder in folders() if environment else []:
        python = folder / str(environment) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if python.is_file():
            return str(python)
    raise UnavailableError(f"{name} is not installed: run `{install}`")


def node_with(package: str, environment: str, name: str, install: str) -> tuple[str, Path]:
    """The node program and the folder whose node_modules hold `package`; raises `UnavailableError`."""
    node = shutil.which("node")
    if node is None:
        raise UnavailableError(f"{name} needs Node.js, which is not installed: run `apt-get install nodejs npm`")
    for folder in folders():
        if (folder / environment / "node_modules" / package).is_dir():
            return node, folder / environment
    raise UnavailableError(f"{name} is not installed: run `{install}`")
