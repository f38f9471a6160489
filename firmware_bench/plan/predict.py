"""Instructions per inference, predicted from what each stage does: for comparing plans, within a tenth or so.

`firmware bench` counts them exactly. The numbers of dsp, mve and word follow such counts (zig 0.17.1, a network of base
width 32; word lies between RV32 and Cortex-M0+); those of scalar and host are estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .planes import Stage

#: (per multiply-accumulate, per output value, per step) of each kind of stage. Kinds that a family does not name cost
#: what they do in `_COMMON`: those ops are the same plain C in all of them.
_Costs = Mapping[str, tuple[float, float, float]]

_COMMON: _Costs = {
    "INPUT": (0.0, 5.0, 60.0),
    "DEPTHWISE": (9.0, 30.0, 80.0),
    "DENSE": (5.0, 150.0, 60.0),
    "ADD_ROW": (0.0, 60.0, 60.0),
    "MUL_ROW": (0.0, 40.0, 60.0),
    "AVERAGE_POOL_2D": (6.0, 18.0, 120.0),
    "MAX_POOL_2D": (7.0, 10.0, 120.0),
    "POOL_ROWS": (0.0, 6.0, 80.0),
    "LUT": (0.0, 5.0, 40.0),
    "MEAN": (0.0, 7.0, 80.0),
    "MEAN_ROW": (7.0, 30.0, 80.0),
    "SOFTMAX": (0.0, 150.0, 200.0),
    "PAD": (0.0, 1.0, 80.0),
    "COPY": (0.0, 0.5, 40.0),
    "FLATTEN": (0.0, 0.5, 40.0),
    "SLICE": (0.0, 0.5, 40.0),
}

_FAMILIES: Mapping[str, _Costs] = {
    "scalar": {
        "POINTWISE": (5.0, 30.0, 100.0),
        "CONV_ROW": (6.0, 35.0, 150.0),
        "DEPTHWISE3": (9.0, 35.0, 150.0),
        "ADD": (0.0, 75.0, 60.0),
    },
    "word": {
        "POINTWISE": (2.5, 32.0, 150.0),
        "CONV_ROW": (2.6, 34.0, 800.0),
        "DEPTHWISE3": (5.5, 25.0, 200.0),
        "ADD": (0.0, 45.0, 60.0),
    },
    "dsp": {
        "POINTWISE": (0.85, 10.0, 150.0),
        "CONV_ROW": (0.95, 12.0, 300.0),
        "DEPTHWISE3": (1.3, 8.0, 200.0),
        "ADD": (0.0, 16.0, 60.0),
    },
    "mve": {
        "POINTWISE": (0.19, 2.0, 120.0),
        "CONV_ROW": (0.1, 0.7, 150.0),
        "DEPTHWISE3": (0.6, 2.5, 100.0),
        "ADD": (0.0, 5.0, 60.0),
        "AVERAGE_POOL_2D": (2.0, 3.0, 120.0),
    },
    "host": {
        "POINTWISE": (0.05, 2.0, 80.0),
        "CONV_ROW": (0.2, 2.0, 150.0),
        "DEPTHWISE3": (0.3, 2.0, 100.0),
        "ADD": (0.0, 2.0, 40.0),
    },
}


def macs_of(stage: Stage) -> int:
    """Multiply-accumulates of one step: of a pool, the values that it reads."""
    op, outputs = stage.op, stage.plane.data_bytes
    if op is None:
        return 0
    if op.weight is not None:
        return outputs * (op.weight.size // op.weight.shape[-1 if op.kind == "DEPTHWISE_CONV_2D" else 0])
    if op.kind.endswith("POOL_2D"):
        return outputs * op.window[0] * op.window[1]
    return 0


def instructions(stages: Sequence[Stage], steps: Sequence[int], family_key: str) -> int:
    """Predicted instructions of one inference that runs `steps`."""
    counts = np.bincount(np.asarray(steps, np.int64), minlength=len(stages))
    total = 0.0
    for stage, count in zip(stages, counts, strict=True):
        a, b, c = _FAMILIES[family_key].get(stage.kind, _COMMON.get(stage.kind, (0.0, 0.0, 0.0)))
        total += int(count) * (a * macs_of(stage) + b * stage.plane.data_bytes + c)
    return round(total)
