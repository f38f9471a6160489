"""One inference on an Edge TPU: `python -m tinyscene.runtime.engines.coral_trial MODEL LIBRARY [DEVICE]`.

Whatever goes wrong, this process alone ends by it. Its parent only asks whether it ended by a signal, or not at all.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

from .coral import CoralEngine
from .litert import Delegate


def run_once(model: Path, library: str, device: str = "") -> None:
    """Open `model` and run it on zeros; raises as `CoralEngine` does."""
    engine = CoralEngine(model, model.read_bytes(), Delegate(library, {"device": device} if device else {}))
    engine.run_int8(np.zeros(engine.input.shape, np.int8))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    run_once(Path(sys.argv[1]), *sys.argv[2:])
