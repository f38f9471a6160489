"""The generated C among the engines of `verify` and the waterfall."""

from __future__ import annotations

import sys
from typing import Any

from numpy.typing import NDArray

from ...export.engines.engine import Engine, Replay
from ...export.engines.process import run_child
from ...export.engines.tap import tap_tflite

_NAME = "generated C"
_INSTALL = "pip install 'tinyscene[firmware]'"


def _run(model: bytes, inputs: NDArray[Any], layers: bool, digests: bool) -> Replay:
    names = tap_tflite(model).names
    command = [sys.executable, "-I", "-m", "tinyscene.firmware_bench.native.child"]
    job = {"names": list(names), "layers": layers, "digests": digests}
    arrays = run_child(_NAME, command, {"model.tflite": model}, job, inputs)
    inner = {name: arrays[f"layer/{place}"] for place, name in enumerate(names)} if layers else None
    return Replay(arrays["logits"], inner, arrays.get("digests"))


ENGINE = Engine("c", _NAME, True, _INSTALL, _run)
